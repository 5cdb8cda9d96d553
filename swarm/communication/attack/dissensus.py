"""Dissensus: hostile devices that undo what gossip does, with a message of its own for each
neighbour.

He, Karimireddy & Jaggi, *Byzantine-robust decentralized learning via ClippedGossip*, 2022
(arXiv 2202.01545).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.base import Heard
from swarm.communication.attack.base import Bools, LinkAttack, Placement


class Dissensus(LinkAttack):
    """Every hostile neighbour of i sends x_i − ε · Σ_k W_ik (x_k − x_i) / Σ_j W_ij, with k over the
    honest and j over the hostile neighbours of i.

    With ε = 1 the hostile messages add up to the opposite of the honest ones, so that a device that
    takes the weighted mean stays where it is; with a larger ε devices move apart.
    """

    def __init__(
        self,
        epsilon: float = 1.0,
        devices: int | float | list[int] = 0.1,
        placement: Placement = "random",
    ) -> None:
        """Set ε; raises :class:`ConfigError` unless it is above 0."""
        super().__init__(devices, placement)
        if not epsilon > 0:
            raise ConfigError("epsilon", epsilon, "must be a factor above 0")
        self.epsilon = epsilon

    def message(self, heard: Heard, hostile_K: Bools) -> Tensor:
        """See :meth:`LinkAttack.message`."""
        weight: float = sum(heard.weight_K[torch.as_tensor(hostile_K)].tolist())
        honest_k = torch.as_tensor(np.flatnonzero(~hostile_K), device=heard.own_M.device)
        pull_kM = heard.rows_KM.index_select(0, honest_k).sub_(heard.own_M)
        pull_kM.mul_(heard.weight_K[honest_k].unsqueeze(1))
        pull_M = torch.zeros_like(heard.own_M)
        for each_M in pull_kM:  # in turn, so that the bits do not depend on their number
            pull_M += each_M
        return heard.own_M - (self.epsilon / weight) * pull_M
