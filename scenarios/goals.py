"""Claim 11: devices set their own goals by comparing themselves with others. Each practises one
class more than the others: one at random, its own weakest, one in which its neighbours are ahead
of it, or one in which it has a comparative advantage.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pandas as pd

from scenarios import arms
from swarm.common.statistics import Bound, Interval
from swarm.experiments.claims.base import Claim, Condition, Hypothesis, SizedBudget, Verdict
from swarm.experiments.claims.charts import Chart
from swarm.experiments.claims.results import Figure, Mean, Only, Results, Text

BEST, VOTE, GROUP = "best_in_group", "ensemble_accuracy", "consensus_accuracy"
ENTROPY = "specialisation_mean"
NONE, RANDOM, GAP, ADVANTAGE = "none", "random", "gap", "comparative_advantage"
GOALS = (NONE, RANDOM, "weakest", GAP, ADVANTAGE)
# what devices hold: equal mixes of all classes, or mixes of their own
HELD: dict[str, dict[str, Any]] = {
    "alike": {"partition": "iid"},
    "unlike": {"partition": "dirichlet", "partition.alpha": 0.3, "partition.min_samples": 20},
}
_METRIC = (
    "F1 of the best device on each class of the test set, mean over classes, against devices that"
    " practise a class at random, paired by seed, averaged over devices that hold alike and unlike"
)
_RULE = "confirmed if the difference is above 0 with its 95% interval; refuted if below 0 with it"


class Goals(Claim):
    """The same devices, samples, local steps and messages of models; half of each mini-batch
    follows a device's goal. All take equally many samples a round. Devices that compare themselves
    tell their neighbours one score for each class in every round, which counts among their bytes;
    what it takes to measure these counts among their FLOP. Devices without a goal take their
    samples as they come; the controls run beside those."""

    hypotheses: ClassVar = (
        Hypothesis(
            11,
            "A swarm whose devices practise where their neighbours are ahead of them knows each"
            " skill better, in its best device, than one whose devices practise at random.",
            _METRIC,
            _RULE,
        ),
        Hypothesis(
            11,
            "A swarm whose devices practise where they have a comparative advantage knows each"
            " skill better, in its best device, than one whose devices practise at random.",
            _METRIC,
            _RULE,
        ),
        Hypothesis(
            11,
            "Devices that follow their comparative advantage specialise.",
            "entropy of the classes that a device has practised, mean over devices, against devices"
            " that practise a class at random, paired by seed, averaged over devices that hold"
            " alike and unlike",
            "confirmed if the difference is below 0 with its 95% interval; refuted if above 0 with"
            " it",
        ),
    )
    untested = (
        "Goals before the last round: where devices hold alike, the best devices of gap and "
        "comparative_advantage are 47 and 39 points of F1 behind those of random in round 12, as "
        "classes that nobody knows yet leave no gap and no advantage, and all of them are level "
        "by round 60. Other shares of a mini-batch than half; models that devices keep in part or "
        "whole, which averaging does not make alike again; other skills than ten digits; goals "
        "that look ahead, as to what is learnt fastest; neighbours that lie. That devices "
        "specialise is judged against random, which practises more evenly than devices without a "
        "goal where these hold unlike classes (1.86 against 1.43 nats; comparative_advantage has "
        "1.56)."
    )
    Budget = SizedBudget

    def conditions(self) -> list[Condition]:
        """Each goal with each way to hold samples. Without a goal nothing counts what is practised,
        so ``none`` is a goal of strength 0, which gives the same bits."""
        size = self.budget.size()
        own: dict[str, dict[str, Any]] = {goal: {"goal": goal} for goal in GOALS}
        own[NONE] = {"goal": RANDOM, "goal.strength": 0.0}
        return [
            Condition.of(
                {"held": held, "goal": goal}, size, changes, own[goal], arms=arms(goal == NONE)
            )
            for held, changes in HELD.items()
            for goal in GOALS
        ]

    def conclude(self, results: Results) -> list[Verdict]:
        verdicts = []
        for hypothesis, goal in zip(self.hypotheses, (GAP, ADVANTAGE), strict=False):
            gain = self._gain(results, BEST, goal)
            because = (
                f"{goal} is {gain.text(1, 100)} points of F1 above random"
                f" ({self._each(results, BEST, goal, 100)})"
            )
            verdicts.append(hypothesis.judged({"difference": Bound(gain, above=0)}, because))
        less = self._gain(results, ENTROPY, ADVANTAGE)
        because = (
            f"the entropy of {ADVANTAGE} is {less.text(3)} nats above that of random"
            f" ({self._each(results, ENTROPY, ADVANTAGE, 1)})"
        )
        verdicts.append(self.hypotheses[2].judged({"difference": Bound(less, below=0)}, because))
        return verdicts

    def charts(self, results: Results) -> list[Chart]:
        titles = {
            BEST: ("F1 of the best device, mean over classes", "Best in group"),
            VOTE: ("accuracy of the vote of all devices", "The group"),
        }
        lines = {goal: {"goal": goal, "arm": "swarm"} for goal in GOALS}
        return [
            Chart(f"{title}, where devices hold {held}", "round", label,
                  results.by_rounds(key, lines, held=held))
            for key, (label, title) in titles.items()
            for held in HELD
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        columns = {
            "held": "held",
            "goal": Text("{goal}", arm="swarm"),
            "best in group": Mean(BEST),
            "vote": Mean(VOTE),
            "mean model": Mean(GROUP),
            "mean device": Only(Mean("accuracy_mean"), arm="swarm"),
            "entropy, nats": Only(Mean(ENTROPY), arm="swarm"),
            "MB sent": Only(Figure("bytes_total", ".2f", per=1e6), arm="swarm"),
        }
        return results.table(self.rows(), columns)

    def _gain(self, results: Results, metric: str, goal: str, held: str | None = None) -> Interval:
        """``metric`` under ``goal`` minus that of a goal at random, paired by seed: averaged over
        what devices hold, or where they hold ``held``."""
        over = [*HELD] if held is None else [held]
        own, other = ({"goal": each, "arm": "swarm"} for each in (goal, RANDOM))
        return results.difference_along(metric, "held", over, own, other)

    def _each(self, results: Results, metric: str, goal: str, scale: float) -> str:
        """The gain where devices hold alike, and where they hold unlike."""
        digits = 1 if scale > 1 else 3
        found = {held: self._gain(results, metric, goal, held) for held in HELD}
        return ", ".join(f"{held} {gain.text(digits, scale)}" for held, gain in found.items())
