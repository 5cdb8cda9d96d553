"""Devices that exchange predictions for shared samples: what is sent, and what they learn from it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from swarm.common.errors import ConfigError
from swarm.communication.protocol.distillation import Distillation
from swarm.experiments.checks.trial import run_here
from swarm.experiments.runs.prepared import PreparedRun
from swarm.learning.distillation import Distiller
from swarm.simulation.cost import work_beside_learning
from swarm.simulation.experiment import Experiment
from swarm.simulation.phases.predictions.distils import Distils
from swarm.simulation.shard import Shard
from tests.support import (
    experiment,
    final_rows,
    module_of,
    prepared,
    records,
    require_same_bits,
    simulation,
    trajectory,
)

FEDMD = ("protocol=fedmd", "data.public=40", "protocol.batch=40")
STILL = ("update=frozen", "partition=iid", "train.batch=2")  # nobody learns from own samples
NUMBERS = ("data=linear_regression", "partition=iid", "model=softmax")
TEXT = ("data=markov", "partition=natural", "model=gru", "model.width=6", "data.context=5")
MODELS = Path(__file__).parents[1] / "learning/models/published_models.py"
BATCH_NORM = (
    f"plugins=[{MODELS}]",
    "model=custom",
    "model._target_=published_models.BatchNormMLP",
)


def log_shares(rows_nM: Tensor, outputs: int, temperature: float) -> Tensor:
    return torch.log_softmax(rows_nM.view(len(rows_nM), outputs, -1) / temperature, 1)


# --- distillation ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("topology=ring",),
        ("topology=complete", "protocol.temperature=3"),
        ("topology=ring", "protocol.send=probabilities", "protocol.temperature=0.5"),
        ("topology=none", "protocol.server=true", "protocol.batch=10"),
        ("topology=torus", "devices=16", "network.drop=0.3", "compressor=qsgd"),
    ],
)
def test_every_call_brings_devices_nearer_to_the_mean_prediction(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Gradient descent with a small rate lowers Σ_i KL(consensus_i ‖ p_i) on the shared samples."""
    found, learn = [], Distiller.learn

    def watched(self: Distiller, x_BP: Tensor, x_S: Tensor, received_BM: Tensor, *more) -> Tensor:
        after_BP = learn(self, x_BP, x_S, received_BM, *more)
        target_BCA = self.targets(received_BM)
        away = []
        for rows in (x_BP, after_BP):
            sent = self.messages(rows, x_S)
            if self.probabilities:
                log_BCA = sent.view(target_BCA.shape).log()
            else:
                log_BCA = log_shares(sent, self.outputs, self.loss.temperature)
            away.append(functional.kl_div(log_BCA, target_BCA, reduction="sum").item())
        found.append(away)
        return after_BP

    monkeypatch.setattr(Distiller, "learn", watched)
    final_rows(prepared(*FEDMD, "protocol.lr=0.02", "optimizer.lr=0.3", *words))
    assert len(found) >= 4
    assert all(0 < after < before for before, after in found)


def test_what_devices_say_of_the_shared_samples_comes_together() -> None:
    def spread(*words: str) -> float:
        ready = prepared(*FEDMD, "topology=complete", "optimizer.lr=0.3", "rounds=6", *words)
        with simulation(ready) as running:
            for _ in running.engine.advance(6):
                pass
            e, x_NP = running.experiment, running.engine.snapshot()["x"]
            ids = e.data.dataset.public
            sent = e.distiller.messages(x_NP, torch.as_tensor(e.data.dataset.x[ids]))
            p_NCA = log_shares(sent, 10, 1.0).exp()
            return float((p_NCA - p_NCA.mean(0)).square().sum())

    assert spread() < 0.5 * spread("protocol.lr=0.000000001")


def plain_steps(e: Experiment, rows_NP: Tensor, mean_NM: Tensor, round: int) -> Tensor:
    """The steps of every device towards its mean prediction, by autograd."""
    given, found = e.communication.protocol.distillation, []
    phase = e.communication.phases[1]
    ids = phase.samples(round)
    x_S = torch.as_tensor(e.data.dataset.x[ids]).to(e.dtype)
    for row_P, mean_M in zip(rows_NP, mean_NM, strict=True):
        module = module_of(row_P, e.model.module())
        own = {name: p.detach() for name, p in module.named_parameters()}
        T = given.temperature
        for at_b in given.order(len(ids), round, e.settings.seed):
            leaves = {name: p.clone().requires_grad_() for name, p in own.items()}
            out_bC = functional_call(module, leaves, (x_S[at_b],))
            wanted_Cb = mean_M.view(e.data.outputs, -1)[:, at_b]
            if e.data.dataset.classes:
                q_bC = (
                    wanted_Cb.T if given.send == "probabilities" else (wanted_Cb.T / T).softmax(1)
                )
                loss = T**2 * functional.cross_entropy(out_bC / T, q_bC)
            else:
                loss = functional.mse_loss(out_bC, wanted_Cb.T)
            gradients = torch.autograd.grad(loss, list(leaves.values()))
            own = {
                name: p - given.lr * g for (name, p), g in zip(own.items(), gradients, strict=True)
            }
        found.append(torch.cat([p.flatten() for p in own.values()]))
    return torch.stack(found)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("protocol.temperature=2",),
        ("protocol.send=probabilities", "protocol.temperature=2"),
        ("protocol.samples=16", "protocol.draw=every_round", "protocol.batch=5"),
        NUMBERS,
    ],
)
def test_a_round_is_what_its_formula_says(words: tuple[str, ...]) -> None:
    common = ("topology=ring", "init=independent", "compute.dtype=float64", "model.hidden=[8]")
    common = (*common, "devices=6", "rounds=2", "protocol.steps=3", "protocol.lr=0.2")
    if words == NUMBERS:
        common = tuple(word for word in common if not word.startswith("model."))
    ready = prepared(*FEDMD, *STILL, *common, *words)
    x_TNP = torch.as_tensor(trajectory(ready))
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    given, phase = e.communication.protocol.distillation, e.communication.phases[1]
    for round in (1, 2):
        x_S = torch.as_tensor(e.data.dataset.x[phase.samples(round)]).to(e.dtype)
        modules = [module_of(row_P, e.model.module()) for row_P in x_TNP[round - 1]]
        sent = torch.stack([module(x_S).detach().T for module in modules])
        if given.send == "probabilities":
            sent = (sent / given.temperature).softmax(1)
        W = torch.as_tensor(e.communication.mixing(round).matrix.toarray())
        expected = plain_steps(e, x_TNP[round - 1], W @ sent.flatten(1), round)
        assert not torch.allclose(expected, x_TNP[round - 1], atol=1e-4)
        torch.testing.assert_close(x_TNP[round], expected, rtol=0, atol=1e-12)


def test_means_that_are_no_probabilities_any_more_become_some() -> None:
    e = experiment(*FEDMD, "protocol.send=probabilities")
    mean_BM = torch.tensor([[-0.5, 0.0, 0.5, 0.0, 1.5, 0.0]]).repeat(1, 10)[:, :30]
    target_BCA = e.distiller.targets(mean_BM)
    assert (target_BCA >= 0).all()
    torch.testing.assert_close(target_BCA.sum(1), torch.ones(1, 3))
    assert torch.equal(e.distiller.targets(torch.zeros(2, 20)), torch.full((2, 10, 2), 0.1))


# --- which samples --------------------------------------------------------------------------------


def test_samples_are_drawn_once_or_in_every_round() -> None:
    public = np.arange(100, 150)
    once, anew = Distillation(samples=20), Distillation(samples=20, draw="every_round")
    assert once.drawn(public, 1, 0).tolist() == once.drawn(public, 2, 0).tolist()
    assert anew.drawn(public, 1, 0).tolist() != anew.drawn(public, 2, 0).tolist()
    assert np.isin(anew.drawn(public, 7, 0), public).all()
    assert len(np.unique(anew.drawn(public, 7, 0))) == 20
    assert anew.drawn(public, 7, 0).tolist() != anew.drawn(public, 7, 1).tolist()
    assert Distillation().drawn(public, 3, 0).tolist() == public.tolist()


def test_every_sample_has_its_turn_before_any_has_a_second() -> None:
    order = Distillation(steps=6, batch=5).order(15, 1, 0)
    assert order.shape == (6, 5)
    for half in (order[:3], order[3:]):
        assert sorted(half.flatten()) == list(range(15))


@contextmanager
def other_labels(ready: PreparedRun) -> Iterator[PreparedRun]:
    """The same run with the labels of shared samples in another order."""
    y, public = ready.dataset.y.copy(), ready.dataset.public
    y[public] = y[np.roll(public, 7)]
    assert (y != ready.dataset.y).any()
    yield replace(ready, dataset=replace(ready.dataset, y=y))


@pytest.mark.parametrize("words", [(), NUMBERS, ("train.class_weights=balanced",)])
def test_nobody_reads_the_labels_of_shared_samples(words: tuple[str, ...]) -> None:
    ready = prepared(*FEDMD, "topology=ring", *words)
    with other_labels(ready) as other:
        assert np.array_equal(final_rows(ready), final_rows(other))
        assert [r.values.get("accuracy_mean") for r in records(ready)] == [
            r.values.get("accuracy_mean") for r in records(other)
        ]


# --- the wire -------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", [False, True])
def test_a_message_is_predictions_and_no_parameter(
    monkeypatch: pytest.MonkeyPatch, server: bool
) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    rows = Distils.rows

    def watched(self: Distils, shard: Shard, round: int) -> Tensor:
        sent = rows(self, shard, round)
        seen.append((shard.whole(slice(None)).clone(), sent))
        return sent

    monkeypatch.setattr(Distils, "rows", watched)
    where = ("topology=none", "protocol.server=true") if server else ("topology=ring",)
    ready = prepared(*FEDMD, "init=independent", "optimizer.lr=0.3", *where)
    with simulation(ready) as running:
        found = []
        collect = type(running.experiment.communication.phases[1]).collect
        monkeypatch.setattr(
            type(running.experiment.communication.phases[1]),
            "collect",
            lambda self, *more: found.append(collect(self, *more)) or found[-1],
        )
        last = list(running.records(4))[-1].values
        e = running.experiment
        x_S = torch.as_tensor(e.data.dataset.x[e.data.dataset.public])
        assert len(found) == 4
        for payload, (x_NP, _) in zip(found, seen, strict=True):
            assert payload.packets.shape == (12, 40 * 10)
            assert payload.past is None
            for row_P, sent_M in zip(x_NP, payload.packets, strict=True):
                own = module_of(row_P, e.model.module())(x_S).detach().T.flatten()
                torch.testing.assert_close(sent_M, own, rtol=1e-4, atol=1e-5)
        assert e.communication.slots == {}
        assert last["bytes_total"] == 4 * 24 * 40 * 10 * 4  # rounds, messages, numbers, bytes


def test_eight_bits_a_number_are_counted() -> None:
    exact, packed = (
        records(prepared(*FEDMD, "topology=ring", *words))[-1].values["bytes_total"]
        for words in ((), ("compressor=qsgd",))
    )
    assert 3.9 < exact / packed <= 4


# --- who takes steps, and what it costs -----------------------------------------------------------


def test_who_hears_nobody_or_sleeps_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    learnt, learn = [], Distiller.learn
    monkeypatch.setattr(
        Distiller, "learn", lambda self, x_BP, *more: learnt.append(len(x_BP)) or learn(self, x_BP, *more)
    )  # fmt: skip
    words = ("topology=star", "network.drop=0.6", "churn=markov", "rounds=5", "init=independent")
    ready = prepared(*FEDMD, *STILL, *words)
    x_TNP = trajectory(ready)
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    kinds, taken = set(), 0
    for round in range(1, 6):
        moved_N = (x_TNP[round] != x_TNP[round - 1]).any(1)
        c = e.communication
        takes_N = c.phases[1].hearing(round) & c.active(round)
        assert moved_N.tolist() == takes_N.tolist()
        kinds |= set(zip(c.phases[1].hearing(round), c.active(round), strict=True))
        taken += int(takes_N.sum())
    assert len(kinds) >= 3
    assert sum(learnt) == taken, "and nobody computes steps that lead nowhere"


def test_predicting_and_distilling_are_counted() -> None:
    words = ("fleet=uniform", "protocol.steps=5", "protocol.batch=16", "topology=ring")
    ready = prepared(*FEDMD, *words)
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    step = 40 * e.model.prediction_share / 8 + 5 * 16 / 8
    np.testing.assert_allclose(work_beside_learning(e, 1), np.full(12, step))
    shorter = prepared(*FEDMD, *words, "protocol.steps=1")
    mine, less = (records(each)[-1].values for each in (ready, shorter))
    own = 4 * 12 * 2  # rounds, devices, local steps
    np.testing.assert_allclose(mine["flops_total"], (own + 48 * step) * e.model.step_flops)
    more = 48 * 4 * 16 / 8 * e.model.step_flops
    np.testing.assert_allclose(mine["flops_total"] - less["flops_total"], more)
    assert mine["bytes_total"] == less["bytes_total"]
    assert mine["joules_total"] > less["joules_total"]
    assert mine["virtual_s"] > less["virtual_s"]


# --- the same bits --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("topology=torus", "devices=16", "network.drop=0.2", "delay=exponential", "delay.mean=1.0",
         "churn=markov", "compressor=top_k", "aggregator=coordinate_median", "aggregator.f=1",
         "aggregator.unsafe=warn"),
        ("topology=complete", "protocol.samples=20", "protocol.draw=every_round",
         "protocol.batch=7", "attack=alie", "attack.devices=2"),
        ("topology=none", "protocol.server=true", "churn=markov", *NUMBERS),
        ("topology=ring", "buffers=local", "churn=markov", "protocol.steps=2", *BATCH_NORM),
        ("topology=ring", "clock=poisson", "protocol.steps=2", *TEXT),
    ],
)  # fmt: skip
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, words: tuple[str, ...]) -> None:
    require_same_bits(tmp_path, *FEDMD, "engine.block=2", *words, rounds=3, cut=1)


# --- what goes together, and what does not ---------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("secure_sum=bonawitz", "topology=ring", "protocol.send=probabilities"),
        ("secure_sum=bonawitz", "topology=none", "protocol.server=true"),
        ("privacy=sample_level", "topology=ring", "partition=iid"),
        ("privacy=device_level", "topology=ring"),
        ("personal=ditto", "topology=ring"),
        ("attack=sign_flip", "attack.devices=2", "topology=torus", "devices=16", "transforms=[clip]"),
        ("attack=dissensus", "attack.devices=2", "topology=torus", "devices=16"),
        ("train.loss=focal", "optimizer=adam", "topology=ring"),
    ],
)  # fmt: skip
def test_it_goes_with(words: tuple[str, ...]) -> None:
    found = run_here(prepared(*FEDMD, *words))
    assert found["x"].isfinite().all()


DRAWN = ("protocol.samples=20", "protocol.draw=every_round", "protocol.batch=10", "topology=ring")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("data.public=0",), r"data\.public=0: must be above 0 with FedMD, .* 0\.1 would do"),
        (("protocol.samples=41",), r"protocol\.samples=41: must be at most 40, the shared samples"),
        (("protocol.batch=41",), r"protocol\.batch=41: must be at most 40"),
        (("protocol.batch=0",), r"protocol\.batch=0: must be a whole number of at least 1"),
        (("protocol.steps=0",), r"protocol\.steps=0: must be a whole number of at least 1"),
        (("protocol.samples=0",), r"protocol\.samples=0: must be a whole number of at least 1"),
        (("protocol.temperature=0",), r"protocol\.temperature=0: must"),
        (("protocol.lr=-1",), r"protocol\.lr=-1: must"),
        (("protocol.send=labels",), r"protocol\.send=labels"),
        (("protocol.draw=never",), r"protocol\.draw=never"),
        (("share=body",), r"share=body: must be all with FedMD, whose devices send no parameters"),
        ((*NUMBERS, "protocol.send=probabilities"), r"protocol\.send=probabilities: must be logits"),
        ((*NUMBERS, "protocol.temperature=2"), r"protocol\.temperature=2: must be 1 with numeric"),
        ((*DRAWN, "delay=exponential"), r"protocol\.draw=every_round: must be once with messages"),
        ((*DRAWN, "compressor=top_k"), r"protocol\.draw=every_round: .* compressor\.feedback=true"),
        ((*DRAWN, "attack=delayed", "attack.devices=2"), r"protocol\.draw=every_round: .* attack"),
        (("compressor=low_rank",), r"compressor\.rank=2: finds matrices in a model's"),
        (
            ("aggregator=ubar", "data.local_validation=0.2", "topology=torus", "devices=16",
             "partition=iid"),
            r"aggregator=ubar: must be a rule that measures no models with FedMD",
        ),
        (("privacy=correlated",), r"protocol=fedmd: must be one that sends parameters with"),
        (
            ("privacy=device_level", "privacy.noise=distributed", "protocol.server=true",
             "topology=none"),
            r"privacy\.noise=distributed: must be local",
        ),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared(*FEDMD, *words)


def test_a_draw_of_all_shared_samples_is_warned_of() -> None:
    for samples in ("null", "40"):
        with pytest.warns(UserWarning, match="every message is about all 40 shared samples"):
            prepared(*FEDMD, "protocol.draw=every_round", f"protocol.samples={samples}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared(*FEDMD, "protocol.draw=once")
        prepared(*FEDMD, "protocol.batch=8", "protocol.draw=every_round", "protocol.samples=8")
