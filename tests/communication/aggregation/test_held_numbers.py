"""The memory that rules and nearest-neighbour mixing state is what they take, whatever the degree
and the size of a model."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from swarm.communication.aggregation.nnm import NearestNeighbourMixing
from swarm.communication.aggregation.pre_aggregator import PreAggregated
from swarm.communication.aggregation.robust import RobustRule
from swarm.communication.aggregation.stack import Stack, devices_at_once
from tests.communication.aggregation.test_rules import made

RULES = [
    *("coordinate_median", "trimmed_mean", "krum", "multi_krum", "geometric_median"),
    *("minimum_diameter", "centred_clipping", "clipped_gossip", "monna"),
]
SIZES = [(5, 100), (7, 4810), (21, 650), (40, 100)]


class _Held(TorchDispatchMode):
    """Counts the bytes of the tensors that are made in it, and of Python's and NumPy's objects."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.live: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        self.look()
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else (out,):
            if isinstance(each, Tensor) and each.untyped_storage()._cdata not in self.live:
                storage = each.untyped_storage()
                self.live[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, storage._cdata)
        self.look()
        return out

    def look(self) -> None:
        """Take the most that was held since the last look."""
        self.peak = max(self.peak, self.now + tracemalloc.get_traced_memory()[1])
        tracemalloc.reset_peak()

    def _gone(self, storage: int) -> None:
        self.now -= self.live.pop(storage, 0)


@contextmanager
def held() -> Iterator[_Held]:
    gc.collect()
    tracemalloc.start()
    try:
        with _Held() as found:
            yield found
            found.look()
    finally:
        tracemalloc.stop()


@pytest.fixture(autouse=True, scope="module")
def _imported() -> None:
    """What counting imports by itself is not a rule's either."""
    with _Held():
        torch.ones(2) + 1


def taken(rule: RobustRule, n: int, width: int) -> float:
    """The most numbers of 32 bits that combining a stack takes, the stack included."""

    def combine() -> None:
        devices = devices_at_once(n, width)
        rows_nGM = torch.empty(n, devices, width).normal_(
            generator=torch.Generator().manual_seed(1)
        )
        weight_nG = torch.full((n, devices), 1 / n)
        rule.combine_stack(Stack(rows_nGM, rows_nGM[0], weight_nG, 1, np.arange(devices)))

    combine()  # what is cached on the way is not the rule's
    with held() as found:
        combine()
    return found.peak / 4


@pytest.mark.parametrize("name", RULES)
def test_stated_memory_is_what_a_rule_takes(name: str) -> None:
    rule = made(name, f=1)
    ratios = {size: rule.held_numbers(*size) / taken(rule, *size) for size in SIZES}
    assert _outside(ratios) == {}


@pytest.mark.parametrize("name", ["coordinate_median", "krum"])
def test_stated_memory_is_what_nearest_neighbour_mixing_takes(name: str) -> None:
    rule = PreAggregated([NearestNeighbourMixing()], made(name, f=1))
    ratios = {size: rule.held_numbers(*size) / taken(rule, *size) for size in SIZES}
    assert _outside(ratios) == {}


def _outside(ratios: Mapping[tuple[int, int], float]) -> dict[tuple[int, int], float]:
    return {size: ratio for size, ratio in ratios.items() if not 1 / 1.3 <= ratio <= 1.3}
