"""Checkpoint files: what the library safetensors would write, byte for byte, without a copy of
everything in memory.
"""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from swarm.simulation import checkpoint
from swarm.simulation.checkpoint import Checkpoint, tensors

ARRAYS = {
    "x": torch.arange(35, dtype=torch.float32).view(7, 5),
    "wide": torch.arange(12, dtype=torch.float64).view(4, 3),
    "steps": torch.arange(7),
    "turned": torch.arange(60, dtype=torch.float32).view(3, 4, 5).permute(2, 0, 1),
    "every second": torch.arange(12, dtype=torch.float32).view(6, 2)[::2],
    "of nobody": torch.zeros(0, 3),
    "a number": torch.tensor(3.0),
    "flags": torch.ones(3, dtype=torch.bool),
    "bytes": torch.arange(3, dtype=torch.uint8),
    "half": torch.ones(3, dtype=torch.float16),
    "ü": torch.ones(1, dtype=torch.bfloat16),
    'a "name"': torch.ones(2, dtype=torch.int32),
}


@pytest.mark.parametrize("piece", [1, 4, 1 << 22])
def test_the_bytes_are_those_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(tensors, "PIECE", piece)
    file = io.BytesIO()
    sha256, size = tensors.write(file, ARRAYS)
    written = file.getvalue()
    assert written == save({name: tensor.contiguous() for name, tensor in ARRAYS.items()})
    assert (sha256, size) == (hashlib.sha256(written).hexdigest(), len(written))
    (tmp_path / "a").write_bytes(written)
    found = load_file(tmp_path / "a")
    stored = tensors.Stored(tmp_path / "a")
    assert set(found) == set(stored) == set(ARRAYS)
    for name, tensor in ARRAYS.items():
        assert torch.equal(found[name], tensor)
        assert torch.equal(stored[name], tensor)


def test_what_is_read_is_one_s_own(tmp_path: Path) -> None:
    """Writing to it changes neither the file nor what is read later."""
    facts = {"layout": [["x", [4]]], "totals": {}, "steps": 0, "faded": [0.0, 0.0]}
    facts |= dict.fromkeys(("work", "seconds", "virtual", "learning_seconds"), 0.0)
    checkpoint.write(tmp_path, Checkpoint(3, {"x": torch.ones(4)}, facts), 1)
    arrays = checkpoint.read(tmp_path, 3, None).arrays
    arrays["x"].zero_()
    assert torch.equal(arrays["x"], torch.ones(4))
    assert torch.equal(checkpoint.read(tmp_path, 3, None).arrays["x"], torch.ones(4))


def test_writing_takes_no_memory(tmp_path: Path) -> None:
    rows = torch.from_numpy(np.zeros((64, 1 << 14), np.float32))  # 4 MiB
    tracemalloc.start()
    checkpoint.write(tmp_path, Checkpoint(3, {"x": rows, "y": rows}, {}), 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_not_finite_is_found_wherever_it_is(
    bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "PIECE", 4)
    for place in range(15):
        values = torch.zeros(5, 3)
        assert tensors.all_finite(values)
        values[place // 3, place % 3] = bad
        assert not tensors.all_finite(values)


def test_a_single_one_takes_the_place_of_newer_ones_too(tmp_path: Path) -> None:
    """As the best round of an arm that is run again, which comes before the one that it had."""
    facts = {"layout": [["x", [5]]]}
    for round in (5, 3):
        checkpoint.write(tmp_path, Checkpoint(round, {"x": ARRAYS["x"]}, facts), keep=None)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "round_000000003.json",
        "round_000000003.safetensors",
    ]
