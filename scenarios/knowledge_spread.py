"""Claim 5: knowledge spreads.

One device has a class that no other device has; the scenario measures after how many rounds nearly
all devices know it.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scenarios import arms
from swarm.common.errors import ConfigError
from swarm.common.statistics import (
    Bound,
    Growth,
    Interval,
    aic_difference,
    growth,
    holds_if_all,
    interval,
)
from swarm.experiments.claims.base import Budget, Claim, Condition, Count, Hypothesis, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Mean, Only, Results, Row, Text

KNOWN = 0.5
RANDOM, RING, CONTROL = "random_matching", "ring", "complete"
EVALUATIONS = 200  # of every run, so that the time is known to 0.5% of the limit
LOOKED_AT = 64  # devices that are evaluated, drawn from the seed, where there are more
NINE_OF_TEN = "label_accuracy_p10"  # nine devices of ten have at least this recall of the class
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
        found = []
        for topology, sizes in self.budget.sizes.items():
            limits = self.budget.limits.get(topology, [])
            if len(limits) != len(sizes) or len(sizes) < 3:
                valid = (
                    f"must have three sizes or more, each with a limit; limits has {len(limits)}"
                    " for it"
                )
                raise ConfigError(f"{self.preset}.sizes.{topology}", sizes, valid)
            alone = sorted({*sizes} - {*self.budget.sizes[CONTROL]})
            if topology in (RANDOM, RING) and alone:
                valid = f"must be sizes of {CONTROL}, too, which has no {alone[0]}"
                raise ConfigError(f"{self.preset}.sizes.{topology}", sizes, valid)
            for devices, rounds in zip(sizes, limits, strict=True):
                values = {"topology": topology, "devices": devices}
                looks = {
                    "evaluate.every": max(1, rounds // EVALUATIONS),
                    "evaluate.devices": min(devices, LOOKED_AT),
                    "checkpoint.every": 500,
                }
                control = topology == CONTROL and devices == min(sizes)
                found.append(
                    Condition.of(values, values, {"rounds": rounds}, looks, arms=arms(control))
                )
        return found

    def conclude(self, results: Results) -> list[Verdict]:
        times = self._times(results)
        fits = {topology: self._fits(times, topology) for topology in self.budget.sizes}
        worse = interval([fit.log_error - fit.power_error for fit in fits[RANDOM]])
        power = interval([fit.exponent for fit in fits[RING]])
        late = RANDOM in _late(times)
        better = worse.below(0)
        parts = [better and not late, power.above(0.5)]
        holds = True if all(parts) else False if better is False or parts[1] is False else None
        exponents = {
            topology: interval([fit.exponent for fit in each]) for topology, each in fits.items()
        }
        aic = aic_difference(fits[RANDOM], len(self.budget.sizes[RANDOM]))
        because = (
            f"among random peers the logarithm's mean squared error is {worse.text(3)} above the"
            f" power's (Akaike's criterion: {aic:+.1f}); exponents: random peers"
            f" {exponents[RANDOM].text(2)}, ring {power.text(2)}, complete graph"
            f" {exponents[CONTROL].text(2)}"
        )
        bounds = {"errors": Bound(worse, below=0), "exponent on a ring": Bound(power, above=0.5)}
        missing = LONGER if holds is None and late else ""
        figures = {"log_minus_power": worse, "aic": aic, "exponents": exponents}
        return [
            self.hypotheses[0].verdict(holds, because, bounds, missing, **figures),
            self._spreading(times),
        ]

    def _spreading(self, times: pd.DataFrame) -> Verdict:
        """The verdict on what is left when the complete graph's rounds are divided out."""
        random, ring = (interval(self._slopes(times, graph)) for graph in (RANDOM, RING))
        sizes = np.log(self.budget.sizes[RANDOM])
        log = float(np.polyfit(sizes, np.log(sizes), 1)[0])
        late = _late(times)
        steep = ring.above(0.5)
        parts = [random.below(0.5), None if steep is False and RING in late else steep]
        holds = None if {RANDOM, CONTROL} & late else holds_if_all(parts)
        ends = " and ".join(
            f"{_ratio(times, RANDOM, n).text(1)} at {n:,} devices"
            for n in (min(self.budget.sizes[RANDOM]), max(self.budget.sizes[RANDOM]))
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
        times = self._times(results)
        lines, ratios, known = [], [], {}
        for topology, sizes in self.budget.sizes.items():
            mine = times[times["topology"] == topology]
            each = [interval(mine[mine["devices"] == n]["rounds"]) for n in sizes]
            lines.append(Line.through(topology, sizes, each, "points"))
            found = {n: _ratio(times, topology, n) for n in sizes if topology != CONTROL}
            there = {n: ratio for n, ratio in found.items() if np.isfinite(ratio.mean)}
            if found:
                ratios.append(Line.through(topology, there.keys(), there.values(), "points"))
            name = f"{topology}, {max(sizes)} devices"
            known[name] = {"topology": topology, "devices": max(sizes), "arm": "swarm"}
        return [
            Chart("Rounds until nine devices of ten know it", "devices", "rounds", lines,
                  log_x=True, log_y=True),
            Chart("Spreading alone: rounds by those of the complete graph", "devices",
                  "times as many rounds as the complete graph", ratios, log_x=True, log_y=True),
            Chart("What the worst decile of devices knows of the class", "round",
                  "recall of the class, worst decile", results.by_rounds(NINE_OF_TEN, known),
                  level=(KNOWN, "knows it")),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        times = self._times(results)

        def here(row: Row) -> pd.DataFrame:
            same = times["topology"] == row["topology"]
            found: pd.DataFrame = times[same & (times["devices"] == row["devices"])]
            return found

        def ratio(row: Row) -> Interval:
            return _ratio(times, row["topology"], row["devices"])

        until = Mean(lambda row: interval(here(row)["rounds"]), 0)
        columns = {
            "topology": Text("{topology}", arm="swarm"),
            "devices": "devices",
            "rounds until 90% know it": Only(until, arm="swarm"),
            "not within the limit": Only(lambda row: int(here(row)["late"].sum()), arm="swarm"),
            "times the complete graph's": Only(Mean(ratio, 1), arm="swarm"),
            "final recall": Mean("label_accuracy_mean", 2),
            "final accuracy": Mean("accuracy_mean", 2),
        }
        return results.table(self.rows(controls_last=True), columns)

    def _fits(self, times: pd.DataFrame, topology: str) -> list[Growth]:
        """The growth laws fitted to each seed that has all sizes."""
        mine, sizes = times[times["topology"] == topology], self.budget.sizes[topology]
        seeds = [rows for _, rows in mine.groupby("seed") if len(rows) == len(sizes)]
        return [growth(rows["devices"], rows["rounds"]) for rows in seeds]

    def _slopes(self, times: pd.DataFrame, topology: str) -> NDArray[np.float64]:
        """The slope of the ratio's logarithm in ln n, for each seed that has all sizes."""
        sizes = self.budget.sizes[topology]
        rows = np.log(_ratios(times, topology).reindex(columns=sizes).dropna().to_numpy(float))
        if not len(rows):
            return np.empty(0)
        return np.asarray(np.polyfit(np.log(sizes), rows.T, 1)[0])

    def _times(self, results: Results) -> pd.DataFrame:
        """One row per topology, size and seed: the ``rounds`` until nine devices of ten know the
        class, and whether that was ``late``, not before the last round."""
        columns = ["topology", "devices", "seed", "rounds", "late"]
        curves = results.curves
        if curves.empty:
            return pd.DataFrame(columns=columns)
        rows = curves[curves["arm"] == "swarm"].dropna(subset=[NINE_OF_TEN]).sort_values("round")
        found = []
        for (topology, devices, seed), run in rows.groupby(columns[:3], sort=True):
            knows = run[(run[NINE_OF_TEN] >= KNOWN) & (run["accuracy_p10"] >= KNOWN)]
            at = knows["round"].iloc[0] if len(knows) else run["round"].max()
            found.append((topology, devices, seed, max(float(at), 1.0), not len(knows)))
        return pd.DataFrame(found, columns=columns)


def _late(times: pd.DataFrame) -> set[str]:
    """The topologies of which a run is late."""
    return {str(topology) for topology in times[times["late"].astype(bool)]["topology"]}


def _ratios(times: pd.DataFrame, topology: str) -> pd.DataFrame:
    """The rounds by those of the complete graph: one row per seed, one column per size that both
    graphs have."""
    mine, whole = (
        times[times["topology"] == graph].pivot(index="seed", columns="devices", values="rounds")
        for graph in (topology, CONTROL)
    )
    shared = mine.columns.intersection(whole.columns)
    return mine[shared] / whole[shared]


def _ratio(times: pd.DataFrame, topology: str, devices: int) -> Interval:
    return interval(_ratios(times, topology).get(devices, []))
