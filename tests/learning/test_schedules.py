"""Learning-rate schedules at the points that define them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.common.errors import ConfigError
from swarm.learning.optim.optimizer import SGD
from swarm.learning.optim.schedule import WSD, Constant, Cosine, Schedule
from tests.support import experiment


def test_constant() -> None:
    assert [Constant().factor(t, 10) for t in (0, 5, 10, 99)] == [1.0] * 4


def test_cosine_is_half_a_wave_down_to_its_floor() -> None:
    assert Cosine().factor(0, 100) == 1.0
    assert Cosine().factor(50, 100) == pytest.approx(0.5)
    assert Cosine().factor(100, 100) == pytest.approx(0.0)
    assert Cosine(floor=0.2).factor(100, 100) == pytest.approx(0.2)
    assert Cosine(floor=0.2).factor(25, 100) == pytest.approx(
        0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2
    )


def test_wsd_is_stable_then_halves_every_half_life() -> None:
    schedule = WSD(warmup=0.0, decay=0.2, half_life=0.05)
    assert [schedule.factor(t, 100) for t in (0, 40, 80)] == [1.0, 1.0, 1.0]
    assert schedule.factor(85, 100) == pytest.approx(0.5)
    assert schedule.factor(90, 100) == pytest.approx(0.25)
    assert schedule.factor(100, 100) == pytest.approx(0.5**4)


def test_wsd_counts_decay_and_half_life_in_rounds_whatever_the_warm_up() -> None:
    """The last ``decay`` of 1,000 rounds halve every ``half_life`` of them, also after a long
    warm-up.
    """
    for warmup in (0.0, 0.1, 0.5, 0.8):
        schedule = WSD(warmup, decay=0.2, half_life=0.05)
        assert schedule.factor(800, 1000) == pytest.approx(1.0)
        assert schedule.factor(850, 1000) == pytest.approx(0.5)
        assert schedule.factor(900, 1000) == pytest.approx(0.25)
        assert schedule.factor(1000, 1000) == pytest.approx(0.5**4)


@pytest.mark.parametrize("make", [Constant, Cosine, WSD])
def test_warm_up_rises_in_equal_steps_to_the_whole_rate(make: type[Schedule]) -> None:
    schedule = make(warmup=0.1)
    factors = [schedule.factor(t, 100) for t in range(11)]
    assert factors[0] > 0, "the first step is not lost"
    assert factors[10] == pytest.approx(1.0)
    steps = [b - a for a, b in pairwise(factors)]
    assert max(steps) == pytest.approx(min(steps))


@pytest.mark.parametrize(
    "schedule", [Constant(), Cosine(floor=0.1), WSD(decay=0.3, half_life=0.1), Cosine(warmup=0.2)]
)
def test_past_the_horizon_the_rate_stays(schedule: Schedule) -> None:
    assert schedule.factor(150, 100) == schedule.factor(100, 100) == schedule.factor(1e9, 100)


@given(st.integers(0, 500), st.integers(1, 300), st.floats(0, 0.9), st.floats(0, 1))
def test_factors_lie_between_zero_and_one(
    done: int, horizon: int, warmup: float, floor: float
) -> None:
    for schedule in (Constant(warmup), Cosine(warmup, floor), WSD(warmup)):
        assert 0 <= schedule.factor(done, horizon) <= 1


def test_the_rate_is_the_base_times_the_factor_of_the_rounds_done() -> None:
    assert SGD(0.4, Cosine()).rate(50, 100) == pytest.approx(0.2)
    e = experiment("schedule=cosine", "rounds=8", "optimizer.lr=0.4")
    assert e.model.rate(1) == 0.4
    assert e.model.rate(5) == pytest.approx(0.2)
    longer = experiment("schedule=cosine", "rounds=80", "schedule.rounds=8", "optimizer.lr=0.4")
    assert longer.model.rate(5) == pytest.approx(0.2)
    assert longer.model.rate(80) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Constant(1.0), "warmup"), (lambda: Cosine(floor=1.5), "floor"), (lambda: WSD(decay=0.0), "decay"),
        (lambda: WSD(half_life=0.0), "half_life"),
    ],
)  # fmt: skip
def test_senseless_settings_are_refused_by_name(make: object, key: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        make()  # type: ignore[operator]
    assert refusal.value.key == key
