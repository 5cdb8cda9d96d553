"""Numbers in long runs are copied as number by number."""

from __future__ import annotations

import pytest
import torch

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
