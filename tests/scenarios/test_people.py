"""The rule of claim 12, what a correction is worth, and where more of them stop helping."""

from __future__ import annotations

import math
from typing import Any

import pytest

from scenarios.people import Corrections
from swarm.common.errors import ConfigError
from swarm.config.build import build, option
from swarm.experiments.claims.base import Claim
from tests.scenarios.made_up import Value, claim, judged, noise, results


def worth(of_wrong: dict[float, float], least: float = 0.1) -> Value:
    """Accuracies that grow with the logarithm of how many correct corrections they are worth."""

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        counts = values["corrected"] * of_wrong.get(values["wrong"], least)
        accuracy = 0.9 + 0.1 * math.log(counts) + noise(seed, 1e-6)
        return {"accuracy_mean": accuracy}

    return value


def test_a_correction_is_worth_what_the_curve_of_correct_ones_says() -> None:
    of = claim("people")
    assert isinstance(of, Corrections)
    found = results(of, worth({0.0: 1.0, 0.4: 0.5}))
    (verdict,) = judged(of, found)
    assert verdict.holds is True
    assert "40% are wrong is worth 0.50 [0.50, 0.50] of a correct one" in verdict.because
    assert "more of them help up to 90% wrong ones" in verdict.because
    table = of.table(found).set_index(["arm", "wrong", "corrections a device"])
    said = table["a correction is worth"]
    assert said[("swarm", "40%", "1600")] == "0.50 [0.50, 0.50]"
    assert said[("swarm", "40%", "48")] == "< 1.00"
    assert said[("isolated", "0%", "1600")] == "–"


@pytest.mark.parametrize(
    ("gain", "holds", "most"),
    [
        ({0.4: -0.1}, False, "up to 90%"),
        ({0.4: 0.0}, None, "up to 90%"),
        ({0.8: -0.1, 0.9: 0.0}, True, "up to 60%"),  # beyond the shares that are judged
    ],
)
def test_the_verdict_asks_each_share_up_to_40_percent(
    gain: dict[float, float], holds: bool | None, most: str
) -> None:
    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        more = values["corrected"] == 1.0
        return {"accuracy_mean": 0.5 + more * (gain.get(values["wrong"], 0.1) + noise(seed, 0.01))}

    of = claim("people")
    (verdict,) = judged(of, results(of, value))
    assert verdict.holds is holds
    assert f"more of them help {most} wrong ones" in verdict.because


@pytest.mark.parametrize(("key", "given"), [("chances", [0.1]), ("wrong", [0.4, 0.0])])
def test_shares_are_different_and_in_order(key: str, given: list[float]) -> None:
    settings = option("scenario", "people")
    settings["full"] = {**settings["full"], key: given}
    with pytest.raises(ConfigError, match=f"full.{key}.*in ascending order"):
        build(settings, Claim, "scenario", preset="full").conditions()
