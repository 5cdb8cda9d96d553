"""How devices learn from predictions that they exchange: which shared samples these are about, what
a message holds, and how many steps a device takes towards what arrives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.common.rng import Keys

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Distillation:
    """The settings of a protocol that exchanges predictions.

    Attributes:
        send: What a message holds of each sample: ``logits``, the outputs of the model, or
            ``probabilities``, their softmax at ``temperature``.
        samples: S, the number of shared samples of a message; None: all that there are.
        draw: Whether these are drawn ``once``, or anew in ``every_round``.
        temperature: T, by which logits are divided before the softmax.
        steps: The number of steps towards the consensus in a round.
        batch: The number of samples of such a step.
        lr: Its learning rate; None: that of the local steps.

    Raises :class:`~swarm.common.errors.ConfigError` for numbers out of range.
    """

    send: Literal["logits", "probabilities"] = "logits"
    samples: int | None = None
    draw: Literal["once", "every_round"] = "once"
    temperature: float = 1.0
    steps: int = 20
    batch: int = 32
    lr: float | None = None

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < 1:
            valid = "must be a whole number of at least 1, or null for all shared samples"
            raise ConfigError("samples", self.samples, valid)
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "must be a whole number of at least 1")
        number("temperature", self.temperature, 0, open_low=True)
        if self.lr is not None:
            number("lr", self.lr, 0, open_low=True)

    def redraws(self, public: int) -> bool:
        """Whether messages of two rounds are about different samples, of ``public`` shared ones."""
        return self.draw == "every_round" and self.samples not in (None, public)

    def check(self, public: int) -> None:
        """Refuse more samples than there are, or than a message has.

        Raises :class:`~swarm.common.errors.ConfigError`."""
        if self.samples is not None and self.samples > public:
            valid = f"must be at most {public}, the shared samples that data.public sets aside"
            raise ConfigError("samples", self.samples, f"{valid}, or null for all")
        if self.batch > (count := self.count(public)):
            valid = f"must be at most {count}, the shared samples that a message is about"
            raise ConfigError("batch", self.batch, valid)

    def count(self, public: int) -> int:
        """S, of ``public`` shared samples."""
        return public if self.samples is None else self.samples

    def drawn(self, public_S: Ints, round: int, seed: int) -> Ints:
        """The ids ``[S]`` of the samples that the messages of ``round`` are about, of those of the
        whole shared set, ascending."""
        if self.count(len(public_S)) == len(public_S):
            return public_S
        turn = round if self.draw == "every_round" else 0
        order = Keys(seed, "shared samples").generator(turn).permutation(len(public_S))
        return np.sort(public_S[order[: self.samples]])

    def order(self, count: int, round: int, seed: int) -> Ints:
        """Which of the ``count`` samples of a message each step of ``round`` is taken on,
        ``[steps, batch]``: every sample once before any is taken again."""
        needed = self.steps * self.batch
        passes = -(-needed // count)
        generator = Keys(seed, "distillation").generator(round)
        order = np.concatenate([generator.permutation(count) for _ in range(passes)])
        return order[:needed].reshape(self.steps, self.batch)
