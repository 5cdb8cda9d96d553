"""The quadratics of :mod:`quadratic` as a run, and what theory needs to know of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from swarm.config.build import option
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from tests.support import Rows, config

HERE = Path(__file__).parent
PLUGINS = f"plugins=[{HERE / 'quadratic.py'},{HERE / 'parts.py'}]"
GAMMA = 0.2
PARTS: dict[str, dict[str, Any]] = {
    "topk": {"compressor": {"_target_": "parts.TopK", "count": 1}},
    "asleep": {"clock": {"_target_": "parts.SomeAwake", "share": 0.8}},
    "late": {"delay": {"_target_": "parts.SlowMail"}},
    "oneway": {"topology": {"_target_": "parts.OneWay"}},
}


def ready_of(*overrides: str, parts: tuple[str, ...] = (), **sections: Any) -> PreparedRun:
    """A small run with plug-ins of the tests in it; ``sections`` replace whole sections."""
    values = config(PLUGINS, *overrides) | sections
    for part in parts:
        values |= PARTS[part]
    return PreparedRun.prepare(Settings.parse(values))


def halved_quadratics(
    name: str, rounds: int, *overrides: str, parts: tuple[str, ...] = (), **sections: Any
) -> PreparedRun:
    """Eight devices with f_i = ½a_i(x − b_i)² and the step γ = 0.2 (our mean squared error has no
    ½).
    """
    fixed = ("devices=8", "engine.block=8", "partition=natural", "compute.dtype=float64", "train.batch=1", "train.local_steps=1",
             f"optimizer.lr={GAMMA / 2}", f"protocol={name}", f"rounds={rounds}")  # fmt: skip
    problem = {
        "data": {"_target_": "quadratic.Quadratics"},
        "model": {"_target_": "quadratic.Slope"},
    }
    return ready_of(*fixed, *overrides, parts=parts, **(problem | sections))


def gossip(name: str, *overrides: str, parts: tuple[str, ...] = (), **sections: Any) -> PreparedRun:
    """Ten random numbers a device and no learning, in float64."""
    fixed = ("devices=8", "init=independent", "compute.dtype=float64", "data=linear_regression", "partition=iid",
             "model=softmax", f"protocol={name}")  # fmt: skip
    return ready_of(*fixed, *overrides, parts=parts, **sections)


def with_options(group: str, name: str, **options: Any) -> dict[str, Any]:
    """The section of an option, some of its keys replaced."""
    return {group: {**option(group, name), **options}}


def coefficients(ready: PreparedRun) -> tuple[Rows, Rows, Rows]:
    """a ``[N]``, b ``[N]`` and the mixing weights W ``[N, N]`` of round 1."""
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    root_a = ready.dataset.x[ready.split.sample, 0].astype(np.float64)
    b = ready.dataset.y[ready.split.sample, 0].astype(np.float64) / root_a
    return root_a**2, b, e.communication.mixing(1).matrix.toarray()


def optimum(a: Rows, b: Rows) -> float:
    """The minimum of Σ_i f_i."""
    return float((a * b).sum() / a.sum())
