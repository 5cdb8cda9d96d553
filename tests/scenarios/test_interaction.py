"""The rules of claim 4, and the samples that devices make in meetings against their definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scenarios.interaction import ITEMS, Kind, Talk, first_of_each
from swarm.common.errors import ConfigError
from swarm.config.build import build, option
from swarm.data.dataset import Dataset
from swarm.experiments.claims.base import Claim
from tests.scenarios.made_up import Value, judged, noise, results


def talked(talk: Kind, devices: int = 6, turns: int = 40) -> Dataset:
    return Talk(devices, turns, talk, seed=3).load()


def grey(data: Dataset) -> np.ndarray:
    return np.rint(data.x[data.train] * 16).astype(int)


@pytest.mark.parametrize("talk", ["alone", "pairs"])
def test_a_sample_blends_the_speakers_digit_with_one_of_its_own_or_of_another(talk: Kind) -> None:
    data = talked(talk)
    x, y, owner = grey(data), data.y[data.train], data.owner[data.train]  # type: ignore[index]
    f, items = x.astype(np.float32), 6 * ITEMS
    possible: dict[bytes, list[tuple[int, int, int]]] = {}
    for a in range(items):
        for b in range(items):
            blend = np.rint(0.7 * f[a] + 0.3 * f[b]).astype(int)
            possible.setdefault(blend.tobytes(), []).append((owner[a], owner[b], int(y[a])))
    assert len(x) > items + 50
    for image, label, maker in zip(x[items:], y[items:], owner[items:], strict=True):
        made = [m for m in possible[image.tobytes()] if m[0] == maker and m[2] == label]
        assert any((m[1] == maker) == (talk == "alone") for m in made)


def test_no_more_is_made_than_turns_or_kinds_allow_and_nothing_twice() -> None:
    made = {}
    for talk in ("silent", "alone", "pairs", "groups"):
        for turns in (2, 200):
            data = talked(talk, turns=turns)
            both = np.column_stack([grey(data), data.y[data.train]])
            assert len(np.unique(both, axis=0)) == len(both)
            assert set(data.owner[data.train]) == set(range(6))  # type: ignore[index]
            made[talk, turns] = len(both) - 6 * ITEMS
            assert made[talk, turns] <= 6 * turns
    assert made["silent", 200] == 0
    assert made["alone", 200] == 6 * ITEMS * (ITEMS - 1)  # each of its digits with each other
    assert made["pairs", 200] == pytest.approx(6 * 5 * ITEMS**2, rel=0.15)
    assert made["groups", 200] > made["pairs", 200]


def test_odd_swarms_and_classes() -> None:
    data = talked("pairs", devices=5, turns=3)
    assert set(data.y[data.train]) == set(range(10))
    assert len(data.train) - 5 * ITEMS <= 15


def test_equal_images_with_other_labels_are_other_samples() -> None:
    x = np.array([[1, 2], [1, 2], [3, 4], [1, 2]], np.float32)
    assert first_of_each(x, np.array([0, 1, 0, 0])).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("devices", "turns", "key"), [(400, 1, "devices"), (4, 0, "utterances")])
def test_what_cannot_be_made_is_refused(devices: int, turns: int, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        Talk(devices, turns, "pairs").load()


def small(**changes: Any) -> Claim:
    """The claim with another full budget."""
    settings = option("scenario", "interaction")
    settings["full"] = {**settings["full"], **changes}
    return build(settings, Claim, "scenario", preset="full")


def growing(
    equal: float, longer: float, gain: float, wide: float = 0.0, fast: bool = False
) -> Value:
    """Exponents of what is made in meetings, and what meeting gains in accuracy."""

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        n, alone = values["devices"], values["talk"] in ("alone", "silent")
        power = 1.0 if alone else longer if values["time"] == "growing" else equal
        power += wide * (seed - 2) * (not alone)
        made = 20 * 1.1**n if fast and not alone else 20 * n**power
        score = 0.6 + (gain + wide * (seed - 2)) * (not alone) + noise(seed)
        return {"train_samples": made + ITEMS * n, "accuracy_mean": score}

    return value


@pytest.mark.parametrize(
    ("made", "expected", "law"),
    [
        (growing(1.0, 2.0, 0.1), (False, True, True), "linear"),
        (growing(1.3, 1.0, -0.1), (True, False, False), "power"),
        (growing(1.1, 1.1, 0.0, wide=0.02), (None, None, None), "power"),
        (growing(1.0, 1.0, 0.1, fast=True), (True, True, True), "exponential"),
    ],
)
def test_the_rules(made: Value, expected: tuple[bool | None, ...], law: str) -> None:
    of = small(sizes=[4, 8, 16, 32, 64], utterances=[16])
    verdicts = judged(of, results(of, made))
    assert tuple(verdict.holds for verdict in verdicts) == expected
    assert f"({law})" in verdicts[0].because


@pytest.mark.parametrize(
    ("key", "given"), [("sizes", [4, 8, 16, 32]), ("sizes", [8, 4, 16, 32, 64]), ("utterances", [])]
)
def test_what_cannot_be_judged_is_refused(key: str, given: list[int]) -> None:
    with pytest.raises(ConfigError, match=key):
        small(**{key: given}).conditions()
