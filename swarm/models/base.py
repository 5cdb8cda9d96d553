"""What a model may state about itself, beyond being an ``nn.Module``."""

from __future__ import annotations

from abc import ABC, abstractmethod


class CountsFlops(ABC):
    """A model that says what a step takes: one that does not compute all of what its ``forward`` spells out, or one of which
    it is known without counting."""

    @abstractmethod
    def step_flops(self, samples: int) -> float:
        """FLOP of a forward and a backward pass over ``samples``: an addition and a multiplication each of all products."""

    def prediction_flops(self, samples: int) -> float:
        """FLOP of a forward pass alone; a third of a step, as in a deep model, unless the model says it better."""
        return self.step_flops(samples) / 3
