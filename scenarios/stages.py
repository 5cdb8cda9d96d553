"""Claim 21: four stages, added one at a time: architecture, terminals, self-adaptation and
collaboration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pandas as pd

from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.common.statistics import Bound, Interval, interval
from swarm.data.dataset import Dataset, Source
from swarm.data.generated.digits_like import DigitsLike
from swarm.data.stream.label_pairs import traded
from swarm.experiments.claims.base import Claim, Condition, Hypothesis, SizedBudget, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Mean, Only, Results, Row
from swarm.experiments.claims.shared.changes import custom

SIMPLE, BETTER = "softmax", "mlp"
ONE, VOTE = "accuracy_mean", "ensemble_accuracy"
BATCH, STEPS, PAIRS = 4, 5, 2
FROZEN_AFTER = 4  # a frozen model has learnt for this part of its life, a quarter

# what answers at each stage: the model, when it learns, the arm, and who is asked
STAGES: dict[str, tuple[str, str, str, str]] = {
    "start": (SIMPLE, "frozen", "isolated", ONE),
    "architecture": (BETTER, "frozen", "isolated", ONE),
    "terminals": (BETTER, "frozen", "isolated", VOTE),
    "self-adaptation": (BETTER, "online", "isolated", VOTE),
    "collaboration": (BETTER, "online", "swarm", VOTE),
}
WITHOUT: dict[str, tuple[str, str, str, str]] = {
    "architecture": (SIMPLE, "online", "swarm", VOTE),
    "terminals": (BETTER, "online", "isolated", ONE),
    "self-adaptation": (BETTER, "frozen", "swarm", VOTE),
    "collaboration": (BETTER, "online", "isolated", VOTE),
}


@dataclass(eq=False)
class ChangedWorld(Source):
    """Generated digits (:class:`DigitsLike`) in the order of time. From the middle on, two pairs of
    labels have traded places, and so they have among validation and test samples: these are of the
    world in which a life ends.

    Args:
        devices: How many devices there are.
        per_device: Training samples that are generated for each device.
        seed: The run's seed.
    """

    devices: int
    per_device: int
    seed: int = 0

    def __post_init__(self) -> None:
        number("per_device", self.per_device, 2)

    def load(self) -> Dataset:
        before = DigitsLike(self.devices, self.per_device, seed=self.seed).load()
        new_C = traded(before.classes, PAIRS, Keys(self.seed, "changed_world").generator())
        y, time = np.array(before.y, np.int64), np.arange(len(before.y))
        late = time >= len(before.train) // 2
        y[late] = new_C[y[late]]
        return replace(before, y=y, time=time)


class StagesBudget(SizedBudget):
    """``rounds`` of five mini-batches of four samples each; labels change in their middle."""


class Stages(Claim):
    """A group answers questions of a world that changes in the middle of its life. It begins as one
    device (the mean of all, each by itself) with a softmax regression that learns for a quarter of
    its life and is then frozen. Added one after the other: a perceptron with a hidden layer
    (architecture), the vote of all devices (terminals), learning to the end of life
    (self-adaptation), and exchanging parameters in every round (collaboration).

    A device meets equally many samples at each stage; many terminals meet many times as many.
    """

    hypotheses: ClassVar = (
        Hypothesis(
            21,
            "Each of four stages (architecture, terminals, self-adaptation, collaboration) adds"
            " something.",
            "accuracy of the group's answer at the end of life, on the world as it is then; each"
            " stage minus the one before, paired by seed",
            "confirmed if all four differences are above 0 with their 95% intervals; refuted if one"
            " is below 0 with its interval",
        ),
    )
    untested = (
        "Other architectures than a softmax regression and a perceptron, other orders of the "
        "stages, skewed labels and more or other drift. A frozen model has met 400 samples, too "
        "few for the perceptron; where both learn to the end it is ahead (the column of what a "
        "stage costs if it is taken away). Who answers is the vote of all, to which exchanging "
        "parameters adds nothing; a device that answers by itself gains 6.7 points from it (0.931 "
        "against 0.864, means over seeds). Many terminals meet 64 times as many samples as one."
    )
    Budget = StagesBudget

    def conditions(self) -> list[Condition]:
        """Both models, frozen and online."""
        b = self.budget
        size = {
            **b.size(1),
            "train.batch": BATCH,
            "train.local_steps": STEPS,
            **custom("data", ChangedWorld, per_device=b.rounds * STEPS * BATCH),
        }
        learn = {
            "frozen": {"update": "frozen", "update.after": max(1, b.rounds // FROZEN_AFTER)},
            "online": {"update": "online"},
        }
        return [
            Condition.of({"model": model, "update": update}, size, {"model": model}, changes,
                         arms=["isolated", "swarm", "centralised"])
            for model in (SIMPLE, BETTER)
            for update, changes in learn.items()
        ]  # fmt: skip

    def conclude(self, results: Results) -> list[Verdict]:
        gains = self._gains(results)
        told = ", ".join(f"{stage} adds {gain.text(1, 100)}" for stage, gain in gains.items())
        taken = ", ".join(f"{stage} {self._taken(results, stage).text(1, 100)}" for stage in gains)
        because = f"{told} points; taken away from all four they cost: {taken}"
        bounds = {stage: Bound(gain, above=0) for stage, gain in gains.items()}
        return [self.hypotheses[0].judged(bounds, because)]

    def charts(self, results: Results) -> list[Chart]:
        reached = [interval(_of(results, at)) for at in STAGES.values()]
        added = list(self._gains(results).values())
        taken = [self._taken(results, stage) for stage in WITHOUT]
        names = ", ".join(f"{number} {stage}" for number, stage in enumerate(STAGES))
        return [
            Chart("What the group answers at each stage", names, "accuracy at the end of life",
                  [Line.through("accuracy", range(5), reached, "points")]),
            Chart("What each stage is worth", names, "accuracy",
                  [Line.through("added to those before it", range(1, 5), added, "points"),
                   Line.through("taken away from all four", range(1, 5), taken, "points")],
                  level=(0.0, "nothing")),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        gains = self._gains(results)
        asked = {**STAGES, "control": (BETTER, "online", "centralised", ONE)}
        rows = [
            {"stage": stage, "model": at[0], "update": at[1], "arm": at[2], "metric": at[3]}
            for stage, at in asked.items()
        ]

        def answers(row: Row) -> str:
            one = "one device" if row["arm"] != "centralised" else "one model on all samples"
            return one if row["metric"] == ONE else "the vote of all"

        columns = {
            "who answers": answers,
            "accuracy": lambda row: interval(_of(results, asked[row["stage"]])),
            "adds, points": Only(Mean(lambda row: gains[row["stage"]], 1, 100), stage=(*gains,)),
            "costs if taken away, points": Only(
                Mean(lambda row: self._taken(results, row["stage"]), 1, 100), stage=(*WITHOUT,)
            ),
        }
        return results.table(rows, columns, own=("stage", "model", "update", "arm"))

    def _gains(self, results: Results) -> dict[str, Interval]:
        each = {stage: _of(results, at) for stage, at in STAGES.items()}
        stages = list(STAGES)
        return {stage: interval(each[stage] - each[before]) for before, stage in pairwise(stages)}

    def _taken(self, results: Results, stage: str) -> Interval:
        """What all four stages lose without this one."""
        lost = _of(results, STAGES["collaboration"]) - _of(results, WITHOUT[stage])
        return interval(lost)


def _of(results: Results, at: tuple[str, str, str, str]) -> pd.Series[float]:
    model, update, arm, metric = at
    return results.by_seed(metric, model=model, update=update, arm=arm)
