"""Local learning through the engine: prequential scores come before learning, and unequal devices
take their own steps.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.loop import Simulation
from tests.support import config, final_rows, module_of, prepared, records, row_of, simulation

PLUGIN = Path(__file__).with_name("memorisable.py")
CLASSES = 4


def _memorisable(*overrides: str) -> PreparedRun:
    """Labels drawn by lot, and a model that learns a batch by heart in one step."""
    values = config(
        "devices=6", "protocol=none", "topology=none", "partition=iid", "model=softmax", "optimizer.lr=1.0",
        "train.batch=4", "train.local_steps=2", f"plugins=[{PLUGIN}]", *overrides,
    )  # fmt: skip
    values["data"] = {"_target_": "memorisable.Lots", "classes": CLASSES}
    return PreparedRun.prepare(Settings.parse(values))


def _train_accuracy(running: Simulation) -> float:
    """Of every device on its own samples, after learning."""
    data, held = running.experiment.data.dataset, running.experiment.data.split
    right = []
    x_NP = running.engine.snapshot()["x"]
    for device in range(running.experiment.settings.devices):
        model = module_of(x_NP[device], running.experiment.model.module())
        own = held.of(device)
        right.append((model(torch.as_tensor(data.x[own])).argmax(1).numpy() == data.y[own]).mean())
    return float(np.mean(right))


def test_scores_come_from_predictions_made_before_learning() -> None:
    ready = _memorisable("rounds=60")
    samples = len(ready.split.sample)
    with simulation(ready) as running:
        found = [r.values for r in running.records(60)]
        assert _train_accuracy(running) > 0.95, "the devices did learn the labels by heart"
    chance, noise = 1 / CLASSES, np.sqrt(1 / CLASSES * (1 - 1 / CLASSES) / samples)
    assert found[-1]["prequential_accuracy"] == pytest.approx(chance, abs=4 * noise)
    assert found[1]["train_loss"] > 1.0, "the loss of the first round, too, is that before learning"


@pytest.mark.parametrize("skew", ["iid", "quantity_skew"])
@pytest.mark.parametrize("steps", ["train.local_steps=2", "train.local_epochs=1"])
def test_every_sample_is_scored_exactly_once(skew: str, steps: str) -> None:
    key = ("train.local_steps=null",) if "epochs" in steps else ()
    ready = _memorisable("rounds=60", f"partition={skew}", *key, steps)
    sizes = np.diff(ready.split.ptr_N1)
    done = ready.experiment(ready.arms[0], ready.arms[0].variants[0]).data.local_steps_N * 4
    for record in records(ready)[1:]:
        met = np.minimum(sizes, done * record.values["round"]) - np.minimum(
            sizes, done * (record.values["round"] - 1)
        )
        assert record.values["seen"] == met.sum()
    assert (done * 60 >= sizes).all()
    assert sum(r.values["seen"] for r in records(ready)[1:]) == len(ready.split.sample)


@pytest.mark.parametrize(
    ("optimizer", "make"),
    [
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.05)),
        ("momentum", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True)),
        ("adamw", lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.01)),
    ],
)
def test_unequal_devices_learn_as_each_would_alone(optimizer: str, make: object) -> None:
    """local_epochs=1 with skewed sizes: each device equals plain PyTorch over its own batches, over
    three rounds.
    """
    ready = prepared(
        "devices=7", "protocol=none", "topology=none", "data=gaussian", "data.features=5", "data.classes=3",
        "data.per_device=30", "partition=quantity_skew", f"optimizer={optimizer}", "optimizer.lr=0.05", "engine.block=4",
        "train.local_steps=null", "train.local_epochs=1", "train.batch=6", "compute.dtype=float64", "model.hidden=[4]",
        "rounds=3",
    )  # fmt: skip
    with simulation(ready) as running:
        e = running.experiment
        steps = e.data.local_steps_N
        assert len(set(steps)) > 2
        for _ in running.engine.advance(3):
            pass
        found = running.engine.snapshot()["x"]
    for device in range(7):
        module = e.model.module()
        own = make(module.parameters())  # type: ignore[operator]
        draw = e.data.stream.draw(
            np.array([device]), np.array([0]), 3 * int(steps[device])
        ).sample_BKb[0]
        for ids in draw:
            own.zero_grad()
            x, y = (
                torch.as_tensor(ready.dataset.x[ids]).double(),
                torch.as_tensor(ready.dataset.y[ids]),
            )
            torch.nn.functional.cross_entropy(module(x), y).backward()
            own.step()
        torch.testing.assert_close(found[device], row_of(module), rtol=0, atol=1e-10)


def test_learning_and_mixing_happen_in_the_order_of_the_protocol() -> None:
    """One round by hand on a ring: train then average, and the published order, from rows that
    differ.
    """
    for protocol in ("dpsgd", "dpsgd_published"):
        ready = prepared(
            "devices=5", "topology=ring", f"protocol={protocol}", "init=independent", "compute.dtype=float64",
            "model=softmax", "rounds=1", "engine.block=2", "engine.shards=2",
        )  # fmt: skip
        alone = prepared(
            "devices=5", "topology=none", "protocol=none", "init=independent", "compute.dtype=float64",
            "model=softmax", "rounds=1", "engine.block=2",
        )  # fmt: skip
        ends = []
        for each in (ready, alone):
            with simulation(each) as running:
                start = running.engine.snapshot()["x"].clone()
                for _ in running.engine.advance(1):
                    pass
                ends.append(running.engine.snapshot()["x"])
        W = torch.as_tensor(
            ready.experiment(ready.arms[0], ready.arms[0].variants[0])
            .communication.mixing(1)
            .matrix.toarray()
        )
        expected = W @ ends[1] if protocol == "dpsgd" else W @ start + (ends[1] - start)
        torch.testing.assert_close(ends[0], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "protocol",
    [
        ("protocol=scaffold", "protocol.fraction=0.5", "topology=none"),
        ("protocol=d2", "mixing=lazy", "clock=periodic", "clock.period=3"),
    ],
    ids=["not chosen", "asleep"],
)
def test_who_takes_no_step_has_learnt_nothing_compiled_or_not(
    protocol: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiled step works on whole blocks, whoever of them is awake."""
    monkeypatch.setattr(torch, "compile", lambda train, **_: train)
    options = ("devices=8", "engine.block=4", "rounds=5", "optimizer.lr=0.1", *protocol)
    plain, compiled = (
        final_rows(prepared(*options, f"compute.compile={on}")) for on in ("false", "true")
    )
    np.testing.assert_allclose(compiled, plain, rtol=0, atol=1e-6)
