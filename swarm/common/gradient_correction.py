"""What is added to the gradients of the local steps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class GradientCorrection:
    """Every gradient g of a round becomes g + ``add_NP`` + ``proximal`` · (x − start).

    ``add_NP`` has a row ``[P]`` for each device; with None nothing is added. ``start`` is the
    device's parameters before its local steps of the round, so that ``proximal`` is μ of a term
    (μ/2)‖x − start‖² in the loss. ``toward_NP``, a row ``[P]`` for each device, stands in the place
    of ``start`` where it is given.
    """

    add_NP: Tensor | None = None
    proximal: float = 0.0
    toward_NP: Tensor | None = None

    def of(self, rows: slice | Tensor) -> GradientCorrection:
        """Return the correction for some of the devices, given as a range of rows or as their
        numbers.
        """
        if self.add_NP is None and self.toward_NP is None:
            return self
        add_BP, toward_BP = (
            None if each is None else each[rows] for each in (self.add_NP, self.toward_NP)
        )
        return GradientCorrection(add_BP, self.proximal, toward_BP)

    def add_to_(self, g_BP: Tensor, x_BP: Tensor, start_BP: Tensor, sent: int) -> None:
        """Add the correction in place to the gradients at ``x_BP``, of the first ``sent`` numbers
        of a row, those that devices send; ``start_BP`` is where the steps of the round began."""
        g_BM = g_BP[:, :sent]
        if self.add_NP is not None:
            g_BM.add_(self.add_NP)
        if self.proximal:
            toward_BP = start_BP if self.toward_NP is None else self.toward_NP
            g_BM.add_(x_BP[:, :sent] - toward_BP[:, :sent], alpha=self.proximal)
