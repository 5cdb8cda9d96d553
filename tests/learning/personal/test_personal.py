"""What devices learn for themselves: formulas and limits of Ditto, APFL, pFedMe, FedRep and
fine-tuning, against loops written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import swarm
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from swarm.results.folder.saved_rows import saved_rows
from tests.communication.protocol.swarms import LR, curves, descended, planned, quadratics
from tests.learning.personal.small_runs import EACH, SMALL
from tests.support import (
    config,
    prepared,
    run,
    simulation,
)

MIXED = ("topology=complete", "mixing=uniform", "train.local_steps=3")


ALONE = (*SMALL, "topology=none", "protocol=none")


Arrays = dict[str, Tensor]


def played(ready: PreparedRun) -> tuple[Arrays, dict[str, Any]]:
    """All rows after the last round, and its record."""
    with simulation(ready) as running:
        last = list(running.records(running.experiment.settings.rounds))[-1]
        arrays = {name: rows.clone() for name, rows in running.engine.snapshot().items()}
        return arrays, last.values


@pytest.mark.parametrize("words", [(), ("optimizer=momentum",), ("optimizer=adam",)])
def test_ditto_of_strength_0_learns_alone_and_never_touches_what_is_shared(
    words: tuple[str, ...],
) -> None:
    plain, measured = played(prepared(*SMALL, *words))
    alone, on_own = played(prepared(*ALONE, *words))
    ditto, both = played(prepared(*SMALL, *words, "personal=ditto", "personal.strength=0"))
    drawn, _ = played(prepared(*SMALL, *words, "personal=ditto", "personal.strength=0.5"))
    assert torch.equal(ditto["personal.model"], alone["x"])
    assert torch.equal(ditto["x"], plain["x"])
    assert torch.equal(drawn["x"], plain["x"])
    assert not torch.equal(drawn["personal.model"], alone["x"])
    # devices answer with their own model on their own samples, with the shared one on all others
    assert both["local_accuracy_mean"] == on_own["local_accuracy_mean"]
    assert both["local_accuracy_mean"] != measured["local_accuracy_mean"]
    assert both["accuracy_mean"] == measured["accuracy_mean"]
    assert both["flops_total"] == 2 * measured["flops_total"]


@pytest.mark.parametrize(("strength", "lr"), [(0.7, LR), (12.0, LR), (1000.0, 1e-3)])
def test_ditto_comes_to_rest_between_its_own_minimum_and_the_shared_model(
    strength: float, lr: float
) -> None:
    """2a(v − b) + λ(v − w) = 0; the larger λ, the closer v is to w."""
    words = (
        "rounds=60",
        "evaluate.every=60",
        f"optimizer.lr={lr}",
        "personal=ditto",
        f"personal.strength={strength}",
    )
    ready = quadratics(*MIXED, *words, protocol="dpsgd")
    found, _ = played(ready)
    (a, b), w, v = curves(ready), found["x"][:, 0].numpy(), found["personal.model"][:, 0].numpy()
    if lr == LR:
        assert np.allclose(v, (2 * a * b + strength * w) / (2 * a + strength), atol=1e-9)
    else:
        assert np.abs(v - w).max() < 0.02 < np.abs(b - w).min()


def test_apfl_without_a_part_of_its_own_is_the_shared_model() -> None:
    plain, measured = played(prepared(*SMALL))
    found, values = played(
        prepared(*SMALL, "personal=apfl", "personal.alpha=0", "personal.adapt=false")
    )
    assert torch.equal(found["x"], plain["x"])
    assert not found["personal.alpha"].any()
    assert values["local_accuracy_mean"] == measured["local_accuracy_mean"]
    alone, on_own = played(prepared(*ALONE))
    found, values = played(
        prepared(*SMALL, "personal=apfl", "personal.alpha=1", "personal.adapt=false")
    )
    assert torch.allclose(found["personal.model"], alone["x"], atol=1e-5)
    assert values["local_accuracy_mean"] == pytest.approx(on_own["local_accuracy_mean"], abs=0.02)


def test_apfl_by_hand() -> None:
    ready = quadratics(*MIXED, "rounds=4", "personal=apfl", "personal.alpha=0.3", protocol="dpsgd")
    found, _ = played(ready)
    a, b = curves(ready)
    w, v, alpha = np.zeros(8), np.zeros(8), np.full(8, 0.3)
    for _ in range(4):
        for _ in range(3):
            m = alpha * v + (1 - alpha) * w
            g_m, g_w = 2 * a * (m - b), 2 * a * (w - b)
            change = -LR * (v - w) * g_m
            w, v = w - LR * g_w, v - LR * alpha * g_m
            alpha = np.clip(alpha + change, 0, 1)
        w = np.full(8, w.mean())
    assert np.allclose(found["x"][:, 0], w, atol=1e-12)
    assert np.allclose(found["personal.model"][:, 0], v, atol=1e-12)
    assert np.allclose(found["personal.alpha"][:, 0], alpha, atol=1e-12)
    assert np.ptp(alpha) > 0.01


def test_pfedme_by_hand_and_at_rest() -> None:
    options = ("personal=pfedme", "personal.strength=2", "personal.step=0.4", "personal.inner=2")
    ready = quadratics(*MIXED, "rounds=3", *options, protocol="dpsgd")
    found, values = played(ready)
    a, b = curves(ready)
    w, theta = np.zeros(8), np.zeros(8)
    for _ in range(3):
        for _ in range(3):
            for _ in range(2):
                theta = theta - LR * (2 * a * (theta - b) + 2 * (theta - w))
            w = w - 0.4 * (w - theta)
        w = np.full(8, w.mean())
    assert np.allclose(found["x"][:, 0], w, atol=1e-12)
    assert np.allclose(found["personal.model"][:, 0], theta, atol=1e-12)
    assert (
        values["flops_total"]
        == 2 * played(quadratics(*MIXED, "rounds=3", protocol="dpsgd"))[1]["flops_total"]
    )
    # one local step a round: the mean of the envelopes' gradients is zero
    ready = quadratics(
        *MIXED,
        "rounds=120",
        "evaluate.every=120",
        "train.local_steps=1",
        *options,
        protocol="dpsgd",
    )
    found, _ = played(ready)
    w, theta = found["x"][:, 0].numpy(), found["personal.model"][:, 0].numpy()
    assert np.allclose(theta, (2 * a * b + 2 * w) / (2 * a + 2), atol=1e-9)
    assert theta.mean() == pytest.approx(w[0], abs=1e-9)


def test_fine_tuning_leaves_the_shared_model_where_it_stood_before_the_last_rounds() -> None:
    words = (*MIXED, "personal=fine_tune", "personal.fraction=0.4")
    ready = quadratics(*words, "rounds=5", protocol="dpsgd")
    (a, b), w, v = curves(ready), np.zeros(8), np.zeros(8)
    for round in range(1, 6):
        v = descended(w if round == 4 else v, a, b, 3)
        w = np.full(8, descended(w, a, b, 3).mean())
    found, _ = played(ready)
    assert np.allclose(found["x"][:, 0], w, atol=1e-12)
    assert np.allclose(found["personal.model"][:, 0], v, atol=1e-12)


def test_before_and_without_tuning_the_shared_model_is_the_device_s_own() -> None:
    with simulation(prepared(*SMALL, "rounds=4", "personal=fine_tune")) as running:
        tuned = list(running.records(4))
    with simulation(prepared(*SMALL, "rounds=4")) as running:
        plain = list(running.records(4))
    same = [
        a.values["local_accuracy_mean"] == b.values["local_accuracy_mean"]
        for a, b in zip(tuned, plain, strict=True)
    ]
    assert same == [True, True, True, True, False]


def test_fine_tuning_goes_on_with_the_optimizer_s_slots() -> None:
    """Of devices that hear nobody both models take the same last steps."""
    found, _ = played(prepared(*ALONE, "optimizer=adam", "personal=fine_tune"))
    assert torch.equal(found["personal.model"], found["x"])
    assert torch.equal(found["personal.optimizer.mean"], found["optimizer.mean"])


def test_a_lengthened_run_tunes_as_a_long_one_does(tmp_path: Path) -> None:
    """A device that is away in all of the new rounds has forgotten what it had tuned, too."""
    words = (*SMALL, "personal=fine_tune", "personal.fraction=0.5", "scenario.arms=[swarm]")
    words = (*words, "churn=crash", "churn.fraction=0.2", "churn.at=3")
    run(tmp_path / "lengthened", *words)
    found = swarm.resume(tmp_path / "lengthened", {"rounds": 6}).summary["arms"]["swarm"]
    whole = run(tmp_path / "whole", *words, "rounds=6")["arms"]["swarm"]
    for key in ("local_accuracy_mean", "params_sha256"):
        assert found[key] == whole[key], key
    tuned = saved_rows(tmp_path / "whole", "swarm", ["swarm"]).arrays["personal.tuned"]
    assert sorted(set(tuned.flatten().tolist())) == [0.0, 4.0]


def by_hand(rows: Tensor, x: Tensor, y: Tensor, rounds: int, head_steps: int | None) -> Tensor:
    """Three local steps a round of chains Linear(1, 3), tanh, Linear(3, 1) on one sample each; then
    devices average their first layers. With ``head_steps`` only that many steps change the second
    one, and only the others the first."""
    made = []
    for row in rows:
        module = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)).double()
        nn.utils.vector_to_parameters(row.clone(), module.parameters())
        made.append(module)
    for _ in range(rounds):
        for module, x_i, y_i in zip(made, x, y, strict=True):
            for k in range(3):
                module.zero_grad()
                (module(x_i) - y_i).square().mean().backward()
                with torch.no_grad():
                    for part, learns in (
                        (module[0], head_steps is None or k >= head_steps),
                        (module[2], head_steps is None or k < head_steps),
                    ):
                        for p in part.parameters():
                            assert p.grad is not None
                            p.sub_(LR * p.grad * learns)
        with torch.no_grad():
            for parts in zip(*(module[0].parameters() for module in made), strict=True):
                mean = torch.stack(parts).mean(0)
                for p in parts:
                    p.copy_(mean)
    return torch.stack([nn.utils.parameters_to_vector(m.parameters()) for m in made]).detach()


@pytest.mark.parametrize("head_steps", [None, 2])
def test_a_shared_body_under_heads_of_their_own_by_hand(head_steps: int | None) -> None:
    model = {"_target_": "swarm.learning.models.dense.MLP", "hidden": [3], "activation": "tanh"}
    turns = ("personal=fedrep", f"personal.head_steps={head_steps}") if head_steps else ()
    ready = planned(
        "devices=8", "engine.block=4", "partition=natural", "train.batch=1", f"optimizer.lr={LR}",
        *MIXED, "share=body", "init=independent", *turns, "rounds=3", protocol="dpsgd",
        data={"_target_": "quadratic.Quadratics"}, model=model,
    )  # fmt: skip
    with simulation(ready) as running:
        before = running.engine.snapshot()["x"].clone()
        for _ in running.engine.advance(3):
            pass
        found = running.engine.snapshot()["x"].clone()
    sample = ready.split.sample
    x, y = (torch.as_tensor(rows[sample]).double() for rows in (ready.dataset.x, ready.dataset.y))
    with torch.inference_mode(False):
        expected = by_hand(before.clone(), x, y, 3, head_steps)
    assert torch.allclose(found, expected, atol=1e-12)


def test_what_stands_still_keeps_its_velocity() -> None:
    """From a velocity of zero one step is x − lr · velocity, of the head and of the body alike."""
    words = (
        "share=body",
        "personal=fedrep",
        "personal.head_steps=1",
        "optimizer=momentum",
        "optimizer.nesterov=false",
    )
    with simulation(prepared(*ALONE, *words, "rounds=1")) as running:
        before = running.engine.snapshot()["x"].clone()
        for _ in running.engine.advance(1):
            pass
        after = running.engine.snapshot()
    assert torch.allclose(after["x"], before - 0.1 * after["optimizer.velocity"], atol=1e-7)
    assert after["optimizer.velocity"].any(0)[-10:].all()


@pytest.mark.parametrize(
    "words",
    [
        ("optimizer=adam", "update=online", "train.batch=2", "protocol=fedprox", "topology=none"),
        ("train.local_steps=null", "train.local_epochs=1"),
    ],
)
def test_steps_one_by_one_come_to_what_all_at_once_do(words: tuple[str, ...]) -> None:
    plain, measured = played(prepared(*SMALL, *words))
    own = {"_target_": "stepwise.Stepwise"}
    values = config(*SMALL, *words, f"plugins=[{Path(__file__).with_name('stepwise.py')}]")
    found, values = played(PreparedRun.prepare(Settings.parse({**values, "personal": own})))
    assert torch.equal(found["x"], plain["x"])
    for key in ("train_loss", "prequential_accuracy"):
        assert values.get(key) == pytest.approx(measured.get(key), rel=1e-5)


@pytest.mark.parametrize("name", EACH)
def test_devices_that_take_fewer_steps_learn_as_they_would_in_a_block_of_their_own(
    tmp_path: Path, name: str
) -> None:
    table = tmp_path / "devices.csv"
    table.write_text("device,local_steps\n0,2\n3,4\n")
    words = (
        *SMALL,
        "train.local_steps=3",
        f"personal={name}",
        *EACH[name],
        f"train.devices={table}",
    )
    together, apart = (
        played(prepared(*words, f"engine.block={block}", "compute.dtype=float64"))
        for block in (3, 1)
    )
    for key, rows in together[0].items():
        assert torch.allclose(rows, apart[0][key], atol=1e-10), key
    assert together[1]["train_loss"] == pytest.approx(apart[1]["train_loss"], rel=1e-9)
