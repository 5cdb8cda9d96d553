"""Attacks: what each of them sends, against the formula of its paper, and who is hostile."""

from __future__ import annotations

import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import norm

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.communication.attack.alie import Alie
from swarm.communication.attack.backdoor import Backdoor
from swarm.communication.attack.base import NoAttack, SampleFacts
from swarm.communication.attack.placement import hostile_devices
from swarm.communication.topology.graph import Graph
from tests.support import experiment, prepared, run, trajectory

Rows = npt.NDArray[np.float64]
HOSTILE = [3, 7, 10]
GOSSIP = (
    "devices=16",
    "topology=torus",
    "protocol=averaging",
    "init=independent",
    "compute.dtype=float64",
    "model=softmax",
    "rounds=3",
    f"attack.devices={HOSTILE}",
    "engine.shards=2",
    "engine.block=3",
)


def _alie(honest: Rows) -> Rows:
    # n = 16, f = 3: s = ⌊16/2⌋ + 1 − 3 = 6 supporters among 13 honest devices
    return honest.mean(0) - norm.ppf((13 - 6) / 13) * honest.std(0)


SENT: dict[str, Any] = {
    "sign_flip": lambda own, honest: -1.0 * own,
    "zero": lambda own, honest: 0.0 * own,
    "alie": lambda own, honest: _alie(honest) + 0.0 * own,
    "inner_product": lambda own, honest: -0.5 * honest.mean(0) + 0.0 * own,
}


def _received(X: Rows, sent: Rows, W: Rows) -> Rows:
    """What gossip makes of it: a device's own row counts as it is, also a hostile one's."""
    own = np.diag(W)
    return own[:, None] * X + (W - np.diag(own)) @ sent


@pytest.mark.parametrize("name", SENT)
def test_hostile_devices_send_what_the_formula_says_and_honest_ones_their_own(name: str) -> None:
    overrides = (f"attack={name}", *GOSSIP)
    found = trajectory(prepared(*overrides))
    W = experiment(*overrides).communication.mixing(1).matrix.toarray()
    for before, after in pairwise(found):
        sent = before.copy()
        sent[HOSTILE] = SENT[name](before[HOSTILE], np.delete(before, HOSTILE, 0))
        np.testing.assert_allclose(after, _received(before, sent, W), rtol=0, atol=1e-8)


def test_gaussian_noise_is_drawn_for_each_device_and_round() -> None:
    overrides = ("attack=gaussian", "attack.std=2", *GOSSIP)
    found = trajectory(prepared(*overrides))
    W = experiment(*overrides).communication.mixing(1).matrix.toarray()
    for round, (before, after) in enumerate(pairwise(found), 1):
        sent, width = before.copy(), before.shape[1]
        sent[HOSTILE] = 2 * Keys(0, "attack.0").normal(HOSTILE, round, width)
        np.testing.assert_allclose(after, _received(before, sent, W), rtol=0, atol=1e-12)


def test_all_who_mimic_send_the_row_of_one_honest_device() -> None:
    overrides = ("attack=mimic", "attack.target=5", *GOSSIP)
    found = trajectory(prepared(*overrides))
    W = experiment(*overrides).communication.mixing(1).matrix.toarray()
    for before, after in pairwise(found):
        sent = before.copy()
        sent[HOSTILE] = before[5]
        np.testing.assert_allclose(after, _received(before, sent, W), rtol=0, atol=1e-14)


def test_dissensus_keeps_the_neighbours_of_hostile_devices_where_they_are() -> None:
    """Σ_B W_ij (m_ij − x_i) = −ε Σ_R W_ik (x_k − x_i): with ε = 1 they do not move, with ε = 2 they
    move as far the other way."""
    for epsilon in (1, 2):
        overrides = ("attack=dissensus", f"attack.epsilon={epsilon}", *GOSSIP)
        X, after = trajectory(prepared(*overrides))[:2]
        W = experiment(*overrides).communication.mixing(1).matrix.toarray()
        met = 0
        for i in set(range(16)) - set(HOSTILE):
            honest = np.isin(np.arange(16), HOSTILE, invert=True)
            pull = (W[i] * honest) @ (X - X[i])
            hurt = W[i][HOSTILE].any()
            moved = (1 - epsilon) * pull if hurt else pull
            np.testing.assert_allclose(after[i] - X[i], moved, rtol=0, atol=1e-13)
            met += hurt
        assert met


def test_a_delayed_device_sends_what_it_had(tmp_path: Path) -> None:
    overrides = ("attack=delayed", "attack.lag=2", *GOSSIP, "rounds=5")
    found = trajectory(prepared(*overrides))
    W = experiment(*overrides).communication.mixing(1).matrix.toarray()
    for round in range(5):
        sent = found[round].copy()
        sent[HOSTILE] = found[max(0, round - 2)][HOSTILE]
        expected = _received(found[round], sent, W)
        np.testing.assert_allclose(found[round + 1], expected, rtol=0, atol=1e-14)


def test_a_free_rider_learns_nothing_and_sends_what_it_received() -> None:
    ready = prepared(
        "devices=16", "topology=torus", "attack=free_rider", f"attack.devices={HOSTILE}"
    )
    alone = prepared("devices=16", "topology=torus", "attack=free_rider", "attack.devices=0")
    X, after = trajectory(ready)[:2]
    honest = trajectory(alone)[1]
    W = experiment("devices=16", "topology=torus").communication.mixing(1).matrix.toarray()
    learnt = np.linalg.solve(W, honest)
    learnt[HOSTILE] = X[HOSTILE]
    np.testing.assert_allclose(after, W @ learnt, rtol=0, atol=2e-5)


def test_a_server_averages_what_hostile_clients_send() -> None:
    """All devices start from one model, and so send what they learnt: zeros of the hostile ones
    take their share of the mean."""
    common = (
        "devices=8",
        "topology=none",
        "protocol=fedavg",
        "rounds=1",
        "partition=iid",
        "seed=1",
    )
    plain = trajectory(prepared(*common))
    found = trajectory(prepared(*common, "attack=zero", "attack.devices=[0,1,2,3,4,5,6]"))
    only = trajectory(prepared(*common, "attack=sign_flip", "attack.devices=[0,1,2,3,4,5,6]"))
    shares = experiment(*common).communication.server_shares(1)
    np.testing.assert_array_equal(found[1][0], found[1][7])
    # s · x_7 and s · x_7 − (mean − s · x_7)
    np.testing.assert_allclose(only[1][0], 2 * found[1][0] - plain[1][0], rtol=0, atol=1e-6)
    assert shares[7] < 0.2
    assert np.abs(found[1][0] - plain[1][0]).max() > 0.01


def test_a_compressor_packs_what_hostile_devices_send() -> None:
    """A hostile device sends valid packets: the sign of −v is packed as any row is."""
    common = ("compressor=sign", "compressor.feedback=false", *GOSSIP)
    (X, after), (_, plain) = (
        trajectory(prepared(*common, f"attack={name}"))[:2] for name in ("sign_flip", "none")
    )
    W = experiment(*common).communication.mixing(1).matrix.toarray()
    packed = np.sign(X) * np.abs(X).mean(1, keepdims=True)
    bad = np.zeros_like(X)
    bad[HOSTILE] = -2 * packed[HOSTILE]
    np.testing.assert_allclose(after - plain, (W - np.diag(np.diag(W))) @ bad, rtol=0, atol=1e-9)


# --- who is hostile -------------------------------------------------------------------------------


def _who(graph: Graph, devices: Any, placement: Any = "random", seed: int = 0) -> list[int]:
    found = hostile_devices(NoAttack(devices, placement), graph, seed)
    return [] if found is None else np.flatnonzero(found).tolist()


def test_hubs_are_the_devices_with_most_links() -> None:
    star = Graph.from_edges(9, [(4, i) for i in range(9) if i != 4] + [(0, 1), (0, 2)])
    assert _who(star, 2, "hubs") == [0, 4]


@pytest.mark.parametrize("seed", range(3))
def test_a_cut_takes_the_devices_that_connect_two_parts(seed: int) -> None:
    """Two cliques joined by a path of one device; and a ring, which two opposite devices cut."""
    clique = [(i, j) for i in range(5) for j in range(i)]
    other = [(6 + i, 6 + j) for i, j in clique]
    bell = Graph.from_edges(11, [*clique, *other, (4, 5), (5, 6)])
    assert _who(bell, 1, "cut", seed) == [5]
    ring = Graph.from_edges(12, [(i, (i + 1) % 12) for i in range(12)])
    a, b = _who(ring, 2, "cut", seed)
    assert min(b - a, 12 - b + a) >= 4


def test_more_hostile_devices_are_the_same_ones_and_others() -> None:
    graph = Graph.from_edges(
        40, [(i, (i * i + 1) % 40) for i in range(40) if (i * i + 1) % 40 != i]
    )
    for placement in ("random", "hubs", "cut"):
        few, many = (set(_who(graph, share, placement)) for share in (0.1, 0.3))
        assert len(few) == 4
        assert len(many) == 12
        assert few < many
    assert _who(graph, 0.01) != []
    assert _who(graph, 0) == _who(graph, 0.0) == _who(graph, []) == []
    assert _who(graph, 5, seed=1) != _who(graph, 5, seed=2)


def test_z_is_the_papers() -> None:
    """50 workers of which 24 are corrupted: s = 2, and Φ(z) = 24/26 (section 4 of the paper has
    z = 1.43)."""
    attack, hostile_N = Alie(), np.arange(50) < 24
    attack.check(hostile_N)
    assert attack.z == pytest.approx(1.43, abs=0.005)


REFUSED = {
    "attack=sign_flip attack.devices=[3,16]": r"attack.devices=\[3, 16\]: must list different",
    "attack=sign_flip attack.devices=[3,3]": "must list different devices out of 0 to 15",
    "attack=sign_flip attack.devices=17": "attack.devices=17: must be a share of the devices",
    "attack=sign_flip attack.devices=1.5": "attack.devices=1.5: must be a share",
    "attack=sign_flip attack.devices=16": "leaves no honest device; at most 15 of 16",
    "attack=sign_flip attack.devices=[1] attack.placement=hubs": "must be random beside a list",
    "attack=sign_flip attack.placement=hubs topology=none": "must be random on a graph without",
    "attack=sign_flip protocol=none topology=none": "which sends nothing",
    "attack=sign_flip topology=none": "leaves no hostile device an honest neighbour",
    "attack=sign_flip attack.scale=0": "attack.scale=0: must be a factor above 0",
    "attack=alie attack.devices=9": "must be a number where 9 of 16 devices are hostile",
    "attack=mimic attack.target=3 attack.devices=[3]": "must be null or an honest device",
    "attack=alie attack.devices=1 devices=2 topology=complete": "must be a number where 1 of 2 devices are hostile",
    "attack=zero attack.devices=1.0": "attack.devices=1: must be a share of the devices below 1",
    "attack=zero protocol=fedavg topology=none privacy=device_level privacy.noise=distributed": "must be local with hostile devices",
    "attack=dissensus protocol=fedavg topology=none": "another message for each neighbour, and",
    "attack=dissensus protocol=gossip_learning": "messages that are not mixed",
    "attack=dissensus compressor=qsgd": "compressor=qsgd: must be none with attack=dissensus",
    "attack=alie protocol=relay_sgd topology=ring": "needs a protocol that sends the same row",
    "attack=delayed protocol=gossip_pga topology=ring": "needs a message in every round",
    "attack=label_flip data=linear_regression partition=natural model=softmax": "no labels to flip",
    "attack=label_flip protocol=averaging": "needs a protocol that learns",
    "attack=backdoor attack.target=10": "must be the number of a class, 0 to 9",
    "attack=backdoor attack.size=65": "must be at most 64",
    "attack=zero attack.devices=[1,3] topology=ring aggregator=trimmed_mean aggregator.f=1": "trimmed_mean: bears 1 hostile row among the 3 of device 2, which has 2 hostile neighbours; fewer",
    "attack=zero attack.devices=[1,4] topology=torus aggregator=trimmed_mean aggregator.f=1": "which has 2 hostile neighbours; aggregator.f=2 or fewer",
    "attack=sign_flip attack.devices=0 metrics=[standard,backdoor_success]": "attack=backdoor",
}


def test_a_trigger_needs_features_that_are_real_numbers() -> None:
    facts = SampleFacts(classes=27, features=(16,), continuous=False, largest=0.0)
    with pytest.raises(ConfigError, match="whose features are real numbers"):
        Backdoor().check_samples(facts)


@pytest.mark.parametrize("overrides", REFUSED)
def test_what_cannot_work_is_refused(overrides: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[overrides]):
        prepared("devices=16", *overrides.split())


def test_more_hostile_neighbours_than_a_rule_bears_may_be_allowed() -> None:
    attacked = ("devices=16", "attack=zero", "attack.devices=[1,3]", "topology=ring")
    rule = ("aggregator=trimmed_mean", "aggregator.f=1")
    with pytest.warns(
        UserWarning, match=r"has 2 hostile neighbours; these have too many for it: device 2$"
    ):
        prepared(*attacked, *rule, "aggregator.unsafe=warn")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared(*attacked, "aggregator=mean")
        prepared(*attacked, *rule, "attack.devices=[1,9]")


def test_arms_have_the_same_hostile_devices_and_the_pooled_one_has_none(tmp_path: Path) -> None:
    ready = prepared(
        "devices=16", "attack=zero", "attack.placement=hubs", "attack.devices=3",
        "scenario.arms=[swarm,isolated,centralised,fedavg]",
    )  # fmt: skip
    found = {arm.name: ready.experiment(arm, arm.first).communication for arm in ready.arms}
    hostile_N = found["swarm"].hostile_N
    assert hostile_N is not None
    for name in ("isolated", "fedavg"):
        np.testing.assert_array_equal(found[name].hostile_N, hostile_N)
    assert found["centralised"].hostile_N is None
    assert found["isolated"].message_attack is None
    assert found["fedavg"].message_attack is not None


def test_nobody_hostile_changes_no_bit(tmp_path: Path) -> None:
    common = ("devices=9", "rounds=2", "topology=complete")
    plain = run(tmp_path / "plain", *common)
    found = run(tmp_path / "nobody", *common, "attack=alie", "attack.devices=0")
    sums = [each["arms"]["swarm"]["params_sha256"] for each in (plain, found)]
    assert sums[0] == sums[1]
    assert "attack" not in found


def test_floods_are_counted_and_read_one_by_one() -> None:
    """Every copy is a message that is sent, received and lost; gossip learning reads five from each
    hostile neighbour, and a mix one."""
    common = ("devices=16", "topology=torus", "network.drop=0.3", "rounds=1", "protocol.variant=rw")
    pair = [
        experiment(
            *common, "protocol=gossip_learning", f"attack={name}", f"attack.devices={HOSTILE}"
        )
        for name in ("none", "flooding")
    ]
    plain, flood = (e.communication.phases[0].traffic(1) for e in pair)
    times = np.ones(16, int)
    times[HOSTILE] = 10
    np.testing.assert_array_equal(flood.sent_N, plain.sent_N * times)
    np.testing.assert_array_equal(flood.lost_N, plain.lost_N * times)
    one, many = (e.communication.messages.single(1) for e in pair)
    assert one.src_R is not None
    assert many.src_R is not None
    np.testing.assert_array_equal(np.repeat(one.src_R, times[one.src_R]), many.src_R)
    np.testing.assert_array_equal(np.repeat(one.dst_R, times[one.src_R]), many.dst_R)
    assert flood.received_N.sum() == len(many.dst_R)
    for e in (experiment("devices=16", "topology=torus", "attack=flooding", "attack.devices=[3]"),):
        W = e.communication.messages.mix(1).matrix
        assert np.diff(W.indptr).max() == 5
