"""Claim 5: knowledge spreads.

One device has a class that no other device has; the scenario measures after how many rounds nearly
all devices know it.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scenarios import arms
from swarm.common.errors import ConfigError
from swarm.common.statistics import (
    Bound,
    Interval,
    aic_difference,
    growth,
    holds_if_all,
    interval,
    slope,
)
from swarm.experiments.claims.base import Budget, Claim, Condition, Count, Hypothesis, Verdict
from swarm.experiments.claims.charts import Chart
from swarm.experiments.claims.results import Mean, Only, Results, Text
from swarm.experiments.claims.shared.derived import counting_diverged, with_measures, with_share

KNOWN = 0.5
RANDOM, RING, CONTROL = "random_matching", "ring", "complete"
EVALUATIONS = 200  # of every run, so that the time is known to 0.5% of the limit
LOOKED_AT = 64  # devices that are evaluated, drawn from the seed, where there are more
RECALL, ACCURACY = "label_accuracy_mean", "accuracy_mean"
NINE_OF_TEN = "label_accuracy_p10"  # nine devices of ten have at least this recall of the class
ROUNDS, LATE, FACTOR = "rounds until known", "late to know", "times the complete graph"
LONGER = "more rounds, as some runs end before their devices have learnt"


class KnowledgeSpreadBudget(Budget):
    """``sizes`` are numbers of devices for each topology, ``limits`` the most rounds of each."""

    sizes: dict[str, list[Count]]
    limits: dict[str, list[Count]]


class KnowledgeSpread(Claim):
    """All samples of the digit nine are on one device; the other digits are split at random.

    However many devices there are, the samples are the same 1,257, so the class is equally hard; of
    1,024 devices most have one. A device knows the class when both its recall of the class and its
    accuracy on the whole test set are at least one half (a device that always predicts nine knows
    nothing). The worst deciles of the two are compared separately, as the devices that lack the one
    need not lack the other.

    The control is a complete graph, in which every device hears every other in every round: the
    rounds it takes are spent on learning, not on spreading. They grow with n by themselves, because
    what the one device that has the class learns is a n-th of what the mean of n models learns. How
    many times as many rounds another graph takes, under the same seed, is what spreading adds.
    Whether a factor that grows so little is a logarithm or a small power could not be told over
    these sizes, so that it is held against √n, which lies between what random peers and a ring took
    in an earlier run of up to 64 devices; the exponent that ln n has over these sizes is named
    beside.

    A run in which too few devices know the class before the last round counts with that round,
    which can only make the growth look slower than it is.
    """

    hypotheses: ClassVar = (
        Hypothesis(
            5,
            "Knowledge spreads: one device learns, all learn, in about log n rounds among random"
            " peers and in a power of n on a ring.",
            "first round after which 90% of devices have a recall of at least 0.5 for a class that"
            " one device alone holds (and an accuracy of at least 0.5), by number of devices;"
            f" topology={RANDOM} and topology={RING}; for each seed the mean squared errors that p"
            " + q·ln n and p·n^q leave in its logarithm",
            "confirmed if among random peers the logarithm's error is smaller than the power's and"
            " on the ring the exponent is above 0.5, both with their 95% intervals over seeds;"
            " refuted if among random peers the power's error is the smaller one, or the exponent"
            " on the ring is below 0.5, with its interval",
        ),
        Hypothesis(
            5,
            "Spreading alone, without learning, is fast among random peers and slow on a ring: the"
            " factor of rounds that it takes grows more slowly than √n there, and faster here.",
            "the same rounds, divided by those of the complete graph of the same size and seed; for"
            " each seed the exponent of n, the slope of the ratio's logarithm in ln n",
            "confirmed if the exponent is below 0.5 among random peers and above 0.5 on the ring,"
            " both with their 95% intervals over seeds; refuted if it is above 0.5 among random"
            " peers or below 0.5 on the ring, with its interval; undecided if among random peers or"
            " on the complete graph a run reaches its limit, and not refuted by the ring if a run"
            " does so there",
            chart=2,
        ),
    )
    untested = (
        "More than 1,024 devices on the complete graph, 512 among random peers and 24 on the ring: "
        "rounds grow about as n or faster there, so that every doubling takes four times the "
        "computation. Learning and spreading take turns on every device, and a ratio of rounds "
        "parts them only as far as the complete graph spreads at once; devices without the class "
        "also unlearn it between two messages. Other ways of averaging."
    )
    Budget = KnowledgeSpreadBudget

    def conditions(self) -> list[Condition]:
        """Every topology at every size; isolated and centralised beside the smallest complete
        graph.
        """
        self._check()
        found = []
        for topology, sizes in self.budget.sizes.items():
            for devices, rounds in zip(sizes, self.budget.limits[topology], strict=True):
                values = {"topology": topology, "devices": devices}
                looks = {
                    "rounds": rounds,
                    "evaluate.every": max(1, rounds // EVALUATIONS),
                    "evaluate.devices": min(devices, LOOKED_AT),
                    "checkpoint.every": 500,
                }
                controls = arms(topology == CONTROL and devices == min(sizes))
                found.append(Condition.of(values, values, looks, arms=controls))
        return found

    def _check(self) -> None:
        for topology, sizes in self.budget.sizes.items():
            key, limits = f"{self.preset}.sizes.{topology}", self.budget.limits.get(topology, [])
            valid = (
                f"must have three sizes or more, each with a limit; limits has {len(limits)} for it"
            )
            if len(limits) != len(sizes) or len(sizes) < 3:
                raise ConfigError(key, sizes, valid)
            alone = sorted({*sizes} - {*self.budget.sizes[CONTROL]})
            if topology in (RANDOM, RING) and alone:
                valid = f"must be sizes of {CONTROL}, too, which has no {alone[0]}"
                raise ConfigError(key, sizes, valid)

    def conclude(self, results: Results) -> list[Verdict]:
        times = _times(results)
        return [self._growing(times), self._spreading(times)]

    def _growing(self, times: Results) -> Verdict:
        """The verdict on the rounds themselves."""
        sizes = self.budget.sizes
        fits = [growth(sizes[RANDOM], row) for row in self._by_size(times, ROUNDS, RANDOM)]
        worse = interval([fit.log_error - fit.power_error for fit in fits])
        powers = {topology: self._exponent(times, ROUNDS, topology) for topology in sizes}
        late = RANDOM in self._late(times)
        holds = holds_if_all((worse.below(0), powers[RING].above(0.5)))
        if holds and late:
            holds = None
        aic = aic_difference(fits, len(sizes[RANDOM]))
        because = (
            f"among random peers the logarithm's mean squared error is {worse.text(3)} above the"
            f" power's (Akaike's criterion: {aic:+.1f}); exponents: random peers"
            f" {powers[RANDOM].text(2)}, ring {powers[RING].text(2)}, complete graph"
            f" {powers[CONTROL].text(2)}"
        )
        bounds = {
            "errors": Bound(worse, below=0),
            "exponent on a ring": Bound(powers[RING], above=0.5),
        }
        missing = LONGER if holds is None and late else ""
        figures = {"log_minus_power": worse, "aic": aic, "exponents": powers}
        return self.hypotheses[0].verdict(holds, because, bounds, missing, **figures)

    def _spreading(self, times: Results) -> Verdict:
        """The verdict on what is left when the complete graph's rounds are divided out."""
        sizes, late = self.budget.sizes, self._late(times)
        random, ring = (self._exponent(times, FACTOR, topology) for topology in (RANDOM, RING))
        logs = np.log(sizes[RANDOM])
        log = slope(logs, np.log([logs])).mean
        steep = ring.above(0.5)
        parts = [random.below(0.5), None if steep is False and RING in late else steep]
        holds = None if {RANDOM, CONTROL} & late else holds_if_all(parts)
        ends = " and ".join(
            f"{times.mean(FACTOR, **_at(RANDOM, n)).text(1)} at {n:,} devices"
            for n in (min(sizes[RANDOM]), max(sizes[RANDOM]))
        )
        because = (
            f"the factor's exponent is {random.text(2)} among random peers and {ring.text(2)} on"
            f" the ring; over the sizes of random peers that of ln n is {log:.2f}; they take {ends}"
            " times as many rounds as the complete graph"
        )
        if late:
            because += f"; some runs reach their limit: {', '.join(sorted(late))}"
        bounds = {"random peers": Bound(random, below=0.5), "ring": Bound(ring, above=0.5)}
        figures = {"random": random, "ring": ring, "log": log}
        missing = LONGER if late else ""
        return self.hypotheses[1].verdict(holds, because, bounds, missing, **figures)

    def charts(self, results: Results) -> list[Chart]:
        times, sizes = _times(results), self.budget.sizes
        graphs = {topology: {"topology": topology} for topology in sizes}
        others = {topology: row for topology, row in graphs.items() if topology != CONTROL}
        last = {
            f"{topology}, {max(each)} devices": _at(topology, max(each))
            for topology, each in sizes.items()
        }
        return [
            Chart("Rounds until nine devices of ten know it", "devices", "rounds",
                  times.lines_along(ROUNDS, "devices", graphs, arm="swarm"),
                  log_x=True, log_y=True),
            Chart("Spreading alone: rounds by those of the complete graph", "devices",
                  "times as many rounds as the complete graph",
                  times.lines_along(FACTOR, "devices", others, arm="swarm"),
                  log_x=True, log_y=True),
            Chart("What the worst decile of devices knows of the class", "round",
                  "recall of the class, worst decile", results.by_rounds(NINE_OF_TEN, last),
                  level=(KNOWN, "knows it")),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        times = _times(results)
        columns = {
            "topology": Text("{topology}", arm="swarm"),
            "devices": "devices",
            "rounds until 90% know it": Only(Mean(ROUNDS, 0), arm="swarm"),
            "not within the limit": Only(
                lambda row: int(times.by_seed(LATE, **row).sum()), arm="swarm"
            ),
            "times the complete graph's": Only(Mean(FACTOR, 1), arm="swarm"),
            "final recall": Mean(RECALL, 2),
            "final accuracy": Mean(ACCURACY, 2),
        }
        return times.table(self.rows(controls_last=True), columns)

    def _by_size(self, times: Results, metric: str, topology: str) -> NDArray[np.float64]:
        """The metric at all K sizes of a topology, for each of the S seeds that have them all."""
        sizes, where = self.budget.sizes[topology], {"topology": topology, "arm": "swarm"}
        return times.by_seed_along(metric, "devices", sizes, **where).dropna().to_numpy(np.float64)

    def _exponent(self, times: Results, metric: str, topology: str) -> Interval:
        """The exponent of n, over seeds."""
        logs_SK = np.log(self._by_size(times, metric, topology))
        return slope(np.log(self.budget.sizes[topology]), logs_SK)

    def _late(self, times: Results) -> set[str]:
        """The topologies of which a run is late."""
        return {
            topology
            for topology, sizes in self.budget.sizes.items()
            if any(times.by_seed(LATE, **_at(topology, n)).any() for n in sizes)
        }


def _at(topology: str, devices: int) -> dict[str, Any]:
    return {"topology": topology, "devices": devices, "arm": "swarm"}


def _times(results: Results) -> Results:
    """The results with the rounds until nine devices of ten know the class, how many times those of
    the complete graph they are, and whether they are late, not before the last round. A run that
    diverged counts with the rounds that it had."""

    def times(curve: pd.DataFrame) -> dict[str, float]:
        looked = curve.dropna(subset=[NINE_OF_TEN])
        knows = looked[(looked[NINE_OF_TEN] >= KNOWN) & (looked["accuracy_p10"] >= KNOWN)]
        at = knows["round"].min() if len(knows) else looked["round"].max()
        return {ROUNDS: max(float(at), 1.0), LATE: float(not len(knows))}

    unknown = {RECALL: math.nan, ACCURACY: math.nan}
    found = counting_diverged(with_measures(results, times, ("topology", "devices")), **unknown)
    return with_share(found, FACTOR, ROUNDS, ("devices",), topology=CONTROL, arm="swarm")
