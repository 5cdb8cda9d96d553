"""Claim 12: what people say is a source of learning, also if a part of it is wrong."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from scenarios import arms
from swarm.common.statistics import Bound, Interval, interval
from swarm.experiments.claims.base import Claim, Condition, Hypothesis, SizedBudget, Verdict
from swarm.experiments.claims.charts import Chart
from swarm.experiments.claims.results import Mean, Only, Results, Text

ACCURACY = "accuracy_mean"
BATCH, STEPS = 4, 2
JUDGED_UP_TO = 0.4  # wrong corrections, as a share of all


Share = Annotated[float, Field(ge=0, le=1)]


class CorrectionsBudget(SizedBudget):
    """``rounds`` of two mini-batches of four samples each. ``chances`` are the shares of samples
    that a person corrects, ``wrong`` the shares of corrections that are wrong.
    """

    chances: list[Annotated[float, Field(gt=0, le=1)]]
    wrong: list[Share]


class Corrections(Claim):
    """Devices meet a stream of samples without labels. Now and then a person is there, who says
    what the sample is, and is wrong at times: then any other class is as likely. Devices learn
    online, from corrected samples only, and exchange parameters in each round, also those that
    nobody has corrected. All streams are the same, whatever is corrected.

    The *worth* of a correction is how many correct ones would have given the same accuracy, read
    off the curve of correct ones.
    """

    hypotheses: ClassVar = (
        Hypothesis(
            12,
            "What people say is a source of learning.",
            "final accuracy, mean over devices, with the most corrections minus that with the"
            f" fewest, for each share of wrong corrections up to {JUDGED_UP_TO:.0%}, paired by"
            " seed",
            "confirmed if the difference is above 0 with its 95% interval at each of these shares;"
            " refuted if it is below 0 with its interval at one of them",
        ),
    )
    untested = (
        "People who are wrong in a way that repeats, who choose what they correct, or who answer "
        "late; a wrong label is any other class, as likely as another. What a person's time "
        "costs."
    )
    Budget = CorrectionsBudget

    def conditions(self) -> list[Condition]:
        """Each share of corrections with each share of wrong ones; the controls run with the most
        corrections, of which none is wrong."""
        b = self.budget
        self.require_ascending("chances", 2, "shares")
        self.require_ascending("wrong", what="shares")
        stream = {
            "update": "online",
            "labels": "meetings",
            "train.batch": BATCH,
            "train.local_steps": STEPS,
            "data.per_device": b.rounds * STEPS * BATCH,
        }
        return [
            Condition.of({"corrected": chance, "wrong": wrong}, b.size(20), stream,
                         {"labels.chance": chance, "labels.wrong": wrong},
                         arms=arms((chance, wrong) == (b.chances[-1], b.wrong[0])))
            for chance in b.chances
            for wrong in b.wrong
        ]  # fmt: skip

    def conclude(self, results: Results) -> list[Verdict]:
        judged = [wrong for wrong in self.budget.wrong if wrong <= JUDGED_UP_TO]
        gains = {wrong: self._gain(results, wrong) for wrong in judged}
        worst = min(gains, key=lambda wrong: gains[wrong].mean)
        most = max(self.budget.chances)
        worth = self._worth(results, most, max(judged))
        because = (
            f"{most / min(self.budget.chances):.0f} times as many corrections gain"
            f" {gains[worst].text(1, 100)} points where they help least ({worst:.0%} wrong); one of"
            f" which {max(judged):.0%} are wrong is worth {worth} of a correct one; more of"
            f" them help {self._most_wrong(results)} wrong ones"
        )
        bounds = {
            f"gain at {wrong:.0%} wrong": Bound(gain, above=0) for wrong, gain in gains.items()
        }
        return [self.hypotheses[0].judged(bounds, because)]

    def charts(self, results: Results) -> list[Chart]:
        wrong = {f"{share:.0%} wrong": {"wrong": share} for share in self.budget.wrong}
        given = {f"{share:.0%} corrected": {"corrected": share} for share in self.budget.chances}
        by_corrections = results.lines_along(ACCURACY, "corrected", wrong, arm="swarm")
        by_wrong = results.lines_along(ACCURACY, "wrong", given, arm="swarm")
        accuracy = "final accuracy, mean over devices"
        return [
            Chart("What corrections give", "share of samples that a person corrects", accuracy,
                  by_corrections, log_x=True),
            Chart("What wrong corrections take", "share of corrections that are wrong", accuracy,
                  by_wrong),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        each = self.budget.rounds * STEPS * BATCH
        columns = {
            "arm": "arm",
            "wrong": Text("{wrong:.0%}"),
            "corrections a device": lambda row: f"{row['corrected'] * each:.0f}",
            "accuracy": Mean(ACCURACY),
            "a correction is worth": Only(
                lambda row: self._worth(results, row["corrected"], row["wrong"]), arm="swarm"
            ),
        }
        rows = sorted(self.rows(), key=lambda row: (row["arm"] != "swarm", row["wrong"]))
        return results.table(rows, columns)

    def _gain(self, results: Results, wrong: float) -> Interval:
        most, least = (
            {"corrected": chance, "wrong": wrong, "arm": "swarm"}
            for chance in (max(self.budget.chances), min(self.budget.chances))
        )
        return results.difference(ACCURACY, most, least)

    def _worth(self, results: Results, chance: float, wrong: float) -> str:
        """How many correct corrections are worth one of which a share ``wrong`` is wrong, by seed;
        ``< x`` where even the fewest correct ones give more."""
        chances, clean = self.budget.chances, min(self.budget.wrong)
        correct = results.by_seed_along(ACCURACY, "corrected", chances, wrong=clean, arm="swarm")
        reached = results.by_seed(ACCURACY, corrected=chance, wrong=wrong, arm="swarm")
        both = correct.assign(reached=reached).dropna()
        found = []
        for *along, accuracy in both.to_numpy():
            if accuracy < along[0]:
                return f"< {chances[0] / chance:.2f}"
            log = np.interp(accuracy, np.maximum.accumulate(along), np.log(chances))
            found.append(float(np.exp(log)) / chance)
        return interval(found).text(2) if found else "–"

    def _most_wrong(self, results: Results) -> str:
        """The largest share of wrong corrections at which more corrections help, with the 95%
        interval of what they gain."""
        helped = [wrong for wrong in self.budget.wrong if self._gain(results, wrong).above(0)]
        return f"up to {helped[-1]:.0%}" if helped else "at no share of"
