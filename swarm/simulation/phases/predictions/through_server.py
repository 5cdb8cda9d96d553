"""The ``server_predictions`` phase: every device learns from the mean of all devices'
predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from swarm.simulation.phases.base import Bools
from swarm.simulation.phases.predictions.distils import Distils
from swarm.simulation.phases.server import Server

if TYPE_CHECKING:
    from swarm.simulation.shard import Shard


class ServerPredictions(Distils, Server):
    """Rows of predictions travel as those of a ``server`` phase do, and the devices that take part
    learn from what the server makes of them. A device that is away does not: it has no model to
    fetch."""

    name = "server_predictions"

    def hearing(self, round: int) -> Bools:
        """See :meth:`Distils.hearing`."""
        active_N, n = self.communication.active(round), self.communication.settings.devices
        heard = n if active_N is None else int(active_N.sum())
        return np.full(n, heard > 1)

    def _hand_out(
        self, shard: Shard, round: int, found_M: Tensor, sent_G: Bools | None = None
    ) -> None:
        received_nM = found_M.to(shard.state.x).expand(len(shard.devices), -1)
        self.learn_from(shard, round, received_nM, self.hearing(round)[shard.devices])
