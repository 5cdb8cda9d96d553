"""Claim 16: small predicts large.

Scaling laws are fitted to small swarms and small models, and tested on runs ten times as large.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any, ClassVar

import pandas as pd

from scenarios import arms
from swarm.common.statistics import Bound, Interval, PowerLaw, interval, power_law
from swarm.experiments.claims.base import Budget, Condition, Count, Hypothesis, Verdict
from swarm.experiments.claims.charts import Chart
from swarm.experiments.claims.results import Mean, Results
from swarm.experiments.claims.shared.ladders import Ladders

LOSS = "loss_mean"
TEN, AIM = 10, 0.05
TEST = 4000  # test samples of every swarm, whatever its size
VALIDATION = 400  # on which the centralised control chooses its batch size
SWARM, MODEL = "swarm size", "model size"
LAW = "law"
SIMPLER = NO_FLOOR, STAYS = "without a floor", "the last stays"
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


def gaussians(devices: int, samples: int, test: int) -> dict[str, Any]:
    """The settings of a swarm that learns a mixture of Gaussians from ``samples`` a device. Samples
    to ``test`` and to validate are as many in all swarms."""
    tests, validations = (-(-count // devices) for count in (test, VALIDATION))
    each = samples + tests + validations
    return {
        "data": "gaussian",
        "data.per_device": each,
        "data.test": tests / each,
        "data.validation": validations / each,
        "partition": "iid",
        "model": "softmax",
        "optimizer.lr": 0.3,
        "devices": devices,
        "rounds": 100,
        "train.batch": 10,
        "train.local_steps": 1,
        "evaluate.devices": min(devices, 64),
    }


def generated_digits(width: int, devices: int, samples: int, rounds: int) -> dict[str, Any]:
    """The settings of models with ``width`` hidden tanh units that learn ``samples`` a device."""
    return {
        "data": "digits_like",
        "data.per_device": samples,
        "partition": "iid",
        "model": "mlp",
        "model.hidden": [width],
        "model.activation": "tanh",
        "optimizer.lr": 0.5,
        "devices": devices,
        "rounds": rounds,
        "train.batch": 16,
        "train.local_steps": 2,
    }


class Scaling(Ladders):
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
    arm, metric, measured = "swarm", LOSS, "loss"

    def conditions(self) -> list[Condition]:
        """The ladders, with both controls at the largest size of each."""
        b = self.budget
        swarms = [self._swarm(t, n, arms(n == max(b.sizes))) for t in b.samples for n in b.sizes]
        return swarms + [self._model(width, arms(width == max(b.widths))) for width in b.widths]

    def holdout(self) -> list[Condition]:
        """The runs at ten times the largest size of each ladder."""
        b = self.budget
        swarms = [self._swarm(t, TEN * max(b.sizes), arms(False)) for t in b.samples]
        return [*swarms, self._model(TEN * max(b.widths), arms(False))]

    def _swarm(self, samples: int, devices: int, arms: Sequence[str]) -> Condition:
        values = {"ladder": f"{SWARM}, {samples} samples each", "size": devices}
        return Condition.of(values, gaussians(devices, samples, TEST), arms=arms)

    def _model(self, width: int, arms: Sequence[str]) -> Condition:
        values = {"ladder": MODEL, "size": 75 * width + 10}
        changes = generated_digits(width, self.budget.devices, samples=60, rounds=60)
        return Condition.of(values, changes, arms=arms)

    def conclude(self, results: Results) -> list[Verdict]:
        verdicts = []
        for hypothesis, kind in zip(self.hypotheses, (SWARM, MODEL), strict=True):
            errors = {it: self._error(results, it) for it in self._ladders(results, kind)}
            bounds = {name: Bound(error, above=-AIM, below=AIM) for name, error in errors.items()}
            parts = [f"by {error.text(1, 100, '%')} for {it}" for it, error in errors.items()]
            others = "; ".join(
                f"{how} {interval([self._error(results, it, how).mean for it in errors]).mean:+.1%}"
                for how in SIMPLER
            )
            because = (
                f"the prediction is off {'; '.join(parts)} (simpler predictions, on average:"
                f" {others})"
            )
            verdicts.append(hypothesis.judged(bounds, because))
        return verdicts

    def charts(self, results: Results) -> list[Chart]:
        charts, y = [], "test loss, mean over devices"
        for kind, x in ((SWARM, "devices"), (MODEL, "parameters")):
            ladders = {name: {"ladder": name} for name in self._ladders(results, kind)}
            measured = results.lines_along(LOSS, "size", ladders, arm="swarm")
            names = ["fitted to the four smaller (mean over seeds)", *["_"] * len(ladders)]
            laws = [self.fitted(results, *each) for each in zip(ladders, names, strict=False)]
            title = f"{kind.capitalize()}: the law and the run ten times as large"
            charts.append(Chart(title, x, y, [*measured, *laws], log_x=True, log_y=True))
        large = {
            f"{ladder}: {goal:,}": {"ladder": ladder, "size": goal}
            for ladder, goal in self.goals().items()
            if ladder in self._ladders(results)
        }
        rounds = results.by_rounds(LOSS, large, arm="swarm")
        return [*charts, Chart("The large runs", "round", y, rounds)]

    def table(self, results: Results) -> pd.DataFrame:
        def off(how: str) -> Mean:
            return self.at_goal(lambda ladder: self._error(results, ladder, how), 1, 100, "%")

        columns = {
            "test loss": Mean(LOSS, 4),
            "predicted": self.at_goal(partial(self.predicted, results), 4),
            "off by": off(LAW),
            **{how: off(how) for how in SIMPLER},
        }
        return results.table(self.by_ladder(), columns, own=("ladder", "size", "arm"))

    def _ladders(self, results: Results, kind: str = "") -> list[str]:
        """The ladders of a kind that have results."""
        there = set(results.finals.get("ladder", ()))
        return [each for each in self.goals() if each in there and each.startswith(kind)]

    def laws(self, results: Results, ladder: str, floor: bool = True) -> dict[int, PowerLaw]:
        rows = self.small(results, ladder)
        sizes = tuple(rows.columns)
        return {int(str(seed)): _law(sizes, tuple(row), floor) for seed, row in rows.iterrows()}

    def _error(self, results: Results, ladder: str, how: str = LAW) -> Interval:
        """The relative error of the prediction, (predicted − measured) / measured, over seeds."""
        if how == STAYS:
            said = self.small(results, ladder).iloc[:, -1]
        else:
            said = self.said(self.laws(results, ladder, floor=how == LAW), ladder)
        return interval(said / self.large(results, ladder) - 1)


@cache
def _law(sizes: tuple[int, ...], losses: tuple[float, ...], floor: bool) -> PowerLaw:
    """Remembered, as verdict, charts and every row of the table ask for the same laws, and a fit
    takes a twentieth of a second.
    """
    return power_law(sizes, losses, floor)
