"""Clipped gossip, in which a neighbour can move a device only by a bounded distance.

He, Karimireddy & Jaggi, *Byzantine-robust decentralized learning via ClippedGossip*, 2022
(arXiv 2202.01545).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.centred_clipping import clipped
from swarm.communication.aggregation.robust import RobustRule, Unsafe
from swarm.communication.aggregation.stack import (
    Floats,
    Stack,
    ordered_sum,
    smallest,
    squared_lengths,
)
from swarm.communication.mixing import Conserves, Mixing, is_symmetric


class ClippedGossip(RobustRule):
    """x_i ← x_i + Σ_j W_ij · clip(x_j − x_i), where clip(v) = v · min(1, τ/‖v‖).

    A hostile neighbour moves device i by at most W_ij τ in a round, however many there are. With
    symmetric weights, one τ for all and rows that are sent exactly, the mean over all devices stays
    the same. A large τ gives the weighted mean.

    With ``radius=auto`` each device takes the paper's adaptive τ in every round,
    τ² = (1/δ) Σ_j W_ij ‖x_j − x_i‖², where the sum is over all neighbours but the f farthest, and δ
    is the most weight that f neighbours can have.
    """

    copies = 2.2
    partial_rows = "completed"

    def __init__(
        self,
        radius: float | Literal["auto"] = 1.0,
        f: float = 0,
        unsafe: Unsafe = "refuse",
    ) -> None:
        """Set the radius τ; raises :class:`ConfigError` unless it is above 0, and for an adaptive
        one without f. See :class:`RobustRule` for the others.
        """
        super().__init__(f, unsafe)
        if radius == "auto":
            if not f:
                valid = "must be above 0 with radius=auto, which makes room for f hostile rows"
                raise ConfigError("f", f, valid)
        elif not radius > 0:
            raise ConfigError("radius", radius, "must be a distance above 0, or auto")
        self.radius: float | Literal["auto"] = radius
        self.uses_f = radius == "auto"

    def most(self, rows: int) -> int:
        """See :meth:`RobustRule.most`: all others with a τ of its own, as each moves a device by a
        bounded distance; fewer than half of the rows with an adaptive one."""
        return (rows - 1) // 2 if self.radius == "auto" else rows - 1

    def bears(self, rows: int) -> int:
        """See :meth:`Aggregator.bears`."""
        return super().bears(rows) if self.radius == "auto" else self.most(rows)

    def combine_stack(self, stack: Stack) -> Tensor:
        """See :meth:`StackRule.combine_stack`."""
        weight_nG = stack.weight_nG.double().cpu().numpy()
        apart_nGM = stack.rows_nGM - stack.own_GM
        square_nG = squared_lengths(apart_nGM)
        length_nG = np.sqrt(square_nG)
        if self.radius != "auto":
            weight_nG = weight_nG * clipped(length_nG, self.radius)
        elif stack.f:
            radius_G = _adaptive(square_nG, weight_nG, stack.f, stack.own_first)
            weight_nG = weight_nG * clipped(length_nG, radius_G)
        return stack.toward(stack.own_GM, apart_nGM, weight_nG)

    def conserves(self, mixing: Mixing) -> Conserves:
        """Return ``both`` for symmetric weights and one τ, as device i then gains what device j
        loses; else ``row``.
        """
        same = self.radius != "auto" and is_symmetric(mixing.matrix)
        return "both" if same and mixing.conserves == "both" else "row"


def _adaptive(square_nG: Floats, weight_nG: Floats, f: int, own_first: bool) -> Floats:
    """The radius of each device, ``[G]``."""
    near_kG = smallest(square_nG, len(square_nG) - f)
    weighted_nG = np.take_along_axis(weight_nG * square_nG, near_kG, 0)
    heaviest_G = ordered_sum(-np.sort(-weight_nG[int(own_first) :], axis=0)[:f])
    radius_G: Floats = np.sqrt(ordered_sum(weighted_nG) / heaviest_G)
    return radius_G
