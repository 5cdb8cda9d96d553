"""Local accuracy: how well each device does on samples of its own that nobody learns from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import swarm
from swarm.common.errors import ConfigError
from swarm.experiments.runs.prepared import PreparedRun
from swarm.results.report.compare import Comparison
from swarm.simulation.footprint import footprint
from swarm.simulation.metrics.column import PARTS
from swarm.simulation.metrics.local import LocalAccuracy, LocalR2, LocalScores
from tests.support import (
    config,
    experiment,
    final_rows,
    logged,
    module_of,
    prepared,
    records,
    run,
    simulation,
)

TAKEN = ("data.local_test=0.3", "rounds=2", "engine.block=3")
NUMBERS = ("data=linear_regression", "data.target_scale=standard", "partition=iid")
CASES = {
    "classes": TAKEN,
    "numbers": (*TAKEN, *NUMBERS),
    "text": (*TAKEN, "data=markov", "data.context=6", "partition=iid", "model=gru", "devices=4", "topology=ring"),
    "owners": ("data=gaussian", "partition=natural", "data.local_test=auto", "rounds=2"),
}  # fmt: skip


def plain(ready: PreparedRun, name: str) -> list[float]:
    """Each device's value of a metric, by PyTorch, from its row after the last round."""
    with simulation(ready) as running:
        list(running.records(ready.settings.rounds))
        x_NP, e = running.engine.snapshot()["x"], running.experiment
    found, data = [], ready.dataset
    for device, row_P in enumerate(x_NP):
        own = ready.split.local_test.of(device)
        if not len(own):
            found.append(np.nan)
            continue
        with torch.no_grad():
            out = module_of(row_P, e.model.module())(torch.as_tensor(data.x[own]))
        y = data.y[own]
        if name == "local_accuracy":
            said = out.movedim(1, -1) if out.ndim > 2 and out.shape[-1] != data.classes else out
            found.append(float((said.argmax(-1).numpy() == y).mean()))
            continue
        error = (out.numpy().astype(float) - y) * data.target.span
        spread = (y - y.mean(0)) * data.target.span
        value = (
            (error**2).mean() if name == "local_mse" else 1 - (error**2).sum() / (spread**2).sum()
        )
        found.append(float(value))
    return found


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("classes", "local_accuracy"),
        ("text", "local_accuracy"),
        ("owners", "local_accuracy"),
        ("numbers", "local_mse"),
        ("numbers", "local_r2"),
    ],
)
def test_each_device_is_looked_at_on_its_own_samples(case: str, name: str) -> None:
    ready = prepared(*CASES[case])
    last = records(ready)[-1]
    expected = plain(ready, name)
    assert last.devices is not None
    np.testing.assert_allclose(last.devices[name], expected, rtol=1e-4)
    assert last.values[f"{name}_mean"] == pytest.approx(np.nanmean(expected), rel=1e-4)
    assert f"consensus_{name}" not in last.values


def test_owners_are_right_on_their_own_rows_and_nobody_is_on_all(tmp_path: Path) -> None:
    """Half of the owners call x > 0 the class 1, the others the class 0."""
    draw = np.random.default_rng(0)
    who, x = np.repeat(np.arange(6), 60), draw.normal(size=360)
    pd.DataFrame({"x": x, "y": (x > 0) ^ (who >= 3), "who": who}).astype({"y": int}).to_csv(
        tmp_path / "t.csv", index=False
    )
    words = (f"data.path={tmp_path / 't.csv'}", "data.label=y", "data.device=who", "devices=6")
    common = (
        "data=table",
        *words,
        "data.local_test=auto",
        "partition=natural",
        "model=softmax",
        "topology=ring",
    )
    arms = "scenario.arms=[isolated,centralised]"
    found = run(tmp_path / "run", *common, arms, "optimizer.lr=1", "rounds=8")["arms"]
    assert found["isolated"]["local_accuracy_mean"] > 0.9
    assert found["isolated"]["local_accuracy_p10"] > 0.8
    assert found["isolated"]["own_accuracy_mean"] < 0.6, "its mix of labels is everybody's"
    assert found["isolated"]["accuracy_mean"] == pytest.approx(0.5, abs=0.1)
    assert found["centralised"]["local_accuracy_mean"] == found["centralised"]["accuracy_mean"]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["data"]["local_test_per_device"] == {"min": 12, "median": 12.0, "max": 12}


def test_nobody_learns_from_them() -> None:
    ready = prepared("data.local_test=0.3", "scenario.arms=[swarm,centralised]", "rounds=2")
    x = ready.dataset.x.copy()
    x[ready.split.local_test.sample] = np.nan
    spoilt = replace(ready, dataset=replace(ready.dataset, x=x))
    for arm in range(2):
        np.testing.assert_array_equal(final_rows(spoilt, arm), final_rows(ready, arm))


@pytest.mark.parametrize("case", ["classes", "numbers", "owners"])
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, case: str) -> None:
    common = ("devices=11", *CASES[case], "engine.block=2")
    run(tmp_path / "one", *common)
    run(tmp_path / "four", *common, "engine.shards=4")
    run(tmp_path / "cut", *common, "rounds=1", "schedule.rounds=2")
    swarm.resume(tmp_path / "cut", {"rounds": 2, "engine.shards": 3})
    assert any(key.startswith("local_") for key in logged(tmp_path / "one")[-1])
    assert logged(tmp_path / "four") == logged(tmp_path / "one")
    assert logged(tmp_path / "cut") == logged(tmp_path / "one")


def test_looking_at_owners_rows_changes_nothing_else() -> None:
    common = ("data=gaussian", "partition=natural", "rounds=2")
    found, usual = (
        [
            {k: v for k, v in row.values.items() if not k.startswith("wall_s")}
            for row in records(prepared(*common, f"data.local_test={value}"))
        ]
        for value in ("auto", "0")
    )
    assert [{k: row[k] for k in old} for row, old in zip(found, usual, strict=True)] == usual
    new = found[-1].keys() - usual[-1].keys()
    assert new == {f"local_accuracy_{part}" for part in PARTS}


def test_devices_without_such_samples_are_left_out() -> None:
    hits_MC = np.array([[1.0, 2.0], [0.0, 0.0]])
    loss_M = np.array([1.0, np.nan])
    scores = LocalScores(np.arange(2), np.array([4, 0]), loss_M, hits_MC, np.zeros(2), np.ones(1))
    values = LocalAccuracy().values(scores)
    assert values[0] == 0.75
    assert np.isnan(values[1])
    assert LocalAccuracy().skips_nan
    assert np.isnan(LocalR2().values(scores)).all(), "equal targets have no variance to explain"


def test_the_evaluated_devices_and_members_are_looked_at() -> None:
    words = ("data.local_test=0.3", "rounds=2", "engine.block=3")
    before, *_, everybody = (record.devices for record in records(prepared(*words)))
    some = records(prepared(*words, "evaluate.devices=3"))[-1].devices
    assert before is not None
    assert everybody is not None
    assert some is not None
    assert len(some["device"]) == 3
    np.testing.assert_array_equal(
        some["local_accuracy"], everybody["local_accuracy"][some["device"]]
    )

    first = records(prepared(*words, "churn=joining", "churn.start=10"))[0].devices
    assert first is not None
    there = first["device"]
    assert len(there) == 6
    np.testing.assert_array_equal(first["local_accuracy"], before["local_accuracy"][there])


def test_it_can_be_the_main_score_and_is_left_out_where_there_is_none(tmp_path: Path) -> None:
    run(tmp_path / "run", "data.local_test=0.3", "rounds=1", "metrics=[local_accuracy,standard]")
    read = swarm.load(tmp_path / "run")
    assert read.score == "local_accuracy"
    assert {"local_accuracy", "accuracy"} <= {*read.devices.columns}
    shown = next(column for column in read.columns if column.key == "local_accuracy_mean").shown
    assert {"table", "page", "compare", "sweep", "tracker"} <= {*shown}
    usual = experiment("metrics=[standard]").metrics.all
    assert not any(metric.name.startswith("local") for metric in usual)
    with pytest.raises(ConfigError, match=r"metrics=local_accuracy: needs .*data\.local_test=0\.2"):
        experiment("metrics=[local_accuracy]")
    with pytest.warns(UserWarning, match="nothing is measured"):
        off = experiment("data.local_test=0.3", "evaluate.local=false")
    assert not off.metrics.local


def test_looking_at_own_samples_counts_in_the_memory_of_a_run() -> None:
    words = ("data=digits_like", "data.per_device=400", "partition=iid", "engine.block=6")
    plain, held = experiment(*words), experiment(*words, "data.local_test=0.5")
    parts = [{part.name: part.bytes for part in footprint(e).parts} for e in (plain, held)]
    one, two = (part["a block of devices at work"] for part in parts)
    assert two >= one
    assert parts[1]["the results of devices"] > parts[0]["the results of devices"]


def test_runs_that_learn_from_other_samples_are_not_compared(tmp_path: Path) -> None:
    for name, words in (("auto", ()), ("share", ("data.local_test=0.3",))):
        run(tmp_path / name, "rounds=1", *words)
    before = config()["data"]
    del before["local_test"]
    run(tmp_path / "before", "rounds=1", data=before)
    both = Comparison.of([tmp_path / "before", tmp_path / "auto"])
    heads = [str(column.header) for column in both.table().columns]
    assert not any("own" in head for head in heads), "nothing of what nobody measured"
    with pytest.raises(ConfigError, match=r"data\.local_test=0\.3: .*same data"):
        Comparison.of([tmp_path / "auto", tmp_path / "share"])
