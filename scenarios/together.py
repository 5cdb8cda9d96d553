"""Claim 13: large and small models call one another. Small devices of a mixed swarm ask large ones
where they are unsure."""

from __future__ import annotations

from typing import Any, ClassVar

import pandas as pd

from scenarios import arms
from swarm.common.statistics import Bound, interval
from swarm.experiments.claims.base import Claim, Condition, Hypothesis, SizedBudget, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Figure, Mean, Results, Text
from swarm.experiments.claims.shared.derived import assigned, unfolded
from swarm.simulation.metrics.asking import suffix

ACCURACY = "accuracy_mean"
TOGETHER, SMALL, LARGE = "together", "small only", "large only"
WIDTHS = {SMALL: 8, LARGE: 256}
SHARE = 0.75  # of the devices that are small
THRESHOLDS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
MIXED = "large, of the mixed swarm"
ALONE = {
    SMALL: {"metric": ACCURACY, "models": SMALL, "arm": "swarm"},
    LARGE: {"metric": ACCURACY, "models": LARGE, "arm": "swarm"},
    MIXED: {"metric": "asking_asked_accuracy", "models": TOGETHER, "arm": "swarm"},
}
ASKING = {t: {"models": TOGETHER, "threshold": t} for t in THRESHOLDS}
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
        mixed: dict[str, Any] = {
            "model.hidden": [WIDTHS[LARGE]],
            "cohorts": {"small": {"devices": SHARE, "model": {"hidden": [WIDTHS[SMALL]]}}},
            "metrics": ["standard", {"asking": {"thresholds": list(THRESHOLDS)}}],
        }
        alone = {name: {"model.hidden": [width]} for name, width in WIDTHS.items()}
        return [
            Condition.of({"models": name}, self.budget.size(5), changes, arms=arms(name == LARGE))
            for name, changes in {TOGETHER: mixed, **alone}.items()
        ]

    def conclude(self, results: Results) -> list[Verdict]:
        asked = _asked(results)
        flops = {t: asked.mean("flops", **row) for t, row in ASKING.items()}
        cheap = [t for t in THRESHOLDS if t and flops[t].below(HALF)]
        if not cheap:
            because = "no threshold above 0 takes half the FLOP"
            return [hypothesis.verdict(False, because) for hypothesis in self.hypotheses]
        t = max(cheap)
        mine, own = (asked.by_seed("accuracy", **ASKING[each]) for each in (t, 0.0))
        small, large, whom = (results.by_seed(**each) for each in ALONE.values())
        than = {"a swarm of large models": (large, small), "whom they ask": (whom, own)}
        verdicts = []
        for hypothesis, (others, (more, less)) in zip(self.hypotheses, than.items(), strict=True):
            behind, gain = interval(more - mine), interval(mine - less)
            because = (
                f"small models that ask below {t:g} are {gain.text(1, 100)} points above small ones"
                f" and {behind.text(1, 100)} below {others}; an answer takes"
                f" {flops[t].text(0, 100, '%')} of the large model's FLOP"
            )
            both = {"below large": Bound(behind, below=MARGIN), "above small": Bound(gain, above=0)}
            verdicts.append(hypothesis.judged(both, because, threshold=t))
        return verdicts

    def charts(self, results: Results) -> list[Chart]:
        asked = _asked(results)
        flops, calls = (
            [asked.mean(key, **row).mean for row in ASKING.values()] for key in ("flops", "calls")
        )
        right = [asked.mean("accuracy", **row) for row in ASKING.values()]
        alone = [
            Line.through(name, [share], [results.mean(**ALONE[name])], "points")
            for name, share in {SMALL: flops[0], LARGE: 1.0, MIXED: 1.0}.items()
        ]
        of_flops, of_calls = (Line.through(TOGETHER, x, right) for x in (flops, calls))
        return [
            Chart("What an answer takes", "FLOP of an answer, share of the large model's",
                  "accuracy", [of_flops, *alone], log_x=True),
            Chart("How often a large model is asked", "share of samples", "accuracy", [of_calls]),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        columns = {
            "answers": Text("small, asking below {threshold:g}"),
            "accuracy": Mean("accuracy"),
            "asked": Mean("calls", 0, 100, "%"),
            "FLOP": Mean("flops", 0, 100, "%"),
            "bytes": Figure("bytes", ".0f"),
        }
        asking = _asked(results).table(ASKING.values(), columns)
        flops = {MIXED: "100%", SMALL: asking["FLOP"][0], LARGE: "100%"}
        alone = [
            {"answers": name, "accuracy": results.mean(**ALONE[name]).text(), "FLOP": share,
             "bytes": "0"}
            for name, share in flops.items()
        ]  # fmt: skip
        return pd.concat([asking, pd.DataFrame(alone)]).fillna("–")


def _asked(results: Results) -> Results:
    """The answers of small devices, with a row for each threshold below which they ask. Their FLOP
    are a share of the large model's, which are those of asking for all less those for nothing."""
    keys = ("accuracy", "calls", "flops", "bytes")
    called = {t: {key: f"asking_{key}_{suffix(t)}" for key in keys} for t in THRESHOLDS}
    ends = {
        "own": called[0.0]["flops"],
        "most": called[1.0]["flops"],
        "asked": called[1.0]["calls"],
    }
    found = unfolded(results, "threshold", {t: names | ends for t, names in called.items()})
    return assigned(found, flops=lambda it: it["flops"] / ((it["most"] - it["own"]) / it["asked"]))
