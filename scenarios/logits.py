"""Claim 1, with devices that exchange predictions: the swarm beats the sum of its devices."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd

from swarm.common.statistics import Bound, Interval, interval
from swarm.experiments.claims.base import Budget, Claim, Condition, Count, Hypothesis, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Results

ACCURACY, BYTES = "accuracy_mean", "bytes_total"
CONTROLS = ("isolated", "centralised")
PARAMETERS, LOGITS = "parameters", "logits"
SENT: dict[str, dict[str, Any]] = {
    PARAMETERS: {"protocol": "dpsgd"},
    LOGITS: {"protocol": "fedmd"},
    f"{PARAMETERS}, 8 bits": {"protocol": "dpsgd", "compressor": "qsgd"},
    f"{LOGITS}, 8 bits": {"protocol": "fedmd", "compressor": "qsgd"},
}
ENOUGH = 0.9


class LogitsBudget(Budget):
    """The number of devices and rounds, which are the same for every kind of message."""

    devices: Count
    rounds: Count


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
    Budget = LogitsBudget

    def conditions(self) -> list[Condition]:
        """Each kind of message; the controls run once, beside the parameters."""
        b = self.budget
        size = {"devices": b.devices, "rounds": b.rounds, "evaluate.every": max(1, b.rounds // 10)}
        return [
            Condition(
                {"sent": name},
                {
                    **size,
                    **changes,
                    "scenario.arms": ["swarm", *(CONTROLS if name == PARAMETERS else ())],
                },
            )
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
        curves = [results.by_round(ACCURACY, name, **_of(name)) for name in (PARAMETERS, LOGITS)]
        curves += [results.by_round(ACCURACY, arm, sent=PARAMETERS, arm=arm) for arm in CONTROLS]
        points = [self._point(results, name) for name in SENT]
        title = f"{self.budget.devices} devices with skewed labels"
        return [
            Chart(title, "round", "accuracy, mean over devices", curves),
            Chart(
                "Accuracy against what was sent",
                "MB sent by all devices",
                "final accuracy, mean over devices",
                points,
                log_x=True,
            ),
        ]

    def table(self, results: Results) -> pd.DataFrame:
        rows = []
        for name, arm in [*((name, "swarm") for name in SENT), *((arm, arm) for arm in CONTROLS)]:
            swarm = arm == "swarm"
            where = _of(name) if swarm else {"sent": PARAMETERS, "arm": arm}
            megabytes = self._bytes(results, name) / 1e6 if swarm else 0.0
            rows.append(
                {
                    "sent": name if swarm else f"nothing ({arm})",
                    "accuracy": results.mean(ACCURACY, **where).text(),
                    "worst decile": results.mean("accuracy_p10", **where).text(),
                    "vote": results.mean("ensemble_accuracy", **where).text(),
                    "gap closed": self._closed(results, name).text(1, 100, "%") if swarm else "–",
                    "MB sent": f"{megabytes:.0f}",
                }
            )
        return pd.DataFrame(rows)

    def _closed(self, results: Results, name: str) -> Interval:
        """The share of the gap that a swarm with these messages closes."""
        swarm = results.by_seed(ACCURACY, **_of(name))
        alone, together = (results.by_seed(ACCURACY, sent=PARAMETERS, arm=arm) for arm in CONTROLS)
        return interval(((swarm - alone) / (together - alone)).dropna().to_numpy())

    def _bytes(self, results: Results, name: str) -> float:
        return results.mean(BYTES, **_of(name)).mean

    def _point(self, results: Results, name: str) -> Line:
        y = results.mean(ACCURACY, **_of(name))
        megabytes = self._bytes(results, name) / 1e6
        x_1, y_1, low_1, high_1 = (np.array([value]) for value in (megabytes, *y))
        return Line(name, x_1, y_1, low_1, high_1, "points")


def _of(name: str) -> dict[str, str]:
    """The values of the swarm with these messages."""
    return {"sent": name, "arm": "swarm"}
