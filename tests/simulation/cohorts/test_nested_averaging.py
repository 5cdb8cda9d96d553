"""Cohorts against plain loops over devices with named tensors: how they learn, and how they average
what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from swarm.communication.routing import routes
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.experiment import Experiment
from tests.support import experiment, final_rows, prepared, require_same_bits, run, trajectory

MODELS = Path(__file__).parents[2] / "learning" / "models" / "published_models.py"
PLUGINS = f"plugins=[{MODELS}]"
THREE = "cohorts={small: {devices: 0.4, model: {hidden: [16]}}, tiny: {devices: [0, 7], model: {hidden: [5]}}}"
SMALL = ("devices=11", "engine.block=3", "compute.dtype=float64", THREE)
OTHERS = {
    "two hidden layers": (
        "model.hidden=[12, 9]",
        "cohorts={a: {devices: 4, model: {hidden: [5, 9]}}, b: {devices: 3, model: {hidden: [12, 4]}}}",
    ),
    "channels": (
        "model=cnn",
        "model.channels=[4,6]",
        "cohorts={thin: {devices: 0.5, model: {channels: [2, 3]}}}",
    ),
    "running statistics, a part that is kept": (
        PLUGINS,
        "model=custom",
        "model._target_=published_models.BatchNormMLP",
        "share=body",
        "cohorts={narrow: {devices: 0.5, model: {width: 5}}}",
    ),
}
Named = dict[str, Tensor]
Floats = npt.NDArray[np.float64]


def has_of(e: Experiment) -> npt.NDArray[np.bool_]:
    """Which numbers each device has, ``[N, P]``."""
    cohorts = e.model.cohorts
    assert cohorts is not None
    return cohorts.holds_NG[:, cohorts.union.group_P.numpy()]


def named(e: Experiment, row_P: Floats, device: int) -> Named:
    """A device's parameters by name, in the shapes of its own model."""
    own = e.model.of_device(device)
    row = e.model.own_row(torch.as_tensor(row_P), device)
    return {s.name: row[s.start : s.stop].view(s.shape) for s in own.layout.slots}


def corner(values: Tensor, shape: Sequence[int]) -> Tensor:
    return values[tuple(slice(min(n, own)) for n, own in zip(shape, values.shape, strict=True))]


def nested_mean(devices: Sequence[Named], weights: Sequence[float], like: Named) -> Named:
    """Of each number of ``like``, the weighted mean over the devices that have it, by a loop over
    devices and named tensors."""
    found = {}
    for name, own in like.items():
        total, weight = torch.zeros_like(own), torch.zeros_like(own)
        for values, w in zip(devices, weights, strict=True):
            if name in values and w:
                part = corner(values[name], own.shape)
                corner(total, part.shape).add_(w * part)
                corner(weight, part.shape).add_(w)
        found[name] = torch.where(weight > 0, total / weight, own)
    return found


def require_nested(ready: PreparedRun, weights_NN: Floats, rounds: int = 1) -> None:
    """Require that one round is the nested mean, with these weights, of what devices learn when
    they are alone for that round."""
    arm = ready.arms[0]
    e = ready.experiment(arm, arm.variants[0])
    alone = trajectory_alone(ready)
    mixed = trajectory(ready)
    sent = {s.name for s in e.model.layout.sent.slots}
    learnt = [named(e, row, i) for i, row in enumerate(alone)]
    for i, like in enumerate(learnt):
        expected = nested_mean(learnt, list(weights_NN[i]), like)
        after = named(e, mixed[1][i], i)
        for name, values in after.items():
            wanted = expected[name] if name in sent else like[name]
            torch.testing.assert_close(values, wanted, rtol=1e-12, atol=1e-14)


def trajectory_alone(ready: PreparedRun) -> Floats:
    """The rows after one round without communication."""
    settings = ready.settings
    plain: dict[str, object] = {
        "protocol": {"_target_": "swarm.communication.protocol.dpsgd.LocalOnly"},
        "aggregator": {"_target_": "swarm.communication.aggregation.mean.Mean"},
        "compressor": {"_target_": "swarm.communication.compression.base.NoCompression"},
        "attack": {"_target_": "swarm.communication.attack.base.NoAttack", "devices": 0},
        "pre_aggregators": [],
        "transforms": [],
    }
    return trajectory(PreparedRun.prepare(settings.model_copy(update=plain)))[1]


# --- learning -------------------------------------------------------------------------------------


def test_every_cohort_learns_as_a_swarm_of_its_own_model_does() -> None:
    words = (*SMALL[:3], "init=independent", "topology=none", "protocol=none", "rounds=2")
    mixed_words = (*words, "optimizer=momentum", THREE)
    e, mixed = experiment(*mixed_words), final_rows(prepared(*mixed_words))
    assert e.model.cohorts is not None
    for number, hidden in enumerate((64, 16, 5)):
        alone = final_rows(prepared(*words, "optimizer=momentum", f"model.hidden=[{hidden}]"))
        for device in np.flatnonzero(e.model.cohorts.cohort_N == number):
            own = e.model.own_row(torch.as_tensor(mixed[device]), int(device)).numpy()
            np.testing.assert_allclose(own, alone[device], rtol=1e-12, atol=1e-14)


def test_small_models_start_as_corners_of_the_large_one() -> None:
    e = experiment(*SMALL)
    rows = e.model.first_rows(np.arange(11)).numpy()
    large = named(e, rows[1], 1)
    assert len(large["1.weight"]) == 64
    drawn = dict(e.model.lead.module().named_parameters())
    for name, values in large.items():
        torch.testing.assert_close(values, drawn[name].detach(), rtol=0, atol=0)
    for device in range(11):
        for name, values in named(e, rows[device], device).items():
            torch.testing.assert_close(values, corner(large[name], values.shape), rtol=0, atol=0)


# --- averaging ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("protocol", ["dpsgd", "fedavg"])
def test_a_round_is_the_nested_mean_over_named_tensors(case: str, protocol: str) -> None:
    words = ("devices=10", "engine.block=3", "compute.dtype=float64", "rounds=1")
    ready = prepared(*words, *OTHERS[case], f"protocol={protocol}", "topology=small_world")
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    weights = np.full((10, 10), 0.1)
    if protocol == "dpsgd":
        weights = e.communication.mixing(1).matrix.toarray()
    require_nested(ready, weights)


@pytest.mark.parametrize("words", [("topology=complete",), ("network.drop=0.4",)])
def test_the_mean_over_all_and_lost_messages_are_nested_means(words: tuple[str, ...]) -> None:
    ready = prepared(*SMALL, "rounds=1", *words)
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    weights = e.communication.mixing(1).matrix.toarray()
    if "network.drop=0.4" in words:
        messages = e.communication.messages.mix(1)
        weights = np.eye(11)
        weights[messages.dst_R] = messages.matrix.toarray()
    require_nested(ready, weights)


@pytest.mark.parametrize("words", [("network.drop=0.3",), ("delay=exponential", "delay.mean=1.0")])
def test_the_mean_by_groups_has_the_bits_of_the_mean_by_cohorts(words: tuple[str, ...]) -> None:
    wide = "cohorts={small: {devices: 0.4, model: {hidden: [64]}}, tiny: {devices: [0, 7], model: {hidden: [32]}}}"
    e = experiment("devices=11", "model.hidden=[128]", wide, "init=independent", *words)
    mixed, messages = e.communication.mixed, e.communication.messages.mix(3)
    assert mixed is not None
    shards = [np.arange(4), np.arange(4, 11)]
    for devices, route in zip(shards, routes(messages, shards, np.float32), strict=True):
        rows = e.model.first_rows(route.sender_m) + torch.as_tensor(route.age_m)[:, None]
        rows[torch.as_tensor(~has_of(e)[route.sender_m])] = 0.0
        assert mixed._runs is not None
        by_group = mixed.mean(route, rows, devices[route.dst_R])
        mixed.__dict__["_runs"] = None  # as where runs are short
        by_cohort = mixed.mean(route, rows, devices[route.dst_R])
        del mixed.__dict__["_runs"]
        torch.testing.assert_close(by_group, by_cohort, rtol=0, atol=0)
        assert by_group.abs().sum() > 0


def test_a_server_that_hears_some_leaves_what_nobody_sends() -> None:
    ready = prepared(*SMALL, "rounds=1", "protocol=fedavg", "protocol.fraction=0.2", "seed=3")
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    heard = e.communication.active(1)
    assert heard is not None
    assert e.model.cohorts is not None
    assert not (e.model.cohorts.cohort_N[heard] == 0).any(), "nobody of the largest is heard"
    before, after = trajectory(ready)[:2]
    alone = before.copy()
    changed = trajectory_alone(ready)
    alone[heard] = changed[heard]
    shares = np.tile(heard / heard.sum(), (11, 1))
    for i in range(11):
        learnt = [named(e, row, j) for j, row in enumerate(alone)]
        expected = nested_mean(learnt, list(shares[i]), named(e, before[i], i))
        for name, values in named(e, after[i], i).items():
            torch.testing.assert_close(values, expected[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "words",
    [
        ("protocol=dpsgd", "optimizer=adam", "train.clip_norm=1.0"),
        ("protocol=dpsgd_published", "topology=ring"),
        ("protocol=fedprox", "protocol.fraction=0.5"),
        ("protocol=fedadam",),
        ("protocol=diloco", "protocol.exchange=gossip"),
        ("protocol=gossip_pga", "protocol.every=2", "network.drop=0.3"),
        ("protocol=multi_gossip", "churn=markov"),
        ("delay=exponential", "delay.mean=1.0", "init=independent"),
    ],
)
def test_numbers_that_a_device_does_not_have_stay_zero(words: tuple[str, ...]) -> None:
    common = (*SMALL, "rounds=4", *words)
    has_NP = has_of(experiment(*common))
    for rows_NP in trajectory(prepared(*common)):
        assert not rows_NP[~has_NP].any()
        assert np.isfinite(rows_NP).all()


def test_cohorts_of_one_model_are_the_run_without_cohorts(tmp_path: Path) -> None:
    """To rounding: the devices of a block train in two parts, whose products have other shapes."""
    words = ("devices=11", "engine.block=4", "rounds=3", "topology=small_world")
    same = "cohorts={same: {devices: 0.5, model: {hidden: [64]}}}"
    with_them, without = final_rows(prepared(*words, same)), final_rows(prepared(*words))
    np.testing.assert_allclose(with_them, without, rtol=0, atol=2e-6)
    every = "cohorts={same: {devices: 1.0, model: {hidden: [64]}}}"
    one, other = run(tmp_path / "a", *words), run(tmp_path / "b", *words, every)
    assert one["arms"]["swarm"]["params_sha256"] == other["arms"]["swarm"]["params_sha256"]


# --- the same bits --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("topology=small_world", "optimizer=momentum", "network.drop=0.2"),
        ("protocol=fedavg", "protocol.fraction=0.6", "train.devices=null"),
        ("init=independent", "update=online", "replay=reservoir", "replay.size=5", "churn=markov"),
    ],
)
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, words: tuple[str, ...]) -> None:
    summary = require_same_bits(
        tmp_path,
        "devices=11",
        "engine.block=2",
        THREE,
        "data.local_test=0.2",
        *words,
        rounds=4,
        cut=2,
    )
    means = {k: v for k, v in summary["arms"]["swarm"].items() if k.startswith("accuracy_cohort_")}
    assert set(means) == {f"accuracy_cohort_{name}" for name in ("own", "small", "tiny")}
