"""What a device does with a stream that is its own: every sample comes once, is predicted, and then
what the policy says.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.experiments.runs.lr_search import search_lr
from swarm.simulation.loop import Simulation
from tests.support import experiment, prepared, records, simulation, trajectory

ALONE = (
    "topology=none",
    "protocol=none",
    "partition=iid",
    "devices=6",
    "train.batch=4",
    "train.local_steps=3",
)
ONLINE = (*ALONE, "update=online", "optimizer.lr=0.1", "scenario.arms=[swarm]")


def test_every_sample_is_met_once_and_then_the_stream_is_over() -> None:
    ready = prepared(*ONLINE, "rounds=200", "evaluate.every=200")
    sizes = ready.split.sizes_N
    found = [r.values for r in records(ready)][1:]
    assert sum(v["seen"] for v in found) == (sizes // 4 * 4).sum()
    assert found[-1]["steps_total"] == (sizes // 4).sum()
    assert found[-1]["steps"] == 0
    assert found[-1]["train_loss"] is None
    assert found[-1]["stream_accuracy"] is None


def test_online_learning_is_the_textbook_loop() -> None:
    """Predict a mini-batch, score it, take a step on it: written by hand for one device."""
    ready = prepared(*ONLINE, "rounds=4", "compute.dtype=float64", "model=softmax")
    with simulation(ready) as running:
        found = [r.values for r in running.records(4)]
        after = running.engine.snapshot()["x"][2]
        e = running.experiment
    module, data, right = e.model.module(2 * 0), ready.dataset, 0
    mine = ready.split.of(2)
    for step in range(12):
        ids = mine[step * 4 : step * 4 + 4]
        x, y = torch.as_tensor(data.x[ids]).double(), torch.as_tensor(data.y[ids])
        out = module(x)
        right += int((out.argmax(1) == y).sum())
        module.zero_grad()
        torch.nn.functional.cross_entropy(out, y).backward()
        with torch.no_grad():
            for p in module.parameters():
                p -= 0.1 * p.grad
    assert torch.allclose(after, e.model.layout.pack(dict(module.named_parameters())), atol=1e-12)
    assert running.counters.score_N[2] == right
    assert (
        found[-1]["prequential_accuracy"]
        == running.counters.score_N.sum() / running.counters.scored_N.sum()
    )


def test_who_learns_twice_in_a_round_does_so_from_the_same_samples() -> None:
    """``um`` of gossip learning updates two models a round; the stream goes on by one round's
    samples all the same.
    """
    twice = (
        "protocol=gossip_learning",
        "protocol.variant=um",
        "topology=complete",
        "replay=reservoir",
        "replay.size=9",
    )
    options = (*(o for o in ONLINE if not o.startswith(("topology", "protocol"))), *twice)
    with simulation(prepared(*options, "rounds=5")) as running:
        for _ in running.records(5):
            pass
        state = running.engine.snapshot()
    assert (state["met"] == 5 * 3).all()
    assert (state["steps"] == 5 * 3).all()
    assert (state["offered"].sum(1) == 5 * 3 * 4).all()


def test_a_frozen_device_predicts_and_stays_as_it_is() -> None:
    path = trajectory(prepared(*ONLINE, "update=frozen", "update.after=2", "rounds=6"))
    changed = [bool((a != b).any(1).all()) for a, b in itertools.pairwise(path)]
    assert changed == [True, True, False, False, False, False]
    found = [r.values for r in records(prepared(*ONLINE, "update=frozen", "rounds=3"))]
    assert [v["seen"] for v in found[1:]] == [6 * 12] * 3
    assert found[-1]["steps_total"] == 0
    assert found[-1]["prequential_accuracy"] is not None


def test_a_frozen_device_scores_as_its_model_does() -> None:
    ready = prepared(*ONLINE, "update=frozen", "rounds=5", "model=softmax")
    with simulation(ready) as running:
        for _ in running.records(5):
            pass
        module = running.experiment.model.module()
        met = ready.split.of(1)[: 5 * 12]
        out = module(torch.as_tensor(ready.dataset.x[met]))
        assert running.counters.score_N[1] == (out.argmax(1).numpy() == ready.dataset.y[met]).sum()


def test_night_is_when_a_nightly_device_learns() -> None:
    ready = prepared(
        *ONLINE, "update=nightly", "update.day=3", "replay=ring", "replay.size=20", "rounds=7"
    )
    path = trajectory(ready)
    changed = [bool((a != b).any()) for a, b in itertools.pairwise(path)]
    assert changed == [False, False, True, False, False, True, False]
    found = [r.values for r in records(ready)][1:]
    assert [v["steps"] for v in found] == [0, 0, 6 * 9, 0, 0, 6 * 9, 0]
    assert [v["seen"] for v in found] == [6 * 12] * 7
    fixed = [
        r.values
        for r in records(
            prepared(
                *ONLINE,
                "update=nightly",
                "update.steps=5",
                "update.day=3",
                "replay=ring",
                "rounds=3",
            )
        )
    ]
    assert fixed[-1]["steps"] == 6 * 5


def test_a_night_has_as_many_steps_as_its_day_had_mini_batches() -> None:
    """Also when the stream ends by day, and for a device that slept at night: it makes up for that
    later.
    """
    options = ("update=nightly", "update.day=3", "replay=ring", "replay.size=20")
    ready = prepared(*ONLINE, *options, "devices=24", "rounds=9")
    found = [0, *(r.values["steps"] for r in list(records(ready))[1:])]
    whole_N = ready.split.sizes_N // 4
    assert found[6] == (np.minimum(whole_N, 18) - np.minimum(whole_N, 9)).sum()
    assert found[9] == 0
    drowsy = prepared(*ONLINE, *options, "clock=poisson", "clock.rate=0.2", "rounds=90")
    with simulation(drowsy) as running:
        for _ in running.records(90):
            pass
        state = running.engine.snapshot()
    assert (state["steps"] + state["lately"] == state["met"]).all()
    assert (state["steps"] > 0).all()


def test_the_pooled_stream_is_never_ahead_of_the_devices() -> None:
    """Streams of very different lengths: the control meets the same samples in the same rounds, and
    no others.
    """
    options = ("update=online", "partition=quantity_skew", "topology=complete", "devices=8", "train.batch=4", "rounds=40",
               "train.local_steps=1", "optimizer.lr=0.1", "scenario.arms=[swarm,centralised]", "evaluate.every=40")  # fmt: skip
    ready = prepared(*options)
    centralised = ready.arms[1]
    whole_N = ready.split.sizes_N // 4
    assert whole_N.min() < 20
    one_by_one = max(centralised.variants, key=lambda variant: variant.train.local_steps or 0)
    with Simulation(ready.experiment(centralised, one_by_one), ready.engine) as running:
        found = [r.values["seen"] for r in list(running.records(40))[1:]]
    assert found == [4 * int((whole_N >= round).sum()) for round in range(1, 41)]
    met = ready.split.pooled(Keys(ready.settings.seed, "pool"), 4)
    assert met.place is not None
    assert np.array_equal(np.sort(met.sample[met.place < 8]), np.sort(np.concatenate(
        [ready.split.of(i)[: min(8, whole_N[i] * 4)] for i in range(8)])))  # fmt: skip


def test_by_night_only_what_is_kept_is_learnt_from() -> None:
    """With a memory of one sample the night is gradient descent on that sample, the last one of the
    day.
    """
    ready = prepared(
        *ONLINE,
        "update=nightly",
        "update.day=2",
        "replay=ring",
        "replay.size=1",
        "rounds=2",
        "model=softmax",
        "compute.dtype=float64",
    )
    with simulation(ready) as running:
        for _ in running.records(2):
            pass
        after, module = running.engine.snapshot()["x"][0], running.experiment.model.module()
        layout = running.experiment.model.layout
    last = ready.split.of(0)[23]
    x, y = (
        torch.as_tensor(ready.dataset.x[[last]]).double(),
        torch.as_tensor(ready.dataset.y[[last]]),
    )
    for _ in range(6):
        module.zero_grad()
        torch.nn.functional.cross_entropy(module(x), y).backward()
        with torch.no_grad():
            for p in module.parameters():
                p -= 0.1 * p.grad
    assert torch.allclose(after, layout.pack(dict(module.named_parameters())), atol=1e-12)


def test_replay_goes_beside_new_samples_and_is_not_scored() -> None:
    with_replay = prepared(
        *ONLINE, "replay=reservoir", "replay.size=16", "replay.ratio=0.5", "rounds=4"
    )
    without = prepared(*ONLINE, "rounds=4")
    found, plain = ([r.values for r in records(ready)] for ready in (with_replay, without))
    assert [v.get("seen") for v in found] == [v.get("seen") for v in plain]
    assert found[-1]["accuracy_mean"] != plain[-1]["accuracy_mean"]


def test_a_memory_keeps_a_device_from_forgetting() -> None:
    """Labels arrive sorted: without a memory a device knows only what came last."""
    time = ("data=gaussian", "partition=natural", "data.per_device=400", "data.classes=4")
    base = (
        *time,
        "topology=none",
        "protocol=none",
        "devices=4",
        "train.batch=4",
        "update=online",
        "optimizer.lr=0.3",
        "rounds=24",
        "scenario.arms=[swarm]",
    )
    from dataclasses import replace

    def final(*extra: str) -> float:
        ready = prepared(*base, *extra)
        ordered = ready.split.by_time(ready.dataset.y.astype(np.int64))
        *_, last = records(replace(ready, split=ordered))
        return float(last.values["accuracy_mean"])

    assert final("replay=class_balanced", "replay.size=40") > final() + 0.1


REFUSED = [
    (("update=nightly",), "replay=none"),
    (("replay=ring",), "must be none with update=epochs"),
    (("update=online", "replay=ring", "replay.ratio=0"), "never read"),
    (("update=online", "replay=ring", "replay.ratio=0.2"), "never read"),
    (("update=frozen", "replay=ring"), "never learns"),
    (("update=online", "drift=label_swap", "drift.kind=gradual", "drift.width=0"), "above 0"),
    (
        (
            "update=online",
            "drift=label_swap",
            "drift.kind=gradual",
            "drift.concepts=4",
            "drift.width=0.3",
        ),
        "at most 1/4",
    ),
    (
        ("update=online", "drift=label_swap", "drift.concepts=900"),
        "drift.concepts=900: cuts streams",
    ),
    (("data=sea", "update=online", "data.per_device=3"), "data.concepts=4: cuts streams"),
    (
        ("data=linear_regression", "drift=label_swap", "update=online", "train.batch=1"),
        "drift=label_swap: needs class labels",
    ),
    (("update=online", "replay=ring", "replay.size=-1"), "replay.size=-1"),
    (("update=online", "train.local_steps=null", "train.local_epochs=1"), "train.local_epochs=1"),
    (("update=online", "train.batch=5000"), "less than one mini-batch"),
    (("update=nightly", "update.day=0", "replay=ring"), "update.day=0"),
    (("update=nightly", "update.steps=0", "replay=ring"), "update.steps=0"),
    (("update=frozen", "update.after=-1"), "update.after=-1"),
    (("drift=label_swap",), "needs a stream"),
    (("labels=meetings",), "needs a stream"),
    (("update=online", "drift=label_swap", "drift.pairs=6"), "drift.pairs=6"),
    (("update=online", "drift=label_swap", "drift.concepts=1"), "drift.concepts=1"),
    (("update=online", "drift=rotation", "drift.phase=2"), "drift.phase=2"),
    (("update=online", "drift=rotation", "drift.kind=slow"), "drift.kind=slow"),
    (("update=online", "labels=meetings", "labels.chance=1.5"), "labels.chance=1.5"),
    (("update=online", "labels=meetings", "labels.budget=-1"), "labels.budget=-1"),
    (("update=online", "labels=meetings", "train.loss=mse"), "train.loss=mse"),
    (("data=sea", "data.concepts=5"), "data.concepts=5"),
    (("data=sea", "drift=rotation", "update=online"), "drift by themselves"),
    (
        ("data=linear_regression", "update=online", "labels=meetings", "train.batch=1"),
        "class label",
    ),
    (
        ("data=linear_regression", "update=online", "replay=class_balanced", "train.batch=1"),
        "class label",
    ),
]


@pytest.mark.parametrize(("overrides", "said"), REFUSED, ids=[" ".join(o) for o, _ in REFUSED])
def test_what_cannot_work_is_refused(overrides: tuple[str, ...], said: str) -> None:
    natural = ("partition=natural",) if overrides[0] == "data=sea" else ("partition=iid",)
    with pytest.raises(ConfigError) as error:
        prepared("train.batch=2", *natural, *overrides)
    assert said in str(error.value)


@pytest.mark.parametrize("model", ["softmax", "mlp", "cnn", "selective"])
def test_predicting_takes_its_forward_products_and_remembered_samples_count(model: str) -> None:
    """As torch counts them; with a fleet a round lasts as long as they take."""

    def last(*extra: str) -> dict[str, Any]:
        flat = ("data.flat=false",) if model == "cnn" else ()
        *_, end = records(
            prepared(*ONLINE, f"model={model}", "rounds=4", "fleet=uniform", *flat, *extra)
        )
        return end.values

    e = experiment(
        *ONLINE,
        f"model={model}",
        "fleet=uniform",
        *(("data.flat=false",) if model == "cnn" else ()),
    )
    module, batch = e.model.module(), e.settings.train.batch
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(batch, *e.data.features))
    online, frozen = last(), last("update=frozen")
    forward = counter.get_total_flops() / e.model.step_flops * online["flops_total"]
    if model == "selective":  # of which torch counts the products with all neurons
        forward = module.prediction_flops(batch) / e.model.step_flops * online["flops_total"]
    assert frozen["flops_total"] == pytest.approx(forward)
    assert frozen["virtual_s"] == pytest.approx(
        online["virtual_s"] * forward / online["flops_total"]
    )
    assert last("replay=ring", "replay.ratio=0.5")["flops_total"] == pytest.approx(
        1.5 * online["flops_total"]
    )
    nightly = last("update=nightly", "update.day=2", "replay=ring")["flops_total"]
    assert nightly == pytest.approx(forward + online["flops_total"])
    if model == "softmax":
        assert forward == pytest.approx(online["flops_total"] / 2)


IDLE = [
    (
        ("update=nightly", "replay=ring", "update.day=9", "rounds=4"),
        "learns nothing before round 9",
    ),
    (("update=online", "replay=ring", "replay.size=5000"), "nothing is ever forgotten"),
    (("update=online", "labels=meetings", "labels.chance=0"), "no device is told any label"),
    (("update=online", "labels=meetings", "labels.budget=0"), "no device is told any label"),
    (("data=sea", "partition=natural"), "these data drift"),
]


@pytest.mark.parametrize(("overrides", "said"), IDLE, ids=[" ".join(o) for o, _ in IDLE])
def test_what_does_nothing_is_said(overrides: tuple[str, ...], said: str) -> None:
    with pytest.warns(UserWarning, match=said):
        prepared("train.batch=2", "partition=iid", "scenario.arms=[swarm]", *overrides)


def test_no_rates_are_tried_for_devices_that_never_learn() -> None:
    ready = prepared(
        *ALONE, "update=frozen", "optimizer.lr=auto", "rounds=3", "scenario.arms=[swarm]"
    )
    with ready.engine as engine:
        _, facts = search_lr(ready, ready.arms[0], engine, lambda text: None)
    assert facts["tried"] == []
