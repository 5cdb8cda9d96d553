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
from swarm.common.statistics import Interval, Reference, interval, reference
from swarm.experiments.claims.charts import Line
from swarm.experiments.claims.results import Results, Row


@dataclass(frozen=True)
class Densities:
    """The densities of models by their ``score``, a final metric of ``results``, with the reference
    family of each seed, of the models with the values ``where``. A ``row`` has the values of one
    model, ``size`` among them."""

    results: Results
    score: str
    where: Mapping[str, Any]
    families: Mapping[int, Reference]

    @classmethod
    def of(
        cls, results: Results, sizes: Sequence[int], loss: str, score: str, **where: Any
    ) -> Densities:
        """Densities by families of the models with the values ``where`` and these ``sizes``, whose
        ``loss`` is a final metric, too. A seed that lacks a size, or that no law fits, has no
        family."""
        columns = {
            (metric, size): results.by_seed(metric, **where, size=size)
            for metric in (loss, score)
            for size in sizes
        }
        found = {
            int(str(seed)): _fitted(tuple(sizes), tuple(row[loss]), tuple(row[score]))
            for seed, row in pd.DataFrame(columns).dropna().iterrows()
        }
        families = {seed: family for seed, family in found.items() if family is not None}
        return cls(results, score, where, families)

    def by_seed(self, row: Row) -> pd.Series[float]:
        """ρ of a model by seed, of the seeds that have a family; NaN outside it."""
        score = self.results.by_seed(self.score, **row)
        found = {
            seed: float(family.density(score[seed], row["size"]))
            for seed, family in self.families.items()
            if seed in score.index
        }
        return pd.Series(found, dtype=np.float64)

    def mean(self, row: Row) -> Interval:
        """The mean of ρ over the seeds whose family the model is inside, with its 95% interval."""
        return interval(self.by_seed(row))

    def inside(self, row: Row) -> bool:
        """Whether a model is inside the family under every seed."""
        rho = self.by_seed(row)
        return bool(len(rho) and rho.notna().all())

    def effective_size(self, row: Row) -> Interval | None:
        """The mean size of the reference models that do as well; None for a model that is not
        inside the family under every seed."""
        return interval(self.by_seed(row) * row["size"]) if self.inside(row) else None

    def text(self, row: Row) -> str:
        """The mean of ρ as text, or on which side of the reference curve the scores of some seeds
        are."""
        if self.inside(row):
            return self.mean(row).text(2)
        score = self.results.by_seed(self.score, **row)
        sides = [each.side(score[seed]) for seed, each in self.families.items() if seed in score]
        return f"outside: {counted(sides.count(-1), 'seed')} below, {sides.count(1)} above"

    def family(self, name: str) -> list[Line]:
        """The score of the reference models by size, called ``name``, and the curve that is fitted
        to it, mean over seeds; none where no seed has a family."""
        measured = self.results.along(self.score, "size", name, **self.where)
        each = list(self.families.values())
        if not each:
            return [measured]
        curves = (family.score for family in each)
        least, most = each[0].least, each[0].most
        return [measured, Line.fitted("fitted (mean over seeds)", curves, least, most, points=80)]

    def points(self, name: str, rows: Sequence[Row]) -> Line:
        """The scores of these models by size."""
        scores = (self.results.mean(self.score, **row) for row in rows)
        return Line.through(name, (row["size"] for row in rows), scores, "points")


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
