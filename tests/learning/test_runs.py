"""Numbers in long runs are copied as number by number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from swarm.learning.cohorts.runs import Runs, put_, taken


@pytest.mark.parametrize("place", [[0, 1, 2, 5, 6, 9], [3], [], list(range(11)), [10, 0, 1]])
def test_runs_are_the_same_numbers(place: list[int]) -> None:
    x, rows, at = torch.randn(5, 11), torch.tensor([4, 0, 2]), torch.tensor(place, dtype=torch.long)
    runs = Runs.of(at)
    assert sum(own.stop - own.start for own, _ in runs.parts) == len(place) == runs.width
    torch.testing.assert_close(runs.taken(x, rows), x[rows][:, at], rtol=0, atol=0)
    if not place:
        return
    torch.testing.assert_close(runs.taken(x, rows), taken(x, rows, at), rtol=0, atol=0)
    one, other, values = x.clone(), x.clone(), torch.randn(3, len(place))
    runs.put_(one, rows, values)
    put_(other, rows, at, values)
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert not torch.equal(one, x)


def test_runs_are_long_from_64_numbers_on() -> None:
    assert Runs.of(torch.arange(64)).long
    assert Runs.of(torch.cat([torch.arange(100), torch.arange(200, 228)])).long
    assert not Runs.of(torch.cat([torch.arange(100), torch.arange(200, 227)])).long


def corner(large: tuple[int, ...], small: tuple[int, ...], start: int) -> Tensor:
    """The places of a corner of an array that begins at ``start`` of a row."""
    axes = np.meshgrid(*(np.arange(n) for n in small), indexing="ij")
    return start + torch.as_tensor(np.ravel_multi_index(tuple(axes), large)).reshape(-1)


@pytest.mark.parametrize(
    ("large", "small", "windows"),
    [
        ((8, 20), (3, 20), 1),
        ((8, 20), (8, 11), 1),
        ((6, 5, 3), (4, 2, 3), 1),
        ((4, 6, 9), (2, 3, 7), 2),
    ],
)
def test_a_corner_is_few_windows(
    large: tuple[int, ...],
    small: tuple[int, ...],
    windows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("swarm.learning.cohorts.runs.LEAST", 1)
    place = corner(large, small, 4)
    runs = Runs.of(place)
    assert len(runs.parts) == windows
    x, rows = torch.randn(7, int(np.prod(large)) + 9)[2:], torch.tensor([3, 0])
    torch.testing.assert_close(runs.taken(x, rows), x[rows][:, place], rtol=0, atol=0)
    wanted, values = x.clone(), torch.randn(2, len(place))
    wanted[rows[:, None], place] = values
    runs.put_(x, rows, values)
    torch.testing.assert_close(x, wanted, rtol=0, atol=0)
