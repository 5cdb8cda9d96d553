"""Claim 19: at equal computation, clean data beat many data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from scenarios import arms
from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.common.statistics import Bound, left_out_loss
from swarm.data.dataset import Dataset, Source
from swarm.data.generated.digits_like import DigitsLike
from swarm.experiments.claims.base import Claim, Condition, Hypothesis, SizedBudget, Verdict
from swarm.experiments.claims.charts import Chart
from swarm.experiments.claims.results import Mean, Results, Row, Text
from swarm.experiments.claims.shared.changes import custom

Filter = Literal["loss", "oracle", "random"]
FILTERS: tuple[Filter, ...] = ("loss", "oracle", "random")
ACCURACY = "accuracy_mean"
BATCH, STEPS, EACH = 4, 5, 40  # samples a step, steps a round, samples generated for each device


@dataclass(eq=False)
class NoisyDigits(Source):
    """Generated digits (:class:`DigitsLike`) of which a share ``wrong`` has another label, drawn
    evenly; devices get the share ``kept`` of them. Validation and test labels are right.

    Raises :class:`ConfigError` for shares outside [0, 1], and if nothing is kept.

    Args:
        devices: How many devices there are.
        per_device: Training samples that are generated for each device.
        wrong: The share of training samples with a wrong label.
        kept: The share of training samples that the filter keeps.
        filter: ``loss`` keeps those with the least :func:`left_out_loss
            <swarm.common.statistics.left_out_loss>`, ``oracle`` those whose label is right, then
            others, ``random`` any.
        seed: The run's seed.
    """

    devices: int
    per_device: int = EACH
    wrong: float = 0.0
    kept: float = 1.0
    filter: Filter = "loss"
    seed: int = 0

    def __post_init__(self) -> None:
        number("wrong", self.wrong, 0, 1)
        number("kept", self.kept, 1 / (self.devices * self.per_device), 1)

    def load(self) -> Dataset:
        clean = DigitsLike(self.devices, self.per_device, seed=self.seed).load()
        draw = Keys(self.seed, "noisy_digits").generator()
        train, y = clean.train, np.array(clean.y, np.int64)
        turned = draw.permutation(train)[: round(self.wrong * len(train))]
        y[turned] = (y[turned] + draw.integers(1, clean.classes, len(turned))) % clean.classes
        at_random = draw.random(len(train))
        suspicion = {
            "loss": lambda: left_out_loss(clean.x[train], y[train], clean.classes),
            "oracle": lambda: at_random + np.isin(train, turned),
            "random": lambda: at_random,
        }[self.filter]()
        least = np.argsort(suspicion, kind="stable")[: round(self.kept * len(train))]
        return replace(clean, y=y, train=np.sort(train[least]))


class CleaningBudget(SizedBudget):
    """``rounds`` of five mini-batches of four samples each; ``wrong`` are the shares of wrong
    labels, ``kept`` the shares of samples that a filter keeps."""

    wrong: list[Annotated[float, Field(ge=0, lt=1)]]
    kept: list[Annotated[float, Field(gt=0, le=1)]]


class Cleaning(Claim):
    """A part of all training labels is wrong. A filter keeps a share of the samples, which are then
    dealt to the devices; devices take equally many steps on equal mini-batches whatever is kept, so
    that they meet fewer samples more often.

    The filter that is judged (``loss``) keeps the samples whose label a ridge regression, which has
    learnt from all others, finds likeliest; it knows no right label. Controls: one that knows which
    labels are wrong (``oracle``), and one that keeps any (``random``).
    """

    hypotheses: ClassVar = (
        Hypothesis(
            19,
            "Clean data beat many data.",
            "final accuracy, mean over devices; where the filter keeps as large a share of the"
            " samples as have right labels, minus that with all samples, and minus that with the"
            " smallest share, for each share of wrong labels above 0, paired by seed",
            "confirmed if all these differences are above 0 with their 95% intervals; refuted if"
            " one is below 0 with its interval",
        ),
    )
    untested = (
        "Devices that clean their own samples: the filter sees all of them before they are dealt, "
        "and what it computes counts against nobody. Wrong labels that are likelier for some "
        "samples than for others (each is any other class), which a filter finds less easily; "
        "other dirt than wrong labels; filters that keep each class alike (the 10% of clean "
        "samples with the least loss leave two or three classes nearly out, and teach less than "
        "10% drawn at random); data that cost something to gather. Where 20% of the labels are "
        "wrong even the oracle gains 0.6 points only."
    )
    Budget = CleaningBudget

    def conditions(self) -> list[Condition]:
        """Each share of wrong labels with each share that is kept by each filter. Where all is
        kept, filters are the same; where no label is wrong, there is nothing for the oracle. The
        other arms run beside what is judged under the most wrong labels."""
        self._check()
        b = self.budget
        most = b.wrong[-1]
        judged = [_kept(most, kept) for kept in (b.kept[0], _right(most), 1.0)]
        fixed = {**b.size(5), "train.batch": BATCH, "train.local_steps": STEPS}
        return [
            Condition.of(values, fixed, custom("data", NoisyDigits, per_device=EACH, **values),
                         arms=arms(values in judged))
            for wrong, kept, name in product(b.wrong, b.kept, FILTERS)
            if name == "loss" or (kept < 1 and (wrong or name == "random"))
            for values in [_kept(wrong, kept, name)]
        ]  # fmt: skip

    def conclude(self, results: Results) -> list[Verdict]:
        bounds, told, least = {}, [], self.budget.kept[0]
        for wrong in self._noisy():
            judged = {**_kept(wrong, _right(wrong)), "arm": "swarm"}
            gains = {
                kept: results.difference(ACCURACY, judged, {**judged, "kept": kept})
                for kept in (1.0, least)
            }
            for kept, gain in gains.items():
                bounds[f"{wrong:.0%} wrong, against keeping {kept:.0%}"] = Bound(gain, above=0)
            told.append(
                f"of samples with {wrong:.0%} wrong labels, the {1 - wrong:.0%} that look cleanest"
                f" are {gains[1.0].text(1, 100)} points above all of them and"
                f" {gains[least].text(1, 100)} above the {least:.0%} that look cleanest; best is"
                f" {self._best(results, wrong):.0%}"
            )
        return [self.hypotheses[0].judged(bounds, "; ".join(told))]

    def charts(self, results: Results) -> list[Chart]:
        x, y = "share of samples that is kept", "final accuracy, mean over devices"
        most = self.budget.wrong[-1]
        shares = {f"{each:.0%} wrong": {"wrong": each} for each in self.budget.wrong}
        filters: dict[str, Row] = {name: {"filter": name} for name in FILTERS}
        where = {"wrong": most, "filter": "loss", "arm": "swarm"}
        return [
            Chart("What the filter gives and takes", x, y,
                  results.lines_along(ACCURACY, "kept", shares, **where)),
            Chart(f"Three filters, {most:.0%} of labels wrong", x, y,
                  results.lines_along(ACCURACY, "kept", filters, **where)),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        columns = {
            "wrong": Text("{wrong:.0%}"),
            "filter": lambda row: None if row["kept"] == 1 else row["filter"],
            "kept": Text("{kept:.0%}"),
            "arm": "arm",
            "accuracy": Mean(ACCURACY),
        }
        return results.table(self.rows(), columns)

    def _check(self) -> None:
        b = self.budget
        for key in ("wrong", "kept"):
            self.require_ascending(key, what="shares")
        # smaller mini-batches would be less computation
        valid = f"must be shares of at least {BATCH / EACH:g}, a mini-batch for each device"
        self.require(b.kept[0] * EACH >= BATCH, "kept", valid)
        self.require(self._noisy(), "wrong", "must have a share above 0")
        needed = {1.0, *(_right(wrong) for wrong in self._noisy())}
        shares = ", ".join(f"{share:g}" for share in sorted(needed))
        self.require(needed <= set(b.kept[1:]), "kept", f"must have {shares}, and a smaller share")

    def _noisy(self) -> list[float]:
        return [wrong for wrong in self.budget.wrong if wrong]

    def _best(self, results: Results, wrong: float) -> Any:
        """The share with the highest mean accuracy."""
        where = {"wrong": wrong, "filter": "loss", "arm": "swarm"}
        each = results.by_seed_along(ACCURACY, "kept", self.budget.kept, **where)
        return each.mean().fillna(-np.inf).idxmax()


def _kept(wrong: float, kept: float, name: Filter = "loss") -> dict[str, Any]:
    """The values of a condition."""
    return {"wrong": wrong, "filter": name, "kept": kept}


def _right(wrong: float) -> float:
    """The share of right labels, as it is written in a budget."""
    return round(1 - wrong, 6)
