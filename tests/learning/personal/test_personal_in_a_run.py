"""Personal models in whole runs: shards, resume, saved devices, what is refused or warned of."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import swarm
from swarm.common.errors import ConfigError, DivergedError
from swarm.common.rows import params_sha256
from swarm.experiments.runs.preflight import warn_of_what_does_nothing
from swarm.results.folder.saved_rows import saved_rows
from tests.learning.personal.small_runs import EACH, SMALL
from tests.support import (
    experiment,
    prepared,
    records,
    require_same_bits,
    run,
    simulation,
)


def test_arms_without_others_have_no_second_model() -> None:
    ready = prepared(*SMALL, "personal=ditto", "scenario.arms=[swarm,isolated,centralised,fedavg]")
    kept = {arm.name: bool(ready.experiment(arm, arm.variants[0]).model.kept) for arm in ready.arms}
    assert kept == {"swarm": True, "isolated": False, "centralised": False, "fedavg": True}


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
