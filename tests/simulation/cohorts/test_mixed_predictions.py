"""Devices with models of any architectures that exchange predictions, and no parameter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import swarm
from swarm.common.errors import ConfigError
from swarm.experiments.runs.prepared import PreparedRun
from swarm.learning.distillation import Distiller
from swarm.simulation.cost import work_beside_learning
from swarm.simulation.experiment import Experiment
from tests.support import (
    experiment,
    final_rows,
    module_of,
    prepared,
    records,
    require_same_bits,
    run,
    simulation,
    trajectory,
)

FEDMD = ("protocol=fedmd", "data.public=40", "protocol.batch=20", "protocol.steps=4", "devices=10")
CNN = "cnn: {devices: 0.4, model: {cnn: {channels: [2]}}}"
NET = f"cohorts={{{CNN}}}"
LINE = "line: {devices: [0, 7], model: softmax}"
THREE = f"cohorts={{{CNN}, {LINE}}}"
MODELS = Path(__file__).parents[2] / "learning" / "models" / "published_models.py"


def shared(e: Experiment) -> Tensor:
    return torch.as_tensor(e.data.dataset.x[e.data.dataset.public]).to(e.dtype)


def own_module(e: Experiment, row_P: Tensor, device: int) -> torch.nn.Module:
    return module_of(e.model.own_row(row_P, device), e.model.of_device(device).module())


def divergence(ready: PreparedRun, rounds: int) -> float:
    """Mean squared distance of the devices' probabilities on the shared samples from their
    mean."""
    with simulation(ready) as running:
        for _ in running.engine.advance(rounds):
            pass
        e, x_NP = running.experiment, running.engine.snapshot()["x"]
        with torch.no_grad():
            said = [own_module(e, x_NP[i], i)(shared(e)).softmax(1) for i in range(10)]
        p_NSC = torch.stack(said)
        return float((p_NSC - p_NSC.mean(0)).square().sum(2).mean())


def test_architectures_without_a_common_name_come_to_say_the_same() -> None:
    words = (*FEDMD, NET, "topology=complete", "optimizer.lr=0.3", "rounds=6")
    e = experiment(*words)
    assert e.model.cohorts is not None
    assert e.model.cohorts.union.shared_CC[0, 1] == 0
    alone = divergence(prepared(*words, "protocol.lr=0.000000001"), 6)
    assert divergence(prepared(*words), 6) < 0.5 * alone


@pytest.mark.parametrize("server", [False, True])
def test_every_device_sends_what_its_own_module_predicts(
    monkeypatch: pytest.MonkeyPatch, server: bool
) -> None:
    where = ("topology=none", "protocol.server=true") if server else ("topology=ring",)
    ready, seen = prepared(*FEDMD, THREE, "init=independent", "rounds=1", *where), []
    with simulation(ready) as running:
        phase = type(running.experiment.communication.phases[1])
        rows = phase.rows

        def watched(self, shard, round: int) -> Tensor:
            seen.append((shard.whole(slice(None)).clone(), rows(self, shard, round)))
            return seen[-1][1]

        monkeypatch.setattr(phase, "rows", watched)
        last = list(running.records(1))[-1].values
        e = running.experiment
        ((x_NP, sent_NM),) = seen
        for device in range(10):
            own = own_module(e, x_NP[device], device)(shared(e)).detach().T.flatten()
            torch.testing.assert_close(sent_NM[device], own, rtol=1e-4, atol=1e-5)
    assert last["bytes_total"] == 20 * 40 * 10 * 4, "messages of one size, whatever the models are"


def test_a_device_learns_as_it_would_among_devices_of_its_own_kind() -> None:
    words = (*FEDMD, "compute.dtype=float64", "topology=ring")
    e = experiment(*words, THREE, "init=independent")
    x_NP, random = e.model.first_rows(np.arange(10)), torch.Generator().manual_seed(0)
    received_NM = torch.randn(10, 400, generator=random, dtype=torch.float64)
    order_Kb = torch.arange(20).view(2, 10)
    lr_N11 = torch.linspace(0.1, 1.0, 10, dtype=torch.float64).view(10, 1, 1)
    some = np.array([1, 7, 8, 0, 3])
    args = (shared(e), received_NM[some], order_Kb, lr_N11[some])
    learnt = e.distiller.of(some).learn(x_NP[some], *args)
    for place, device in enumerate(some):
        model = e.model.of_device(int(device))
        distiller = model.distiller(1, e.communication.protocol.distillation)
        assert type(distiller) is Distiller
        own = e.model.own_row(x_NP[device], int(device))[None]
        received_BM, lr = received_NM[device][None], lr_N11[device][None]
        expected = distiller.learn(own, shared(e), received_BM, order_Kb, lr)
        found = e.model.own_row(learnt[place], int(device))[None]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "words",
    [
        (NET, "topology=ring"),
        (THREE, "topology=complete", "init=independent", "network.drop=0.3"),
        (THREE, "topology=none", "protocol.server=true", "churn=markov"),
        (f"plugins=[{MODELS}]", "topology=ring", "buffers=local",
         "cohorts={other: {devices: 4, model: {custom: {_target_: published_models.BatchNormMLP}}}}"),
    ],
)  # fmt: skip
def test_numbers_outside_a_devices_model_stay_zero(words: tuple[str, ...]) -> None:
    common = (*FEDMD, "rounds=3", "optimizer.lr=0.3", *words)
    cohorts = experiment(*common).model.cohorts
    assert cohorts is not None
    has_NP = cohorts.holds_NG[:, cohorts.union.group_P.numpy()]
    first, *later = trajectory(prepared(*common))
    for rows_NP in later:
        assert not rows_NP[~has_NP].any()
    assert (later[-1] != first).any(1).mean() > 0.8


def test_cohorts_of_one_model_are_the_run_without_cohorts() -> None:
    words = (*FEDMD, "topology=ring", "rounds=3", "engine.block=4", "model.hidden=[16]")
    same = "cohorts={same: {devices: 0.5, model: {hidden: [16]}}}"
    with_them, without = final_rows(prepared(*words, same)), final_rows(prepared(*words))
    np.testing.assert_allclose(with_them, without, rtol=0, atol=2e-6)


def test_every_device_computes_as_much_as_its_own_model_takes() -> None:
    ready = prepared(*FEDMD, NET, "topology=ring", "rounds=2", "fleet=uniform")
    e = ready.experiment(ready.arms[0], ready.arms[0].first)
    flops_N = work_beside_learning(e, 1) * e.model.step_flops
    for device in range(10):
        model = e.model.of_device(device)
        predicted = 40 / 8 * model.prediction_share * model.step_flops
        assert flops_N[device] == pytest.approx(predicted + 4 * 20 / 8 * model.step_flops)
    assert len(np.unique(flops_N.round(3))) == 2
    learnt = sum(2 * 2 * e.model.of_device(d).step_flops for d in range(10))
    total = records(ready)[-1].values["flops_total"]
    assert total == pytest.approx(learnt + 2 * flops_N.sum(), rel=1e-9)


# --- any architectures, also those whose names clash ----------------------------------------------


def test_depths_that_differ_share_no_number_and_are_given_back(tmp_path: Path) -> None:
    words = (*FEDMD, f"cohorts={{{LINE}}}", "topology=ring", "rounds=1")
    e = experiment(*words)
    assert e.model.cohorts is not None
    assert e.model.cohorts.union.shared_CC[0, 1] == 0
    run(tmp_path / "run", *words, "scenario.arms=[swarm]")
    loaded = swarm.load(tmp_path / "run")
    accuracy = loaded.final_devices("swarm")["accuracy"]
    x_T, y_T = (torch.as_tensor(each) for each in loaded.dataset("test"))
    for device in range(10):
        own = e.model.of_device(device).module()
        own.load_state_dict(loaded.state_dict("swarm", device))
        right = own(x_T).argmax(1) == y_T
        assert float(right.double().mean()) == pytest.approx(accuracy[device], abs=1e-6)
    with pytest.raises(ConfigError, match="have different depths"):
        prepared("devices=10", f"cohorts={{{LINE}}}", "topology=ring")


# --- what goes together ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("topology=torus", "network.drop=0.2", "delay=exponential", "delay.mean=1.0",
         "churn=markov", "compressor=top_k", "aggregator=coordinate_median", "aggregator.f=1",
         "aggregator.unsafe=warn", "transforms=[clip]"),
        ("topology=complete", "protocol.samples=20", "protocol.draw=every_round",
         "attack=sign_flip", "attack.devices=2"),
        ("topology=none", "protocol.server=true", "secure_sum=bonawitz", "init=independent"),
    ],
)  # fmt: skip
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, words: tuple[str, ...]) -> None:
    devices = "devices=16" if "topology=torus" in words else "devices=10"
    common = (*FEDMD, THREE, devices, "engine.block=2", "scenario.arms=[swarm]")
    found = require_same_bits(tmp_path, *common, *words, rounds=3, cut=1)
    means = {key for key in found["arms"]["swarm"] if key.startswith("accuracy_cohort_")}
    assert means == {f"accuracy_cohort_{name}" for name in ("own", "cnn", "line")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("personal=fedrep",), "must be none, or one that treats every number by itself"),
        (("compressor=low_rank",), r"compressor\.rank=2: finds matrices in a model's"),
        (("aggregator=ubar", "data.local_validation=0.2"), "must be a rule that measures no model"),
    ],
)
def test_what_is_about_parameters_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared(*FEDMD, THREE, "topology=complete", *words)
