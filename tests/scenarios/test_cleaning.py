"""The rule of claim 19, and its data with wrong labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scenarios.cleaning import NoisyDigits
from swarm.common.errors import ConfigError
from swarm.config.build import build, option
from swarm.data.generated.digits_like import DigitsLike
from swarm.experiments.claims.base import Claim
from tests.scenarios.made_up import Value, claim, judged, noise, results

DEVICES = 20
CLEAN = DigitsLike(DEVICES, 40, seed=3).load()


def noisy(**options: Any) -> tuple[Any, np.ndarray]:
    """Data with 40% wrong labels, and which of their training samples are right."""
    data = NoisyDigits(DEVICES, wrong=0.4, seed=3, **options).load()
    return data, data.y[data.train] == CLEAN.y[data.train]


def test_as_many_labels_are_wrong_as_is_said_and_no_held_out_one() -> None:
    data, right = noisy()
    assert len(data.train) == DEVICES * 40
    assert (~right).sum() == 0.4 * DEVICES * 40
    for held_out in (data.test, data.validation):
        assert np.array_equal(data.y[held_out], CLEAN.y[held_out])
    assert np.array_equal(data.x, CLEAN.x)
    wrong_y = data.y[data.train][~right]
    assert set(wrong_y) == set(range(10))


def test_filters_keep_the_same_share_of_the_same_samples() -> None:
    everything, _ = noisy()
    for name, least, most in (("oracle", 1.0, 1.0), ("random", 0.5, 0.7), ("loss", 0.8, 1.0)):
        data, right = noisy(filter=name, kept=0.6)
        assert len(data.train) == 0.6 * DEVICES * 40
        assert np.array_equal(data.y, everything.y)  # the same labels are wrong
        assert least <= right.mean() <= most
    _, right = noisy(filter="oracle", kept=0.8)
    assert right.mean() == 0.75  # no right ones are left


@pytest.mark.parametrize("options", [{"wrong": 1.1}, {"kept": 0.0}, {"wrong": -0.1}])
def test_shares_of_the_data_are_shares(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        NoisyDigits(DEVICES, **options)


def by_kept(gain: dict[tuple[float, float], float], wide: float = 0.0) -> Value:
    """Accuracies ``gain[wrong, kept]`` below that of the share that is judged."""

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        judged_share = values["kept"] == round(1 - values["wrong"], 6)
        below = 0.0 if judged_share else gain.get((values["wrong"], values["kept"]), 0.1)
        if values["filter"] != "loss":
            below = -0.3
        spread = wide * (seed - 2) * judged_share
        return {"accuracy_mean": 0.6 - below + spread + noise(seed + 10 * judged_share)}

    return value


@pytest.mark.parametrize(
    ("gain", "wide", "holds"),
    [
        ({}, 0.0, True),
        ({(0.2, 1.0): -0.1}, 0.0, False),  # all data are better, at one share of wrong labels
        ({(0.4, 0.1): -0.1}, 0.0, False),  # the strongest filter is better
        ({(0.4, 1.0): 0.0}, 0.0, None),
        ({(0.4, 0.7): -0.1, (0.2, 0.6): -0.1}, 0.0, True),  # another interior share is none's end
        ({(0.0, 0.1): -0.1}, 0.0, True),  # where nothing is wrong, nothing is judged
        ({}, 0.2, None),
    ],
)
def test_the_share_of_right_labels_has_to_beat_both_ends(
    gain: dict[tuple[float, float], float], wide: float, holds: bool | None
) -> None:
    (verdict,) = judged(claim("cleaning"), results(claim("cleaning"), by_kept(gain, wide)))
    assert verdict.holds is holds


def test_the_verdict_names_the_best_share() -> None:
    of = claim("cleaning")
    (verdict,) = judged(of, results(of, by_kept({(0.4, 0.7): -0.1})))
    first, second = verdict.because.split("% wrong labels")[1:]
    assert "best is 80%" in first
    assert "best is 70%" in second


@pytest.mark.parametrize(
    ("key", "given", "says"),
    [
        ("wrong", [0.4, 0.2], "in ascending order"),
        ("wrong", [0.0], "must have a share above 0"),
        ("wrong", [0.3, 0.35], "must have 0.65, 0.7, 1, and a smaller share"),
        ("kept", [0.6, 0.8, 1.0], "must have 0.6, 0.8, 1, and a smaller share"),
        ("kept", [0.05, 0.6, 0.8, 1.0], "at least 0.1"),
    ],
)
def test_what_cannot_be_judged_is_refused(key: str, given: list[float], says: str) -> None:
    settings = option("scenario", "cleaning")
    settings["full"] = {**settings["full"], key: given}
    with pytest.raises(ConfigError, match=says):
        build(settings, Claim, "scenario", preset="full").conditions()


def test_runs_differ_in_nothing_but_their_data() -> None:
    left = [
        {
            key: value
            for key, value in condition.changes.items()
            if not key.startswith("data.") and key != "scenario.arms"
        }
        for condition in claim("cleaning").conditions()
    ]
    assert all(changes == left[0] for changes in left)
