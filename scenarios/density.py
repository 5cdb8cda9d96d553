"""Claim 17: models need ever fewer parameters for the same capability. The density of a small model
in a swarm, by the year of the methods that it learns with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from swarm.common.errors import counted
from swarm.common.statistics import (
    Bound,
    Interval,
    Reference,
    Trend,
    doubling,
    interval,
    reference,
    trend,
)
from swarm.experiments.claims.base import Claim, Condition, Count, Hypothesis, SizedBudget, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Results

ACCURACY, LOSS = "accuracy_mean", "loss_mean"
REFERENCE = "reference"
LEAST, PAPER = 5, 95  # generations that a trend needs; days in which the density of LLMs doubles
DAYS = 365.25
SGD_RATES, ADAM_RATES = [0.03, 0.1, 0.3, 1.0, 3.0], [0.003, 0.01, 0.03, 0.1, 0.3]
SCATTER = "more generations of methods, as no number of seeds lessens their scatter about the line"


class Generation(NamedTuple):
    """A generation of methods: the one before with one part replaced by a newer method, which was
    published in this ``month`` of this ``year`` (of its first version on arXiv)."""

    name: str
    part: str
    year: int
    month: int
    paper: str
    changes: dict[str, Any]

    @property
    def time(self) -> float:
        """The middle of the month, in years."""
        return self.year + (self.month - 0.5) / 12


GENERATIONS = (
    Generation("gossip learning", "exchange, with plain SGD", 2011, 9, "1109.1396",
               {"protocol": "gossip_learning", "topology": "epidemic", "topology.fanout": 1,
                "topology.variant": "local", "optimizer": "sgd", "lr_search.lrs": SGD_RATES}),
    Generation("Adam", "optimiser", 2014, 12, "1412.6980",
               {"optimizer": "adam", "lr_search.lrs": ADAM_RATES}),
    Generation("FedAvg", "exchange", 2016, 2, "1602.05629",
               {"protocol": "fedavg", "topology": "none"}),
    Generation("cosine", "schedule", 2016, 8, "1608.03983", {"schedule": "cosine"}),
    Generation("D-PSGD", "exchange", 2017, 5, "1705.09056",
               {"protocol": "dpsgd", "topology": "ring"}),
    Generation("AdamW", "optimiser", 2017, 11, "1711.05101", {"optimizer": "adamw"}),
    Generation("one-peer exponential", "graph", 2021, 10, "2110.13363",
               {"topology": "one_peer_exponential"}),
    Generation("base graph", "graph", 2023, 5, "2305.11420", {"topology": "base_graph"}),
    Generation("DiLoCo", "exchange", 2023, 11, "2311.08105",
               {"protocol": "diloco", "topology": "none"}),
    Generation("WSD", "schedule", 2024, 4, "2404.06395", {"schedule": "wsd"}),
)  # fmt: skip


def parameters_of(width: int) -> int:
    """The parameters of a perceptron with one hidden layer, of 64 numbers and 10 classes."""
    return 75 * width + 10


def references(results: Results, sizes: Sequence[int], **where: Any) -> dict[int, Reference]:
    """The reference family of each seed whose models of all ``sizes`` have learnt; those of a seed
    that no law fits are left out."""
    columns = {
        (metric, size): results.by_seed(metric, **where, size=size, arm="centralised")
        for metric in (LOSS, ACCURACY)
        for size in sizes
    }
    found = {}
    for seed, row in pd.DataFrame(columns).dropna().iterrows():
        family = _family(tuple(sizes), tuple(row[LOSS]), tuple(row[ACCURACY]))
        if family is not None:
            found[int(str(seed))] = family
    return found


@cache
def _family(
    sizes: tuple[int, ...], losses: tuple[float, ...], scores: tuple[float, ...]
) -> Reference | None:
    """Remembered, as verdict, charts and table ask for the same families; None where no law
    fits."""
    try:
        return reference(sizes, losses, scores)
    except ValueError:  # a loss that is not finite, say
        return None


def density(families: dict[int, Reference], score: pd.Series[float], size: int) -> pd.Series[float]:
    """ρ by seed of models of one size with these scores; NaN outside the family."""
    found = {
        int(str(seed)): float(families[int(str(seed))].density(value, size))
        for seed, value in score.items()
        if int(str(seed)) in families
    }
    return pd.Series(found, dtype=np.float64)


def density_text(families: dict[int, Reference], score: pd.Series[float], size: int) -> str:
    """ρ as text, or on which side of the reference curve the scores of some seeds are."""
    rho = density(families, score, size)
    if len(rho) and rho.notna().all():
        return interval(rho.to_numpy()).text(2)
    sides = [families[seed].side(float(score[seed])) for seed in rho.index]
    return f"outside: {counted(sides.count(-1), 'seed')} below, {sides.count(1)} above"


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
        common = {"devices": b.devices, "rounds": b.rounds, "data.per_device": b.per_device}
        found = [
            Condition(
                {"method": REFERENCE, "size": parameters_of(width)},
                {**common, "model.hidden": [width], "lr_search.lrs": SGD_RATES,
                 "scenario.arms": ["centralised"]},
            )
            for width in b.widths
        ]  # fmt: skip
        changes: dict[str, Any] = {}
        for number, generation in enumerate(GENERATIONS):
            groups = [key for key in generation.changes if "." not in key]
            kept = {
                key: value for key, value in changes.items() if key.partition(".")[0] not in groups
            }
            changes = {**kept, **generation.changes}
            arms = ["swarm", "isolated"] if number == 0 else ["swarm"]
            found.append(
                Condition(
                    {"method": generation.name, "size": self._size},
                    {**common, "model.hidden": [b.width], **changes, "scenario.arms": arms},
                )
            )
        return found

    def conclude(self, results: Results) -> list[Verdict]:
        found, (hypothesis,) = self._densities(results), self.hypotheses
        outside = [each.name for each in GENERATIONS if each not in self._inside(found)]
        left_out = f"; outside the reference curve: {', '.join(outside)}" if outside else ""
        inside = self._inside(found)
        if len(inside) < LEAST:
            because = f"only {len(inside)} generations are inside the reference curve{left_out}"
            missing = "sizes of the reference family on both sides of the generations"
            return [hypothesis.verdict(None, because, missing=missing)]
        over_seeds, line = self._slopes(found)
        each = {over_seeds.above(0), line.slope.above(0)}
        holds = each.pop() if len(each) == 1 else None
        first, last = (interval(found[each.name].to_numpy()) for each in (inside[0], inside[-1]))
        because = (
            f"ln ρ grows by {over_seeds.text()} a year over seeds, and by {line.slope.text()} with"
            f" the scatter of generations; ρ is {first.text(2)} with {inside[0].name} and"
            f" {last.text(2)} with {inside[-1].name}; {self._pace(over_seeds)}{left_out}"
        )
        figures = {
            "A over seeds": over_seeds,
            "A over generations": line.slope,
            "doubling, days": doubling(over_seeds).mean * DAYS,
        }
        figures |= {f"density, {each.name}": interval(found[each.name]) for each in inside}
        bounds = {"A over seeds": Bound(over_seeds, above=0)}
        missing = SCATTER if line.slope.above(0) is None else ""
        return [hypothesis.verdict(holds, because, bounds, missing, **figures)]

    def charts(self, results: Results) -> list[Chart]:
        found, b = self._densities(results), self.budget
        times = np.array([each.time for each in GENERATIONS])
        rho = [interval(found[each.name]) for each in GENERATIONS]
        lines = [Line.through("generations", times, rho, "points")]
        if len(self._inside(found)) >= LEAST:
            line = self._slopes(found)[1]
            lines.append(Line.law("ln ρ = A·t + B", times, np.exp(line.at(times))))
        families = self._families(results)
        sizes = np.array([parameters_of(width) for width in b.widths], np.float64)
        curve = [
            results.along(ACCURACY, "size", "reference models", method=REFERENCE, arm="centralised")
        ]
        if families:
            n_K = np.geomspace(sizes[0], sizes[-1], 80)
            fits = np.array([family.score(n_K) for family in families.values()])
            curve.append(Line.law("fitted (mean over seeds)", n_K, fits.mean(0)))
        reached = [interval(self._of(results, each)) for each in GENERATIONS]
        curve.append(Line.through("generations", [self._size] * len(times), reached, "points"))
        return [
            Chart("Density by generation of methods",
                  "published (generations in the order of the table)", "density ρ", lines,
                  level=(1.0, "the reference family")),
            Chart("The reference family", "parameters", "accuracy", curve, log_x=True),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        families, alone = self._families(results), self._isolated(results)

        def row(method: str, size: int, score: pd.Series[float], **more: Any) -> dict[str, Any]:
            rho = density(families, score, size)
            inside = len(rho) and rho.notna().all()
            effective = interval(rho * size).text(0) if inside else "–"
            accuracy = interval(score.to_numpy()).text()
            return {"method": method, **more, "parameters": size, "accuracy": accuracy,
                    "effective size": effective,
                    "density ρ": density_text(families, score, size)}  # fmt: skip

        rows = []
        for each in GENERATIONS:
            sent = results.mean("bytes_total", method=each.name, arm="swarm").mean
            about = {"replaces": each.part, "published": f"{each.year}-{each.month:02d}",
                     "arXiv": each.paper, "MB sent": f"{sent / 1e6:.1f}"}  # fmt: skip
            rows.append(row(each.name, self._size, self._of(results, each), **about))
        rows.append(row("isolated, plain SGD", self._size, alone))
        for width in self.budget.widths:
            size = parameters_of(width)
            score = results.by_seed(ACCURACY, method=REFERENCE, size=size, arm="centralised")
            rows.append(row("reference, centralised", size, score))
        return pd.DataFrame(rows).fillna("–")

    @property
    def _size(self) -> int:
        return parameters_of(self.budget.width)

    def _families(self, results: Results) -> dict[int, Reference]:
        sizes = [parameters_of(width) for width in self.budget.widths]
        return references(results, sizes, method=REFERENCE)

    def _densities(self, results: Results) -> pd.DataFrame:
        """ρ by seed and generation, NaN outside the reference curve; of the seeds that have all
        generations."""
        families = self._families(results)
        each = {
            generation.name: density(families, self._of(results, generation), self._size)
            for generation in GENERATIONS
        }
        seeds = set(families).intersection(*(set(series.index) for series in each.values()))
        return pd.DataFrame(each).loc[sorted(seeds)]

    def _inside(self, found: pd.DataFrame) -> list[Generation]:
        """The generations that are inside the reference curve under every seed."""
        return [g for g in GENERATIONS if len(found) and found[g.name].notna().all()]

    def _slopes(self, found: pd.DataFrame) -> tuple[Interval, Trend]:
        """A a year: over seeds, and of the line through the means of the generations."""
        inside = self._inside(found)
        times = np.array([each.time for each in inside])
        logs = np.log(found[[each.name for each in inside]].to_numpy(np.float64))
        over_seeds = interval([np.polyfit(times, row, 1)[0] for row in logs])
        return over_seeds, trend(times, logs.mean(0))

    def _pace(self, slope: Interval) -> str:
        """How fast density doubles, in days, beside the paper's."""
        days = [each * DAYS for each in doubling(slope)]
        if not math.isfinite(days[1]):
            return f"a doubling time cannot be told (language models: {PAPER} days)"
        word = "doubles" if days[0] > 0 else "halves"
        low, high = sorted(map(abs, days[1:]))
        pace = f"it {word} in {abs(days[0]):.0f} [{low:.0f}, {high:.0f}] days"
        return f"{pace} (language models: {PAPER} days)"

    def _of(self, results: Results, generation: Generation) -> pd.Series[float]:
        return results.by_seed(ACCURACY, method=generation.name, arm="swarm")

    def _isolated(self, results: Results) -> pd.Series[float]:
        return results.by_seed(ACCURACY, method=GENERATIONS[0].name, arm="isolated")
