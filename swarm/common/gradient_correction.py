"""What a protocol adds to the gradients of the local steps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class GradientCorrection:
    """Every gradient g of a round becomes g + ``add_NP`` + ``proximal`` · (x − start).

    ``add_NP`` has a row for each device (None: nothing is added), and ``start`` is where the
    device's local steps of the round began: ``proximal`` is μ of a term (μ/2)‖x − start‖² in the
    loss.
    """

    add_NP: Tensor | None = None
    proximal: float = 0.0

    def of(self, rows: slice | Tensor) -> GradientCorrection:
        """The correction for some of the rows: a range of them, or their numbers."""
        if self.add_NP is None:
            return self
        return GradientCorrection(self.add_NP[rows], self.proximal)
