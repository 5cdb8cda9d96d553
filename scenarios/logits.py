"""Claim 1, with devices that exchange predictions: the swarm beats the sum of its devices."""

from __future__ import annotations

from typing import Any, ClassVar

import pandas as pd

from scenarios import CONTROLS, arms
from swarm.common.statistics import Bound, Interval, interval
from swarm.experiments.claims.base import Claim, Condition, Hypothesis, SizedBudget, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Figure, Mean, Only, Results, Row, Text

ACCURACY, BYTES = "accuracy_mean", "bytes_total"
PARAMETERS, LOGITS = "parameters", "logits"
SENT: dict[str, dict[str, Any]] = {
    PARAMETERS: {"protocol": "dpsgd"},
    LOGITS: {"protocol": "fedmd"},
    f"{PARAMETERS}, 8 bits": {"protocol": "dpsgd", "compressor": "qsgd"},
    f"{LOGITS}, 8 bits": {"protocol": "fedmd", "compressor": "qsgd"},
}
ENOUGH = 0.9


class Logits(Claim):
    """Claim 1 as ``swarm_size`` judges it, on real digits with skewed labels (Dirichlet 0.3), with
    devices that send no parameter: FedMD (arXiv 1910.03581) over the links of the graph, with its
    default settings. A fifth of the training samples is shared by all devices without labels, and
    the devices exchange their logits for these. No device and no control learns the labels of these
    samples, whatever is exchanged; the swarm that exchanges parameters (D-PSGD) has no use for
    them. Every arm chooses its own learning rate on the validation split. Samples, local steps and
    rounds are the same for all; the bytes differ, and FedMD computes more, as its devices take
    steps on the shared samples too."""

    hypotheses: ClassVar = (
        Hypothesis(
            1,
            "The swarm beats the sum of its devices, also if they exchange predictions only.",
            "share of the gap in final accuracy between isolated devices and the centralised model"
            " that the swarm closes, FedMD, skewed labels, paired by seed",
            f"confirmed if it is above {ENOUGH:.0%} with its 95% interval; refuted if it is below"
            f" {ENOUGH:.0%} with it",
        ),
    )
    untested = (
        "Other sizes than 64 devices, and other numbers of shared samples than a fifth of the "
        "training samples, which nobody learns the labels of (the controls neither); shared "
        "samples from elsewhere; devices with models of different shapes, for which predictions "
        "are made; other temperatures, steps and kinds of predictions than the protocol's "
        "defaults. Rounds are equal, computation is not."
    )
    Budget = SizedBudget

    def conditions(self) -> list[Condition]:
        """Each kind of message; the controls run once, beside the parameters."""
        size = self.budget.size()
        return [
            Condition.of({"sent": name}, size, changes, arms=arms(name == PARAMETERS))
            for name, changes in SENT.items()
        ]

    def conclude(self, results: Results) -> list[Verdict]:
        closed = {name: self._closed(results, name) for name in SENT}
        behind = results.difference(ACCURACY, _of(LOGITS), _of(PARAMETERS))
        share = self._bytes(results, LOGITS) / self._bytes(results, PARAMETERS)
        because = (
            f"exchanging logits, {self.budget.devices} devices close"
            f" {closed[LOGITS].text(1, 100, '%')} of the gap; exchanging parameters they close"
            f" {closed[PARAMETERS].text(1, 100, '%')}, with {1 / share:.1f} times the bytes"
        )
        figures: dict[str, Any] = {"gap_closed": closed, "bytes": share}
        figures["logits minus parameters"] = behind
        bounds = {"share of the gap": Bound(closed[LOGITS], above=ENOUGH)}
        return [self.hypotheses[0].judged(bounds, because, **figures)]

    def charts(self, results: Results) -> list[Chart]:
        lines = {name: _of(name) for name in (PARAMETERS, LOGITS)}
        lines |= {arm: _of(PARAMETERS, arm) for arm in CONTROLS}
        curves = results.by_rounds(ACCURACY, lines)
        points = [self._point(results, name) for name in SENT]
        title = f"{self.budget.devices} devices with skewed labels"
        return [
            Chart(title, "round", "accuracy, mean over devices", curves),
            Chart("Accuracy against what was sent", "MB sent by all devices",
                  "final accuracy, mean over devices", points, log_x=True),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        def sent(row: Row) -> float:
            return self._bytes(results, row["sent"]) if row["arm"] == "swarm" else 0.0

        columns = {
            "sent": Text("{sent}", arm="swarm", otherwise="nothing ({arm})"),
            "accuracy": Mean(ACCURACY),
            "worst decile": Mean("accuracy_p10"),
            "vote": Mean("ensemble_accuracy"),
            "gap closed": Only(
                Mean(lambda row: self._closed(results, row["sent"]), 1, 100, "%"), arm="swarm"
            ),
            "MB sent": Figure(sent, ".0f", per=1e6),
        }
        return results.table(self.rows(controls_last=True), columns)

    def _closed(self, results: Results, name: str) -> Interval:
        """The share of the gap that a swarm with these messages closes."""
        swarm = results.by_seed(ACCURACY, **_of(name))
        alone, together = (results.by_seed(ACCURACY, **_of(PARAMETERS, arm)) for arm in CONTROLS)
        return interval((swarm - alone) / (together - alone))

    def _bytes(self, results: Results, name: str) -> float:
        return results.mean(BYTES, **_of(name)).mean

    def _point(self, results: Results, name: str) -> Line:
        megabytes = self._bytes(results, name) / 1e6
        return Line.through(name, [megabytes], [results.mean(ACCURACY, **_of(name))], "points")


def _of(name: str, arm: str = "swarm") -> dict[str, str]:
    """The values of an arm beside these messages."""
    return {"sent": name, "arm": arm}
