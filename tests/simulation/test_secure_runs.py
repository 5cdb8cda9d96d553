"""Runs whose rows are added up under masks: the same numbers, what they count, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swarm.common.errors import ConfigError, OutOfRangeError
from swarm.communication.protocol.base import Requirements
from swarm.communication.protocol.dpsgd import TrainThenAverage
from swarm.communication.secure import base
from swarm.communication.secure.rounds import SecureRounds
from swarm.simulation.experiment import Experiment
from swarm.simulation.secure.sums import SecureSums
from tests.support import (
    experiment,
    logged,
    prepared,
    records,
    require_same_bits,
    run,
    trajectory,
)

SECURE = ("secure_sum=bonawitz", "partition=iid")
SERVER = (*SECURE, "protocol=fedavg", "topology=none")
RING = (*SECURE, "topology=torus")
CHURN = ("churn=markov", "churn.leave_rate=0.2", "churn.return_rate=0.5")
SPLIT = ("outage=split", "outage.start=1", "outage.end=3")


def rounds_of(e: Experiment) -> SecureRounds:
    """Who takes part in the secure sums of each round."""
    assert isinstance(e.communication.sums, SecureSums)
    return e.communication.sums.rounds


@pytest.mark.parametrize(
    "settings",
    [
        (*SERVER, *CHURN, "protocol.shares=samples", "partition=dirichlet"),
        (*SERVER, *CHURN, "protocol.fraction=0.7", "secure_sum.partners=4", "secure_sum.threshold=0.6"),
        (*SERVER, "privacy=device_level", "privacy.noise=distributed", *CHURN),
        (*RING, *CHURN, "secure_sum.threshold=0.51"),
        (*RING, *SPLIT, "compute.dtype=float64", "transforms=[clip]", "secure_sum.partners=2"),
    ],
    ids=["server", "partners", "private", "neighbours", "outage"],
)  # fmt: skip
def test_same_bits_in_shards_and_after_a_resume(settings: tuple[str, ...], tmp_path: Path) -> None:
    require_same_bits(tmp_path, "engine.block=2", *settings, rounds=4, cut=2)
    assert logged(tmp_path / "one")[-1]["secure_bytes_total"] > 0


@pytest.mark.parametrize(
    "settings",
    [
        ("protocol=fedavg", "topology=none", "protocol.shares=samples"),
        ("protocol=scaffold", "topology=none"),
        ("protocol=gossip_pga", "topology=torus", "protocol.every=2"),
        ("topology=torus",),
        ("topology=complete", "devices=5"),
        ("topology=torus", "protocol=choco"),
        (
            "topology=torus",
            "protocol=multi_gossip",
            "privacy=correlated",
            "privacy.noise_multiplier=0.1",
        ),
    ],
)
def test_masks_change_nothing_but_the_rounding(settings: tuple[str, ...]) -> None:
    common = ("partition=iid", "compute.dtype=float64", *settings)
    plain, secure = (trajectory(prepared(*common, *more)) for more in ((), SECURE))
    np.testing.assert_allclose(secure, plain, atol=1e-5)
    assert not np.array_equal(secure, plain)


@pytest.mark.parametrize(
    "settings", [("protocol=fedavg", "topology=none"), ("topology=complete", "devices=6")]
)
def test_those_that_are_left_are_averaged_as_without_masks(settings: tuple[str, ...]) -> None:
    """Drop-outs are recovered, at a server and at each device; where too few are left, see below."""
    common = ("partition=iid", "compute.dtype=float64", "rounds=6", *CHURN, *settings)
    masked = ("secure_sum=bonawitz", "secure_sum.threshold=0.51")
    secure = rounds_of(experiment(*common, *masked))
    rounds = range(1, 7)
    if "topology=none" in settings:
        groups = {r: [secure.at_server(r, 1)] for r in rounds}
    else:
        groups = {r: [secure.at_device(r, 1, i) for i in secure.neighbours(r)] for r in rounds}
    fine = [r for r in rounds if all(group is not None and group.recovered for group in groups[r])]
    until = next((r for r in rounds if r not in fine), 7)
    whole = [group for r in range(1, until) for group in groups[r] if group is not None]
    assert any(not group.alive_g.all() for group in whole)
    plain, found = (trajectory(prepared(*common, *more))[:until] for more in ((), masked))
    np.testing.assert_allclose(found, plain, atol=1e-5)


def test_below_the_threshold_a_round_is_called_off(tmp_path: Path) -> None:
    """Nobody learns, the model stays, and the keys and shares that were sent are counted."""
    strict = (*SERVER, *CHURN, "secure_sum.threshold=1")
    e = experiment(*strict)
    groups = [rounds_of(e).at_server(round, 1) for round in range(1, 5)]
    lost = [not group.recovered for group in groups]
    assert True in lost
    assert False in lost
    rows = trajectory(prepared(*strict))
    run(tmp_path / "run", *strict)
    logs = logged(tmp_path / "run")
    for round, gone in enumerate(lost, 1):
        record = logs[round]
        assert (record["steps"] == 0) == (record["awake"] == 0) == gone
        assert np.array_equal(rows[round], rows[round - 1]) == gone
        assert record["sums_lost"] == gone
        assert record["secure_bytes"] > 0
    assert logs[-1]["sums_lost_total"] == sum(lost)


def test_a_neighbourhood_that_lost_too_many_keeps_its_own_row() -> None:
    strict = (*RING, *CHURN, "protocol=averaging", "secure_sum.threshold=1", "init=independent")
    e, rows = experiment(*strict), trajectory(prepared(*strict))
    kept = []
    for round in range(1, 5):
        for i in range(12):
            group = rounds_of(e).at_device(round, 0, i)
            kept.append(group is None or not group.recovered)
            assert np.array_equal(rows[round, i], rows[round - 1, i]) == kept[-1]
    assert 4 < sum(kept) < 44


def test_bytes_and_round_trips_are_counted(tmp_path: Path) -> None:
    """A server of 12 devices: keys, shares, masked rows and shares for the unmasking, up and down."""
    run(tmp_path / "secure", *SERVER, "rounds=2")
    run(tmp_path / "plain", *SERVER, "secure_sum=none", "rounds=2")
    secure, plain = (logged(tmp_path / name) for name in ("secure", "plain"))
    up = 2 * 32 + 2 * 11 * 32 + 12 * 32
    down = 2 * 11 * 32 + 2 * 11 * 32
    assert secure[1]["secure_bytes"] == 12 * (up + down)
    assert secure[1]["bytes"] == plain[1]["bytes"] + 12 * (up + down)
    assert secure[2]["secure_bytes_total"] == 2 * secure[1]["secure_bytes"]
    assert [record["secure_round_trips_total"] for record in secure] == [0, 4, 8]
    assert secure[1]["messages"] == plain[1]["messages"]
    assert "secure_bytes" not in plain[1]


def test_neighbours_pay_for_each_neighbourhood() -> None:
    """On a torus a device hands on the keys and shares of four, and takes part in four other sums."""
    e = experiment(*RING)
    found = rounds_of(e).neighbour_overhead(1, 1)
    up, down = 2 * 256 + 2 * 3 * 256 + 4 * 256, 2 * 3 * 512
    assert found.sent_N.tolist() == [4 * (up + down)] * 12
    assert found.received_N.tolist() == found.sent_N.tolist()
    assert (found.sums, found.lost, found.round_trips) == (12, 0, 4)


def test_no_secret_is_used_twice() -> None:
    """Not in another round, phase or neighbourhood: what two masked rows have in common would be bare."""
    secure = rounds_of(experiment(*RING, "protocol=gossip_pga", "protocol.every=1"))
    groups = [secure.at_device(round, 1, i) for round in (1, 2) for i in range(12)]
    groups += [secure.at_server(round, phase) for round in (1, 2) for phase in (1, 2)]
    words = np.concatenate([group.words_gw for group in groups if group is not None])
    assert len(np.unique(words)) > words.size - 3  # 32 bits each: hardly two are alike


def test_the_time_of_the_round_trips_is_on_the_line() -> None:
    fleet = ("fleet=uniform", "fleet.uplink=1.0e+4", "fleet.downlink=1.0e+4", "rounds=1")
    for settings in (SERVER, RING):
        plain, secure = (
            records(prepared(*settings, *fleet, *more))[-1].values["virtual_s"]
            for more in (("secure_sum=none",), ())
        )
        assert secure > plain * 1.001


def test_an_arm_whose_numbers_do_not_fit_ends_with_a_sentence(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", *SERVER, "secure_sum.range=0.01")
    assert summary["arms"]["swarm"]["diverged"] == {"device": 0, "round": 1}
    error = OutOfRangeError(3, 2, 17.5, 16.0)  # actors hand it on
    kind, given = error.__reduce__()
    assert str(kind(*given)) == str(error)


def test_the_one_who_adds_up_need_not_be_trusted_with_distributed_noise() -> None:
    """The noise in the mean is that of all devices together, of which each message has a small share."""
    common = (*SERVER, "privacy=device_level", "privacy.noise=distributed")
    strong = ("privacy.noise_multiplier=5", "optimizer.lr=0.001", "secure_sum.range=1000")
    server = trajectory(prepared(*common, *strong))[:, 0]
    np.testing.assert_allclose(np.diff(server, axis=0).std(1), 5 / 12, rtol=0.05)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (f"{' '.join(RING)} compressor=top_k", "compressor=top_k: must be none with secure_sum=bonawitz: masks cover"),
        (f"{' '.join(RING)} network.drop=0.1", "network.drop=0.1: must be 0 with secure_sum=bonawitz"),
        (f"{' '.join(SERVER)} network.drop=0.1", "network.drop=0.1: must be 0 with secure_sum=bonawitz"),
        (f"{' '.join(RING)} delay=constant", "delay=constant: must be none with secure_sum=bonawitz"),
        (f"{' '.join(RING)} clock=poisson", "clock=poisson: must be none with secure_sum=bonawitz"),
        (f"{' '.join(RING)} aggregator=coordinate_median", "aggregator=coordinate_median: must be mean with"),
        (f"{' '.join(RING)} attack=sign_flip", "attack=sign_flip: must be none, or change only what devices learn"),
        (f"{' '.join(RING)} protocol=gossip_learning", "protocol=gossip_learning: must be one in which rows are added"),
        (f"{' '.join(RING)} protocol=relay_sgd topology=ring", "protocol=relay_sgd: must be one in which rows are added"),
        (f"{' '.join(RING)} protocol=d2 mixing=lazy", "protocol=d2: must be one that bears rounded messages"),
        (f"{' '.join(SERVER)} protocol.fraction=0.05", "protocol.fraction=0.05: leaves one device a round"),
        (f"{' '.join(SERVER)} devices=1", "devices=1: leaves one device a round"),
        (f"{' '.join(SECURE)} topology=random_matching", "topology=random_matching: must give every device two neigh"),
        (f"{' '.join(RING)} engine=live", "secure_sum=bonawitz: must be none"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(settings: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        prepared(*settings.split())


def test_a_secure_sum_says_which_devices_are_in_a_sum() -> None:
    plain = "secure_sum._target_=swarm.communication.secure.base.SecureSum"
    with pytest.raises(
        ConfigError, match=r"^secure_sum._target_=.*SecureSum: is abstract: .* defines group"
    ):
        prepared(plain, *RING[1:])


def test_a_protocol_that_needs_both_sums_bears_no_drop_outs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TrainThenAverage, "requirements", Requirements(conserves="both"))
    prepared(*RING)
    with pytest.raises(
        ConfigError, match=r"^churn=markov: must be none with secure_sum=bonawitz and"
    ):
        prepared(*RING, *CHURN)


def test_it_is_said_that_the_library_is_missing_and_that_many_devices_take_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.warns(UserWarning, match=r"^secure_sum.partners=100: no sum has more than 12 dev"):
        prepared(*SERVER, "secure_sum.partners=100")
    monkeypatch.setattr(base, "MANY", 11)
    with pytest.warns(
        UserWarning, match=r"^secure_sum.partners=null: all 12 devices of a sum share masks"
    ):
        prepared(*SERVER)
    monkeypatch.setattr("swarm.simulation.secure.check.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"^secure_sum=bonawitz: needs the library shamirs: `pip install"
    ):
        prepared(*SERVER)


def test_data_attacks_and_arms_that_send_nothing_go_together_with_it() -> None:
    prepared(*RING, "attack=label_flip")
    prepared(*SECURE, "scenario.arms=[swarm,isolated,centralised,fedavg]")
