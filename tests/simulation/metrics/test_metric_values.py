"""The values of the bundled metrics: those of scikit-learn, and the same on every shard."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import metrics as sklearn
from sklearn.calibration import calibration_curve
from torch import Tensor

from swarm.config.build import option
from swarm.simulation.footprint import footprint
from swarm.simulation.metrics.auc import Auc
from swarm.simulation.metrics.balanced_accuracy import BalancedAccuracy
from swarm.simulation.metrics.base import (
    DeviceScores,
    OutputMetric,
)
from swarm.simulation.metrics.calibration import Calibration
from swarm.simulation.metrics.fairness import Fairness
from swarm.simulation.metrics.macro_f1 import MacroF1
from tests.simulation.metrics.values import NEW, values
from tests.support import experiment, run

B, C, T = 3, 4, 200


def outputs(classes: int = C, ties: bool = False) -> tuple[Tensor, NDArray[np.int64]]:
    """Outputs ``[B, C, T]`` that know something of the labels ``[T]``."""
    draw = np.random.default_rng(7)
    y_T = draw.choice(classes, T, p=np.arange(classes, 0, -1) / np.arange(classes + 1).sum())
    out = draw.standard_normal((B, classes, T)) + 1.5 * (np.arange(classes)[:, None] == y_T)
    return torch.as_tensor(np.round(out, 1) if ties else out, dtype=torch.float32), y_T


def measured(metric: OutputMetric, out: Tensor, y_T: NDArray[np.int64], chunk: int) -> Any:
    """What the metric says, given the samples in chunks."""
    state, y = metric.state(len(out), out.shape[1], len(y_T)), torch.as_tensor(y_T)
    for at in range(0, len(y_T), chunk):
        metric.add(state, out[:, :, at : at + chunk], y[at : at + chunk], at)
    return metric.value(state, y).numpy()


@pytest.mark.parametrize("chunk", [T, 64, 1])
@pytest.mark.parametrize("classes", [2, C])
def test_values_are_those_of_scikit_learn(classes: int, chunk: int) -> None:
    out, y_T = outputs(classes)
    chance, said = torch.softmax(out.double(), 1).numpy(), out.argmax(1).numpy()
    f1 = [sklearn.f1_score(y_T, each, average="macro") for each in said]
    np.testing.assert_allclose(measured(MacroF1(), out, y_T, chunk), f1, rtol=1e-12)
    auc = [
        sklearn.roc_auc_score(y_T, p[1] if classes == 2 else p.T, multi_class="ovr") for p in chance
    ]
    np.testing.assert_allclose(measured(Auc(), out, y_T, chunk), auc, rtol=1e-12)
    expected = []
    for p, answer in zip(chance, said, strict=True):
        sure, right = p.max(0), answer == y_T
        accuracy, confidence = calibration_curve(right, sure, n_bins=10)
        edges = np.linspace(0, 1, 11)[1:-1]
        count = np.bincount(np.searchsorted(edges, sure), minlength=10)
        expected.append((count[count > 0] / T * np.abs(accuracy - confidence)).sum())
    np.testing.assert_allclose(measured(Calibration(10), out, y_T, chunk), expected, rtol=1e-12)
    hits_MC = np.array([[((a == y_T) & (y_T == c)).sum() for c in range(classes)] for a in said])
    scores = DeviceScores(
        np.arange(B), np.zeros(B), hits_MC.astype(float), y_T, np.bincount(y_T).astype(float)
    )
    balanced = [sklearn.balanced_accuracy_score(y_T, each) for each in said]
    np.testing.assert_allclose(BalancedAccuracy().values(scores), balanced, rtol=1e-12)


def test_tied_scores_count_one_half_in_the_area_under_the_curve() -> None:
    out, y_T = outputs(2, ties=True)
    margin = (out[:, 1] - out[:, 0]).double().round(decimals=1).numpy()
    two = torch.as_tensor(np.stack([np.zeros_like(margin), margin], 1))
    expected = [sklearn.roc_auc_score(y_T, each) for each in margin]
    np.testing.assert_allclose(measured(Auc(), two, y_T, 50), expected, rtol=1e-12)


def test_a_class_that_is_missing_is_left_out() -> None:
    out, y_T = outputs()
    y_T = np.where(y_T == 3, 0, y_T)  # nobody is of class 3, and some say so
    said = out.argmax(1).numpy()
    f1 = [sklearn.f1_score(y_T, each, average="macro", zero_division=0) for each in said]
    np.testing.assert_allclose(measured(MacroF1(), out, y_T, 64), f1, rtol=1e-12)
    chance = torch.softmax(out.double(), 1).numpy()
    areas = [np.mean([sklearn.roc_auc_score(y_T == c, p[c]) for c in range(3)]) for p in chance]
    np.testing.assert_allclose(measured(Auc(), out, y_T, 64), areas, rtol=1e-12)
    assert np.isnan(measured(Auc(), out, np.zeros(T, np.int64), 64)).all()
    hits_MC = np.array([[((a == y_T) & (y_T == c)).sum() for c in range(C)] for a in said])
    counts = np.bincount(y_T, minlength=C).astype(float)
    scores = DeviceScores(np.arange(B), np.zeros(B), hits_MC.astype(float), y_T, counts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a class that only the answers have
        balanced = [sklearn.balanced_accuracy_score(y_T, each) for each in said]
    np.testing.assert_allclose(BalancedAccuracy().values(scores), balanced, rtol=1e-12)


def test_fairness_is_one_for_equals_and_falls_with_the_worst() -> None:
    metric = Fairness()
    assert metric.over_devices(np.full(20, 0.7)) == pytest.approx(
        {"fairness_jain": 1.0, "fairness_worst_tenth_gap": 0.0}
    )
    one_has_all = metric.over_devices(np.eye(10)[0])
    assert one_has_all["fairness_jain"] == pytest.approx(1 / 10)
    found = metric.over_devices(np.arange(20) / 20)
    assert found["fairness_worst_tenth_gap"] == pytest.approx(19 / 40 - 1 / 40)
    assert "fairness_jain" not in metric.over_devices(np.zeros(4))
    losses = Fairness(of="loss").over_devices(np.array([1.0, 1.0, 4.0]))
    assert losses["fairness_worst_tenth_gap"] == pytest.approx(2.0), "the worst has most of it"


@pytest.fixture(scope="module")
def one_shard() -> list[dict[str, Any]]:
    return values(NEW, "engine.block=3")


def test_the_usual_numbers_stay_as_they_are(one_shard: list[dict[str, Any]]) -> None:
    usual = values("engine.block=3")
    assert [
        {k: row[k] for k in plain} for row, plain in zip(one_shard, usual, strict=True)
    ] == usual
    new = one_shard[-1].keys() - usual[-1].keys()
    assert {"macro_f1_mean", "auc_p10", "consensus_calibration", "fairness_jain"} <= new


@pytest.mark.parametrize("engine", ["engine.shards=4", "engine.shards=3"])
def test_shards_do_not_change_a_bit(one_shard: list[dict[str, Any]], engine: str) -> None:
    assert values(NEW, "engine.block=3", engine) == one_shard


def test_the_block_does_not_change_a_value(one_shard: list[dict[str, Any]]) -> None:
    for row, other in zip(one_shard, values(NEW, "engine.block=12"), strict=True):
        assert row.keys() == other.keys()
        for key in row:
            assert other[key] == pytest.approx(row[key], rel=2e-2, abs=2e-2), key


def test_numeric_targets_have_metrics_too(tmp_path: Path) -> None:
    metrics = ["standard", {**option("metric", "fairness"), "of": "loss"}]
    summary = run(tmp_path / "run", "data=linear_regression", "partition=iid", metrics=metrics)
    assert 0 < summary["arms"]["swarm"]["fairness_jain"] <= 1


def test_drifting_data_weigh_each_concept_by_how_much_a_device_lives_in_it() -> None:
    words = ("update=online", "partition=iid", "train.batch=2", "drift=label_swap")
    last = values(NEW, *words)[-1]
    assert last["balanced_accuracy_mean"] == pytest.approx(last["accuracy_mean"], abs=0.1)
    assert 0 <= last["macro_f1_mean"] <= 1


def test_a_state_counts_in_the_memory_of_a_run() -> None:
    plain, more = experiment("engine.block=3"), experiment("engine.block=3", "metrics=[auc]")
    grown = footprint(more).total - footprint(plain).total
    samples = len(plain.data.dataset.test)
    assert grown >= 3 * plain.data.outputs * samples * 8
