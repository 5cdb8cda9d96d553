"""Claims that small predicts large: a law of each ladder of small runs, tried on a large one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from swarm.common.statistics import Interval, interval
from swarm.experiments.claims.base import Claim
from swarm.experiments.claims.charts import Line
from swarm.experiments.claims.results import Mean, Results, Row


class Law(Protocol):
    """A fitted law, such as :class:`PowerLaw <swarm.common.statistics.PowerLaw>`."""

    def at(self, n: ArrayLike) -> NDArray[np.float64]:
        """The law's values at the sizes ``n``, an array of the same shape."""

    def _asdict(self) -> dict[str, Any]:
        """Its parameters by name."""


class Ladders(Claim):
    """A claim that fits a law to each of its ladders, small sizes by seed, and predicts what is
    ``measured`` at a larger size of each: the runs of ``holdout``. Conditions have the values
    ``ladder`` and ``size``.

    Attributes:
        arm: The arm whose results the laws are fitted to, and which is predicted.
        metric: The final metric that is predicted.
        measured: What it is called in the prediction.
    """

    arm: ClassVar[str]
    metric: ClassVar[str]
    measured: ClassVar[str]

    @abstractmethod
    def laws(self, results: Results, ladder: str) -> Mapping[int, Law]:
        """The law of each seed."""

    def predict(self, results: Results) -> dict[str, Any]:
        """For each ladder: the size, the law of every seed and what it predicts, and the mean of
        the predictions with its interval."""
        found = {}
        for ladder, goal in self.goals().items():
            laws = {str(seed): law for seed, law in self.laws(results, ladder).items()}
            said = {seed: float(law.at(goal)) for seed, law in laws.items()}
            each = {s: {self.measured: said[s], "law": law._asdict()} for s, law in laws.items()}
            mean = interval([*said.values()])
            found[ladder] = {"size": goal, self.measured: mean, "by_seed": each}
        return found

    def goals(self) -> dict[str, int]:
        """The size that is predicted for each ladder."""
        return {each.values["ladder"]: each.values["size"] for each in self.holdout()}

    def sizes(self, ladder: str) -> list[int]:
        """The sizes that the law of a ladder is fitted to."""
        return [c.values["size"] for c in self.conditions() if c.values["ladder"] == ladder]

    def small(self, results: Results, ladder: str, metric: str = "") -> pd.DataFrame:
        """What was found at those sizes: one row per seed that has them all, one column per size;
        of the claim's metric, or another."""
        where = {"ladder": ladder, "arm": self.arm}
        sizes = self.sizes(ladder)
        return results.by_seed_along(metric or self.metric, "size", sizes, **where).dropna()

    def large(self, results: Results, ladder: str) -> pd.Series[float]:
        """What was found at the size that is predicted, by seed."""
        size = self.goals()[ladder]
        return results.by_seed(self.metric, ladder=ladder, size=size, arm=self.arm)

    def said(self, laws: Mapping[int, Law], ladder: str) -> pd.Series[float]:
        """What the laws of each seed predict for a ladder, by seed."""
        goal = self.goals()[ladder]
        found = {seed: float(law.at(goal)) for seed, law in laws.items()}
        return pd.Series(found, dtype=np.float64)

    def predicted(self, results: Results, ladder: str) -> Interval:
        """The mean of the predictions, with its interval."""
        return interval(self.said(self.laws(results, ladder), ladder))

    def fitted(self, results: Results, ladder: str, name: str) -> Line:
        """The law of a ladder, mean over seeds, from its smallest size to the one predicted."""
        laws = self.laws(results, ladder).values()
        least, most = self.sizes(ladder)[0], self.goals()[ladder]
        return Line.fitted(name, (law.at for law in laws), least, most)

    def by_ladder(self) -> list[dict[str, Any]]:
        """The rows of the table, ladder by ladder."""
        return sorted(self.rows(), key=lambda row: [*self.goals()].index(row["ladder"]))

    def at_goal(self, of: Callable[[str], Interval], *form: Any) -> Mean:
        """A cell with an interval of a ladder, in the row of the size that is predicted."""
        goals = self.goals()

        def shown(row: Row) -> Interval | None:
            return of(row["ladder"]) if row["size"] == goals[row["ladder"]] else None

        return Mean(shown, *form)
