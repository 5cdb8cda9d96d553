"""The rule of passing rates: results made up to lie on either side of the threshold, or across it."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from scenarios.passing import EXACT, RATE
from swarm.experiments.claims.results import Results
from tests.scenarios.made_up import claim, judged, noise, results


def rated(surprise: float, wide: float = 0.0) -> Any:
    """Rates by the law, where the large runs come out lower than predicted by ``surprise``."""

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        n = values["size"]
        large = n == 640 or n > 20_000
        c, alpha = (9.0, 0.7) if values["ladder"] == "swarm size" else (200.0, 0.75)
        rate = math.exp(-c * n**-alpha * (1 + noise(seed, 1e-3)))
        if large:
            rate -= surprise + wide * (seed - 2)
        return {RATE: rate, EXACT: rate, "accuracy_mean": 0.9}

    return value


@pytest.mark.parametrize(
    ("surprise", "wide", "holds"),
    [(0.0, 0, True), (0.1, 0, False), (-0.055, 0, False), (0.05, 0.02, None)],
)
def test_passing(surprise: float, wide: float, holds: bool | None) -> None:
    of = claim("passing")
    verdicts = judged(of, results(of, rated(surprise, wide)))
    assert [verdict.holds for verdict in verdicts] == [holds, holds]
    if not wide:
        assert verdicts[0].because.startswith(
            f"the predicted rate is off by {100 * surprise:.1f} ["
        )


def test_the_prediction_knows_nothing_of_the_large_runs() -> None:
    of = claim("passing")
    whole = results(of, rated(0.0))
    sizes = [condition.values["size"] for condition in of.holdout()]
    before = Results(whole.finals[~whole.finals["size"].isin(sizes)], whole.curves)
    foretold = of.predict(before)
    assert foretold == of.predict(results(of, rated(0.5)))
    for ladder, c, alpha in (("swarm size", 9.0, 0.7), ("model size", 200.0, 0.75)):
        found = foretold[ladder]
        assert found["rate"].mean == pytest.approx(math.exp(-c * found["size"] ** -alpha), rel=1e-3)


def test_a_rate_of_nothing_has_no_law() -> None:
    """Its seed is left out, and with fewer than two seeds nothing is decided."""
    of = claim("passing")

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        found = rated(0.0)(values, arm, seed)
        return {**found, RATE: 0.0} if seed and values["size"] in (8, 310) else found

    verdicts = judged(of, results(of, value))
    assert [verdict.holds for verdict in verdicts] == [None, None]


def test_half_the_runs_make_half_a_page() -> None:
    of = claim("passing")
    whole = results(of, rated(0.0))
    some = Results(whole.finals[whole.finals["size"] < 100], pd.DataFrame())
    assert of.charts(some)
    assert len(of.table(some))
