"""The rule of claim 21, and the world that changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scenarios.stages import STAGES, ChangedWorld
from swarm.data.generated.digits_like import DigitsLike
from tests.scenarios.made_up import Value, claim, judged, noise, results


def test_two_pairs_of_labels_trade_places_in_the_middle_and_stay_so() -> None:
    before, data = DigitsLike(4, 50, seed=3).load(), ChangedWorld(4, 50, seed=3).load()
    assert np.array_equal(before.x, data.x)
    assert np.array_equal(data.time, np.arange(len(data.y)))  # devices meet them in this order
    early, late = np.split(np.arange(len(data.y)), [len(data.train) // 2])
    assert np.array_equal(before.y[early], data.y[early])
    new = {int(old): int(y) for old, y in zip(before.y[late], data.y[late], strict=True)}
    assert sum(old != label for old, label in new.items()) == 4
    assert all(new[label] == old for old, label in new.items())  # pairs
    assert set(data.test) | set(data.validation) <= set(late)


def reached(*added: float, wide: float = 0.0) -> Value:
    """What each stage adds to the accuracy of the one before."""
    level = dict(zip(STAGES.values(), 0.3 + np.cumsum([0.0, *added]), strict=True))

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        at = (values["model"], values["update"], arm)
        return {
            metric: level.get((*at, metric), 0.2)
            + noise(seed + 10 * len("".join(at)))
            + wide * (seed - 4.5) * (arm == "swarm")
            for metric in ("accuracy_mean", "ensemble_accuracy")
        }

    return value


@pytest.mark.parametrize(
    ("made", "holds"),
    [
        (reached(0.1, 0.1, 0.1, 0.1), True),
        (reached(-0.1, 0.1, 0.1, 0.1), False),
        (reached(0.1, -0.1, 0.1, 0.1), False),
        (reached(0.1, 0.1, -0.1, 0.1), False),
        (reached(0.1, 0.1, 0.1, -0.1), False),
        (reached(0.1, 0.1, 0.1, 0.0), None),
        (reached(0.1, 0.1, 0.1, 0.1, wide=0.1), None),
    ],
)
def test_each_stage_has_to_add_something(made: Value, holds: bool | None) -> None:
    of = claim("stages")
    (verdict,) = judged(of, results(of, made))
    assert verdict.holds is holds
    assert list(verdict.figures) == list(STAGES)[1:]


def test_what_a_stage_costs_if_it_is_taken_away_is_on_the_page() -> None:
    of = claim("stages")
    table = of.table(results(of, reached(0.1, 0.1, 0.1, 0.1))).set_index("stage")
    costs = table["costs if taken away, points"]
    # the same step as the last that was added; 0.2 is what everything else has reached
    assert float(costs["collaboration"].split()[0]) == pytest.approx(10, abs=0.5)
    assert float(costs["architecture"].split()[0]) == pytest.approx(50, abs=0.5)
    assert costs["start"] == "–"
