"""Claim 13: large and small models call one another. Small devices of a mixed swarm ask large ones
where they are unsure."""

from __future__ import annotations

from typing import Any, ClassVar

import pandas as pd

from scenarios import arms
from swarm.common.statistics import Bound, Interval, interval
from swarm.experiments.claims.base import Claim, Condition, Hypothesis, SizedBudget, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Results
from swarm.simulation.metrics.asking import suffix

ACCURACY = "accuracy_mean"
TOGETHER, SMALL, LARGE = "together", "small only", "large only"
WIDTHS = {SMALL: 8, LARGE: 256}
SHARE = 0.75  # of the devices that are small
THRESHOLDS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
MARGIN, HALF = 0.01, 0.5
_RULE = (
    f"at the largest threshold at which an answer takes at most {HALF:.0%} of the large model's"
    " FLOP with the 95% interval: confirmed if the accuracy is not"
    f" {MARGIN:.0%} or more below that of large models, and is above that of small ones, each with"
    " the 95% interval; refuted if one of the two differences is on the other side with its"
    " interval, or if no threshold above 0 is so cheap"
)


class Together(Claim):
    """Three quarters of the devices have an MLP with 8 hidden neurons, and a quarter one with 256,
    whose prediction takes 32 times the FLOP. All exchange predictions for shared unlabelled samples
    (FedMD). After the last round every small device answers the test samples, and asks the nearest
    large one where its largest probability is below a threshold. The judged threshold is chosen by
    FLOP alone, not by accuracy. The controls are swarms of the same devices, samples, links and
    rounds, in which all have the small model, or all the large one: these learn from four times the
    samples that the large devices of the mixed swarm hold. The learning rate is the same for all.
    Widths, rate and rounds were tried under seed 100, which no preset uses."""

    hypotheses: ClassVar = (
        Hypothesis(
            13,
            "Small models that ask large ones beat a swarm of either alone.",
            "accuracy of the small devices' answers, asked ones included, against the mean accuracy"
            " of a swarm of large models only, and of one of small models only, paired by seed",
            _RULE,
        ),
        Hypothesis(
            13,
            "A small model that asks a large one is nearly as good for half the computation.",
            "accuracy of the small devices' answers, asked ones included, against that of the large"
            " devices that they ask, and against their own, paired by seed",
            _RULE,
        ),
    )
    untested = (
        "Other exchanges than predictions, other sizes than these two, more than one large model"
        " that is asked, and large models that learn from what small ones ask. The half counts FLOP"
        " of predicting only, and the bytes and the waiting of a call come on top. Other learning"
        " rates are not tried."
    )
    Budget = SizedBudget

    def conditions(self) -> list[Condition]:
        """The mixed swarm, and a swarm of each model."""
        size = self.budget.size(5)
        small = {"devices": SHARE, "model": {"hidden": [WIDTHS[SMALL]]}}
        mixed = {
            "model.hidden": [WIDTHS[LARGE]],
            "cohorts": {"small": small},
            "metrics": ["standard", {"asking": {"thresholds": list(THRESHOLDS)}}],
        }
        swarms: dict[str, dict[str, Any]] = {TOGETHER: mixed}
        swarms |= {name: {"model.hidden": [width]} for name, width in WIDTHS.items()}
        return [
            Condition.of({"models": name}, size, changes, arms=arms(name == LARGE))
            for name, changes in swarms.items()
        ]

    def conclude(self, results: Results) -> list[Verdict]:
        asked = self._asking(results, "asked_accuracy")
        own = self._asking(results, f"accuracy_{suffix(0)}")
        large, small = (self._of_swarm(results, name) for name in (LARGE, SMALL))
        swarms, devices = self.hypotheses
        return [
            self._judged(results, swarms, large, small, "a swarm of large models"),
            self._judged(results, devices, asked, own, "whom they ask"),
        ]

    def _judged(
        self,
        results: Results,
        hypothesis: Hypothesis,
        large: pd.Series[float],
        small: pd.Series[float],
        than: str,
    ) -> Verdict:
        cheap = [t for t in THRESHOLDS if t and self._flops(results, t).below(HALF)]
        if not cheap:
            return hypothesis.verdict(False, "no threshold above 0 takes half the FLOP")
        t = max(cheap)
        mine = self._asking(results, f"accuracy_{suffix(t)}")
        behind, gain = interval(large - mine), interval(mine - small)
        because = (
            f"small models that ask below {t:g} are {gain.text(1, 100)} points above small ones and"
            f" {behind.text(1, 100)} below {than}; an answer takes"
            f" {self._flops(results, t).text(0, 100, '%')} of the large model's FLOP"
        )
        bounds = {"below large": Bound(behind, below=MARGIN), "above small": Bound(gain, above=0)}
        return hypothesis.judged(bounds, because, threshold=t)

    def charts(self, results: Results) -> list[Chart]:
        flops = [self._flops(results, t).mean for t in THRESHOLDS]
        x, y = "FLOP of an answer, share of the large model's", "accuracy"
        lines = [
            self._line(TOGETHER, flops, [f"accuracy_{suffix(t)}" for t in THRESHOLDS], results),
            self._alone(results, SMALL, flops[0]),
            self._alone(results, LARGE, 1.0),
            self._line("large, of the mixed swarm", [1.0], ["asked_accuracy"], results, "points"),
        ]
        ends = [suffix(t) for t in THRESHOLDS]
        calls = [interval(self._asking(results, f"calls_{end}")).mean for end in ends]
        of_calls = self._line(TOGETHER, calls, [f"accuracy_{end}" for end in ends], results)
        return [
            Chart("What an answer takes", x, y, lines, log_x=True),
            Chart("How often a large model is asked", "share of samples", y, [of_calls]),
        ]

    def table(self, results: Results) -> pd.DataFrame:
        least = self._flops(results, 0.0).text(0, 100, "%")
        asking = [
            {
                "answers": f"small, asking below {t:g}",
                "accuracy": interval(self._asking(results, f"accuracy_{suffix(t)}")).text(),
                "asked": interval(self._asking(results, f"calls_{suffix(t)}")).text(0, 100, "%"),
                "FLOP": self._flops(results, t).text(0, 100, "%"),
                "bytes": f"{self._asking(results, f'bytes_{suffix(t)}').mean():.0f}",
            }
            for t in THRESHOLDS
        ]
        alone = [
            {"answers": name, "accuracy": interval(by_seed).text(), "FLOP": flops, "bytes": "0"}
            for name, by_seed, flops in (
                ("large, of the mixed swarm", self._asking(results, "asked_accuracy"), "100%"),
                (SMALL, self._of_swarm(results, SMALL), least),
                (LARGE, self._of_swarm(results, LARGE), "100%"),
            )
        ]
        return pd.DataFrame([*asking, *alone]).fillna("–")

    def _of_swarm(self, results: Results, name: str) -> pd.Series[float]:
        """The accuracy of a swarm of one model, by seed."""
        return results.by_seed(ACCURACY, models=name, arm="swarm")

    def _asking(self, results: Results, key: str) -> pd.Series[float]:
        """A number of the metric, by seed."""
        return results.by_seed(f"asking_{key}", models=TOGETHER)

    def _flops(self, results: Results, threshold: float) -> Interval:
        """FLOP of an answer at a threshold, as a share of the large model's."""
        own, most = (self._asking(results, f"flops_{suffix(t)}") for t in (0.0, 1.0))
        large = (most - own) / self._asking(results, f"calls_{suffix(1.0)}")
        return interval(self._asking(results, f"flops_{suffix(threshold)}") / large)

    def _line(
        self, name: str, x: list[float], keys: list[str], results: Results, kind: Any = "line"
    ) -> Line:
        y = [interval(self._asking(results, key)) for key in keys]
        return Line.through(name, x, y, kind)

    def _alone(self, results: Results, name: str, flops: float) -> Line:
        accuracy = results.mean(ACCURACY, models=name, arm="swarm")
        return Line.through(name, [flops], [accuracy], "points")
