"""A run that an earlier version began is gone on with only where this version calculates the
same.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.results.status import note
from tests.support import run

TINY = ("devices=4", "topology=ring", "rounds=4", "checkpoint.every=2", "checkpoint.keep=9", "model=softmax",
        "evaluate.every=4")  # fmt: skip


def _of_the_format_before(folder: Path) -> None:
    """As a version before seals would have left it, killed after round 2."""
    for name in ("summary.json", "devices.parquet", "progress.json"):
        (folder / name).unlink(missing_ok=True)
    for file in folder.glob("checkpoints/*/*"):
        if "000000004" in file.name:
            file.unlink()
    new = ("chosen", "settings", "records", "parts")
    for file in folder.glob("checkpoints/*/*.json"):
        found = json.loads(file.read_text())
        facts = {key: value for key, value in found["facts"].items() if key not in new}
        del found["seal"]
        file.write_text(json.dumps({**found, "format": 3, "facts": facts}))


def _table(folder: Path, offset: float) -> str:
    draw = np.random.default_rng(0)
    x = draw.random(200)
    frame = pd.DataFrame({"northing": offset + x, "fixed": 7e9, "label": (x > 0.5).astype(int)})
    frame.to_csv(folder / "t.csv", index=False)
    return str(folder / "t.csv")


LEAF = ("data=leaf_synthetic", "data.per_device=20", "partition=natural")
MOVED = [
    ((*LEAF, "data.iid=true"), "drew the samples of data=leaf_synthetic otherwise"),
    ((*LEAF, "data.alpha=0.5"), "drew the samples of data=leaf_synthetic otherwise"),
    (
        ("schedule=wsd",),
        "took schedule.decay and schedule.half_life for shares of what follows the warm-up",
    ),
    (
        ("protocol=scaffold", "compute.dtype=float64"),
        "calculated protocol=scaffold with compute.dtype=float64 in part",
    ),
    (
        ("data=table", "data.path=FAR"),
        "lost in float32 what varies in the column northing before it was scaled",
    ),
]
SAME = [
    LEAF,
    ("compute.dtype=float64",),
    ("schedule=wsd", "schedule.warmup=0"),
    ("protocol=scaffold",),
    ("data=table", "data.path=NEAR"),
]


def _begun(tmp_path: Path, options: tuple[str, ...]) -> Path:
    offsets = {"FAR": 5812345e3, "NEAR": 1.0}
    words = [
        (
            word
            if not word.startswith("data.path=")
            else f"data.path={_table(tmp_path, offsets[word[10:]])}"
        )
        for word in options
    ]
    folder = tmp_path / "run"
    run(folder, *TINY, *words)
    _of_the_format_before(folder)
    return folder


@pytest.mark.parametrize(("options", "said"), MOVED)
def test_two_versions_do_not_make_one_run(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    folder = _begun(tmp_path, options)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(
        ConfigError, match=rf"round_000000002\.json: is of an earlier version, which {said}"
    ) as caught:
        swarm.resume(folder, {})
    assert str(caught.value).endswith(
        ": finish the run with the version that began it, or start a new one"
    )
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    note(folder, "one of many", {"version": "0.1.0", "commit": "abc"}, "running")
    with pytest.raises(
        ConfigError, match=r"finish the run with that version \(version 0\.1\.0, commit abc\)"
    ):
        swarm.resume(folder, {})


@pytest.mark.parametrize("options", SAME)
def test_what_is_calculated_as_before_goes_on(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert swarm.resume(_begun(tmp_path, options), {}).summary["rounds"] == 4


def test_a_run_of_this_version_goes_on(tmp_path: Path) -> None:
    run(tmp_path / "run", *TINY, "schedule=wsd")
    assert swarm.resume(tmp_path / "run", {"rounds": 6}).summary["rounds"] == 6
