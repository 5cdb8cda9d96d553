"""Claim 5: knowledge spreads.

One device has a class that no other device has; the scenario measures after how many rounds nearly
all devices know it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd

from swarm.common.errors import ConfigError
from swarm.common.statistics import Growth, aic_difference, growth, interval
from swarm.experiments.claims.base import Budget, Claim, Condition, Count, Hypothesis, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Results

KNOWN = 0.5
RANDOM, RING, CONTROL = "random_matching", "ring", "complete"
EVERY = 5  # rounds between two evaluations
NINE_OF_TEN = "label_accuracy_p10"  # nine devices of ten have at least this recall of the class


class KnowledgeSpreadBudget(Budget):
    """``sizes`` are numbers of devices for each topology, ``limits`` the most rounds of each."""

    sizes: dict[str, list[Count]]
    limits: dict[str, list[Count]]


class KnowledgeSpread(Claim):
    """All samples of the digit nine are on one device; the other digits are split at random.

    However many devices there are, the samples are the same 1,257, so the class is equally hard. A
    device knows the class when both its recall of the class and its accuracy on the whole test set
    are at least one half (a device that always predicts nine knows nothing). The worst deciles of
    the two are compared separately, as the devices that lack the one need not lack the other.

    The control is a complete graph, in which every device hears every other in every round: the
    rounds it takes are spent on learning, not on spreading. A run in which too few devices know the
    class before the last round counts with that round, which can only make the growth look slower
    than it is.
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
    )
    untested = (
        "More than 64 devices (24 on the ring); mean times include what learning the class takes, "
        "which also grows with n (exponent 0.57 on the complete graph); against that graph random "
        "peers take 3.9 to 5.5 times as long. Akaike's criterion, pooled over seeds, prefers the "
        "power; the rule asks each seed."
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
            for devices, rounds in zip(sizes, limits, strict=True):
                changes: dict[str, Any] = {
                    "topology": topology,
                    "devices": devices,
                    "rounds": rounds,
                }
                control = topology == CONTROL and devices == min(sizes)
                changes["scenario.arms"] = (
                    ["swarm", "isolated", "centralised"] if control else ["swarm"]
                )
                found.append(
                    Condition(
                        {"topology": topology, "devices": devices},
                        {**changes, "evaluate.every": EVERY},
                    )
                )
        return found

    def conclude(self, results: Results) -> list[Verdict]:
        fits = {topology: self._fits(results, topology) for topology in self.budget.sizes}
        worse = interval([fit.log_error - fit.power_error for fit in fits[RANDOM]])
        power = interval([fit.exponent for fit in fits[RING]])
        late = self._times(results, RANDOM)["late"].any()
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
        return [
            self.hypotheses[0].verdict(
                holds, because, log_minus_power=worse, aic=aic, exponents=exponents
            )
        ]

    def charts(self, results: Results) -> list[Chart]:
        lines, known = [], []
        for topology, sizes in self.budget.sizes.items():
            times = self._times(results, topology)
            each = [interval(times[times["devices"] == n]["rounds"]) for n in sizes]
            y_K, low_K, high_K = np.array(each).T
            lines.append(Line(topology, np.array(sizes, float), y_K, low_K, high_K, "points"))
            name = f"{topology}, {max(sizes)} devices"
            known.append(
                results.by_round(
                    NINE_OF_TEN, name, topology=topology, devices=max(sizes), arm="swarm"
                )
            )
        return [
            Chart(
                "Rounds until nine devices of ten know it",
                "devices",
                "rounds",
                lines,
                log_x=True,
                log_y=True,
            ),
            Chart(
                "What the worst decile of devices knows of the class",
                "round",
                "recall of the class, worst decile",
                known,
                level=(KNOWN, "knows it"),
            ),
        ]

    def table(self, results: Results) -> pd.DataFrame:
        rows = []
        whole = self._times(results, CONTROL).set_index(["devices", "seed"])["rounds"]
        for topology, sizes in self.budget.sizes.items():
            times = self._times(results, topology)
            for devices in sizes:
                here = times[times["devices"] == devices]
                shared = [whole.get((devices, seed)) for seed in here["seed"]]
                ratio = [
                    t / w for t, w in zip(here["rounds"], shared, strict=True) if w is not None
                ]
                where = {"topology": topology, "devices": devices, "arm": "swarm"}
                rows.append(
                    {
                        "topology": topology,
                        "devices": devices,
                        "rounds until 90% know it": interval(here["rounds"]).text(0),
                        "not within the limit": int(here["late"].sum()),
                        "times the complete graph's": interval(ratio).text(1) if ratio else "–",
                        "final recall": results.mean("label_accuracy_mean", **where).text(2),
                        "final accuracy": results.mean("accuracy_mean", **where).text(2),
                    }
                )
        smallest = min(self.budget.sizes[CONTROL])
        for arm in ("isolated", "centralised"):
            where = {"topology": CONTROL, "devices": smallest, "arm": arm}
            final = {
                f"final {name}": results.mean(key, **where).text(2)
                for name, key in (("recall", "label_accuracy_mean"), ("accuracy", "accuracy_mean"))
            }
            rows.append({"topology": arm, "devices": smallest, **final})
        return pd.DataFrame(rows).astype(object).fillna("–")

    def _fits(self, results: Results, topology: str) -> list[Growth]:
        """The growth laws fitted to each seed that has all sizes."""
        times, sizes = self._times(results, topology), self.budget.sizes[topology]
        seeds = [rows for _, rows in times.groupby("seed") if len(rows) == len(sizes)]
        return [growth(rows["devices"], rows["rounds"]) for rows in seeds]

    def _times(self, results: Results, topology: str) -> pd.DataFrame:
        """One row per size and seed: the ``rounds`` until nine devices of ten know the class, and
        whether that was ``late``, not before the last round."""
        curves = results.curves
        rows = curves[(curves["topology"] == topology) & (curves["arm"] == "swarm")]
        found = []
        for (devices, seed), run in rows.groupby(["devices", "seed"]):
            measured = run.dropna(subset=[NINE_OF_TEN]).sort_values("round")
            knows = measured[(measured[NINE_OF_TEN] >= KNOWN) & (measured["accuracy_p10"] >= KNOWN)]
            at = knows["round"].iloc[0] if len(knows) else run["round"].max()
            found.append(
                {
                    "devices": devices,
                    "seed": seed,
                    "rounds": max(float(at), 1.0),
                    "late": not len(knows),
                }
            )
        return pd.DataFrame(found, columns=["devices", "seed", "rounds", "late"])
