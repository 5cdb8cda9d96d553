"""Claim 16 by the method of its source: small predicts large, for how often tasks are passed.

Passing laws are fitted to small swarms and small models, and tested on runs ten times as large.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scenarios import arms
from scenarios.scaling import MODEL, SWARM, TEN, gaussians, generated_digits
from swarm.common.statistics import Bound, Interval, PassingLaw, interval, passing_law, power_law
from swarm.config.build import option
from swarm.experiments.claims.base import Budget, Condition, Count, Hypothesis, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Mean, Results
from swarm.experiments.claims.shared.ladders import Ladders

RATE, EXACT = "passing_mean", "passing_exact_mean"
AIM = 0.05
ANSWERS, TASKS = 10, 36  # of a task, and as many tasks as 360 real test digits suffice for
SAMPLES = 10  # training samples of a device of a swarm
TEST = 2000  # test samples of every swarm, whatever its size
LAW, STAYS, FLOOR = "law", "the last stays", "with a floor"  # by what the large run is predicted
METRIC = (
    "passing rate, by PassUntil, mean over devices and tasks; for each seed the rate that"
    " exp(−c·n^−α) predicts, less the measured one"
)
RULE = (
    f"confirmed if the error is within ±{100 * AIM:.0f} points with its 95% interval over seeds;"
    " refuted if the whole interval is outside"
)


class PassingBudget(Budget):
    """``sizes`` are the numbers of devices of the swarms, ``widths`` the hidden units of the
    models, which ``devices`` devices train. Each ladder is then tried at ten times its largest
    size."""

    sizes: list[Count]
    widths: list[Count]
    devices: Count


class Passing(Ladders):
    """A task is a row of ten test samples, and is passed by whoever answers all of them right, each
    answer being drawn from the device's own probabilities: of images, a number of ten digits that
    is read exactly. The smallest models pass one attempt in hundreds or thousands, so that a few
    attempts would not see them improve; PassUntil tries until ten attempts have passed, or 5,000
    were made, and is unbiased (arXiv 2310.03262).

    Models with one hidden layer of tanh units learn generated digits, 300 on each device. Swarms
    learn a mixture of Gaussians, ten samples on each device, with softmax regression.

    The paper's law of a task is ``exp(−c·n^−α)``: log(−log rate) falls in a straight line with log
    n. For each seed it is fitted to the mean rate of the tasks at four sizes (n devices, or n
    parameters), and predicts the rate at ten times the largest. The predictions of all seeds are
    written to ``prediction.json``; only then are the large runs started.

    It is compared with three other predictions: that the rate at the largest size fitted stays,
    the same law with a floor, ``exp(−c·n^−α − f)``, and the law fitted to the rates that follow
    from the models' probabilities, which PassUntil does not know.
    """

    hypotheses: ClassVar = (
        Hypothesis(
            16,
            "Small predicts large: passing rates of small swarms predict that of ten times as many"
            " devices.",
            METRIC,
            RULE,
        ),
        Hypothesis(
            16,
            "Small predicts large: passing rates of small models predict that of ten times as many"
            " parameters.",
            METRIC,
            RULE,
            chart=2,
        ),
    )
    untested = (
        "Tasks other than ten answers in a row; other models and data; language models, for which "
        "the law was found. Errors are averaged with their signs over seeds: a single "
        "prediction is off by more."
    )
    Budget = PassingBudget
    arm, metric, measured = "swarm", RATE, "rate"

    def conditions(self) -> list[Condition]:
        """The ladders, with both controls at the largest size of each."""
        b = self.budget
        return [
            *(self._swarm(n, controls=n == max(b.sizes)) for n in b.sizes),
            *(self._model(width, controls=width == max(b.widths)) for width in b.widths),
        ]

    def holdout(self) -> list[Condition]:
        """The runs at ten times the largest size of each ladder."""
        b = self.budget
        return [self._swarm(TEN * max(b.sizes)), self._model(TEN * max(b.widths))]

    def conclude(self, results: Results) -> list[Verdict]:
        verdicts = []
        for hypothesis, ladder in zip(self.hypotheses, (SWARM, MODEL), strict=True):
            error, stays, floor = (self._error(results, ladder, how) for how in (LAW, STAYS, FLOOR))
            alpha = interval([law.alpha for law in self.laws(results, ladder).values()])
            bend = self._bend(results, ladder)
            because = (
                f"the predicted rate is off by {error.text(1, 100)} points for {ladder}; if the"
                f" last stayed, by {stays.text(1, 100)}, and with a floor by"
                f" {floor.text(1, 100)}; α is {alpha.text(2)}, and at ten times the size"
                f" log(−log rate) is {bend.text(2)} above the line"
            )
            bounds = {"error": Bound(error, above=-AIM, below=AIM)}
            figures: dict[str, Any] = {"stays": stays, "floor": floor, "alpha": alpha, "bend": bend}
            verdicts.append(hypothesis.judged(bounds, because, **figures))
        return verdicts

    def charts(self, results: Results) -> list[Chart]:
        charts, lines, laws = [], [], []
        for ladder, x in ((SWARM, "devices"), (MODEL, "parameters")):
            line = results.along(RATE, "size", "measured", ladder=ladder, arm="swarm")
            law = self.fitted(results, ladder, "fitted to the four smaller (mean over seeds)")
            title = f"{ladder.capitalize()}: the law and the run ten times as large"
            charts.append(Chart(title, x, "passing rate", [line, law], log_x=True))
            smallest = self.sizes(ladder)[0]
            y_K, low_K, high_K = map(_exponent, (line.y_K, line.high_K, line.low_K))
            lines.append(Line(ladder, line.x_K / smallest, y_K, low_K, high_K, "points"))
            laws.append(Line.law(f"law of {ladder}", law.x_K / smallest, _exponent(law.y_K)))
        title, x = "Where the law holds, this is a straight line", "size, by the smallest"
        both, y = [*lines, *laws], "−log of the passing rate"
        return [*charts, Chart(title, x, y, both, log_x=True, log_y=True)]

    def table(self, results: Results) -> pd.DataFrame:
        def off(how: str, metric: str = RATE) -> Mean:
            return self.at_goal(lambda ladder: self._error(results, ladder, how, metric), 1, 100)

        columns = {
            "passing rate": Mean(RATE, 4),
            "from probabilities": Mean(EXACT, 4),
            "accuracy": Mean("accuracy_mean"),
            "predicted": self.at_goal(partial(self.predicted, results), 4),
            "off by (points)": off(LAW),
            "if the last stayed": off(STAYS),
            "with a floor": off(FLOOR),
            "with exact rates": off(LAW, EXACT),
        }
        return results.table(self.by_ladder(), columns, own=("ladder", "size", "arm"))

    # --- ladders ----------------------------------------------------------------------------------

    def _swarm(self, devices: int, controls: bool = False) -> Condition:
        changes = {**gaussians(devices, SAMPLES, TEST), "data.separation": 6.0}
        return Condition.of(
            {"ladder": SWARM, "size": devices}, changes, _common(), arms=arms(controls)
        )

    def _model(self, width: int, controls: bool = False) -> Condition:
        changes = generated_digits(width, self.budget.devices, samples=300, rounds=200)
        values = {"ladder": MODEL, "size": 75 * width + 10}
        return Condition.of(values, changes, _common(), arms=arms(controls))

    def _rates(self, results: Results, ladder: str, metric: str = RATE) -> pd.DataFrame:
        """The rates of a ladder: one row per seed, one column per size."""
        rows = self.small(results, ladder, metric)
        return rows[((rows > 0) & (rows < 1)).all(axis=1)]

    def laws(self, results: Results, ladder: str, metric: str = RATE) -> dict[int, PassingLaw]:
        rows = self._rates(results, ladder, metric)
        return {int(str(seed)): passing_law(rows.columns, row) for seed, row in rows.iterrows()}

    def _error(self, results: Results, ladder: str, how: str = LAW, metric: str = RATE) -> Interval:
        """The predicted rate less the measured one, over seeds."""
        rates = self._rates(results, ladder, metric)
        if how == STAYS:
            said = rates.iloc[:, -1]
        elif how == LAW:
            said = self.said(self.laws(results, ladder, metric), ladder)
        else:
            floors = {
                int(str(seed)): power_law(rates.columns, -np.log(row))
                for seed, row in rates.iterrows()
            }
            said = self.said(floors, ladder).map(lambda power: math.exp(-power))
        return interval(said - self.large(results, ladder))

    def _bend(self, results: Results, ladder: str) -> Interval:
        """How far log(−log rate) of the large run lies above the line through the smaller ones."""
        measured = self.large(results, ladder)
        measured = measured[(measured > 0) & (measured < 1)]
        said = self.said(self.laws(results, ladder), ladder)
        return interval(np.log(np.log(measured) / np.log(said)))


def _common() -> dict[str, Any]:
    task = {"answers": ANSWERS, "tasks": TASKS}
    drawn, exact = ({**option("metric", name), **task} for name in ("passing", "passing_exact"))
    return {
        "metrics": [option("metric", "accuracy"), option("metric", "loss"), drawn, exact],
    }


def _exponent(rate_K: NDArray[np.float64]) -> NDArray[np.float64]:
    """−log of a rate; an end of an interval that is no rate has none."""
    inside_K = (rate_K > 0) & (rate_K < 1)
    return -np.log(np.where(inside_K, rate_K, np.nan))
