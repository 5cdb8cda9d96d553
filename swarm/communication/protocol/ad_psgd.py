"""AD-PSGD: asynchronous decentralised parallel SGD, in which nobody waits for a slow device.

Lian, Zhang, Zhang & Liu, *Asynchronous decentralized parallel stochastic gradient descent*, ICML
2018 (arXiv 1710.06952).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.plugin import called
from swarm.communication.mixing import Mixing
from swarm.communication.mixing.matrix import EXACT
from swarm.communication.protocol.base import Links, Protocol, Requirements, Rows, State


class AdPsgd(Protocol):
    """AD-PSGD: a device i that has finished its local steps averages with one random neighbour j,
    both get the mean, and its steps are added to that.

    With x̂_i the parameters from which its steps started, and g(x̂_i) their sum (the gradient, for
    one step):

        x_i, x_j ← (x_i + x_j) / 2;    x_i ← x_i − γ g(x̂_i);    x̂_i ← x_i.

    Between two wakings of i others average with it, so that x_i moves on while its steps are still
    those of x̂_i: the gradient is stale by as many meetings. That shows with a clock only; without
    one all devices finish at once, and x̂_i is x_i before the meeting. A device that wakes while its
    neighbour meets another meets nobody, and adds its steps to its own parameters.

    Averaging preserves the mean over all devices exactly: without gradients it never changes.
    """

    phases = ("learn", "mix")
    requirements = Requirements(conserves="both", pairs=True, no_compression=True)

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        return {"read": x_NP.clone()}

    def check(self, mixing: Mixing) -> None:
        """Refuse weights other than ½ for both devices of a pair, with a ``ConfigError``."""
        weight = mixing.matrix.data
        if not np.isclose(weight[weight < 1 - EXACT], 0.5, rtol=0, atol=EXACT).all():
            valid = "needs weights by which both devices of a pair get their mean; use mixing=auto"
            raise ConfigError("protocol", called(self), valid)

    def start(self, state: State) -> Tensor:
        state.round_buffers["change"] = state.x.new_zeros(state.x.shape)
        return state.slots["read"]

    def after_local_steps(self, state: State, rows: Rows, start_BP: Tensor, end_BP: Tensor) -> None:
        state.round_buffers["change"][rows] = end_BP - start_BP

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        state.x = received + state.round_buffers["change"]
        learnt_N1 = state.learnt_N1 > 0
        state.slots["read"] = state.x.where(learnt_N1, state.slots["read"])
