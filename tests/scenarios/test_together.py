"""The rule of claim 13 on results made up for it."""

from __future__ import annotations

from typing import Any

import pytest

from scenarios.together import SMALL, THRESHOLDS, TOGETHER
from swarm.simulation.metrics.asking import suffix
from tests.scenarios.made_up import Value, claim, judged, noise, results


def swarms(large: float, small: float, wide: float = 0.0, calls: float = 0.5) -> Value:
    """Answers of which a share ``calls`` · threshold is asked, with an accuracy of 0.85 above a
    threshold of 0; the model alone has 0.8, and whom they ask 0.855."""

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        if values["models"] != TOGETHER:
            return {"accuracy_mean": (small if values["models"] == SMALL else large) + noise(seed)}
        found = {"accuracy_mean": 0.8, "asking_asked_accuracy": 0.855 + noise(seed)}
        for t in THRESHOLDS:
            share = 1.0 if t == 1 else calls * t
            end = suffix(t)
            found |= {
                f"asking_accuracy_{end}": (0.85 if t else 0.8) + noise(seed) + wide * (seed - 2),
                f"asking_calls_{end}": share,
                f"asking_flops_{end}": 40.0 + 1000 * share,
                f"asking_bytes_{end}": 300 * share,
            }
        return found

    return value


@pytest.mark.parametrize(
    ("large", "small", "wide", "holds"),
    [
        (0.855, 0.8, 0, [True, True]),
        (0.83, 0.8, 0, [True, True]),
        (0.9, 0.8, 0, [False, True]),
        (0.855, 0.87, 0, [False, True]),
        (0.855, 0.8, 0.02, [None, None]),
    ],
)
def test_the_rule_is_that_of_the_text(
    large: float, small: float, wide: float, holds: list[bool | None]
) -> None:
    of = claim("together")
    found = results(of, swarms(large, small, wide))
    verdicts = judged(of, found)
    assert [each.holds for each in verdicts] == holds
    assert verdicts[0].figures["threshold"] == 0.9, "0.04 + 0.45 of the large model's FLOP"
    assert "takes 49% [49, 49] of the large model's FLOP" in verdicts[0].because
    assert len(of.table(found)) == len(THRESHOLDS) + 3
    assert [len(chart.lines) for chart in of.charts(found)] == [4, 1]


def test_asking_for_everything_is_no_saving() -> None:
    of = claim("together")
    verdicts = judged(of, results(of, swarms(0.855, 0.8, calls=4.0)))
    assert [each.holds for each in verdicts] == [False, False]
