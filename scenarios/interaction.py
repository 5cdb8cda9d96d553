"""Claim 4: interaction creates data, and faster than in proportion to the number of devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from scenarios import arms
from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.common.statistics import LAWS, Bound, Interval, growth_law, slope
from swarm.data.dataset import Dataset, Floats, Ints, Source
from swarm.data.generated.digits import Digits
from swarm.data.prepare import Samples, prepare
from swarm.experiments.claims.base import Budget, Claim, Condition, Count, Hypothesis, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import NOTHING, Mean, Only, Results, Row
from swarm.experiments.claims.shared.changes import custom
from swarm.experiments.claims.shared.derived import assigned

Kind = Literal["silent", "alone", "pairs", "groups"]
MADE, ACCURACY = "made", "accuracy_mean"
GROWING = "growing"
MEETINGS: tuple[Kind, ...] = ("pairs", "groups")
KINDS: tuple[Kind, ...] = ("silent", "alone", *MEETINGS)
LINEAR = LAWS[0]
ITEMS = 4  # real digits that a device has
SPEAKER = 0.7  # weight of the speaker's digit in a blend
MARGIN = 1.1  # exponents up to here are taken for proportional
BATCH, STEPS = 4, 5
MORE_SIZES = "sizes further apart, by which the law can be told from a straight line"


@dataclass(eq=False)
class Talk(Source):
    """Each device has four real digits, and makes a sample in each of its ``utterances``: a blend
    of one of its digits (weight 0.7, and the label) with the mean of what the others of its meeting
    show, in whole grey levels. Samples whose image and label are there already are left out.

    All ten classes are among the swarm's digits. Owners are devices: each has its digits and what
    it was the first to make. Validation and test samples are the real held-out digits.

    Raises :class:`ConfigError` if there are not four training digits for each device.

    Args:
        devices: How many devices there are.
        utterances: How often each device makes a sample.
        talk: Who meets in a turn. ``alone``: a device blends two of its own digits; ``pairs``: the
            devices are cut into pairs at random; ``groups``: into groups whose size, drawn for the
            turn, is from 2 to all, each as likely; ``silent``: nothing is made.
        seed: The run's seed.
    """

    devices: int
    utterances: int
    talk: Kind
    seed: int = 0

    def __post_init__(self) -> None:
        number("utterances", self.utterances, 1)

    def load(self) -> Dataset:
        real = Digits(scale="none", seed=self.seed).load()
        if self.devices * ITEMS > len(real.train):
            valid = f"must be at most {len(real.train) // ITEMS}: each has {ITEMS} digits"
            raise ConfigError("devices", self.devices, valid)
        draw = Keys(self.seed, "interaction").generator()
        x, y = real.x, np.asarray(real.y, np.int64)
        drawn = draw.permutation(real.train)
        one_of_each = np.unique(y[drawn], return_index=True)[1]  # else small swarms lack a digit
        drawn = np.concatenate([drawn[one_of_each], np.delete(drawn, one_of_each)])
        item_NK = draw.permutation(drawn[: self.devices * ITEMS]).reshape(-1, ITEMS)
        images, labels = [x[item_NK.T].reshape(-1, x.shape[1])], [y[item_NK.T].reshape(-1)]
        for _ in range(0 if self.talk == "silent" else self.utterances):
            shown_N = draw.integers(ITEMS, size=self.devices)
            mine_NF = x[item_NK[np.arange(self.devices), shown_N]]
            others_NF = self._others(x[item_NK], mine_NF, shown_N, draw)
            images.append(np.rint(SPEAKER * mine_NF + (1 - SPEAKER) * others_NF))
            labels.append(y[item_NK[np.arange(self.devices), shown_N]])
        first = first_of_each(np.concatenate(images), np.concatenate(labels))
        owner = first % self.devices
        held_out = np.concatenate([real.validation, real.test])
        train = len(first)
        validation, test = np.split(np.arange(train, train + len(held_out)), [len(real.validation)])
        samples = Samples(
            np.concatenate([np.concatenate(images)[first], x[held_out]]),
            np.concatenate([np.concatenate(labels)[first], y[held_out]]),
            classes=10,
            owner=np.concatenate([owner, np.zeros(len(held_out), np.int64)]),
            validation=validation,
            test=test,
            one_scale=True,
        )
        return prepare(samples, self.seed, scale="unit")

    def _others(
        self, item_NKF: Floats, mine_NF: Floats, shown_N: Ints, draw: np.random.Generator
    ) -> Floats:
        """The mean of what the others of each device's meeting show, ``[N, F]``."""
        n = self.devices
        if self.talk == "alone":
            other_N = (shown_N + draw.integers(1, ITEMS, size=n)) % ITEMS
            own_NF: Floats = item_NKF[np.arange(n), other_N]
            return own_NF
        size = 2 if self.talk == "pairs" else int(draw.integers(2, n + 1))
        meetings = n // size  # whoever is left over joins one of them
        meeting_N = draw.permutation(n) % meetings
        count_N = np.bincount(meeting_N)[meeting_N][:, None]
        sum_MF = np.zeros((meetings, mine_NF.shape[1]), np.float32)
        np.add.at(sum_MF, meeting_N, mine_NF)
        return ((sum_MF[meeting_N] - mine_NF) / (count_N - 1)).astype(np.float32)


def first_of_each(x: Floats, y: Ints) -> Ints:
    """The indices, ascending, of the first of each set of samples that have the same image ``x``
    ``[S, F]`` in whole grey levels and the same label ``y`` ``[S]``."""
    rows = np.column_stack([x, y]).astype(np.uint8)
    return np.sort(np.unique(rows, axis=0, return_index=True)[1])


class InteractionBudget(Budget):
    """``sizes`` are numbers of devices, ``utterances`` how often each device talks whatever their
    number, ``utterances_each`` how often for each device of the swarm where time grows with it."""

    sizes: list[Annotated[int, Field(ge=2)]]
    utterances: list[Count]
    utterances_each: Count
    rounds: Count


class Interaction(Claim):
    """Devices with four real digits each make samples by blending them: alone, in pairs, or in
    groups of any size. In a turn each device makes one sample, so a swarm of n devices makes at
    most n times its turns: with as many turns for each device whatever n, what is made cannot in
    the long run grow faster than n, and what is measured is whether it does before that. Under
    ``time=growing`` turns are in proportion to n: twice as large a swarm, twice as long talks.

    Samples are distinct if they differ in a grey level or the label. All swarms take equally many
    steps on equal mini-batches. ``silent`` devices have their four digits only.
    """

    hypotheses: ClassVar = (
        Hypothesis(
            4,
            "Interaction creates data super-linearly, where a device talks as long in a large swarm"
            " as in a small one.",
            "distinct samples made by n devices, in pairs and in groups, for each number of turns:"
            f" exponent of n by least squares of logarithms for each seed; {', '.join(LAWS)} law by"
            " the corrected AIC of such fits, mean over seeds",
            f"confirmed if every exponent is above {MARGIN} with its 95% interval and no law is"
            f" linear; refuted if an exponent is below {MARGIN} with its interval",
        ),
        Hypothesis(
            4,
            "Interaction creates data super-linearly, where a device talks longer in a large swarm,"
            " in proportion to its size.",
            "as before, with turns in proportion to n",
            f"confirmed if both exponents are above {MARGIN} with their 95% intervals and no law is"
            f" linear; refuted if one is below {MARGIN} with its interval",
        ),
        Hypothesis(
            4,
            "What devices make in meetings teaches more than what they make alone.",
            "final accuracy, mean over devices and over n; pairs minus alone and groups minus"
            " alone, for each number of turns that is the same for all n, paired by seed; equal"
            " turns and steps",
            "confirmed if every difference is above 0 with its 95% interval; refuted if one is"
            " below 0 with its interval",
        ),
    )
    untested = (
        "Conversations that answer or correct one another, and so hold what no device had: a "
        "sample is a blend of digits, and that blends teach little is a finding about blends. "
        "That samples are at most as many as turns is arithmetic, not measured: with equal time "
        "nothing grows faster than n in the long run, and an exponent between 1 and 2 only says "
        "how far a swarm is from having said everything (pairs of 256 turns run out of things to "
        "say below 16 devices). Groups could make up to 2^n kinds; each turn still makes one "
        "sample. Other numbers of digits a device, other blends, meetings among neighbours of a "
        "graph only (whose kinds grow as n). Steps are equal, so more samples are each met less "
        "often; against devices that make nothing (silent) no talk gains a point either."
    )
    Budget = InteractionBudget

    def conditions(self) -> list[Condition]:
        """Each kind of talk at each size with each number of turns; isolated and centralised beside
        the smallest number of turns at the largest size."""
        b = self.budget
        self.require_ascending("sizes", 5, "sizes")
        self.require_ascending("utterances")
        first = b.utterances[0]
        rounds = {"rounds": b.rounds, "evaluate.every": b.rounds}
        fixed = {**rounds, "train.batch": BATCH, "train.local_steps": STEPS}
        return [
            Condition.of({"time": time, "talk": kind, "devices": n}, fixed, {"devices": n},
                         custom("data", Talk, talk=kind, utterances=turns),
                         arms=arms((time, n) == (first, b.sizes[-1])))
            for time, kind, n in product(self._times(), KINDS, b.sizes)
            if kind != "silent" or time == first
            for turns in [b.utterances_each * n if time == GROWING else time]
        ]  # fmt: skip

    def conclude(self, results: Results) -> list[Verdict]:
        equal, growing, teaches = self.hypotheses
        bounds, told = {}, []
        for time, kind in product(self.budget.utterances, MEETINGS):
            meeting, alone = (
                {"time": time, "talk": talk, "arm": "swarm"} for talk in (kind, "alone")
            )
            sizes = self.budget.sizes
            gain = results.difference_along(ACCURACY, "devices", sizes, meeting, alone)
            bounds[f"{kind}, {time} turns"] = Bound(gain, above=0)
            told.append(f"with {time} turns, meeting in {kind} is worth {gain.text(1, 100)} points")
        return [
            self._growth(results, equal, self.budget.utterances),
            self._growth(results, growing, [GROWING]),
            teaches.judged(bounds, "; ".join(told)),
        ]

    def _growth(
        self, results: Results, hypothesis: Hypothesis, times: Sequence[int | str]
    ) -> Verdict:
        bounds, told, laws = {}, [], set()
        for time, kind in product(times, MEETINGS):
            exponent, law = self._grown(results, time, kind)
            laws.add(law)
            bounds[f"exponent of {kind}, {_said(time)}"] = Bound(exponent, above=MARGIN)
            told.append(f"n^{exponent.text(2)} in {kind} with {_said(time)} ({law})")
        alone, _ = self._grown(results, times[0], "alone")
        because = f"what is made grows as {', as '.join(told)}; alone as n^{alone.text(2)}"
        missing = MORE_SIZES if all(bound.holds for bound in bounds.values()) else ""
        faster = not laws & {LINEAR, NOTHING}
        return hypothesis.judged(bounds, because, missing, only_if=faster)

    def charts(self, results: Results) -> list[Chart]:
        found, b, times = _counted(results), self.budget, self._times()
        first, x, y = b.utterances[0], "devices", "final accuracy, mean over devices"
        meetings = {
            f"{kind}, {_said(time)}": {"time": time, "talk": kind}
            for time, kind in product(times, MEETINGS)
        }
        kinds: dict[str, Row] = {kind: {"time": first, "talk": kind} for kind in KINDS}
        longer = {f"pairs, {_said(time)}": {"time": time, "talk": "pairs"} for time in times}
        sizes = np.array(b.sizes, float)
        least = found.mean(MADE, **kinds["alone"], devices=b.sizes[0], arm="swarm").mean
        made = found.lines_along(MADE, x, meetings, "line", arm="swarm")
        made.append(Line.law("in proportion to n", sizes, least * sizes / sizes[0]))
        learnt, taught = (
            found.lines_along(ACCURACY, x, lines, arm="swarm") for lines in (kinds, longer)
        )
        return [
            Chart("Distinct samples made", x, "samples", made, log_x=True, log_y=True),
            Chart(f"What they teach, {_said(first)}", x, y, learnt, log_x=True),
            Chart("What longer talks teach", x, y, taught, log_x=True),
        ]

    def table(self, results: Results) -> pd.DataFrame:
        def grown(row: Row) -> tuple[Interval, str]:
            return self._grown(results, row["time"], row["talk"])

        largest = {"devices": self.budget.sizes[-1], "talk": ("alone", *MEETINGS)}
        columns = {
            "turns": lambda row: _said(row["time"]),
            "talk": "talk",
            "devices": "devices",
            "arm": "arm",
            "made": Only(Mean(MADE, 0), arm="swarm"),
            "exponent": Only(Mean(lambda row: grown(row)[0], 2), **largest),
            "law": Only(lambda row: grown(row)[1], arm="swarm", **largest),
            "accuracy": Mean(ACCURACY),
        }
        return _counted(results).table(self.rows(), columns)

    def _times(self) -> list[int | str]:
        return [*self.budget.utterances, GROWING]

    def _grown(self, results: Results, time: int | str, kind: Kind) -> tuple[Interval, str]:
        """The exponent of n that what is made grows with, and the law that fits it best; of the
        seeds that have all sizes."""
        where, sizes = {"time": time, "talk": kind, "arm": "swarm"}, self.budget.sizes
        made = _counted(results).by_seed_along(MADE, "devices", sizes, **where)
        made_SK = made.dropna().to_numpy(np.float64)
        return slope(np.log(sizes), np.log(made_SK)), growth_law(sizes, made_SK) or NOTHING


def _counted(results: Results) -> Results:
    """The results with the number of distinct samples that were made."""
    return assigned(results, made=lambda it: it["train_samples"] - ITEMS * it["devices"])


def _said(time: int | str) -> str:
    return "turns in proportion to n" if time == GROWING else f"{time} turns"
