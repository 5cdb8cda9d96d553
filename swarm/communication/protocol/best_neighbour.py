"""Performance-based neighbour selection: devices listen to the neighbours whose models do best on
their own data.

Onoszko, Karlsson, Mogren, Zec, *Decentralized federated learning of deep neural networks on non-iid
data*, 2021 (arXiv 2107.08517).
"""

from __future__ import annotations

from swarm.common.errors import ConfigError
from swarm.communication.protocol.base import Inbox, Protocol, Requirements, State


class BestNeighbour(Protocol):
    """Each device sends its model to its neighbours. It measures the models that arrive on
    validation samples of its own, and takes the mean of its own model and the ``keep`` models with
    the lowest losses:

        x_i ← (x_i + Σ_{j ∈ B_i} x_j) / (1 + |B_i|).

    This is the selection step of PENS. There devices measure models on their training samples, and
    after some rounds keep the neighbours that they chose most often; here they choose anew in every
    round, so that the topology decides whom they can hear.
    """

    phases = ("learn", "messages")
    requirements = Requirements(own_validation=True)

    def __init__(self, keep: int = 1) -> None:
        if keep < 1:
            raise ConfigError("keep", keep, "must be a whole number of at least 1")
        self.keep = keep

    def receive_messages(self, phase: int, state: State, inbox: Inbox) -> None:
        loss_A = state.local.loss(inbox.rows_AM, inbox.dst_A)
        state.x = inbox.lowest(loss_A, self.keep).mean_with(state.x)
