"""Clipped gossip, in which a neighbour can move a device only by a bounded distance.

He, Karimireddy & Jaggi, *Byzantine-robust decentralized learning via ClippedGossip*, 2022
(arXiv 2202.01545).
"""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.base import Aggregator, Heard
from swarm.communication.mixing import Conserves, Mixing

_EXACT = 1e-12  # weights that should be equal differ by less, from rounding


class ClippedGossip(Aggregator):
    """x_i ← x_i + Σ_j W_ij · clip(x_j − x_i), where clip(v) = v · min(1, τ/‖v‖).

    A bad neighbour moves device i by at most W_ij τ in a round. With symmetric weights and rows
    that are sent exactly, the mean over all devices stays the same. A large τ gives the weighted
    mean.
    """

    def __init__(self, radius: float = 1.0) -> None:
        """Set the radius τ; raises :class:`ConfigError` unless it is above 0."""
        if not radius > 0:
            raise ConfigError("radius", radius, "must be a distance above 0")
        self.radius = radius

    def combine(self, heard: Heard) -> Tensor:
        """See :meth:`Aggregator.combine`."""
        out_M = heard.own_M.clone()
        # one by one, so that the bits do not depend on the number of messages
        for row_M, weight in zip(heard.rows_KM, heard.weight_K, strict=True):
            apart_M = row_M - heard.own_M
            length = torch.linalg.vector_norm(apart_M)
            out_M += weight * (self.radius / length.clamp_min(self.radius)) * apart_M
        return out_M

    def conserves(self, mixing: Mixing) -> Conserves:
        """Return ``both`` for symmetric weights, as device i then gains what device j loses; else
        ``row``.
        """
        apart = abs(mixing.matrix - mixing.matrix.T)
        symmetric = not apart.nnz or apart.max() <= _EXACT
        return "both" if symmetric and mixing.conserves == "both" else "row"
