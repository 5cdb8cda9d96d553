"""What a protocol adds to the gradients of the local steps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class GradientCorrection:
    """Every gradient g of a round becomes g + ``add_NP`` + ``proximal`` · (x − start).

    ``add_NP`` has a row ``[P]`` for each device; with None nothing is added. ``start`` is the
    device's parameters before its local steps of the round, so that ``proximal`` is μ of a term
    (μ/2)‖x − start‖² in the loss.
    """

    add_NP: Tensor | None = None
    proximal: float = 0.0

    def of(self, rows: slice | Tensor) -> GradientCorrection:
        """Return the correction for some of the devices, given as a range of rows or as their
        numbers.
        """
        if self.add_NP is None:
            return self
        return GradientCorrection(self.add_NP[rows], self.proximal)
