"""compute.dtype=float64 is float64 everywhere: nothing falls back to torch's default dtype on the
way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.loop import Simulation
from tests.contracts.needs import needs
from tests.support import options, prepared

GROUPS = (
    "protocol",
    "optimizer",
    "schedule",
    "update",
    "replay",
    "compressor",
    "labels",
    "drift",
    "model",
    "delay",
)
ALL = [(group, name) for group in GROUPS for name in options(group)]
STREAM = (
    "update=online",
    "partition=iid",
    "train.batch=7",
    "train.local_steps=3",
    "labels=meetings",
    "labels.chance=0.4",
)
MORE = {
    "clipped": ("optimizer=momentum", "train.clip_norm=0.5"),
    "decay": ("optimizer=adamw", "optimizer.weight_decay=0.1"),
    "scaffold of some": ("protocol=scaffold", "protocol.fraction=0.6", "train.local_steps=3"),
    "told by people": STREAM,
    "told and replayed": (*STREAM, "replay=reservoir", "replay.size=7"),
    "compressed gossip": (
        "protocol=choco",
        "topology=ring",
        "compressor=qsgd",
        "compressor.feedback=false",
    ),
    "regression": (
        "data=linear_regression",
        "partition=natural",
        "model=softmax",
        "optimizer.lr=0.05",
    ),
    "absolute error": (
        "data=linear_regression",
        "partition=natural",
        "train.loss=mae",
        "optimizer.lr=0.05",
    ),
    "own start": ("init=independent", "protocol=gossip_learning", "protocol.variant=um"),
}


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _run(
    ready: PreparedRun, dtype: torch.dtype
) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Records and the last rows.

    Modules draw their first numbers in the default dtype, so that one is kept for them.
    """
    arm = ready.arms[0]
    experiment = ready.experiment(arm, arm.variants[0])
    draw_first = experiment.model.first_rows

    def first_rows(devices: npt.NDArray[np.int64]) -> torch.Tensor:
        with _default(torch.float32):
            return draw_first(devices)

    experiment.model.first_rows = first_rows  # type: ignore[method-assign]
    with _default(dtype), Simulation(experiment, ready.engine) as running:
        found = [record.values for record in running.records(ready.settings.rounds)]
        rows = {name: value.clone() for name, value in running.engine.snapshot().items()}
    return [{k: v for k, v in each.items() if not k.startswith("wall_s")} for each in found], rows


def _same(*overrides: str) -> None:
    ready = prepared("compute.dtype=float64", "rounds=3", "optimizer.lr=0.07", *overrides)
    (records, rows), (expected, wide) = (
        _run(ready, dtype) for dtype in (torch.float32, torch.float64)
    )
    assert rows["x"].dtype == torch.float64
    for name, value in wide.items():
        assert torch.equal(rows[name], value), name
    assert records == expected


@pytest.mark.parametrize(("group", "name"), ALL, ids=[f"{g}={n}" for g, n in ALL])
def test_nothing_depends_on_the_default_dtype(tmp_path: Path, group: str, name: str) -> None:
    _same(f"{group}={name}", *needs(group, name, tmp_path))


@pytest.mark.parametrize("case", MORE)
def test_nor_do_combinations(case: str) -> None:
    _same(*MORE[case])
