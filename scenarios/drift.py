"""Claim 2: devices that train while they infer beat frozen models once the data drift."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import pandas as pd

from scenarios import arms
from swarm.common.statistics import Bound
from swarm.experiments.claims.base import Claim, Condition, Count, Hypothesis, SizedBudget, Verdict
from swarm.experiments.claims.charts import Chart
from swarm.experiments.claims.results import Mean, Only, Results, Row

POLICIES = ("online", "nightly", "frozen")
SCORE = "prequential_accuracy"
BATCH, STEPS = 4, 2
# A swarm is behind while its accuracy is below this share of the steady one; both are means of this
# many rounds.
ENOUGH, LOOK = 0.95, 10


class DriftBudget(SizedBudget):
    """``rounds`` of two mini-batches of four samples each; ``update=nightly`` learns every ``day``
    rounds, and the frozen model for the first quarter of the rounds."""

    day: Count


class Drift(Claim):
    """Every update policy meets the same stream in the same order, sample by sample, and is scored
    on each sample before it may learn from it. Every sample counts the same, so a device with a
    longer stream counts more.

    Under ``world=drift`` labels trade places in the middle of each device's stream;
    ``world=steady`` is the same stream without drift. The partition is skewed, so streams differ in
    length and drift at different times; short ones have drifted, and some have ended, before long
    ones drift. Online and nightly take one step for each mini-batch met. The frozen model stops
    learning after a quarter of the rounds, as a model that is trained and then shipped does."""

    hypotheses: ClassVar = (
        Hypothesis(
            2,
            "Training and inferring at the same time beats frozen models.",
            "prequential accuracy of the swarm over the whole stream, pooled over the samples of"
            " all devices; update=online against update=frozen and against update=nightly, under a"
            " sudden label swap, paired by seed",
            "confirmed if both differences are above 0 with their 95% intervals; refuted if one is"
            " below 0 with its interval",
        ),
    )
    untested = (
        "How fast devices recover from one common change: with streams of unequal length they "
        "change one after another."
    )
    Budget = DriftBudget

    def conditions(self) -> list[Condition]:
        """Each policy with and without drift."""
        b = self.budget
        steps = {
            "train.batch": BATCH,
            "train.local_steps": STEPS,
            "data.per_device": b.rounds * STEPS * BATCH,
        }
        learn = {
            "online": {"update": "online"},
            "nightly": {"update": "nightly", "update.day": b.day, "replay": "ring"},
            "frozen": {"update": "frozen", "update.after": b.rounds // 4},
        }
        worlds = {"drift": "label_swap", "steady": "none"}
        return [
            Condition.of({"update": policy, "world": world}, b.size(20), steps, learn[policy],
                         {"drift": drift}, arms=arms(True))
            for world, drift in worlds.items()
            for policy in POLICIES
        ]  # fmt: skip

    def conclude(self, results: Results) -> list[Verdict]:
        online = {"update": "online", "world": "drift", "arm": "swarm"}
        frozen, nightly = (
            results.difference(SCORE, online, {**online, "update": other})
            for other in ("frozen", "nightly")
        )
        bounds = {
            "online minus frozen": Bound(frozen, above=0),
            "online minus nightly": Bound(nightly, above=0),
        }
        because = (
            f"online beats frozen by {frozen.text(1, 100)} points and nightly by"
            f" {nightly.text(1, 100)} points of prequential accuracy under drift"
        )
        return [self.hypotheses[0].judged(bounds, because)]

    def charts(self, results: Results) -> list[Chart]:
        lines = {policy: {"update": policy, "arm": "swarm"} for policy in POLICIES}
        return [
            Chart(f"{title}: accuracy on each round's new samples, before learning from them",
                  "round", "prequential accuracy of the round",
                  results.by_rounds("stream_accuracy", lines, world=world))
            for world, title in (
                ("drift", "Labels trade places half-way through each stream"),
                ("steady", "Nothing changes"),
            )
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        columns = {
            "prequential accuracy": Mean(SCORE),
            "final test accuracy": Mean("accuracy_mean"),
            "rounds behind steady": Only(Mean(partial(_behind, results), 0), world="drift"),
        }
        return results.table(self.rows(), columns, own=("world", "update", "arm"))


def _behind(results: Results, row: Row) -> pd.Series[float]:
    """The number of rounds in which the mean accuracy of the last ten rounds is below 95% of that
    without drift, by seed; of the seeds under which neither has diverged.

    In a skewed partition streams differ in length, so labels change at one device after the other,
    and accuracy falls for dozens of rounds; the accuracy before the first change is therefore no
    measure of recovery. A swarm that is still behind at the end counts up to the last round."""
    drift, steady = (
        results.rolling("stream_accuracy", LOOK, **{**row, "world": world})
        for world in ("drift", "steady")
    )
    seeds = drift.columns.intersection(steady.columns)
    return drift[seeds].lt(ENOUGH * steady[seeds]).sum()
