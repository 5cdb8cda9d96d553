"""What devices know of themselves: models measured on validation samples of their own, and a
protocol that listens to the neighbours whose models do best on them.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from swarm.common.errors import ConfigError
from swarm.communication.protocol.base import Inbox
from swarm.experiments.checks.trial import run_here
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.experiment import Experiment
from swarm.simulation.shard import Shard
from tests.communication.protocol.swarms import HERE
from tests.support import experiment, final_rows, module_of, prepared, records, simulation

BEST = ("protocol=best_neighbour", "data.local_validation=0.25")
PLUGINS = f"plugins=[{HERE / 'concepts.py'}]"


def concepts(*overrides: str, **data: Any) -> tuple[str, ...]:
    """Settings of a swarm whose devices of odd number have the opposite labels."""
    return (
        PLUGINS, "data=custom", "data._target_=concepts.Opposite", "data.local_test=auto",
        "partition=natural", "model=softmax", "topology=complete", "optimizer.lr=1",
        *(f"data.{key}={value}" for key, value in data.items()), *overrides,
    )  # fmt: skip


def shard_of(e: Experiment) -> Shard:
    return Shard(e, np.arange(len(e.blocks)))


# --- measuring ------------------------------------------------------------------------------------


def _by_hand(e: Experiment, row_P: Tensor, device: int) -> tuple[float, float]:
    """Loss and accuracy of one model on one device's validation samples, by plain PyTorch."""
    held = e.data.split.local_validation
    assert held is not None
    ids = held.of(device)
    assert len(ids)
    module = module_of(row_P, e.model.module())
    x, y = torch.as_tensor(e.data.dataset.x[ids]), torch.as_tensor(e.data.dataset.y[ids])
    out = functional_call(module, dict(module.named_parameters()), (x.to(e.dtype),)).detach()
    if not e.data.dataset.classes:
        return float((out.reshape(len(ids), -1) - y.reshape(len(ids), -1)).square().mean()), np.nan
    loss = torch.nn.functional.cross_entropy(out, y.long())
    return float(loss), float((out.argmax(1) == y).double().mean())


@pytest.mark.parametrize(
    "words", [("partition=dirichlet",), ("data=linear_regression", "partition=iid")]
)
def test_any_model_is_measured_on_the_samples_of_any_device(words: tuple[str, ...]) -> None:
    e = experiment(*BEST, *words, "engine.block=5", "compute.dtype=float64")
    shard, draw = shard_of(e), np.random.default_rng(0)
    device_A = torch.as_tensor(draw.integers(0, 12, 40))
    rows_AP = torch.as_tensor(draw.normal(size=(40, e.model.layout.width)))
    with torch.inference_mode():
        loss_A = shard.state.local.loss(rows_AP, device_A)
        accuracy_A = shard.state.local.accuracy(rows_AP, device_A)
        alone = shard.state.local.loss(rows_AP[7:8], device_A[7:8])
        own_n = shard.state.local.loss(shard.state.x)
    expected = [_by_hand(e, row, int(i)) for row, i in zip(rows_AP, device_A, strict=True)]
    np.testing.assert_allclose(torch.stack([loss_A, accuracy_A], 1), expected, rtol=1e-9)
    assert alone.item() == loss_A[7].item(), "whatever is measured beside it"
    assert own_n[3].item() == pytest.approx(_by_hand(e, shard.state.x[3], 3)[0])


def test_devices_know_their_data_and_speed() -> None:
    e = experiment(*BEST, "fleet=terminals", "engine.block=5")
    local, split = shard_of(e).state.local, e.data.split
    hardware = e.communication.fleet.hardware
    assert hardware is not None
    assert local.samples_n.tolist() == split.sizes_N.tolist()
    assert local.validation_n.tolist() == split.local_validation.sizes_N.tolist()
    np.testing.assert_allclose(local.flops_n, hardware.flops, rtol=1e-6)
    plain = shard_of(experiment()).state.local
    assert plain.flops_n is None
    assert not plain.validation_n.any()


@pytest.mark.parametrize(
    ("rows", "devices"), [((3, 5), [0, 1, 2]), ((2, None), [0, 1, 2])], ids=["short", "few"]
)
def test_rows_that_are_no_models_are_refused(rows: Any, devices: list[int]) -> None:
    e = experiment(*BEST)
    rows_AP = torch.zeros(rows[0], rows[1] or e.model.layout.width)
    with pytest.raises(ValueError, match=r"state\.local measures"):
        shard_of(e).state.local.loss(rows_AP, torch.tensor(devices))


# --- the messages of an inbox ---------------------------------------------------------------------


def _inbox(dst: list[int]) -> Inbox:
    dst_A = torch.tensor(dst)
    rows_AM = torch.arange(len(dst), dtype=torch.float64)[:, None] + 1
    return Inbox(rows_AM, dst_A, torch.arange(len(dst)), torch.zeros_like(dst_A))


def test_the_lowest_values_of_each_receiver_are_kept() -> None:
    box = _inbox([0, 0, 0, 2, 2, 3])
    value_A = torch.tensor([3.0, 1.0, 1.0, torch.nan, 5.0, torch.nan])
    assert box.lowest(value_A, 1).src_A.tolist() == [1, 4, 5], "of equals the first"
    assert box.lowest(value_A, 2).src_A.tolist() == [1, 2, 3, 4, 5]
    assert box.lowest(value_A, 9).src_A.tolist() == [0, 1, 2, 3, 4, 5]


def test_the_mean_is_of_the_own_row_and_the_messages() -> None:
    own_NM = torch.tensor([[10.0], [20.0], [30.0], [40.0]], dtype=torch.float64)
    found = _inbox([0, 0, 2, 3, 3, 3]).mean_with(own_NM)
    assert found[:, 0].tolist() == [13 / 3, 20.0, 33 / 2, 55 / 4]


# --- listening to the best neighbour --------------------------------------------------------------


def test_devices_come_to_listen_to_those_with_their_concept() -> None:
    """Opposite labels: the mean of all models knows neither concept, and the best one is its
    own."""
    words = concepts("devices=8", "rounds=10", "data.local_validation=0.25")
    with simulation(prepared(*words, "protocol=best_neighbour", "protocol.keep=2")) as running:
        best = list(running.records(10))[-1].values
        (shard,) = running.engine.shards  # type: ignore[attr-defined]
        x_NP, pairs = shard.state.x, torch.cartesian_prod(torch.arange(8), torch.arange(8))
        dst_A, src_A = pairs[pairs[:, 0] != pairs[:, 1]].T
        with torch.inference_mode():
            loss_A = shard.state.local.loss(x_NP[src_A], dst_A)
        heard = Inbox(x_NP[src_A], dst_A, src_A, torch.zeros_like(src_A)).lowest(loss_A, 2)
    assert ((heard.src_A - heard.dst_A) % 2 == 0).all(), "all that are heard have its concept"
    mean = records(prepared(*words, "protocol=dpsgd"))[-1].values
    assert best["local_accuracy_mean"] > 0.9
    assert best["local_accuracy_p10"] > 0.8
    assert mean["local_accuracy_mean"] < 0.7


def test_a_device_that_keeps_all_takes_the_plain_mean() -> None:
    """On a complete graph that is D-PSGD."""
    words = ("topology=complete", "data.local_validation=0.25", "compute.dtype=float64")
    found = final_rows(prepared(*words, "protocol=best_neighbour", "protocol.keep=11"))
    expected = final_rows(prepared(*words, "protocol=dpsgd"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "words",
    [
        ("topology=small_world",),
        (
            "topology=complete", "network.drop=0.3", "delay=exponential", "delay.mean=1.0",
            "churn=markov", "compressor=qsgd", "protocol.keep=2",
        ),
    ],
    ids=["ideal", "lost, late, away and compressed"],
)  # fmt: skip
def test_shards_and_resume_do_not_change_a_bit(words: tuple[str, ...]) -> None:
    ready = prepared(*BEST, "devices=11", "rounds=6", "engine.block=2", "optimizer.lr=0.5", *words)
    one = run_here(ready)
    for found in (run_here(ready, 2), run_here(ready, 6), run_here(ready, again_from=3)):
        assert all(torch.equal(found[name], one[name]) for name in one)


def test_measuring_counts_as_computation() -> None:
    """Each model that arrives costs a prediction of every validation sample of the receiver."""
    ready = prepared(*BEST, "topology=star", "fleet=uniform", "rounds=3")
    e = ready.experiment(ready.arms[0], ready.arms[0].first)
    held, last = e.data.split.local_validation, records(ready)[-1].values
    assert held is not None
    models = np.bincount(e.communication.graph(1).dst_E, minlength=12)
    batches = 3 * (models * held.sizes_N).sum() / e.settings.train.batch
    flops = (last["steps_total"] + batches * e.model.prediction_share) * e.model.step_flops
    assert last["flops_total"] == pytest.approx(flops)
    silent = prepared(*BEST, "topology=none", "fleet=uniform", "rounds=3")
    quiet = records(silent)[-1].values
    assert quiet["flops_total"] == pytest.approx(quiet["steps_total"] * e.model.step_flops)
    assert last["virtual_s"] > quiet["virtual_s"]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("protocol=best_neighbour",),
            r"data\.local_validation=0: must be above 0 with BestNeighbour.* 0\.2 would do",
        ),
        (
            concepts(*BEST, first=1),
            r"data\.local_validation=0\.25: leaves device 0 no validation sample",
        ),
        ((*BEST, "protocol.keep=0"), r"keep=0: must be a whole number of at least 1"),
        (("data.local_validation=1.0",), r"data\.local_validation=1: must be a fraction"),
        (
            ("data.local_validation=0.1", "update=online", "partition=iid", "drift=label_swap"),
            r"data\.local_validation=0\.1: must be 0 with data that drift",
        ),
        (
            concepts(each=1, first=1, local_validation=0.2),
            r"data\.local_validation=0\.2: takes nothing out",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        prepared(*words)


def test_a_protocol_declares_that_it_measures() -> None:
    words = (PLUGINS, "protocol._target_=concepts.Undeclared", "data.local_validation=0.2")
    with pytest.raises(ConfigError, match=r"own_validation=True") as said:
        prepared(*words)
    assert "\n" not in str(said.value)


def test_samples_that_no_protocol_measures_on_are_warned_of() -> None:
    words = ("data.local_validation=0.25", "scenario.arms=[isolated,swarm]")
    with pytest.warns(UserWarning, match=r"^data\.local_validation=0\.25: no protocol"):
        prepared(*words)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared(*words, "protocol=best_neighbour")


def test_centralised_and_test_samples_are_the_same_with_it() -> None:
    words = ("data.local_test=0.2", "scenario.arms=[swarm,centralised]", "rounds=1")
    without, ready = prepared(*words), prepared(*words, "data.local_validation=0.25")
    assert ready.split.local_test.sample.tolist() == without.split.local_test.sample.tolist()
    held = ready.split.local_validation.sample
    assert not np.isin(held, ready.split.local_test.sample).any()
    assert np.union1d(held, ready.split.sample).tolist() == sorted(without.split.sample)
    assert _nobody_learns_from(ready, held)


def _nobody_learns_from(ready: PreparedRun, ids: Any) -> bool:
    x = ready.dataset.x.copy()
    x[ids] = np.nan
    spoilt = replace(ready, dataset=replace(ready.dataset, x=x))
    return all(
        np.array_equal(final_rows(spoilt, arm), final_rows(ready, arm))
        for arm in range(len(ready.arms))
    )
