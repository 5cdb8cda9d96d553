"""Hostile devices in a running swarm: the same bits however it is cut, metrics over honest devices
only, and what a backdoor teaches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swarm.results.load import load
from swarm.results.report.html.page import page
from tests.support import experiment, prepared, records, require_same_bits, rows, run, simulation

HOSTILE = [1, 4, 8, 11]
TORUS = ("devices=16", "topology=torus", f"attack.devices={HOSTILE}", "engine.block=3")
LATE = ("delay=exponential", "network.round_seconds=0.1", "network.drop=0.2")
CASES: dict[str, tuple[str, ...]] = {
    "colluders, late and compressed": (
        "attack=alie",
        *LATE,
        "compressor=top_k",
        "transforms=[noise]",
    ),
    "for each neighbour, late": ("attack=dissensus", *LATE, "aggregator=clipped_gossip"),
    "with a memory, on a server": ("attack=delayed", "protocol=fedavg", "topology=none"),
    "a backdoor": ("attack=backdoor", "evaluate.devices=6", "topology=none", "protocol=none"),
}


@pytest.mark.parametrize("case", CASES)
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, case: str) -> None:
    words = (*TORUS, *CASES[case])
    require_same_bits(tmp_path, *words, "optimizer.lr=0.05", rounds=3, cut=1)


# --- metrics --------------------------------------------------------------------------------------


def test_all_metrics_are_over_honest_devices() -> None:
    """Against numbers worked out by hand from a run of the same bits in which all are measured."""
    common = ("devices=12", "rounds=2", "evaluate.every=1", "topology=ring", "engine.block=3")
    left_out, honest = [0, 5, 6], np.delete(np.arange(12), [0, 5, 6])
    found = records(prepared(*common, f"attack.devices={left_out}"))[-1]
    ready = prepared(*common)
    with simulation(ready) as running:
        plain = list(running.records(2))[-1]
        x_NP = rows(running)
    assert plain.devices is not None
    assert found.devices is not None
    np.testing.assert_array_equal(found.devices["device"], honest)
    each = plain.devices["accuracy"][honest]
    assert found.values["accuracy_mean"] == pytest.approx(each.mean(), abs=1e-12)
    assert found.values["accuracy_min"] == each.min()
    assert found.values["accuracy_mean"] != plain.values["accuracy_mean"]
    apart = x_NP[honest] - x_NP[honest].mean(0)
    distance = np.sqrt(np.square(apart).sum(1).mean())
    assert found.values["consensus_distance"] == pytest.approx(distance, rel=1e-5)
    assert found.values["ensemble_accuracy"] is not None
    for key in ("train_loss", "consensus_accuracy", "prequential_accuracy", "faded_accuracy"):
        assert found.values[key] != plain.values[key], key
    for key in ("messages_total", "bytes_total", "steps_total"):
        assert found.values[key] == plain.values[key], key


def test_hostile_devices_are_left_out_beside_those_that_are_away() -> None:
    common = (
        "devices=12",
        "rounds=2",
        "churn=crash",
        "churn.at=1",
        "churn.fraction=0.5",
        "topology=complete",
    )
    there = records(prepared(*common))[-1].devices
    found = records(prepared(*common, "attack.devices=[0,1,2,3,4,5]"))[-1].devices
    assert there is not None
    assert found is not None
    assert 0 < len(found["device"]) < len(there["device"]) < 12
    np.testing.assert_array_equal(found["device"], there["device"][there["device"] > 5])


def test_training_loss_and_predictions_are_those_of_honest_devices() -> None:
    common = (
        "devices=12",
        "rounds=1",
        "topology=ring",
        "update=online",
        "partition=iid",
        "train.batch=2",
    )
    with simulation(prepared(*common)) as running:
        (happened,) = running.engine.advance(1)
    honest = np.delete(np.arange(12), [2, 3])
    found = records(prepared(*common, "attack.devices=[2,3]"))[-1].values
    assert found["train_loss"] == pytest.approx(happened.loss_N[honest].mean(), rel=1e-12)
    share = happened.score_N[honest].sum() / happened.scored_N[honest].sum()
    for key in ("prequential_accuracy", "stream_accuracy", "faded_accuracy"):
        assert found[key] == pytest.approx(share, rel=1e-12), key


def test_the_ensemble_is_of_honest_devices() -> None:
    """Eight devices that cannot vote do not turn the vote of four that can."""
    common = ("devices=12", "topology=none", "protocol=none", "rounds=4", "partition=iid")
    bad = [0, 1, 2, 4, 5, 6, 8, 9]
    ready = prepared(*common, f"attack.devices={bad}")
    with simulation(ready) as running:
        for _ in running.engine.advance(4):
            pass
        before = running.measure(4, running.counters)[0]["ensemble_accuracy"]
        state = running.engine.shards[0].state  # type: ignore[attr-defined]
        state.x[torch.as_tensor(bad)] *= -1.0
        assert running.measure(4, running.counters)[0]["ensemble_accuracy"] == before


# --- numbers that are no numbers ------------------------------------------------------------------


def test_nan_reaches_the_neighbours_and_ends_the_arm_in_the_next_round(tmp_path: Path) -> None:
    common = ("devices=12", "topology=ring", "attack=not_a_number", "attack.devices=[3]")
    summary = run(tmp_path, *common, "rounds=3")
    assert summary["arms"]["swarm"]["diverged"] == {"device": 2, "round": 2}


def test_hostile_devices_may_have_no_numbers_themselves(tmp_path: Path) -> None:
    """A hostile device that learns at a rate at which it diverges, and sends zeros."""
    rates = tmp_path / "rates.csv"
    rates.write_text("device,lr\n3,1e30\n")
    common = ("devices=12", "topology=ring", "attack=zero", "attack.devices=[3]")
    ready = prepared(*common, "rounds=3", f"train.devices={rates}")
    with simulation(ready) as running:
        last = list(running.records(3))[-1].values
        finite_N = np.isfinite(rows(running)).all(1)
    assert np.flatnonzero(~finite_N).tolist() == [3]
    assert last["accuracy_mean"] > 0
    assert np.isfinite(last["consensus_distance"])
    assert np.isfinite(last["consensus_accuracy"])


# --- poisoned samples -----------------------------------------------------------------------------


def test_label_flips_are_learnt_and_change_nobody_elses_samples() -> None:
    """A hostile device alone learns C − 1 − y: it answers 9 − y, and honest ones y."""
    common = (
        "devices=4",
        "topology=none",
        "protocol=none",
        "rounds=30",
        "partition=iid",
        "optimizer.lr=0.3",
    )
    (first, flipped) = (
        _alone(prepared(*common, f"attack={name}", "attack.devices=[2]"))
        for name in ("none", "label_flip")
    )
    np.testing.assert_array_equal(first[[0, 1, 3]], flipped[[0, 1, 3]])
    e = experiment(*common)
    test = e.data.dataset.test
    y = e.data.dataset.y[test]
    right, wrong = (_answers(e, flipped[2], test) == wanted for wanted in (y, 9 - y))
    assert wrong.mean() > 0.7
    assert right.mean() < 0.1


def _alone(ready: Any) -> Any:
    with simulation(ready) as running:
        for _ in running.engine.advance(running.experiment.settings.rounds):
            pass
        return rows(running)


def _answers(e: Any, row: Any, samples: Any, change: Any = lambda x: x) -> Any:
    x = change(torch.as_tensor(e.data.dataset.x[samples]).float())
    module = e.model.module()
    module.load_state_dict(e.model.layout.state_dict(torch.as_tensor(row).float()), strict=False)
    with torch.inference_mode():
        return module(x).argmax(1).numpy()


def test_a_backdoor_is_learnt_and_its_success_is_that_of_honest_devices() -> None:
    """Against a count of the answers to test samples of other classes with the last features set
    to the largest one; without an attack almost none of them is the target."""
    common = (
        "devices=8", "topology=complete", "rounds=30", "partition=iid", "optimizer.lr=0.3", "attack=backdoor",
        "attack.size=4", "attack.target=7",
    )  # fmt: skip
    ready = prepared(*common, "attack.devices=[0,1,2]", "attack.share=0.5")
    with simulation(ready) as running:
        found = list(running.records(30))[-1].values
        x_NP, e = rows(running), running.experiment
    data = e.data.dataset
    others = data.test[data.y[data.test] != 7]

    def trigger(x: Any) -> Any:
        x[:, -4:] = float(data.x[data.train].max())
        return x

    each = [np.mean(_answers(e, x_NP[i], others, trigger) == 7) for i in range(3, 8)]
    assert found["backdoor_success_mean"] == pytest.approx(np.mean(each), abs=1e-6)
    assert found["backdoor_success_mean"] > 0.5
    assert found["accuracy_mean"] > 0.8
    assert np.mean(_answers(e, x_NP[3], others) == 7) < 0.1


def test_a_share_of_the_samples_is_poisoned_and_always_the_same_ones() -> None:
    e = experiment("devices=8", "attack=backdoor", "attack.share=0.3", "attack.devices=[2]")
    assert e.poison is not None
    sample = np.arange(4000).reshape(2, 4, 500)
    chosen = e.poison.chosen(np.array([2, 3]), sample)
    assert chosen is not None
    assert not chosen[1].any()
    assert 0.26 < float(chosen[0].double().mean()) < 0.34
    again = e.poison.chosen(np.array([3, 2]), sample[:, ::-1][::-1])
    assert again is not None
    assert torch.equal(again[1], chosen[0].flip(0))
    assert e.poison.chosen(np.array([0, 1]), sample) is None


# --- what a run says of it ------------------------------------------------------------------------


def test_a_run_says_who_is_hostile(tmp_path: Path) -> None:
    run(tmp_path, "devices=12", "attack=sign_flip", "attack.devices=3", "rounds=1")
    summary = json.loads((tmp_path / "summary.json").read_text())
    who = summary["attack"]["hostile_devices"]
    assert summary["attack"] == {
        "name": "sign_flip", "scale": 1.0, "hostile": 3, "honest": 9, "hostile_devices": who,
    }  # fmt: skip
    assert len(who) == 3
    assert json.loads((tmp_path / "graph.json").read_text())["hostile"] == who
    assert load(tmp_path).devices["device"].nunique() == 9
    text = page(load(tmp_path))
    assert "3 hostile, sign_flip" in text
    assert f'"hostile":{json.dumps(who, separators=(",", ":"))}' in text
