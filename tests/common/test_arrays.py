"""Arrays that nobody can write to: not where they are made, and not where a copy of them goes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from swarm.data.dataset import Dataset, DeviceSplit
from swarm.data.device_table import DeviceTable

Array = npt.NDArray[Any]
WAYS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda held: held,
    "a copy": copy.copy,
    "a deep copy": copy.deepcopy,
    **{
        f"pickled by protocol {number}": lambda held, number=number: pickle.loads(
            pickle.dumps(held, number)
        )
        for number in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
}


def arrays_in(held: Any) -> Iterator[Array]:
    """All arrays of a dataclass, those of its parts among them."""
    for field in fields(held):
        each = getattr(held, field.name)
        if isinstance(each, np.ndarray):
            yield each
        elif isinstance(each, dict):
            yield from each.values()
        elif hasattr(each, "__dataclass_fields__"):
            yield from arrays_in(each)


def owned() -> dict[str, Array]:
    """What a caller has: whole arrays, and one that is cut out of another."""
    return {
        "sample": np.arange(12),
        "ptr": np.array([0, 6, 12]),
        "place": np.arange(24)[::2],
        "lr": np.array([0.1, np.nan]),
        "x": np.zeros((12, 3), np.float32),
        "y": np.arange(12) % 2,
    }


def made(own: dict[str, Array]) -> list[Any]:
    table = DeviceTable({"lr": own["lr"]}, "0")
    ids = own["sample"]
    inner = DeviceSplit(ids, own["ptr"])
    split = DeviceSplit(ids, own["ptr"], place=own["place"], local_test=inner, table=table)
    sets = ids[:8], ids[8:10], ids[10:]
    data = Dataset(own["x"], own["y"], 2, None, *sets).read_only()
    return [split, table, data]


@pytest.mark.parametrize("way", WAYS)
def test_nobody_can_write_to_arrays_that_are_for_all_to_read(way: str) -> None:
    for one in made(owned()):
        found = WAYS[way](one)
        held, before = list(arrays_in(found)), list(arrays_in(one))
        assert len(held) == len(before) > 0
        for each, old in zip(held, before, strict=True):
            np.testing.assert_array_equal(each, old)
            with pytest.raises(ValueError, match="read-only"):
                each[...] = 0


def test_what_the_caller_owns_stays_his_to_write_to_and_is_not_copied() -> None:
    own = owned()
    split, table, data = made(own)
    assert all(each.flags.writeable for each in own.values())
    pairs = [(split.sample, "sample"), (split.place, "place"), (table.columns["lr"], "lr")]
    pairs += [(data.x, "x"), (copy.copy(split).sample, "sample")]
    for found, name in pairs:
        assert np.shares_memory(found, own[name])
    own["lr"][0] = 0.5
    assert table.columns["lr"][0] == 0.5


def test_a_data_set_that_nobody_has_closed_can_be_written_to_wherever_it_goes() -> None:
    own = owned()
    sets = (np.arange(8), np.arange(8, 10), np.arange(10, 12))
    data = Dataset(own["x"], own["y"], 2, None, *sets)
    pickle.loads(pickle.dumps(data)).x[0] = 1
