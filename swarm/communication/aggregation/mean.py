"""The weighted mean of gossip averaging."""

from __future__ import annotations

from torch import Tensor

from swarm.communication.aggregation.base import Aggregator, Heard, Neighbourhoods
from swarm.communication.mixing import Conserves, Mixing


class Mean(Aggregator):
    """The mean by the mixing weights, x_i ← Σ_j W_ij x_j, for all devices in one sparse product."""

    linear = True

    def combine(self, heard: Heard) -> Tensor:
        """See :meth:`Aggregator.combine`."""
        return heard.own_weight * heard.own_M + heard.weight_K @ heard.rows_KM

    def combine_all(self, found: Neighbourhoods) -> Tensor:
        """See :meth:`Aggregator.combine_all`."""
        return found.route.product(found.payload_mM)

    def conserves(self, mixing: Mixing) -> Conserves:
        """Return what the weights conserve."""
        return mixing.conserves
