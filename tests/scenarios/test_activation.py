"""The rules of claim 9, and its data of three kinds against their definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scenarios.activation import LETTERS, ThreeKinds, texts, traces
from swarm.common.errors import ConfigError
from swarm.config.build import build, option
from swarm.experiments.claims.base import Claim
from tests.scenarios.made_up import Value, claim, judged, noise, results


def test_a_third_of_the_samples_is_of_each_kind_and_every_class_is_there() -> None:
    data = ThreeKinds(2, 90, seed=3).load()
    assert data.classes == 30
    assert data.x.min() >= 0
    assert data.x.max() <= 1
    for part, size in ((data.train, 180), (data.validation, 540), (data.test, 1080)):
        assert len(part) == size
        assert np.bincount(data.y[part] // 10).tolist() == [size // 3] * 3
        assert set(data.y[part][data.y[part] >= 10]) == set(range(10, 30))


def test_texts_are_of_their_chain() -> None:
    cycle = np.roll(np.eye(LETTERS), 1, axis=1)  # each letter is followed by the next one
    backwards = np.roll(np.eye(LETTERS), -1, axis=1)
    x = texts(np.array([0, 1]), np.stack([cycle, backwards]), np.random.default_rng(0))
    pairs = x.reshape(2, LETTERS, LETTERS) > 0
    assert np.array_equal(pairs[0], cycle > 0)
    assert np.array_equal(pairs[1], backwards > 0)


def test_traces_have_the_periods_of_their_class() -> None:
    y = np.arange(10)
    spectrum = np.abs(np.fft.rfft(traces(y, np.random.default_rng(0)) - 0.5))
    assert spectrum[:, 1:].argmax(axis=1).tolist() == y.tolist()


def test_kinds_need_a_multiple_of_three() -> None:
    with pytest.raises(ConfigError, match="multiple of 3"):
        ThreeKinds(2, 10)


def scored(**below: float) -> Value:
    """Accuracies below that of 30% learned neurons."""

    middle = (claim("activation").budget.seeds - 1) / 2

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        name = (
            "all" if values["active"] == 1 and values["select"] == "learned" else values["select"]
        )
        lost = 0.0 if (name, values["active"]) == ("learned", 0.3) else below.get(name, 0.2)
        wide = below.get("wide", 0.0) * (seed - middle) * (name == "learned")
        return {
            "accuracy_mean": 0.8 - lost + wide + noise(seed + 10 * len(name)),
            "flops_total": 1e6 * values["active"],
        }

    return value


@pytest.mark.parametrize(
    ("made", "first", "second"),
    [
        (scored(all=0.0, perceptron=0.0), True, True),
        (scored(all=-0.02, perceptron=0.0), False, True),  # all neurons are two points better
        (scored(all=0.0, perceptron=-0.02), False, True),
        (scored(all=-0.01, perceptron=0.0), None, True),
        (scored(all=0.0, perceptron=0.0, random=-0.05), False, True),
        (scored(all=0.0, perceptron=0.0, fixed=-0.05), True, False),
        (scored(all=0.0, perceptron=0.0, fixed=0.0), True, None),
        (scored(all=0.0, perceptron=0.0, wide=0.2), None, None),
    ],
)
def test_the_rules(made: Value, first: bool | None, second: bool | None) -> None:
    of = claim("activation")
    verdicts = judged(of, results(of, made))
    assert [verdict.holds for verdict in verdicts] == [first, second]
    assert "30% active" in verdicts[0].because
    assert "30% of the FLOP" in verdicts[0].because


@pytest.mark.parametrize("given", [[], [0.5], [0.3, 0.1]])
def test_shares_that_cannot_be_judged_are_refused(given: list[float]) -> None:
    settings = option("scenario", "activation")
    settings["full"] = {**settings["full"], "active": given}
    with pytest.raises(ConfigError, match="active"):
        build(settings, Claim, "scenario", preset="full").conditions()
