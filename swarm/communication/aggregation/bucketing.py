"""Bucketing.

Karimireddy, He & Jaggi, *Byzantine-robust learning on heterogeneous datasets via bucketing*, ICLR
2022 (arXiv 2006.09365).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.pre_aggregator import PreAggregator
from swarm.communication.aggregation.stack import Stack, ordered_sum


class Bucketing(PreAggregator):
    """The n rows are put in a random order, and each ``size`` of them in turn become their mean: a
    hostile row spoils one of ⌈n/s⌉ rows, s being the size. The order is drawn for each device and
    round. The row that a device trusts stays its own.
    """

    by_number = True

    def __init__(self, size: int = 2) -> None:
        """Set the size of a bucket; raises :class:`ConfigError` unless it is at least 2."""
        if size < 2:
            raise ConfigError("size", size, "must be a whole number of at least 2")
        self.size = size

    @property
    def title(self) -> str:
        """See :attr:`PreAggregator.title`: its name and size."""
        return f"bucketing (size={self.size})"

    def rows(self, rows: int) -> int:
        """See :meth:`PreAggregator.rows`."""
        return -(-rows // self.size)

    def __call__(self, stack: Stack) -> Stack:
        """See :meth:`PreAggregator.__call__`."""
        order_nG = stack.draws.uniform(stack.device_G, stack.n).argsort(1, kind="stable").T
        buckets = [order_nG[at : at + self.size] for at in range(0, stack.n, self.size)]
        weight_nG = stack.weight_nG.double().cpu().numpy()
        weights = [ordered_sum(np.take_along_axis(weight_nG, bucket, 0)) for bucket in buckets]
        return replace(
            stack,
            rows_nGM=torch.stack([stack.mean_of(bucket) for bucket in buckets]),
            weight_nG=torch.as_tensor(np.stack(weights)).to(stack.weight_nG),
            own_first=False,
        )
