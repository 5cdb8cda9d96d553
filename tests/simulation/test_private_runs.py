"""Runs whose privacy is counted: what they record, when devices stop, and what is refused."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.learning.privacy import correlated
from swarm.learning.privacy.accountant import Accountant
from swarm.learning.privacy.correlated import exposed_N
from swarm.learning.privacy.mechanism import DeviceLevel
from tests.support import (
    experiment,
    logged,
    prepared,
    records,
    require_same_bits,
    run,
    trajectory,
)

MODELS = Path(__file__).parents[1] / "learning" / "models" / "user_models.py"
SAMPLES = ("privacy=sample_level", "partition=iid", "topology=ring")
DEVICES = ("privacy=device_level", "partition=iid", "topology=ring")
MIXED = ("partition=quantity_skew", "privacy.rate=0.2", "privacy.epsilon=5.2", "churn=markov")


@pytest.mark.parametrize(
    "settings",
    [
        ("privacy=sample_level", *MIXED, "optimizer=momentum"),
        ("privacy=device_level", "privacy.epsilon=9.5", "churn=markov", "update=online", "train.batch=2"),
        ("privacy=device_level", "privacy.noise=distributed", "protocol=fedavg", "topology=none", "protocol.fraction=0.5"),
        ("privacy=correlated", "privacy.epsilon=10.3", "churn=markov", "topology=waypoint", "topology.side=300", "topology.window=1"),
    ],
    ids=["samples", "devices", "mean", "pairs"],
)  # fmt: skip
def test_same_bits_in_shards_and_after_a_resume(settings: tuple[str, ...], tmp_path: Path) -> None:
    common = ("engine.block=2", "optimizer.lr=0.05", *settings)
    require_same_bits(tmp_path, *common, rounds=4, cut=2)
    last = logged(tmp_path / "one")[-1]
    assert 0 < last["epsilon_median"] <= last["epsilon_max"]
    # some devices stop after the resume, by what they had spent before
    spent = [record.get("budgets_spent", 0) for record in logged(tmp_path / "one")]
    assert spent[2] == 0
    assert spent[4] > 0 or "privacy.noise=distributed" in settings


def test_records_have_what_every_device_has_spent(tmp_path: Path) -> None:
    run(tmp_path / "run", *SAMPLES, "clock=periodic", "clock.period=2", "rounds=5")
    e = experiment(*SAMPLES, "clock=periodic", "clock.period=2", "rounds=5")
    assert e.accountant is not None
    steps_N = np.zeros(12, np.int64)
    for round, record in enumerate(logged(tmp_path / "run")):
        active = e.communication.active(round) if round else np.zeros(12, bool)
        steps_N += 2 * (np.ones(12, bool) if active is None else active)
        epsilon_N = e.accountant.epsilon_N(steps_N)
        assert record["epsilon_max"] == epsilon_N.max()
        assert record["epsilon_median"] == np.median(epsilon_N)
        assert "budgets_spent" not in record
    assert len(set(steps_N)) > 1  # else the median would be the maximum
    table = pd.read_parquet(tmp_path / "run" / "devices.parquet")
    last = table[table["round"] == 5].sort_values("device")
    assert last["epsilon"].tolist() == epsilon_N.tolist()


@pytest.mark.parametrize(("unit", "steps"), [("sample", 5), ("device", 3)])
def test_devices_stop_at_their_budget(unit: str, steps: int, tmp_path: Path) -> None:
    """Within a round, at the level of samples: each step costs something."""
    common = SAMPLES if unit == "sample" else DEVICES
    e = experiment(*common)
    assert e.accountant is not None
    budget = float(e.accountant.epsilon_N(np.full(12, steps)).max()) * 1.0001
    settings = (*common, f"privacy.epsilon={budget}", "rounds=5")
    summary = run(tmp_path / "run", *settings)["arms"]["swarm"]
    assert summary["budgets_spent"] == 12
    assert summary["epsilon_max"] <= budget
    taken = {"sample": [24, 24, 12, 0, 0], "device": [24, 24, 24, 0, 0]}[unit]
    assert [r["steps"] for r in logged(tmp_path / "run")[1:]] == taken
    with pytest.raises(ConfigError, match=r"^rounds=9: must be 5: every device has spent its priv"):
        swarm.resume(tmp_path / "run", {"rounds": 9})


def test_without_clipping_and_noise_a_step_is_that_of_plain_sgd() -> None:
    """With a rate of 1 a mini-batch is all that a device has, each time."""
    data = ("data=gaussian", "data.per_device=20", "partition=natural", "topology=ring")
    common = (*data, "compute.dtype=float64", "train.local_steps=1")
    plain = ("privacy.noise_multiplier=0", "privacy.clip_norm=null", "privacy.rate=1")
    found = trajectory(prepared(*common, "privacy=sample_level", *plain))
    sizes_N = experiment(*common).data.stream.sizes_N
    assert sizes_N.min() == sizes_N.max()  # so that plain SGD can take them all
    expected = trajectory(prepared(*common, f"train.batch={sizes_N[0]}"))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert experiment(*common, "privacy=sample_level", *plain).accountant is None


def test_what_a_device_sends_has_moved_no_further_than_the_norm_but_for_noise() -> None:
    common = (*DEVICES, "protocol=none", "privacy.clip_norm=0.01", "optimizer.lr=1", "rounds=2")
    quiet = trajectory(prepared(*common, "privacy.noise_multiplier=0"))
    np.testing.assert_allclose(np.linalg.norm(np.diff(quiet, axis=0), axis=2), 0.01, rtol=1e-3)
    noisy = trajectory(prepared(*common, "privacy.noise_multiplier=3", "privacy.clip_norm=1"))
    assert np.diff(noisy, axis=0).std() == pytest.approx(3.0, rel=0.02)


def test_the_noise_of_all_devices_adds_up_to_the_stated_one_in_a_mean() -> None:
    """Also where a budget, or a stream that ends, keeps some devices from learning."""
    common = (
        *("privacy=device_level", "privacy.noise=distributed", "privacy.noise_multiplier=5"),
        *("protocol=fedavg", "protocol.fraction=0.5", "topology=none", "optimizer.lr=0.001"),
    )
    for further, chosen in (("privacy.epsilon=null", 6), ("privacy.epsilon=1.5", 6)):
        server = trajectory(prepared(*common, further, "rounds=5"))[:, 0]
        each = np.diff(server, axis=0).std(1)
        np.testing.assert_allclose(each, 5 / chosen, rtol=0.05)


PAIRS = (
    *("privacy=correlated", "privacy.noise_multiplier=0.5", "privacy.correlated_multiplier=20"),
    *("partition=iid", "topology=torus", "optimizer.lr=0.001", "compute.dtype=float64", "rounds=4"),
)


@pytest.mark.parametrize(
    "further", ["network.drop=0", "privacy.epsilon=3", "protocol=exact_diffusion"]
)
def test_the_noise_of_neighbours_is_not_in_the_mean_of_all_models(further: str) -> None:
    """Also where a budget keeps all devices from learning, and with other protocols on links."""
    rows = trajectory(prepared(*PAIRS, further))
    each = np.diff(rows.mean(1), axis=0).std(1)
    np.testing.assert_allclose(each, 0.5 / 12**0.5, rtol=0.06)
    # while each model has much of it
    assert np.diff(rows, axis=0)[0].std() > 2


def test_the_noise_with_a_neighbour_that_is_away_stays() -> None:
    """Nobody knows that it is away before the messages are sent."""
    away = ("churn=crash", "churn.fraction=0.25", "churn.at=0", "protocol=none")
    rows = trajectory(prepared(*PAIRS, *away, "privacy.noise_multiplier=0", "rounds=1"))
    e = experiment(*PAIRS, *away)
    active_N = e.communication.active(1)
    assert active_N is not None
    pairs = e.communication.pairs(1)
    left = int((active_N[pairs.own_E] & ~active_N[pairs.other_E]).sum())
    assert left > 0
    total = np.diff(rows, axis=0)[0].sum(0)
    assert total.std() == pytest.approx(20 * left**0.5, rel=0.06)


def test_a_pair_is_one_of_the_links_of_the_round() -> None:
    """In a matching, two devices that are linked come out with opposite noise."""
    matched = ("topology=random_matching", "protocol=none", "privacy.noise_multiplier=0")
    settings = (*PAIRS, *matched, "optimizer.lr=1.0e-9", "rounds=3")
    rows, e = trajectory(prepared(*settings)), experiment(*settings)
    for round in (1, 2, 3):
        pairs, noise_NM = e.communication.pairs(round), rows[round] - rows[round - 1]
        assert len(pairs.own_E) == 12
        np.testing.assert_allclose(noise_NM[pairs.own_E], -noise_NM[pairs.other_E], atol=1e-6)


def test_epsilon_is_that_of_the_links_of_each_round() -> None:
    """Hostile devices count as colluders: they know the noise of their pairs."""
    common = ("privacy=correlated", "partition=iid", "topology=ring", "rounds=2")
    alone, free = (
        records(prepared(*common, *more))[-1].values
        for more in ((), ("attack=free_rider", "attack.devices=[0]"))
    )
    honest_N = np.ones(12, bool)
    e = experiment(*common)
    shown_N = exposed_N(e.communication.pairs(1), honest_N, (1 / 0.3) ** 2, 0)
    local = Accountant(DeviceLevel(1.0, 0.3 / shown_N[0] ** 0.5, 1e-5), np.ones(1))
    expected = local.epsilon_N(np.array([2]))[0]
    assert alone["epsilon_max"] == pytest.approx(expected, rel=1e-5)
    assert free["epsilon_max"] > alone["epsilon_max"]
    walking = ("topology=waypoint", "topology.side=300", "topology.window=1")
    spread = experiment(*common, *walking).accountant
    assert spread is not None
    assert spread.price_N(1).tolist() != spread.price_N(2).tolist()
    told = experiment(*common, "privacy.colluders=2").accountant
    assert told is not None
    assert told.price_N(1).tolist() == [told.full] * 12


def test_what_is_spent_is_that_of_honest_devices() -> None:
    """Free riders learn nothing and spend nothing, so that they would hide what honest ones do."""
    attacked = ("attack=free_rider", "attack.devices=7", "topology=complete", "rounds=2")
    ready = prepared(*DEVICES, *attacked, "privacy.epsilon=null")
    last = records(ready)[-1].values
    assert 0 < last["epsilon_median"] == last["epsilon_max"]
    alone = (*DEVICES, *attacked[-2:], "privacy.noise_multiplier=1", "privacy.epsilon=6")
    honest, mixed = (
        records(prepared(*alone, *more))[-1].values["budgets_spent"] for more in ((), attacked[:2])
    )
    assert (honest, mixed) == (12, 5)


@pytest.mark.parametrize("common", [SAMPLES, DEVICES], ids=["samples", "devices"])
def test_every_round_has_noise_of_its_own(common: tuple[str, ...]) -> None:
    """The same noise twice would cancel out in a difference."""
    strong = ("privacy.noise_multiplier=1000", "protocol=none", "rounds=3")
    steps = np.diff(trajectory(prepared(*common, *strong)), axis=0).reshape(3 * 12, -1)
    off = np.corrcoef(steps) - np.eye(36)
    assert np.abs(off).max() < 6 / steps.shape[1] ** 0.5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("update=online train.batch=2", "update=online: must be epochs with privacy=sample_level: samples that come"),
        ("partition=dirichlet train.batch=300", r"train.batch=300: is more than the \d+ samples of device"),
        ("train.clip_norm=1", "train.clip_norm=1: must be null with privacy=sample_level"),
        ("compute.compile=true", "compute.compile=true: must be false"),
        ("train.class_weights=balanced", "train.class_weights=balanced: must be null or a list"),
        ("protocol=gossip_learning protocol.variant=um", "protocol=gossip_learning: must be one that learns once"),
        ("protocol=best_neighbour data.local_validation=0.2", "protocol=best_neighbour: must be one .* measures nothing"),
        ("aggregator=ubar topology=torus data.local_validation=0.2", "aggregator=ubar: must be one .* measures nothing"),
        ("privacy.epsilon=0.01", r"privacy.epsilon=0.01: is spent by the first step of every device, whose ε is \d"),
        ("privacy.clip_norm=null", "privacy.noise_multiplier=1: must be 0 with clip_norm=null"),
        ("privacy=device_level privacy.noise=distributed", "privacy.noise=distributed: must be local with"),
        ("privacy=device_level privacy.noise=distributed protocol=fedavg topology=none protocol.shares=samples partition=quantity_skew",
         "protocol.shares=samples: must be equal"),
        ("model=custom model._target_=user_models.WithBatchNorm", "model=user_models.WithBatchNorm: must have no running statistic such as norm"),
        ("privacy=device_level model=custom model._target_=user_models.WithBatchNorm", "buffers=average: must be local with privacy=device_level"),
        ("labels=meetings update=online train.batch=2", "update=online: must be epochs"),
        ("privacy=correlated protocol=fedavg topology=none", "protocol=fedavg: must be one whose messages go along links with privacy=correlated"),
        ("privacy=correlated topology=exponential", "topology=exponential: must be undirected with privacy=correlated"),
        ("privacy=correlated privacy.colluders=11", "privacy.colluders=11: must be at most 10 of 12 devices"),
        ("privacy=device_level privacy.noise=distributed protocol=fedavg topology=none attack=label_flip attack.devices=3",
         "privacy.noise=distributed: must be local with hostile devices"),
        ("scenario=consensus protocol=averaging init=independent privacy=device_level",
         "protocol=averaging: must be one that learns once a round with privacy=device_level: without learning"),
    ],
)  # fmt: skip
def test_what_breaks_the_promise_is_refused(settings: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        prepared(*SAMPLES, f"plugins=[{MODELS}]", *settings.split())


def test_a_delta_that_protects_nobody_is_warned_of() -> None:
    with pytest.warns(
        UserWarning, match=r"privacy.delta=0.1: should be well below 1/12, .* devices"
    ):
        experiment(*DEVICES, "privacy.delta=0.1")
    with pytest.warns(UserWarning, match=r"privacy.delta=0.5: should be .* samples of a device"):
        experiment(*SAMPLES, "privacy.delta=0.5")


def test_the_noise_of_all_pairs_is_counted_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlated, "MOST_DEVICES", 11)
    common = ("privacy=correlated", "partition=iid", "topology=ring")
    with pytest.raises(ConfigError, match=r"^privacy.colluders=0: must be 1 or more in a swarm of"):
        prepared(*common)
    prepared(*common, "privacy.colluders=1")


def test_a_rate_that_is_chosen_on_protected_data_is_warned_of() -> None:
    auto = ("optimizer.lr=auto", "scenario.arms=[swarm]")
    with pytest.warns(
        UserWarning, match=r"^optimizer.lr=auto: the rate is chosen .* does not count"
    ):
        prepared(*DEVICES, *auto)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared(*DEVICES, "optimizer.lr=0.1")
        prepared(*DEVICES, *auto, "privacy.noise_multiplier=0")
        prepared(*DEVICES, *auto, "privacy=none")


def test_a_rate_leaves_no_batch_to_a_table_of_devices(tmp_path: Path) -> None:
    table = tmp_path / "devices.csv"
    table.write_text("device,batch\n0,4\n")
    spent = experiment(*SAMPLES, f"train.devices={table}").data
    assert spent.stream.weight(np.arange(2)).tolist() == [[1 / 4], [1 / 8]]
    with pytest.raises(ConfigError, match=r"^privacy.rate=0.1: must be null with .* train.devices"):
        prepared(*SAMPLES, f"train.devices={table}", "privacy.rate=0.1")
