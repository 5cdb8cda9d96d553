"""The density of models against a reference family, which is fitted anew under each seed.

What is fitted, and what density is, says :mod:`swarm.common.statistics.density`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from swarm.common.errors import counted
from swarm.common.statistics import Reference, interval, reference
from swarm.experiments.claims.charts import Line
from swarm.experiments.claims.results import Results


@dataclass(frozen=True)
class Families:
    """The reference families ``by_seed``."""

    by_seed: Mapping[int, Reference]

    @classmethod
    def of(
        cls, results: Results, sizes: Sequence[int], loss: str, score: str, **where: Any
    ) -> Families:
        """The families of the models with the values ``where`` and the ``sizes``, a value of the
        conditions: ``loss`` and ``score`` are final metrics. A seed that lacks a size, or that no
        law fits, has no family."""
        columns = {
            (metric, size): results.by_seed(metric, **where, size=size)
            for metric in (loss, score)
            for size in sizes
        }
        found = {
            int(str(seed)): _fitted(tuple(sizes), tuple(row[loss]), tuple(row[score]))
            for seed, row in pd.DataFrame(columns).dropna().iterrows()
        }
        return cls({seed: family for seed, family in found.items() if family is not None})

    def density(self, score: pd.Series[float], size: int) -> pd.Series[float]:
        """ρ by seed of models of one size with these scores, of the seeds that have a family; NaN
        outside it."""
        found = {
            seed: float(family.density(score[seed], size))
            for seed, family in self.by_seed.items()
            if seed in score.index
        }
        return pd.Series(found, dtype=np.float64)

    def text(self, score: pd.Series[float], size: int) -> str:
        """ρ as text, or on which side of the reference curve the scores of some seeds are."""
        rho = self.density(score, size)
        if inside(rho):
            return interval(rho).text(2)
        sides = [self.by_seed[seed].side(float(score[seed])) for seed in rho.index]
        return f"outside: {counted(sides.count(-1), 'seed')} below, {sides.count(1)} above"

    def lines(self, name: str) -> list[Line]:
        """The score of reference models by size, mean over seeds, as a line; none without a
        family."""
        each = list(self.by_seed.values())
        if not each:
            return []
        scores = (family.score for family in each)
        return [Line.fitted(name, scores, each[0].least, each[0].most, points=80)]


def inside(rho: pd.Series[float]) -> bool:
    """Whether densities by seed are of models that are inside the family under every seed."""
    return bool(len(rho) and rho.notna().all())


@cache
def _fitted(
    sizes: tuple[int, ...], losses: tuple[float, ...], scores: tuple[float, ...]
) -> Reference | None:
    """Remembered, as verdict, charts and table ask for the same families; None where no law
    fits."""
    try:
        return reference(sizes, losses, scores)
    except ValueError:  # a loss that is not finite, say
        return None
