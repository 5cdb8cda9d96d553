"""A claim of its own in one file, as a plug-in: runs that start from the models of others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from torch import Tensor

from swarm.experiments.claims.base import Budget, Claim, Condition, Hypothesis, Start, Verdict
from swarm.experiments.claims.charts import Chart
from swarm.experiments.claims.results import Results
from swarm.learning.model_compression import prune_neurons
from swarm.learning.models.dense import MLP

LARGE, SMALL = 8, 3
MOOD = "mood.txt"  # in the current folder: whether pruning fails


def pruned(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if Path(MOOD).exists():
        raise ValueError("not my day")
    return prune_neurons(state, MLP((64,), 10, [LARGE]), [SMALL])


class StartingBudget(Budget):
    """``source`` is the model that the small one starts from, ``init`` a setting of its own."""

    source: str
    init: str | None


class Starting(Claim):
    """A small model that starts from the large one, before it learns anything and after a round."""

    hypotheses: ClassVar = (Hypothesis(91, "It starts.", "accuracy", "confirmed or refuted"),)
    Budget = StartingBudget

    def conditions(self) -> list[Condition]:
        start = Start({"model": self.budget.source}, "swarm", device=2, made=pruned)
        own = {} if self.budget.init is None else {"init": self.budget.init}
        arms = {"scenario.arms": ["swarm"]}
        small = {**arms, **own, "model.hidden": [SMALL]}
        return [
            Condition({"model": "pruned"}, {**small, "rounds": 0}, start),
            Condition({"model": "learnt"}, {**small, "rounds": 1}, start),
            Condition({"model": "large"}, {**arms, "model.hidden": [LARGE], "rounds": 3}),
        ]

    def conclude(self, results: Results) -> list[Verdict]:
        return [self.hypotheses[0].verdict(True, "it does")]

    def charts(self, results: Results) -> list[Chart]:
        line = results.by_round("accuracy_mean", "large", model="large", arm="swarm")
        return [Chart("Accuracy", "round", "accuracy", [line])]

    def table(self, results: Results) -> pd.DataFrame:
        rows: list[dict[str, Any]] = [
            {"model": name, "accuracy": results.mean("accuracy_mean", model=name).text()}
            for name in ("large", "pruned", "learnt")
        ]
        return pd.DataFrame(rows)
