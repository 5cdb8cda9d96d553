"""What devices learn for themselves: formulas and limits of Ditto, APFL, pFedMe, FedRep and
fine-tuning, against loops written by hand."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import swarm
from swarm.common.errors import ConfigError, DivergedError
from swarm.common.rows import params_sha256
from swarm.config.settings import Settings
from swarm.experiments.runs.preflight import warn_of_what_does_nothing
from swarm.experiments.runs.prepared import PreparedRun
from swarm.results.folder.saved_rows import saved_rows
from tests.communication.protocol.swarms import LR, curves, descended, planned, quadratics
from tests.support import (
    config,
    experiment,
    prepared,
    records,
    require_same_bits,
    run,
    simulation,
)

SMALL = ("devices=6", "topology=ring", "partition.alpha=0.3", "data.local_test=0.3", "rounds=3")
MIXED = ("topology=complete", "mixing=uniform", "train.local_steps=3")
ALONE = (*SMALL, "topology=none", "protocol=none")
EACH = {
    "ditto": ("optimizer=momentum",),
    "fine_tune": ("optimizer=adam", "personal.fraction=0.7"),
    "apfl": ("update=online", "train.batch=2"),
    "pfedme": ("share=body",),
    "fedrep": ("share=body", "personal.head_steps=1", "optimizer=momentum"),
}
Arrays = dict[str, Tensor]


def played(ready: PreparedRun) -> tuple[Arrays, dict[str, Any]]:
    """All rows after the last round, and its record."""
    with simulation(ready) as running:
        last = list(running.records(running.experiment.settings.rounds))[-1]
        arrays = {name: rows.clone() for name, rows in running.engine.snapshot().items()}
        return arrays, last.values


# --- Ditto ----------------------------------------------------------------------------------------


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


# --- APFL -----------------------------------------------------------------------------------------


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


# --- pFedMe ---------------------------------------------------------------------------------------


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


# --- fine-tuning ----------------------------------------------------------------------------------


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


# --- a head of one's own --------------------------------------------------------------------------


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


# --- steps one by one -----------------------------------------------------------------------------


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


def test_arms_without_others_have_no_second_model() -> None:
    ready = prepared(*SMALL, "personal=ditto", "scenario.arms=[swarm,isolated,centralised,fedavg]")
    kept = {arm.name: bool(ready.experiment(arm, arm.variants[0]).model.kept) for arm in ready.arms}
    assert kept == {"swarm": True, "isolated": False, "centralised": False, "fedavg": True}


# --- bits, and what leaves a device ---------------------------------------------------------------


@pytest.mark.parametrize("name", EACH)
def test_shards_sleep_and_resume_do_not_change_a_bit(tmp_path: Path, name: str) -> None:
    words = (*SMALL, "devices=10", "engine.block=2", f"personal={name}", *EACH[name])
    require_same_bits(
        tmp_path,
        *words,
        "churn=markov",
        "churn.leave_rate=0.3",
        "churn.return_rate=0.5",
        rounds=3,
        cut=2,
    )


def test_a_saved_device_has_its_own_model_and_the_shared_one(tmp_path: Path) -> None:
    run(tmp_path / "run", *SMALL, "personal=apfl", "scenario.arms=[swarm,isolated]")
    saved = swarm.load(tmp_path / "run")
    arrays = saved_rows(tmp_path / "run", "swarm", ["swarm"]).arrays
    w, v, alpha = (arrays[k][4] for k in ("x", "personal.model", "personal.alpha"))
    own = saved.own_state_dict("swarm", 4)
    assert torch.equal(own["3.bias"], torch.lerp(w, v, alpha)[-10:])
    assert torch.equal(saved.state_dict("swarm", 4)["3.bias"], w[-10:])
    x = saved.dataset("test")[0][:5]
    module = saved.predict("swarm", 4, x, own=True)
    assert np.abs(module - saved.predict("swarm", 4, x)).max() > 1e-3
    alone = saved.predict("isolated", 4, x)
    assert np.array_equal(saved.predict("isolated", 4, x, own=True), alone)
    for wrong in (6, True):
        for look in (saved.own_state_dict, saved.state_dict, saved.predict):
            with pytest.raises(ConfigError, match=rf"^device=({wrong}|true): .* devices 0 to 5$"):
                look("swarm", wrong)


@pytest.mark.parametrize("name", ["ditto", "apfl", "fine_tune"])
def test_a_device_s_own_model_reaches_nobody_and_waits_while_it_sleeps(name: str) -> None:
    words = (
        *SMALL,
        f"personal={name}",
        "churn=markov",
        "churn.leave_rate=0.3",
        "churn.return_rate=0.5",
        "engine.block=2",
    )
    ends = []
    for own in (0.0, 1.0):
        with simulation(prepared(*words)) as running:
            arrays = {k: rows.clone() for k, rows in running.engine.snapshot().items()}
            arrays["personal.model"][2] += own
            begun = {k: rows.clone() for k, rows in arrays.items()}
            running.engine.restore(arrays, 0)
            slept = next(iter(running.engine.advance(1))).steps_N == 0
            after = running.engine.snapshot()["personal.model"].clone()
            assert torch.equal(after[slept], begun["personal.model"][slept])
            assert slept.any()
            if name != "fine_tune":  # which begins in the last round
                assert (after != begun["personal.model"]).any(1)[~slept].all()
            for _ in running.engine.advance(3):
                pass
            ends.append({k: rows.clone() for k, rows in running.engine.snapshot().items()})
    plain, marked = ends
    assert torch.equal(plain["x"], marked["x"])
    others = [0, 1, 3, 4, 5]
    assert torch.equal(plain["personal.model"][others], marked["personal.model"][others])
    if name != "fine_tune":  # which forgets it, and starts from the shared model
        assert not torch.equal(plain["personal.model"][2], marked["personal.model"][2])


def test_the_hash_tells_models_of_their_own_apart(tmp_path: Path) -> None:
    words = (*SMALL, "rounds=1", "scenario.arms=[swarm]", "report=false")
    sums = {}
    for name in ("none", "ditto", "apfl", "fine_tune"):
        found = run(tmp_path / name, *words, f"personal={name}")["arms"]["swarm"]
        arrays = saved_rows(tmp_path / name, "swarm", ["swarm"]).arrays
        kept = sorted(key for key in arrays if key.startswith("personal."))
        rows = [arrays[key].numpy() for key in ("x", *kept)]
        assert found["params_sha256"] == params_sha256(*rows)
        sums[name] = found["params_sha256"], params_sha256(rows[0])
    assert len({whole for whole, _ in sums.values()}) == 4
    assert len({shared for _, shared in sums.values()}) == 1
    assert sums["none"][0] == sums["none"][1]


def test_a_personal_model_that_diverges_ends_the_arm_and_is_named() -> None:
    words = ("personal=ditto", "personal.strength=1000000", "train.local_steps=9")
    for cut in ("engine.block=6", "engine.block=2"):
        said = r"^the personal model of device 0 diverged \(not finite; .* in round 1$"
        with pytest.raises(DivergedError, match=said) as caught:
            records(prepared(*SMALL, *words, cut))
        again = copy.copy(caught.value)  # by the way of a pickle
        assert (str(again), again.own) == (str(caught.value), True)
    with pytest.raises(DivergedError, match=r"^device 0 diverged"):
        records(prepared(*SMALL, "personal=ditto", "optimizer.lr=1.0e+15"))


# --- what is refused, and said --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("personal=ditto personal.strength=-1", r"personal.strength=-1: must be at least 0"),
        ("personal=fine_tune personal.fraction=0", r"personal.fraction=0: must be above 0 and at"),
        ("personal=apfl personal.alpha=1.5", r"personal.alpha=1.5: must lie in \[0, 1\]"),
        ("personal=pfedme personal.strength=0", r"personal.strength=0: must be a positive"),
        ("personal=pfedme personal.inner=0", r"personal.inner=0: must be a number of steps ≥ 1"),
        ("personal=pfedme personal.step=2", r"personal.step=2: must be above 0 and at most 1"),
        ("personal=fedrep", r"share=all: must leave something that devices keep with personal=fed"),
        ("personal=fedrep share=body personal.head_steps=2", r"personal.head_steps=2: must be below the 2"),
        ("personal=fedrep share=body personal.head_steps=0", r"personal.head_steps=0: must be a num"),
        ("personal=apfl optimizer=adam", r"optimizer=adam: must be sgd without momentum and decay with personal=apfl"),
        ("personal=pfedme protocol=scaffold topology=none", r"protocol=scaffold: must be one that leaves .* personal=pfedme"),
        ("personal=ditto protocol=gossip_learning protocol.variant=um topology=one_peer_exponential", r"protocol=gossip_learning: must be one that learns once"),
        ("personal=ditto protocol=averaging init=independent", r"protocol=averaging: must be one that learns once"),
        ("personal=ditto privacy=device_level", r"privacy=device_level: must be none with personal=ditto"),
        ("personal=ditto compute.compile=true", r"compute.compile=true: must be false with personal=ditto"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(words: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{said}"):
        experiment(*words.split())


def test_devices_that_would_never_learn_the_body_are_named(tmp_path: Path) -> None:
    table = tmp_path / "devices.csv"
    words = (*SMALL, "share=body", "personal=fedrep", "train.local_steps=4")
    table.write_text("device,local_steps\n1,3\n4,2\n")
    said = r"^personal.head_steps=3: must be below .* the body, and device 1 takes 3, device 4 takes 2$"
    with pytest.raises(ConfigError, match=said):
        experiment(*words, f"train.devices={table}")
    experiment(*words, f"train.devices={table}", "personal.head_steps=1")


def test_mixtures_of_running_statistics_are_refused() -> None:
    models = Path(__file__).parents[1] / "models" / "user_models.py"
    own = (f"plugins=[{models}]", "model=custom", "model._target_=user_models.WithBatchNorm")
    with pytest.raises(ConfigError, match=r"^model=.*: must have no running statistic with perso"):
        experiment(*own, "personal=apfl")
    experiment(*own, "personal=ditto")


def test_a_model_of_one_s_own_that_nothing_measures_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"personal=ditto: .* nobody has any; data.local_test=0.2"):
        warn_of_what_does_nothing(experiment("personal=ditto"))


@pytest.mark.parametrize("name", ["ditto", "pfedme"])
def test_a_strength_that_steps_do_not_bear_is_warned_of(name: str) -> None:
    strong = experiment(*SMALL, f"personal={name}", "personal.strength=20", "optimizer.lr=0.1")
    with pytest.warns(
        UserWarning, match=rf"^personal={name}: strength=20 times the largest .* less than 20 would"
    ):
        warn_of_what_does_nothing(strong)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_what_does_nothing(experiment(*SMALL, f"personal={name}", "personal.strength=19"))


def test_of_all_learning_rates_the_largest_counts(tmp_path: Path) -> None:
    table = tmp_path / "devices.csv"
    table.write_text("device,lr\n2,0.5\n")
    words = (*SMALL, "personal=ditto", "personal.strength=5", "optimizer.lr=0.1")
    for more, rate in ((f"train.devices={table}", 0.5), ("schedule.warmup=0.9", 0.1)):
        strong = experiment(*words, more, f"personal.strength={2 / rate}", "rounds=20")
        with pytest.warns(UserWarning, match=rf"the largest learning rate {rate} must be below 2"):
            warn_of_what_does_nothing(strong)


def test_what_devices_keep_counts_in_memory_and_checkpoints() -> None:
    plain, kept = experiment(*SMALL), experiment(*SMALL, "personal=apfl")
    assert kept.kept_numbers == plain.kept_numbers + kept.model.layout.width + 1
