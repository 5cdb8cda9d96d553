"""``privacy.noise_multiplier=auto``: the least noise with which no device spends more than its
target by the end of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.experiments.runs import prepared as preparing
from swarm.learning.privacy import accountant as counting
from swarm.learning.privacy.accountant import Accountant
from swarm.learning.privacy.mechanism import DeviceLevel, SampleLevel
from swarm.learning.privacy.noise import Plan, least_noise, noise_for
from swarm.simulation.experiment.private import planned_steps
from tests.support import logged, prepared, records, run

AUTO = "privacy.noise_multiplier=auto"
SKEWED = (
    AUTO,
    "privacy=sample_level",
    "partition=quantity_skew",
    "topology=ring",
    "train.batch=2",
    "devices=5",
)
EPOCHS = (*SKEWED, "train.local_steps=null", "train.local_epochs=1", "churn=markov")
DEVICES = (AUTO, "privacy=device_level", "partition=iid", "topology=ring", "clock=periodic")
WALKING = ("topology=waypoint", "topology.side=300", "topology.window=1")


@pytest.mark.parametrize(
    ("rate", "sigma", "steps"), [(0.01, 4.0, 10_000), (256 / 60_000, 1.1, 14_062)]
)
def test_the_noise_of_a_published_epsilon_is_found(rate: float, sigma: float, steps: int) -> None:
    """ε = 1.0355 needs σ = 4, and ε = 2.597 needs σ = 1.1, to the digits that they are given in."""
    published = {4.0: 1.0355, 1.1: 2.597}[sigma]
    assert noise_for(published, 1e-5, rate, steps) == pytest.approx(sigma, rel=1e-3)
    if sigma == 4.0:
        return
    exact = Accountant(SampleLevel(1.0, sigma), np.array([rate])).epsilon_N(np.array([steps]))[0]
    assert noise_for(float(exact), 1e-5, rate, steps) == sigma


def test_the_bound_is_the_device_that_spends_most() -> None:
    """Neither the largest rate nor the most steps decide, but both; who is not counted may spend
    more."""
    rate_N, steps_N = np.array([0.9, 0.1, 0.02, 0.9]), np.array([1, 70, 100, 500])
    accountant = Accountant(SampleLevel(1.0, 1.0), rate_N)
    counted_N = np.array([True, True, True, False])
    found = least_noise(accountant, Plan.of(accountant, [(1, steps_N)]), 3.0, counted_N)
    alone = [noise_for(3.0, 1e-5, q, t) for q, t in zip(rate_N, steps_N.tolist(), strict=True)]
    assert found.noise_multiplier == max(alone[:3]) < alone[3]
    assert found.device == int(np.argmax(alone[:3])) == 1
    assert found.releases == 70
    spent_N = accountant.with_noise(found.noise_multiplier).epsilon_N(steps_N)
    assert found.epsilon == spent_N[:3].max() <= 3.0


@pytest.mark.parametrize(
    ("settings", "target"),
    [
        (EPOCHS, 4.0),
        ((*DEVICES, "attack=free_rider", "attack.devices=[2]", "clock.period=2"), 2.5),
        ((AUTO, "privacy=correlated", "partition=iid", "churn=markov", *WALKING), 6.0),
    ],
    ids=["samples", "devices", "pairs"],
)
def test_a_run_spends_its_target_and_no_more(settings: tuple[str, ...], target: float) -> None:
    """Nobody stops before the end, which the same plan foretells; 1% less noise would exceed it."""
    ready = prepared(*settings, f"privacy.epsilon={target}", "optimizer.lr=0.05", "rounds=5")
    e = ready.experiment(ready.arms[0], ready.arms[0].first)
    assert e.accountant is not None
    plan = Plan.of(e.accountant, planned_steps(e))
    found, honest_N = records(ready), e.communication.honest_N  # free riders take no steps
    planned = [int(steps_N[honest_N].sum()) for _, steps_N in planned_steps(e)]
    assert [one.values["steps"] for one in found[1:]] == planned
    sigma = e.data.privacy.noise_multiplier
    assert {one.values["noise_multiplier"] for one in found} == {sigma}
    spent = found[-1].values["epsilon_max"]
    assert 0.99 * target < spent <= target
    for less in (0.99 * sigma, sigma - 0.001):
        trial = e.accountant.with_noise(less)
        assert trial.epsilon_N(plan.releases_N(trial))[honest_N].max() > target


def test_the_number_stays_when_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also with more rounds, which another noise would fit: then devices stop at their budget."""
    common = (*SKEWED[1:], "optimizer.lr=0.05", "privacy.epsilon=4", "engine.block=3")
    run(tmp_path / "auto", *common, AUTO, "rounds=2", "engine.shards=2")
    said = capsys.readouterr().out
    assert "privacy.noise_multiplier=auto is" in said
    assert "spends most" in said
    progress = json.loads((tmp_path / "auto" / "progress.json").read_text("utf-8"))
    sigma = progress["noise"]["swarm"]["0"]
    assert f"swarm: privacy.noise_multiplier=auto is {sigma:g}, the least" in said
    run(tmp_path / "number", *common, f"privacy.noise_multiplier={sigma}", "rounds=2")
    loaded = swarm.load(tmp_path / "auto")
    assert loaded.config["privacy"]["noise_multiplier"] == "auto"  # the same command finds it again
    assert loaded.summary["arms"]["swarm"]["noise_multiplier"] == sigma  # type: ignore[index]
    monkeypatch.setattr(preparing, "found_noise", None)  # is not looked for a second time
    for name in ("auto", "number"):
        swarm.resume(tmp_path / name, {"rounds": 4})
    assert logged(tmp_path / "auto") == logged(tmp_path / "number")
    last = logged(tmp_path / "auto")[-1]
    assert last["noise_multiplier"] == sigma
    assert last["budgets_spent"] > 0
    assert last["epsilon_max"] <= 4


def test_every_arm_has_the_noise_that_it_needs() -> None:
    """All samples on one device have a smaller rate, and spend the same with less noise."""
    arms = ("scenario=compare", "scenario.arms=[swarm,centralised]", "rounds=2")
    common = ("privacy=sample_level", "partition=iid", "privacy.epsilon=3", "optimizer.lr=0.1")
    ready = prepared(*arms, *common, AUTO)
    sigmas = [variant.privacy["noise_multiplier"] for arm in ready.arms for variant in arm.variants]
    assert sigmas[0] > max(sigmas[1:]) > 0
    for arm in ready.arms:
        for variant in arm.variants:
            e = ready.experiment(arm, variant.model_copy(update={"optimizer": arm.first.optimizer}))
            assert e.accountant is not None
            releases_N = Plan.of(e.accountant, planned_steps(e)).releases_N(e.accountant)
            assert 2.97 < e.accountant.epsilon_N(releases_N).max() <= 3
    assert all(len(arm.noise) == len(arm.variants) for arm in ready.arms)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("privacy=sample_level", "privacy.epsilon=null: must be the ε that each device may spend by the last round"),
        ("privacy=sample_level privacy.epsilon=-1", "privacy.epsilon=-1: must be null or a budget above 0"),
        ("privacy=device_level privacy.epsilon=3 privacy.clip_norm=null", "privacy.clip_norm=null: must be a norm with"),
        ("privacy=device_level privacy.epsilon=0.006 rounds=20",
         r"privacy.epsilon=0.006: cannot be kept with a noise_multiplier of at most 1000, with which 0\.0\d+ would be"),
        ("privacy=device_level privacy.epsilon=1 rounds=0", "privacy.noise_multiplier=auto: must be a number where no"),
        ("privacy=device_level privacy.epsilon=1 update=frozen train.batch=2", "privacy.noise_multiplier=auto: must be a"),
    ],
)  # fmt: skip
def test_what_cannot_be_found_is_refused(settings: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        prepared(AUTO, "partition=iid", "topology=ring", *settings.split())


def test_the_library_that_counts_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"^privacy=device_level: needs the library dp-accounting"
    ):
        prepared(*DEVICES, "privacy.epsilon=3")


def test_noise_of_pairs_is_planned_with_what_it_protects() -> None:
    """The same target needs less noise of each device's own, the more a pair adds."""
    common = ("privacy=correlated", "partition=iid", "topology=torus", "privacy.epsilon=6", AUTO)
    sigmas = []
    for multiplier in (0, 1, 8):
        ready = prepared(*common, f"privacy.correlated_multiplier={multiplier}", "rounds=3")
        sigmas.append(ready.arms[0].first.privacy["noise_multiplier"])
    assert sigmas[0] > sigmas[1] > sigmas[2]
    assert sigmas[0] == noise_for_devices(6.0, 3)


def noise_for_devices(target: float, rounds: int) -> float:
    """The least noise of a device that releases something in each round."""
    accountant = Accountant(DeviceLevel(1.0, 1.0), np.ones(1))
    plan = Plan(((1, np.array([rounds])),))
    return least_noise(accountant, plan, target, np.ones(1, bool)).noise_multiplier


def test_devices_of_several_models_have_one_noise() -> None:
    """Also where their memory decides which model each has, before any noise is known."""
    small = "cohorts={small: {devices: memory, model: {hidden: [16]}}}"
    ready = prepared(
        *DEVICES[:3], "fleet=terminals", small, "topology=complete", "privacy.epsilon=5"
    )
    assert ready.arms[0].first.privacy["noise_multiplier"] == noise_for_devices(5.0, 4)
