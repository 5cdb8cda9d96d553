"""Claim 16: small predicts large.

Scaling laws are fitted to small swarms and small models, and tested on runs ten times as large.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from swarm.common.statistics import Bound, Interval, PowerLaw, interval, power_law
from swarm.experiments.claims.base import Budget, Claim, Condition, Count, Hypothesis, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Results

LOSS = "loss_mean"
TEN, AIM = 10, 0.05
TEST = 4000  # test samples of every swarm, whatever its size
VALIDATION = 400  # on which the centralised control chooses its batch size
SWARM, MODEL = "swarm size", "model size"
RULE = (
    f"confirmed if the error is within ±{AIM:.0%} with its 95% interval over seeds, on every"
    " ladder; refuted if on one of them the whole interval is outside"
)


class ScalingBudget(Budget):
    """``sizes`` are the numbers of devices of four swarms; ``samples`` are training samples a
    device, with one ladder of swarms for each; ``widths`` are the hidden units of four models,
    which ``devices`` devices train. Each ladder is then tried at ten times its largest size."""

    sizes: list[Count]
    samples: list[Count]
    widths: list[Count]
    devices: Count


class Scaling(Claim):
    """For each seed and each ladder ``a·n^−b + c`` is fitted to the test loss at four sizes (n
    devices, or n parameters), and predicts the loss at ten times the largest size. The predictions
    of all seeds, with their mean and its interval, are written to ``prediction.json``; only then
    are the large runs started.

    Swarms learn a mixture of Gaussians, with the same task and as many test samples at every size.
    How steep the law is depends on the number of samples of a device, so there are three ladders.
    Models are networks with one hidden layer of tanh units (with four ReLU units, the number of
    dead ones would decide) on generated digits.

    The law is compared with two simpler predictions: the same law without the floor c, and the loss
    at the largest size fitted.
    """

    hypotheses: ClassVar = (
        Hypothesis(
            16,
            "Small predicts large: runs of small swarms predict one of ten times as many devices.",
            "error of the predicted test loss, mean over devices, as a share of the measured one;"
            " for each seed",
            RULE,
        ),
        Hypothesis(
            16,
            "Small predicts large: runs of small models predict one of ten times as many"
            " parameters.",
            "error of the predicted test loss, mean over devices, as a share of the measured one;"
            " for each seed",
            RULE,
            chart=2,
        ),
    )
    untested = (
        "Sizes beyond ten times the largest; tasks other than one mixture of Gaussians and one of "
        "digits. Errors are averaged with their signs over seeds: a single prediction is off by "
        "more. Eighty seeds leave one ladder undecided, as its error lies at the threshold."
    )
    Budget = ScalingBudget

    def conditions(self) -> list[Condition]:
        """The ladders, with both controls at the largest size of each."""
        b = self.budget
        found = [self._swarm(t, n, controls=n == max(b.sizes)) for t in b.samples for n in b.sizes]
        return found + [self._model(width, controls=width == max(b.widths)) for width in b.widths]

    def holdout(self) -> list[Condition]:
        """The runs at ten times the largest size of each ladder."""
        b = self.budget
        return [
            *(self._swarm(t, TEN * max(b.sizes)) for t in b.samples),
            self._model(TEN * max(b.widths)),
        ]

    def predict(self, results: Results) -> dict[str, Any]:
        """For each ladder: the size, the law of every seed and the loss that it predicts, and the
        mean of these losses with its interval.
        """
        found = {}
        for ladder, goal in self._ladders(results).items():
            laws = self._laws(results, ladder)
            said = {seed: float(law.at(goal)) for seed, law in laws.items()}
            found[ladder] = {
                "size": goal,
                "loss": interval([*said.values()]),
                "by_seed": {
                    str(seed): {"loss": said[seed], "law": law._asdict()}
                    for seed, law in laws.items()
                },
            }
        return found

    def conclude(self, results: Results) -> list[Verdict]:
        errors = {ladder: self._error(results, ladder) for ladder in self._ladders(results)}
        verdicts = []
        for hypothesis, kind in zip(self.hypotheses, (SWARM, MODEL), strict=True):
            mine = {ladder: error for ladder, error in errors.items() if ladder.startswith(kind)}
            bounds = {name: Bound(error, above=-AIM, below=AIM) for name, error in mine.items()}
            parts = [f"by {error.text(1, 100, '%')} for {ladder}" for ladder, error in mine.items()]
            others = "; ".join(
                f"{name} {interval([self._error(results, it, name).mean for it in mine]).mean:+.1%}"
                for name in ("without a floor", "the last stays")
            )
            because = (
                f"the prediction is off {'; '.join(parts)} (simpler predictions, on average:"
                f" {others})"
            )
            verdicts.append(hypothesis.judged(bounds, because))
        return verdicts

    def charts(self, results: Results) -> list[Chart]:
        charts = []
        for kind, x in ((SWARM, "devices"), (MODEL, "parameters")):
            lines: list[Line] = []
            laws: list[Line] = []
            for ladder, goal in self._ladders(results).items():
                if ladder.startswith(kind):
                    lines.append(results.along(LOSS, "size", ladder, ladder=ladder, arm="swarm"))
                    n_K = np.geomspace(self._sizes(results, ladder)[0], goal, 60)
                    fits = np.array([law.at(n_K) for law in self._laws(results, ladder).values()])
                    laws.append(
                        Line.law("fitted to the four smaller (mean over seeds)", n_K, fits.mean(0))
                    )
            laws = laws[:1] + [Line.law("_", law.x_K, law.y_K) for law in laws[1:]]
            title = f"{kind[0].upper()}{kind[1:]}: the law and the run ten times as large"
            charts.append(
                Chart(
                    title,
                    x,
                    "test loss, mean over devices",
                    [*lines, *laws],
                    log_x=True,
                    log_y=True,
                )
            )
        rounds = [
            results.by_round(LOSS, f"{ladder}: {goal:,}", ladder=ladder, size=goal, arm="swarm")
            for ladder, goal in self._ladders(results).items()
        ]
        return [*charts, Chart("The large runs", "round", "test loss, mean over devices", rounds)]

    def table(self, results: Results) -> pd.DataFrame:
        rows = []
        for ladder, goal in self._ladders(results).items():
            for size in [*self._sizes(results, ladder), goal]:
                for arm in ("swarm", "isolated", "centralised"):
                    loss = results.mean(LOSS, ladder=ladder, size=size, arm=arm)
                    if not math.isnan(loss.mean):
                        said = interval(
                            [float(law.at(goal)) for law in self._laws(results, ladder).values()]
                        )
                        large = size == goal
                        rows.append(
                            {
                                "ladder": ladder,
                                "size": size,
                                "arm": arm,
                                "test loss": loss.text(4),
                                "predicted": said.text(4) if large else "–",
                                "off by": (
                                    self._error(results, ladder).text(1, 100, "%") if large else "–"
                                ),
                                "without a floor": (
                                    self._off(results, ladder, "without a floor") if large else "–"
                                ),
                                "the last stays": (
                                    self._off(results, ladder, "the last stays") if large else "–"
                                ),
                            }
                        )
        return pd.DataFrame(rows)

    # --- ladders ----------------------------------------------------------------------------------

    def _swarm(self, samples: int, devices: int, controls: bool = False) -> Condition:
        test, validation = (-(-count // devices) for count in (TEST, VALIDATION))
        each = samples + test + validation
        changes: dict[str, Any] = {
            "data": "gaussian",
            "data.per_device": each,
            "data.test": test / each,
        }
        changes |= {
            "data.validation": validation / each,
            "partition": "iid",
            "model": "softmax",
            "optimizer.lr": 0.3,
        }
        changes |= {"devices": devices, "rounds": 100, "train.batch": 10, "train.local_steps": 1}
        values = {"ladder": f"{SWARM}, {samples} samples each", "size": devices}
        return Condition(
            values, {**changes, **_arms(controls), "evaluate.devices": min(devices, 64)}
        )

    def _model(self, width: int, controls: bool = False) -> Condition:
        changes: dict[str, Any] = {
            "data": "digits_like",
            "data.per_device": 60,
            "partition": "iid",
            "model": "mlp",
        }
        changes |= {
            "model.hidden": [width],
            "model.activation": "tanh",
            "optimizer.lr": 0.5,
            "rounds": 60,
        }
        changes |= {"devices": self.budget.devices, "train.batch": 16, "train.local_steps": 2}
        return Condition({"ladder": MODEL, "size": 75 * width + 10}, {**changes, **_arms(controls)})

    def _ladders(self, results: Results) -> dict[str, int]:
        """The ladders that have results, each with the size that is predicted."""
        found = {
            condition.values["ladder"]: condition.values["size"] for condition in self.holdout()
        }
        return {
            ladder: size
            for ladder, size in found.items()
            if ladder in set(results.finals["ladder"])
        }

    def _sizes(self, results: Results, ladder: str) -> list[int]:
        return [c.values["size"] for c in self.conditions() if c.values["ladder"] == ladder]

    def _losses(self, results: Results, ladder: str, sizes: list[int]) -> pd.DataFrame:
        """The final losses of a ladder: one row per seed, one column per size."""
        return pd.DataFrame(
            {n: results.by_seed(LOSS, ladder=ladder, size=n, arm="swarm") for n in sizes}
        ).dropna()

    def _laws(self, results: Results, ladder: str, floor: bool = True) -> dict[int, PowerLaw]:
        sizes = self._sizes(results, ladder)
        rows = self._losses(results, ladder, sizes)
        return {
            int(str(seed)): _law(tuple(sizes), tuple(row), floor) for seed, row in rows.iterrows()
        }

    def _error(self, results: Results, ladder: str, how: str = "law") -> Interval:
        """The relative error of the prediction, (predicted − measured) / measured, over seeds."""
        goal, sizes = self._ladders(results)[ladder], self._sizes(results, ladder)
        if how == "the last stays":
            last = self._losses(results, ladder, sizes)[sizes[-1]]
            said = {int(str(seed)): float(value) for seed, value in last.items()}
        else:
            laws = self._laws(results, ladder, floor=how == "law")
            said = {seed: float(law.at(goal)) for seed, law in laws.items()}
        measured = results.by_seed(LOSS, ladder=ladder, size=goal, arm="swarm")
        return interval(
            [
                said[int(str(seed))] / loss - 1
                for seed, loss in measured.items()
                if int(str(seed)) in said
            ]
        )

    def _off(self, results: Results, ladder: str, how: str) -> str:
        return self._error(results, ladder, how).text(1, 100, "%")


@cache
def _law(sizes: tuple[int, ...], losses: tuple[float, ...], floor: bool) -> PowerLaw:
    """Remembered, as verdict, charts and every row of the table ask for the same laws, and a fit
    takes a twentieth of a second.
    """
    return power_law(sizes, losses, floor)


def _arms(controls: bool) -> dict[str, Any]:
    return {"scenario.arms": ["swarm", "isolated", "centralised"] if controls else ["swarm"]}
