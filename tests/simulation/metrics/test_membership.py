"""The membership metric: what it says of models that have learnt by heart, and of those that have
never seen a sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from swarm.common.errors import ConfigError
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.metrics import formulas
from swarm.simulation.metrics.looking import DeviceValues
from swarm.simulation.metrics.membership import Membership, most_pairs, pairs
from tests.support import logged, prepared, records, require_same_bits

MEASURED = ("metrics=[standard,membership]", "topology=ring")
ALONE = ("scenario.arms=[isolated]", "evaluate.every=200", "rounds=200", "optimizer.lr=0.5")


def last(ready: PreparedRun) -> dict[str, float]:
    return records(ready)[-1].values


@pytest.mark.parametrize("tied", [False, True])
def test_auc_and_rates_are_those_of_scikit_learn(tied: bool) -> None:
    random = np.random.default_rng(0)
    own, other = random.normal(0.4, 1, 300), random.normal(0, 1, 250)
    if tied:
        own, other = own.round(), other.round()
    y, score = np.repeat([1, 0], [300, 250]), np.concatenate([own, other])
    assert formulas.auc(own, other) == pytest.approx(roc_auc_score(y, score), abs=1e-14)
    fpr, tpr, _ = roc_curve(y, score, drop_intermediate=False)
    for rate in (0.01, 0.004, 0.1, 1.0):
        assert formulas.found_at(rate, own, other) == pytest.approx(tpr[fpr <= rate + 1e-12].max())


def test_nothing_learnt_tells_nothing() -> None:
    """0.5 within five standard errors, also where a device's classes are not those of the others:
    without partners of the same class it would be 0.8."""
    values = last(prepared(*MEASURED, "partition=dirichlet", "partition.alpha=0.1", "rounds=0"))
    assert abs(values["membership_auc_mean"] - 0.5) < 0.04


def test_classes_are_not_taken_for_members() -> None:
    """Devices that learn for one round from new samples of few classes know the classes, and
    hardly their samples."""
    few = (
        "partition=pathological",
        "partition.classes_per_device=2",
        "rounds=4",
        "optimizer.lr=0.3",
    )
    values = last(prepared(*MEASURED, *few, "scenario.arms=[isolated]"))
    assert values["accuracy_mean"] < 0.3  # of the two classes they know most
    assert abs(values["membership_auc_mean"] - 0.5) < 0.08


def test_what_is_learnt_by_heart_is_found() -> None:
    """Random labels can only be learnt by heart."""
    ready = prepared(
        *MEASURED,
        *ALONE,
        "partition=iid",
        "data.test=0.6",
        "data.validation=0.25",
        "model.hidden=[128]",
    )
    data = ready.dataset
    mixed_S = np.random.default_rng(0).permutation(data.y)
    values = last(replace(ready, dataset=replace(data, y=mixed_S)))
    assert values["membership_auc_min"] > 0.95
    assert values["membership_tpr_1"] > 0.4


def test_partners_are_of_the_same_class_and_never_members() -> None:
    ready = prepared("partition=dirichlet", "partition.alpha=0.1")
    data, split, count = ready.dataset, ready.split, 0
    for device in range(12):
        own, other = pairs(data, split, 3, device)
        assert len(set(own)) == len(set(other)) == len(own) == len(other)
        assert set(own) <= set(split.of(device))
        assert set(other) <= set(data.test)
        assert (data.y[own] == data.y[other]).all()
        again = pairs(data, split, 3, device)
        assert all((a == b).all() for a, b in zip((own, other), again, strict=True))
        count += len(own)
    assert count > 0.6 * len(split.sample)
    assert (pairs(data, split, 4, 0)[0].tolist()) != pairs(data, split, 3, 0)[0].tolist()


def test_own_held_out_samples_take_the_place_of_test_samples() -> None:
    ready = prepared("data.local_test=0.3")
    own, other = pairs(ready.dataset, ready.split, 0, 5)
    assert len(own)
    assert ready.split.local_test is not None
    assert set(other) <= set(ready.split.local_test.of(5))
    assert most_pairs(ready.dataset, ready.split) <= ready.split.local_test.sizes_N.max()


def test_rates_need_samples_enough() -> None:
    for samples, there in ((99, (False, False)), (100, (True, False)), (1000, (True, True))):
        loss_MK = np.random.default_rng(0).random((1, samples))
        seen = DeviceValues(np.zeros(1, np.int64), np.hstack([loss_MK, loss_MK]))
        found = Membership().together(seen)
        assert tuple(value is not None for value in found.values()) == there


def test_same_bits_in_shards_and_after_a_resume(tmp_path: Path) -> None:
    settings = (*MEASURED, "engine.block=2", "optimizer.lr=0.3", "data.local_test=0.2")
    require_same_bits(tmp_path, *settings, rounds=4, cut=2)
    final = logged(tmp_path / "one")[-1]
    assert 0.3 < final["membership_auc_mean"] < 0.8
    assert 0 <= final["membership_tpr_1"] < 0.3


def test_streams_are_refused() -> None:
    said = r"^metrics=membership: needs devices that hold their samples from the start"
    with pytest.raises(ConfigError, match=said):
        prepared(*MEASURED, "update=online", "partition=iid", "train.batch=2")
