"""The ``predictions`` phase: every device learns from its own and its neighbours' predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from swarm.simulation.phases.base import Bools, Ints, TrainResult
from swarm.simulation.phases.mix import Mix
from swarm.simulation.phases.predictions.distils import Distils
from swarm.simulation.phases.transport import Arrived

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from swarm.simulation.shard import Shard


class Predictions(Distils, Mix):
    """Rows of predictions travel as those of a ``mix`` phase do, and are combined by the
    aggregation rule; device i then learns from Σ_j W_ij · row_j."""

    name = "predictions"

    def hearing(self, round: int) -> Bools:
        """See :meth:`Distils.hearing`."""
        messages, n = self.communication.messages.mix(round), self.communication.settings.devices
        found = np.full(n, messages.is_mean and n > 1)
        if not messages.is_mean and not messages.silent:
            sender = messages.matrix.indices // messages.rows_per_device
            found[messages.dst_R] = _hear_others(messages.matrix, messages.dst_R, sender)
        return found

    def apply(self, shard: Shard, round: int, arrived: Arrived) -> TrainResult | None:
        """Let the devices of a shard learn from what has arrived."""
        if arrived.mean_M is not None:
            mean_nM = arrived.mean_M.to(shard.state.x).expand(len(shard.devices), -1)
            several = self.communication.settings.devices > 1
            self.learn_from(shard, round, mean_nM, None if several else np.zeros(1, bool))
            self._finish(shard, round)
            return None
        payload, shard.payload = shard.payload or self.collect(shard, round), None
        if (route := arrived.route) is not None:
            heard_n = np.zeros(len(shard.devices), bool)
            sender = route.sender_m[route.matrix.indices]
            hears_R = _hear_others(route.matrix, shard.devices[route.dst_R], sender)
            heard_n[route.dst_R] = hears_R
            self.learn_from(shard, round, self._mixed(shard, payload, arrived), heard_n)
        self._remember(shard, payload)
        self._finish(shard, round)
        return None


def _hear_others(matrix: csr_array, receiver_R: Ints, sender: Ints) -> Bools:
    """Which rows of ``matrix`` have an entry of another device than the receiver, ``[R]``;
    ``sender`` are the devices of its entries."""
    count_R = np.diff(matrix.indptr)
    row = np.repeat(np.arange(len(count_R)), count_R)
    others = row[sender != receiver_R[row]]
    return np.bincount(others, minlength=len(count_R)) > 0
