"""What a model may state about itself, beyond being an ``nn.Module``."""

from __future__ import annotations

from abc import ABC, abstractmethod


class CountsFlops(ABC):
    """A model that does not compute all of what its ``forward`` spells out, and says what it would take to leave that out."""

    @abstractmethod
    def step_flops(self, samples: int) -> float:
        """FLOP of a forward and a backward pass over ``samples``: an addition and a multiplication each of all products."""
