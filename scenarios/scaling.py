"""Claim 16: small predicts large.

Scaling laws are fitted to small swarms and small models, and tested on runs ten times as large.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import cache, partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from scenarios import arms
from swarm.common.statistics import Bound, Interval, PowerLaw, interval, power_law
from swarm.experiments.claims.base import Budget, Claim, Condition, Count, Hypothesis, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Mean, Results, Row

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


class Ladders(Claim):
    """A claim that fits a law to each of its ladders, small sizes by seed, and predicts what is
    ``measured`` at ten times the largest size of each: the runs of ``holdout``."""

    measured: ClassVar[str]

    @abstractmethod
    def laws(self, results: Results, ladder: str) -> dict[int, Any]:
        """The law of each seed, whose ``at`` is its value at a size."""

    def predict(self, results: Results) -> dict[str, Any]:
        """For each ladder: the size, the law of every seed and what it predicts, and the mean of
        the predictions with its interval."""
        found = {}
        for ladder, goal in self.goals().items():
            laws = {str(seed): law for seed, law in self.laws(results, ladder).items()}
            said = {seed: float(law.at(goal)) for seed, law in laws.items()}
            each = {s: {self.measured: said[s], "law": law._asdict()} for s, law in laws.items()}
            mean = interval([*said.values()])
            found[ladder] = {"size": goal, self.measured: mean, "by_seed": each}
        return found

    def goals(self) -> dict[str, int]:
        """The size that is predicted for each ladder."""
        return {each.values["ladder"]: each.values["size"] for each in self.holdout()}

    def sizes(self, ladder: str) -> list[int]:
        """The sizes that the law of a ladder is fitted to."""
        return [c.values["size"] for c in self.conditions() if c.values["ladder"] == ladder]

    def by_ladder(self) -> list[dict[str, Any]]:
        """The rows of the table, ladder by ladder."""
        return sorted(self.rows(), key=lambda row: [*self.goals()].index(row["ladder"]))

    def at_goal(self, of: Callable[[str], Interval], *form: Any) -> Mean:
        """A cell with an interval of a ladder, in the row of the size that is predicted."""
        goals = self.goals()

        def shown(row: Row) -> Interval | None:
            return of(row["ladder"]) if row["size"] == goals[row["ladder"]] else None

        return Mean(shown, *form)

    def predicted(self, results: Results, ladder: str) -> Interval:
        """The mean of the predictions, with its interval."""
        laws, goal = self.laws(results, ladder).values(), self.goals()[ladder]
        return interval([float(law.at(goal)) for law in laws])


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
    measured = "loss"

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
                    n_K = np.geomspace(self.sizes(ladder)[0], goal, 60)
                    fits = np.array([law.at(n_K) for law in self.laws(results, ladder).values()])
                    name = "_" if laws else "fitted to the four smaller (mean over seeds)"
                    laws.append(Line.law(name, n_K, fits.mean(0)))
            title = f"{kind[0].upper()}{kind[1:]}: the law and the run ten times as large"
            both, y = [*lines, *laws], "test loss, mean over devices"
            charts.append(Chart(title, x, y, both, log_x=True, log_y=True))
        large = {
            f"{ladder}: {goal:,}": {"ladder": ladder, "size": goal}
            for ladder, goal in self._ladders(results).items()
        }
        rounds = results.by_rounds(LOSS, large, arm="swarm")
        return [*charts, Chart("The large runs", "round", "test loss, mean over devices", rounds)]

    def table(self, results: Results) -> pd.DataFrame:
        def off(how: str) -> Mean:
            return self.at_goal(lambda ladder: self._error(results, ladder, how), 1, 100, "%")

        columns = {
            "test loss": Mean(LOSS, 4),
            "predicted": self.at_goal(partial(self.predicted, results), 4),
            "off by": off("law"),
            "without a floor": off("without a floor"),
            "the last stays": off("the last stays"),
        }
        return results.table(self.by_ladder(), columns, own=("ladder", "size", "arm"))

    # --- ladders ----------------------------------------------------------------------------------

    def _swarm(self, samples: int, devices: int, controls: bool = False) -> Condition:
        changes = gaussians(devices, samples, TEST)
        values = {"ladder": f"{SWARM}, {samples} samples each", "size": devices}
        return Condition.of(values, changes, arms=arms(controls))

    def _model(self, width: int, controls: bool = False) -> Condition:
        changes = generated_digits(width, self.budget.devices, samples=60, rounds=60)
        values = {"ladder": MODEL, "size": 75 * width + 10}
        return Condition.of(values, changes, arms=arms(controls))

    def _ladders(self, results: Results) -> dict[str, int]:
        """The ladders that have results, each with the size that is predicted."""
        there = set(results.finals["ladder"])
        return {ladder: size for ladder, size in self.goals().items() if ladder in there}

    def _losses(self, results: Results, ladder: str, sizes: list[int]) -> pd.DataFrame:
        """The final losses of a ladder: one row per seed, one column per size."""
        where = {"ladder": ladder, "arm": "swarm"}
        return results.by_seed_along(LOSS, "size", sizes, **where).dropna()

    def laws(self, results: Results, ladder: str, floor: bool = True) -> dict[int, PowerLaw]:
        sizes = self.sizes(ladder)
        rows = self._losses(results, ladder, sizes)
        return {
            int(str(seed)): _law(tuple(sizes), tuple(row), floor) for seed, row in rows.iterrows()
        }

    def _error(self, results: Results, ladder: str, how: str = "law") -> Interval:
        """The relative error of the prediction, (predicted − measured) / measured, over seeds."""
        goal, sizes = self.goals()[ladder], self.sizes(ladder)
        if how == "the last stays":
            last = self._losses(results, ladder, sizes)[sizes[-1]]
            said = {int(str(seed)): float(value) for seed, value in last.items()}
        else:
            laws = self.laws(results, ladder, floor=how == "law")
            said = {seed: float(law.at(goal)) for seed, law in laws.items()}
        measured = results.by_seed(LOSS, ladder=ladder, size=goal, arm="swarm")
        return interval(pd.Series(said) / measured - 1)


@cache
def _law(sizes: tuple[int, ...], losses: tuple[float, ...], floor: bool) -> PowerLaw:
    """Remembered, as verdict, charts and every row of the table ask for the same laws, and a fit
    takes a twentieth of a second.
    """
    return power_law(sizes, losses, floor)
