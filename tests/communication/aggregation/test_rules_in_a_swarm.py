"""Aggregation rules in a running swarm: what every device receives, the same bits however it is
cut, and which protocols they go with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.common.plugin import PluginError
from swarm.communication.aggregation.base import Heard
from swarm.config.build import option, options
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.shard import Shard
from tests.support import experiment, prepared, require_same_bits, run, trajectory

OWN = Path(__file__).with_name("own_rules.py")
RULES = [name for name in options("aggregator") if name != "mean"]
MEASURING = ("ubar", "reputation", "fedfomo")
SOME = ("coordinate_median", "clipped_gossip", "reputation")  # one of each kind
TORUS = ("devices=16", "topology=torus")
GOSSIP = (
    *TORUS,
    "protocol=averaging",
    "init=independent",
    "compute.dtype=float64",
    "model=softmax",
    "rounds=4",
)
NETWORKS: dict[str, tuple[str, ...]] = {
    "ideal": (),
    "loss": ("network.drop=0.3",),
    "delay and loss": ("network.drop=0.2", "delay=exponential", "network.round_seconds=0.1"),
    "compression": ("compressor=top_k",),
    "delay and compression": ("delay=exponential", "network.round_seconds=0.1", "compressor=qsgd"),
    "churn": ("churn=markov",),
    "clocks": ("clock=poisson",),
    "time-varying": ("topology=epidemic",),
    "complete": ("topology=complete",),
}


def _target(name: str) -> dict[str, Any]:
    return {"_target_": f"{OWN.stem}.{name}"}


def _own(changes: dict[str, Any], *overrides: str) -> PreparedRun:
    """A run of gossip with plug-ins of :mod:`tests.communication.aggregation.own_rules`."""
    settings = prepared(*GOSSIP, *overrides).settings
    return PreparedRun.prepare(settings.model_copy(update={"plugins": [str(OWN)], **changes}))


def under(rule: str) -> tuple[str, ...]:
    """The settings of a run with ``rule``, or with ``PRE+RULE``."""
    pre, _, name = rule.rpartition("+")
    found = [f"aggregator={name}"]
    if pre:
        found += [f"pre_aggregators=[{pre}]", "aggregator.f=1"]
    if name in MEASURING:
        found += ["data.local_validation=0.3", "partition=iid"]
    return tuple(found)


ALL = [*RULES, "nnm+krum", "bucketing+coordinate_median"]
# every rule on some networks and every network under some rules
CUT = [(ALL[i % len(ALL)], list(NETWORKS)[i % len(NETWORKS)]) for i in range(2 * len(ALL))]


@pytest.mark.parametrize(("rule", "network"), CUT)
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, rule: str, network: str) -> None:
    common = (*under(rule), "engine.block=3", *TORUS, *NETWORKS[network])
    require_same_bits(tmp_path, *common, rounds=4, cut=2)


@pytest.mark.parametrize("network", ["ideal", "delay and loss", "time-varying"])
@pytest.mark.parametrize("rule", ["coordinate_median", "multi_krum", "clipped_gossip"])
def test_every_device_receives_what_the_rule_makes_of_what_it_heard(
    rule: str, network: str
) -> None:
    """Against a loop over devices that looks messages up in the matrix of the round."""
    ready = prepared(*GOSSIP, f"aggregator={rule}", *NETWORKS[network])
    found = trajectory(ready)
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    messages, made = e.communication.messages, e.communication.aggregator
    for round in range(1, len(found)):
        exchange = messages.mix(round)
        expected, parts = found[round - 1].copy(), exchange.rows_per_device
        for r, i in enumerate(exchange.dst_R.tolist()):
            row = exchange.matrix.toarray()[r]
            entries = [
                (j, age, float(row[j * parts + age]))
                for j in range(16)
                for age in range(parts)
                if j != i and row[j * parts + age]
            ]
            heard = Heard(
                torch.as_tensor(found[round - 1][i]),
                float(row[i * parts : (i + 1) * parts].sum()),
                torch.as_tensor(
                    np.array([found[round - 1 - age][j] for j, age, _ in entries]).reshape(
                        len(entries), -1
                    )
                ),
                torch.as_tensor([weight for _, _, weight in entries], dtype=torch.float64),
                np.array([j for j, _, _ in entries], np.int64),
                np.array([age for _, age, _ in entries], np.int64),
            )
            expected[i] = made.combine(heard).numpy()
        np.testing.assert_allclose(found[round], expected, rtol=0, atol=1e-12)


def test_the_mean_rule_is_the_sparse_product(tmp_path: Path) -> None:
    """The rule written out, for one device at a time, gives what the product gives."""
    one = trajectory(prepared(*GOSSIP, *NETWORKS["delay and loss"]))
    other = trajectory(_own({"aggregator": _target("WrittenOut")}, *NETWORKS["delay and loss"]))
    np.testing.assert_allclose(other, one, rtol=0, atol=1e-13)


# --- against an attack, which is a message transform ----------------------------------------------


def _attacked(rule: str, *overrides: str) -> Any:
    shout = {"transforms": [_target("Shout") | {"bad": 3}]}
    return trajectory(_own(shout, "topology=complete", f"aggregator={rule}", *overrides))


@pytest.mark.parametrize("rule", [name for name in RULES if name not in MEASURING])
def test_bad_devices_do_not_move_the_good_ones_far(rule: str) -> None:
    """3 of 16 on a complete graph: fewer than half, and than a quarter."""
    f = ["aggregator.f=3"] if "f" in option("aggregator", rule) else []
    found = _attacked(rule, *f)
    good, first = found[:, 3:], found[0]
    if "clip" in rule:
        # a weight of 1/16 and a radius of 1 for each of the three, and in each of four rounds
        mean = first.mean(0)
        assert (
            np.linalg.norm(good[-1] - mean, axis=1).max()
            < np.linalg.norm(first - mean, axis=1).max() + 4 * 3 / 16
        )
    else:
        room = 1e-12 if rule != "geometric_median" else np.linalg.norm(first - first.mean(0)) / 4
        assert (good[-1] >= first.min(0) - room).all()
        assert (good[-1] <= first.max(0) + room).all()


def test_bad_devices_take_the_mean_anywhere() -> None:
    assert np.abs(_attacked("mean")[-1]).min() > 1e4


def test_measuring_models_is_work() -> None:
    """A device measures its own model and each that arrives; rules that measure none cost none."""
    for rule, network in (("ubar", "ideal"), ("reputation", "loss"), ("krum", "loss")):
        made = experiment(*TORUS, *under(rule), *NETWORKS[network])
        phase = made.communication.phases[-1]
        arrived = made.communication.messages.traffic_on_links(2, 8).received_N
        expected = 1 + arrived if rule != "krum" else np.zeros(16)
        np.testing.assert_array_equal(phase.measured(2), expected)


def test_a_loss_is_that_of_one_model_on_one_devices_samples() -> None:
    made = experiment(*TORUS, *under("reputation"), "engine.block=3")
    shard = Shard(made, np.arange(made.blocks.count))
    noise = torch.randn(shard.state.x.shape, generator=torch.Generator().manual_seed(0))
    rows = shard.state.x + noise.to(shard.state.x)
    together = shard.state.local.loss(rows)
    for i in range(16):
        assert shard.state.local.loss(rows[i : i + 1], torch.tensor([i])) == together[i]
    turned = torch.arange(16).flip(0)
    assert torch.equal(shard.state.local.loss(rows[turned], turned), together[turned])


# --- which combinations are refused ---------------------------------------------------------------

REFUSED = {
    "push_sum": "which needs a rule that conserves the column sums of the weights",
    "push_sum_averaging": "which needs a rule that conserves the column sums of the weights",
    "choco": "which remembers sums of what it mixed",
    "choco_gossip": "which remembers sums of what it mixed",
    "scaffold": "which remembers sums of what it mixed",
    "ad_psgd": "which needs a rule that conserves the row and the column sums",
    "d2": "which needs a rule that conserves the row and the column sums",
    "exact_diffusion": "which needs a rule that conserves the row and the column sums",
    "gradient_tracking": "which needs a rule that conserves the row and the column sums",
}
CONSERVING = (
    "ad_psgd", "d2", "exact_diffusion", "gradient_tracking", "push_sum", "push_sum_averaging",
)  # fmt: skip


@pytest.mark.parametrize("rule", SOME)
@pytest.mark.parametrize("protocol", options("protocol"))
def test_every_protocol_either_runs_or_says_why_not(
    tmp_path: Path, protocol: str, rule: str
) -> None:
    common = (f"protocol={protocol}", *TORUS, "rounds=2")
    if protocol == "fedmd":
        common = (*common, "data.public=0.1")
    if protocol == "relay_sgd":
        common = (*common, "topology=star")
    if protocol == "d2":
        common = (*common, "mixing=lazy")
    if protocol in ("best_neighbour", "ifca") or rule == "reputation":
        common = (*common, "data.local_validation=0.2", "partition=iid")
    phases = experiment(*common).communication.phases
    said = REFUSED.get(protocol)
    if not any(phase.mixes for phase in phases):
        said = said or "which mixes nothing over the links"
        if any(phase.through_server for phase in phases):
            alike = None if rule == "coordinate_median" else "treats all rows alike with"
            said = REFUSED.get(protocol, alike)
    if rule == "reputation" and protocol in ("delta_sharing", "fedmd"):
        said = "whose messages are more or something else than models"
    if protocol in CONSERVING and rule == "clipped_gossip":
        said = None
    if said is None:
        arm = run(tmp_path / "run", *common, f"aggregator={rule}")["arms"]["swarm"]
        assert arm["params_sha256"]
    else:
        with pytest.raises(ConfigError, match=f"aggregator={rule}: must be .*{said}"):
            prepared(*common, f"aggregator={rule}")


def test_clipping_over_weights_that_are_not_symmetric_is_refused() -> None:
    with pytest.raises(ConfigError, match="conserves the row sums of the weights only"):
        prepared("protocol=push_sum", "topology=exponential", "aggregator=clipped_gossip")


@pytest.mark.parametrize("name", ["Short", "Narrow"])
def test_a_rule_that_returns_no_row_is_named(name: str) -> None:
    with pytest.raises(
        PluginError,
        match=rf"{name}: its combine\(\) returns .*; float64 numbers of shape \[650\] are",
    ):
        trajectory(_own({"aggregator": _target(name)}))


def test_other_arms_are_those_of_a_run_without_rule_and_transform(tmp_path: Path) -> None:
    arms = (*TORUS, "rounds=2", "scenario.arms=[swarm,isolated,centralised,fedavg]")
    plain = run(tmp_path / "plain", *arms)["arms"]
    robust = run(
        tmp_path / "robust",
        *arms,
        "aggregator=coordinate_median",
        "transforms=[clip]",
    )["arms"]
    same = [name for name in plain if plain[name]["params_sha256"] == robust[name]["params_sha256"]]
    assert same == ["isolated", "centralised", "fedavg"]
