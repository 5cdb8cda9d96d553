"""Reads the finished runs of a claim into its results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from swarm.experiments.claims.results import SEED, Results
from swarm.results.load import Run


def of_runs(
    runs: Iterable[tuple[Mapping[str, Any], int, Run]], prediction: Mapping[str, Any] | None = None
) -> Results:
    """The results of finished runs, each with the values of its condition and its seed."""
    finals: list[dict[str, Any]] = []
    curves: list[pd.DataFrame] = []
    devices: list[pd.DataFrame] = []
    for values, seed, run in runs:
        summary = run.summary or {}
        topology, data = summary.get("topology") or {}, summary.get("data") or {}
        common = {**values, SEED: seed}
        about = {entry.key: summary.get(entry.key) for entry in run.presentation.entries}
        about["parameters"] = summary.get("parameters")
        about["frozen_bytes"] = summary.get("frozen_bytes_per_device", 0)
        about["spectral_gap"] = topology.get("spectral_gap")
        about["train_samples"] = data.get("train")
        about["features"] = math.prod(data.get("features") or [])
        for arm, final in summary.get("arms", {}).items():
            finals.append(
                {**about, **final, "diverged": bool(final.get("diverged")), **common, "arm": arm}
            )
            devices.append(run.final_devices(arm).assign(**common))
        curves.append(run.metrics.assign(**common))
    joined, rows = (
        pd.concat(each, ignore_index=True) if each else pd.DataFrame() for each in (curves, devices)
    )
    return Results(pd.DataFrame(finals), joined, prediction or {}, rows)
