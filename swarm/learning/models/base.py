"""What a model may state about itself, beyond being an ``nn.Module``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.common.rows import frozen_parameters, size_of

MOST_LAYERS, MOST_WIDTH, MOST_UNITS = 1000, 1_000_000, 10_000_000
"""The most layers of a bundled model, the most units of one layer, and of all layers together.

Only a typing error would exceed them, and the model would then be built until memory runs out, as
parameters are counted after all layers are made.
"""


def check_layers(key: str, widths: Sequence[int], what: str, least: int) -> None:
    """Refuse fewer than ``least`` layers, widths below 1, and layers beyond the limits above.

    ``what`` names the widths in the message. Raises :class:`ConfigError` on ``key``.
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
    """Refuse a ``depth`` or another size below 1 or beyond the limits above.

    Raises :class:`ConfigError` on the name of the size.
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
    """A model that states how many FLOP a step takes: they are known without counting, or fewer
    than its ``forward`` spells out.
    """

    @abstractmethod
    def step_flops(self, samples: int) -> float:
        """Return the FLOP of a forward and a backward pass over ``samples`` samples; each addition
        and each multiplication of a product counts as one.
        """

    def prediction_flops(self, samples: int) -> float:
        """Return the FLOP of a forward pass over ``samples`` samples: a third of a step, as in a
        deep model, unless a model overrides this method.
        """
        return self.step_flops(samples) / 3


class HasParts(ABC):
    """A module some of whose axes hold several parts of equal length, one behind the other, such as
    the gates of a recurrent layer or the heads of attention.

    A smaller model of the same kind is then the leading corner of each part, and not of the axis
    (``cohorts``)."""

    @abstractmethod
    def parts(self) -> dict[str, dict[int, int]]:
        """Return the number of parts by axis, {name of a parameter: {axis: parts}}."""


class ReadsFiles(ABC):
    """A model that reads frozen parameters from files which its settings name."""

    @abstractmethod
    def require_tokens(self, rules: str | None) -> None:
        """Raises :class:`ConfigError` if a file says that its parameters were learnt with other
        byte-pair tokens than those that ``rules`` make, a ``tokenizer.json`` (None: the data have
        no byte pairs)."""

    @classmethod
    @abstractmethod
    def with_hashes(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """Return the model's settings with the hash of each file, which a run records: it then goes
        on with these very files only.

        Raises :class:`ConfigError` for a file that cannot be read, or has another hash than the
        settings give.
        """


class Wrapped(ABC):
    """A model that predicts by another one, ``base``, some layers of which it has changed."""

    base: nn.Module

    def batched(self) -> BatchedBase | None:
        """What runs the model for B devices at once; None where nothing does."""
        return None

    def frozen_bytes(self) -> int:
        """The bytes that its frozen parameters take on a device, which may store them in fewer bits
        than a simulation does."""
        return size_of(frozen_parameters(self)) if isinstance(self, nn.Module) else 0

    def beside(self) -> dict[str, str]:
        """Return what its learning numbers mean something beside, in words, {what: which}: numbers
        of two models with another ``which`` mean different changes, and are not averaged."""
        return {}


class BatchedBase(ABC):
    """A forward pass of a :class:`Wrapped` model for B devices.

    Attributes:
        numbers: How many numbers it makes for each device, beside the device's row.
    """

    numbers: int

    @abstractmethod
    def over_rows(self, parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """Return the outputs ``[B, b, …]`` for the inputs ``[B, b, *features]``, of devices whose
        learning ``parameters`` are ``[B, *shape]``; what is frozen it knows itself."""
