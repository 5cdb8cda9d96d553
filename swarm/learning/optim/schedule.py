"""Learning-rate schedules: a factor on the base rate that is a function of the rounds done and of
all rounds.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from swarm.common.errors import ConfigError


class Schedule(ABC):
    """A learning-rate schedule, which may begin with a warm-up.

    ``warmup`` is the fraction of all rounds over which the rate rises linearly from zero. Raises
    :class:`ConfigError` unless it lies in [0, 1).
    """

    def __init__(self, warmup: float = 0.0) -> None:
        if not 0 <= warmup < 1:
            raise ConfigError("warmup", warmup, "must lie in [0, 1), as a share of the rounds")
        self.warmup = warmup

    def factor(self, done: float, horizon: float) -> float:
        """Return the factor after ``done`` of ``horizon`` rounds; after the last one it stays the
        same.
        """
        share = min(done / horizon, 1.0) if horizon else 1.0
        if share < self.warmup:
            return (share + 1.0 / horizon) / (self.warmup + 1.0 / horizon)
        return self.after_warmup((share - self.warmup) / (1.0 - self.warmup))

    @abstractmethod
    def after_warmup(self, share: float) -> float:
        """Return the factor after the fraction ``share`` in [0, 1] of the rounds that follow the
        warm-up.
        """


class Constant(Schedule):
    """The factor is 1 in every round after the warm-up."""

    def after_warmup(self, share: float) -> float:
        return 1.0


class Cosine(Schedule):
    """Cosine decay to ``floor``: floor + (1 − floor)·(1 + cos πs)/2, where s is the fraction of the
    rounds after the warm-up (Loshchilov & Hutter, SGDR, arXiv 1608.03983).

    Raises :class:`ConfigError` unless 0 ≤ ``floor`` ≤ 1.
    """

    def __init__(self, warmup: float = 0.0, floor: float = 0.0) -> None:
        super().__init__(warmup)
        if not 0 <= floor <= 1:
            raise ConfigError("floor", floor, "must lie in [0, 1], as a share of the base rate")
        self.floor = floor

    def after_warmup(self, share: float) -> float:
        return self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * share))


class WSD(Schedule):
    """Warm-up, stable, decay (MiniCPM, arXiv 2404.06395): 1, then 0.5^((s − s_decay)/half_life)
    from s_decay = 1 − decay on.

    s, ``warmup``, ``decay`` and ``half_life`` are fractions of all rounds, warm-up included, as the
    paper counts steps from the first one. Raises :class:`ConfigError` for fractions outside (0, 1],
    and if ``warmup`` + ``decay`` > 1.
    """

    def __init__(self, warmup: float = 0.01, decay: float = 0.1, half_life: float = 0.025) -> None:
        super().__init__(warmup)
        if not 0 < decay <= 1:
            raise ConfigError("decay", decay, "must lie in (0, 1], as a share of the rounds")
        if not 0 < half_life <= 1:
            raise ConfigError(
                "half_life", half_life, "must lie in (0, 1], as a share of the rounds"
            )
        if warmup + decay > 1:
            raise ConfigError(
                "decay",
                decay,
                f"must be at most {1 - warmup:g}, what warmup={warmup:g} leaves of the rounds",
            )
        self.decay, self.half_life = decay, half_life

    def after_warmup(self, share: float) -> float:
        of_all = self.warmup + share * (1.0 - self.warmup)
        return math.pow(0.5, max(0.0, of_all - (1.0 - self.decay)) / self.half_life)
