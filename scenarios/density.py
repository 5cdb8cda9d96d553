"""Claim 17: models need ever fewer parameters for the same capability. The density of a small model
in a swarm, by the year of the methods that it learns with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from scenarios import ARMS, by_arm
from swarm.common.statistics import Bound, Interval, Trend, doubling, interval, slope, trend
from swarm.experiments.claims.base import Claim, Condition, Count, Hypothesis, SizedBudget, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Figure, Mean, Only, Results, Row
from swarm.experiments.claims.shared.densities import Densities

ACCURACY, LOSS = "accuracy_mean", "loss_mean"
REFERENCE = "reference"
REFERENCES: dict[str, Any] = {"method": REFERENCE, "arm": "centralised"}
LEAST, PAPER = 5, 95  # generations that a trend needs; days in which the density of LLMs doubles
DAYS = 365.25
SGD_RATES, ADAM_RATES = [0.03, 0.1, 0.3, 1.0, 3.0], [0.003, 0.01, 0.03, 0.1, 0.3]
SCATTER = "more generations of methods, as no number of seeds lessens their scatter about the line"


class Generation(NamedTuple):
    """A generation of methods: the one before with one part replaced by a newer method, which was
    ``published`` in this month (its first version on arXiv)."""

    name: str
    part: str
    published: str
    paper: str
    changes: dict[str, Any]

    @property
    def time(self) -> float:
        """The middle of the month, in years."""
        year, month = map(int, self.published.split("-"))
        return year + (month - 0.5) / 12


GENERATIONS = (
    Generation("gossip learning", "exchange, with plain SGD", "2011-09", "1109.1396",
               {"protocol": "gossip_learning", "topology": "epidemic", "topology.fanout": 1,
                "topology.variant": "local", "optimizer": "sgd", "lr_search.lrs": SGD_RATES}),
    Generation("Adam", "optimiser", "2014-12", "1412.6980",
               {"optimizer": "adam", "lr_search.lrs": ADAM_RATES}),
    Generation("FedAvg", "exchange", "2016-02", "1602.05629",
               {"protocol": "fedavg", "topology": "none"}),
    Generation("cosine", "schedule", "2016-08", "1608.03983", {"schedule": "cosine"}),
    Generation("D-PSGD", "exchange", "2017-05", "1705.09056",
               {"protocol": "dpsgd", "topology": "ring"}),
    Generation("AdamW", "optimiser", "2017-11", "1711.05101", {"optimizer": "adamw"}),
    Generation("one-peer exponential", "graph", "2021-10", "2110.13363",
               {"topology": "one_peer_exponential"}),
    Generation("base graph", "graph", "2023-05", "2305.11420", {"topology": "base_graph"}),
    Generation("DiLoCo", "exchange", "2023-11", "2311.08105",
               {"protocol": "diloco", "topology": "none"}),
    Generation("WSD", "schedule", "2024-04", "2404.06395", {"schedule": "wsd"}),
)  # fmt: skip
FIRST = GENERATIONS[0]


def parameters_of(width: int) -> int:
    """The parameters of a perceptron with one hidden layer, of 64 numbers and 10 classes."""
    return 75 * width + 10


class DensityBudget(SizedBudget):
    """``widths`` are the hidden neurons of the reference models, ``width`` those of the model whose
    density is measured; ``per_device`` are training samples of a device."""

    per_device: Count
    width: Count
    widths: list[Count]


class Density(Claim):
    """The capability of a model is its accuracy. How large a model has to be for an accuracy is
    said by a reference family: centralised perceptrons of several widths, trained on the pooled
    samples of all devices by plain SGD at a constant rate. For each seed a law of their loss by
    size, L = a·N^−α + c (that of the Densing Law at one number of samples), and a curve of their
    accuracy by loss are fitted and inverted. The density of a model is ρ = N̂/N, the size that the
    family needs for its accuracy over its own. An accuracy outside the family's is never
    extrapolated: a generation with such a seed is left out, and named.

    A generation of methods is the one before with one part replaced by a newer method; its time is
    the month of that method's first version on arXiv. All have the same model, samples, steps and
    rounds, and each chooses its learning rate among five on the validation split. The list was
    fixed before any run but pilots: of each kind of part that a swarm has (exchange, graph,
    optimiser, schedule) well-known methods that replace the part for any model, with the options
    that they were published with, in the order of their publication. Corrections for unequal data,
    and methods for late, lost, compressed or hostile messages are left out. Isolated devices have
    no date, and are a control.
    """

    hypotheses: ClassVar = (
        Hypothesis(
            17,
            "Density grows by generation of methods: models need ever fewer parameters for the same"
            " capability.",
            "A of ln ρ = A·t + B by least squares over generations, t in years, ρ from the accuracy"
            " (mean over devices) on the reference curve of the same seed; A by two intervals: its"
            " mean over seeds with the generations as they are, and that of the line through the"
            " means over seeds, for the scatter of generations about it",
            "confirmed if A is above 0 with both 95% intervals; refuted if it is below 0 with both;"
            f" with fewer than {LEAST} generations inside the reference curve it is undecided",
        ),
    )
    untested = (
        "Language models, and whether they obey the Densing Law: here are perceptrons of some"
        " hundred parameters on small digits, and ten generations that we chose. Other lists have"
        " other slopes: methods are published for other reasons than accuracy (DiLoCo for few"
        " messages, with hundreds of local steps between them and not five). A generation's time"
        " is that of one paper, not of its use. Better data and other architectures, of which the"
        " density of language models also grows, are held fixed. Bytes differ between generations."
    )
    Budget = DensityBudget

    def conditions(self) -> list[Condition]:
        """The reference models, and every generation."""
        b = self.budget
        self.require_ascending("widths", 5, "widths")
        size = {"devices": b.devices, "rounds": b.rounds, "data.per_device": b.per_device}
        plain, own = {**size, "lr_search.lrs": SGD_RATES}, {**size, "model.hidden": [b.width]}
        references = [
            Condition.of({"method": REFERENCE, "size": parameters_of(width)}, plain,
                         {"model.hidden": [width]}, arms=["centralised"])
            for width in b.widths
        ]  # fmt: skip
        each = accumulate((generation.changes for generation in GENERATIONS), _replaced)
        return references + [
            Condition.of({"method": generation.name, "size": parameters_of(b.width)}, own, changes,
                         arms=ARMS[: 2 if generation is FIRST else 1])
            for generation, changes in zip(GENERATIONS, each, strict=True)
        ]  # fmt: skip

    def conclude(self, results: Results) -> list[Verdict]:
        found, (hypothesis,) = self._by_seed(self._densities(results)), self.hypotheses
        there = _inside(found)
        outside = [each.name for each in GENERATIONS if each not in there]
        left_out = f"; outside the reference curve: {', '.join(outside)}" if outside else ""
        if len(there) < LEAST:
            because = f"only {len(there)} generations are inside the reference curve{left_out}"
            missing = "sizes of the reference family on both sides of the generations"
            return [hypothesis.verdict(None, because, missing=missing)]
        over_seeds, line = _slopes(found)
        each = {over_seeds.above(0), line.slope.above(0)}
        holds = each.pop() if len(each) == 1 else None
        rho = {each.name: interval(found[each.name]) for each in there}
        (first, least), *_, (last, most) = rho.items()
        because = (
            f"ln ρ grows by {over_seeds.text()} a year over seeds, and by {line.slope.text()} with"
            f" the scatter of generations; ρ is {least.text(2)} with {first} and {most.text(2)}"
            f" with {last}; {_pace(over_seeds)} (language models: {PAPER} days){left_out}"
        )
        figures = {
            "A over seeds": over_seeds,
            "A over generations": line.slope,
            "doubling, days": doubling(over_seeds).mean * DAYS,
        }
        figures |= {f"density, {name}": density for name, density in rho.items()}
        bounds = {"A over seeds": Bound(over_seeds, above=0)}
        missing = SCATTER if line.slope.above(0) is None else ""
        return [hypothesis.verdict(holds, because, bounds, missing, **figures)]

    def charts(self, results: Results) -> list[Chart]:
        rho, name = self._densities(results), "generations"
        found, times = self._by_seed(rho), np.array([each.time for each in GENERATIONS])
        means = [interval(found[each.name]) for each in GENERATIONS]
        density = [Line.through(name, times, means, "points")]
        if len(_inside(found)) >= LEAST:
            density.append(Line.law("ln ρ = A·t + B", times, np.exp(_slopes(found)[1].at(times))))
        family = [*rho.family("reference models"), rho.points(name, [*self._rows().values()])]
        published = "published (generations in the order of the table)"
        return [
            Chart("Density by generation of methods", published, "density ρ", density,
                  level=(1.0, "the reference family")),
            Chart("The reference family", "parameters", "accuracy", family, log_x=True),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        rho, of = self._densities(results), {each.name: each for each in GENERATIONS}
        called = {"isolated": "isolated, plain SGD", "centralised": "reference, centralised"}
        columns = {
            "method": lambda row: called.get(row["arm"], row["method"]),
            "replaces": Only(lambda row: of[row["method"]].part, arm="swarm"),
            "published": Only(lambda row: of[row["method"]].published, arm="swarm"),
            "arXiv": Only(lambda row: of[row["method"]].paper, arm="swarm"),
            "MB sent": Only(Figure("bytes_total", ".1f", per=1e6), arm="swarm"),
            "parameters": "size",
            "accuracy": Mean(ACCURACY),
            "effective size": Mean(rho.effective_size, 0),
            "density ρ": rho.text,
        }
        return results.table(sorted(self.rows(), key=by_arm), columns)

    def _densities(self, results: Results) -> Densities:
        sizes = [parameters_of(width) for width in self.budget.widths]
        return Densities.of(results, sizes, LOSS, ACCURACY, **REFERENCES)

    def _rows(self) -> dict[str, Row]:
        size = parameters_of(self.budget.width)
        return {g.name: {"method": g.name, "size": size, "arm": "swarm"} for g in GENERATIONS}

    def _by_seed(self, rho: Densities) -> pd.DataFrame:
        """ρ by seed and generation, NaN outside the reference curve; of the seeds that have all
        generations."""
        each = {name: rho.by_seed(row) for name, row in self._rows().items()}
        return pd.concat(each, axis=1, join="inner")


def _replaced(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes so far and these; options of a group that has a new one fall away."""
    kept = {key: value for key, value in before.items() if key.partition(".")[0] not in changes}
    return {**kept, **changes}


def _inside(found: pd.DataFrame) -> list[Generation]:
    """The generations that are inside the reference curve under every seed."""
    return [g for g in GENERATIONS if len(found) and found[g.name].notna().all()]


def _slopes(found: pd.DataFrame) -> tuple[Interval, Trend]:
    """A a year: over seeds, and of the line through the means of the generations."""
    there = _inside(found)
    times = np.array([each.time for each in there])
    logs = np.log(found[[each.name for each in there]].to_numpy(np.float64))
    return slope(times, logs), trend(times, logs.mean(0))


def _pace(slope: Interval) -> str:
    """How fast density doubles, in days."""
    days = [each * DAYS for each in doubling(slope)]
    if not math.isfinite(days[1]):
        return "a doubling time cannot be told"
    word = "doubles" if days[0] > 0 else "halves"
    low, high = sorted(map(abs, days[1:]))
    return f"it {word} in {abs(days[0]):.0f} [{low:.0f}, {high:.0f}] days"
