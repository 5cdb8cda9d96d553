"""Selective activation against a dense model of the same hidden width: accuracy, bytes and FLOPs, over paired seeds.

    python -m benchmarks.selective                        # the table of docs/models.md
    python -m benchmarks.selective --tune                 # the widths and learning rates that the table was made with
    python -m benchmarks.selective --seeds 3 rounds=40 data=digits_like

Each line is a swarm with the same data, start and links for every model of a seed. Dense models send all they have
(D-PSGD); selective ones send the neurons that changed most by CHOCO-SGD, as many as are active. Differences are paired by
seed, with a 95% interval of Student's t.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from scipy import stats

from swarm import paths
from swarm.settings import Settings
from swarm.simulation import Simulation
from swarm.study import Study

COMMON = ("devices=50", "rounds=100", "evaluate.every=1000", "evaluate.own=false", "evaluate.ensemble=false", "tracker=none",
          "scenario.arms=[swarm]", "compute.compile=false", "checkpoint.every=0")  # fmt: skip
SHARING = ("protocol=choco", "compressor=neurons", "compressor.feedback=false")
HIDDEN, RATES = [16, 32, 64, 128, 256], [0.1, 0.2, 0.5, 1.0]


@dataclass(frozen=True)
class Result:
    """Of one run: mean accuracy of the devices and of their mean model, bytes and FLOP of the swarm."""

    accuracy: float
    consensus: float
    bytes: float
    flops: float


def measure(*overrides: str) -> Result:
    """One swarm, run to its end in this process."""
    study = Study.prepare(Settings.parse(config(*COMMON, *overrides)))
    with Simulation(study.experiment(study.arms[0], study.arms[0].variants[0]), study.engine()) as running:
        *_, last = running.records(running.experiment.settings.rounds)
    values = last.values
    return Result(values["accuracy_mean"], values["consensus_accuracy"], values["bytes_total"], values["flops_total"])


def config(*overrides: str) -> Any:
    with initialize_config_dir(str(paths.conf()), version_base="1.3"):
        return compose("config", list(overrides))


def mean_interval(values: list[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95% interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else np.nan
    return float(np.mean(values)), float(half)
