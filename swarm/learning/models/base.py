"""What a model may state about itself, beyond being an ``nn.Module``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from swarm.common.errors import ConfigError

MOST_LAYERS, MOST_WIDTH, MOST_UNITS = 1000, 1_000_000, 10_000_000
"""Of a bundled model: layers, numbers in one of them, and in all of them together.

A typing error, not a model of a device, would go beyond, and be built until memory ends: parameters
are counted only when all layers are there."""


def check_layers(key: str, widths: Sequence[int], what: str, least: int) -> None:
    """Refuse less than ``least`` layers, layers without numbers, and more of either than anybody
    can mean.
    """
    if len(widths) < least or any(width < 1 for width in widths):
        some = "at least one" if least else "no or more"
        raise ConfigError(key, list(widths), f"must be a list of {some} {what} ≥ 1")
    if (
        len(widths) > MOST_LAYERS
        or any(width > MOST_WIDTH for width in widths)
        or sum(widths) > MOST_UNITS
    ):
        bounds = (
            f"at most {MOST_LAYERS:,} layers, each at most {MOST_WIDTH:,} wide, and {MOST_UNITS:,}"
            " in all"
        )
        raise ConfigError(key, _short(widths), f"must be a list of {bounds}")


def check_sizes(depth: int, **sizes: int) -> None:
    """Refuse a size below 1, and more layers, wider layers, or more of both together, than anybody
    can mean.
    """
    for key, value in {**sizes, "depth": depth}.items():
        most = MOST_LAYERS if key == "depth" else MOST_WIDTH
        if not 1 <= value <= most:
            raise ConfigError(key, value, f"must be a whole number from 1 to {most:,}")
    for key, value in sizes.items():
        if depth * value > MOST_UNITS:
            together = f"depth={depth} layers and {key}={value} make {depth * value:,} together"
            raise ConfigError(
                "depth", depth, f"is too many: {together}; at most {MOST_UNITS:,} would do"
            )


def _short(widths: Sequence[int]) -> str:
    text = ", ".join(map(str, widths[:5]))
    return f"[{text}, …]" if len(widths) > 5 else f"[{text}]"


class CountsFlops(ABC):
    """A model that says what a step takes: one that does not compute all of what its ``forward``
    spells out, or one of which it is known without counting."""

    @abstractmethod
    def step_flops(self, samples: int) -> float:
        """FLOP of a forward and a backward pass over ``samples``: an addition and a multiplication
        each of all products.
        """

    def prediction_flops(self, samples: int) -> float:
        """FLOP of a forward pass alone; a third of a step, as in a deep model, unless the model
        says it better.
        """
        return self.step_flops(samples) / 3
