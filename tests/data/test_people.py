"""Labels from people: how many, how many wrong, and that nothing else is learnt from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from swarm.learning.kernels.losses import CrossEntropy, PartialLabelLoss
from tests.support import prepared, run, trajectory

STREAM = (
    "update=online",
    "topology=complete",
    "partition=iid",
    "devices=6",
    "train.batch=8",
    "train.local_steps=2",
    "scenario.arms=[swarm]",
)
MEET = (*STREAM, "labels=meetings", "optimizer.lr=0.1", "rounds=4")


def test_as_many_labels_are_told_as_there_are_meetings_and_as_many_wrong() -> None:
    ready = prepared(
        *MEET, "data=digits_like", "data.per_device=1000", "labels.chance=0.3", "labels.wrong=0.2"
    )
    given = ready.dataset.observed_labels
    assert given is not None
    held, true = given[ready.split.sample], ready.dataset.y[ready.split.sample]
    assert (held >= 0).mean() == pytest.approx(0.3, abs=0.02)
    told = held >= 0
    assert (held[told] != true[told]).mean() == pytest.approx(0.2, abs=0.03)
    wrong = (held - true)[told & (held != true)] % 10
    assert np.bincount(wrong, minlength=10)[1:].min() > 0.5 * len(wrong) / 9
    assert (given[ready.dataset.test] == -1).all()


def test_a_budget_is_spent_on_the_first_meetings() -> None:
    free, bound = (
        prepared(*MEET, "labels.chance=0.5", *more) for more in ((), ("labels.budget=7",))
    )
    assert free.dataset.observed_labels is not None
    assert bound.dataset.observed_labels is not None
    for device in range(6):
        met = free.split.of(device)
        told = met[free.dataset.observed_labels[met] >= 0]
        assert np.array_equal(met[bound.dataset.observed_labels[met] >= 0], told[:7])


def test_if_everybody_tells_the_truth_nothing_is_different(tmp_path: object) -> None:
    a, b = (run(tmp_path / n, *STREAM, "optimizer.lr=0.1", "rounds=4", *more)["arms"]["swarm"]  # type: ignore[operator]
            for n, more in (("a", ()), ("b", ("labels=meetings", "labels.chance=1.0"))))  # fmt: skip
    assert a["params_sha256"] == b["params_sha256"]
    assert a["prequential_accuracy"] == b["prequential_accuracy"]


def test_without_labels_nothing_is_learnt() -> None:
    path = trajectory(prepared(*MEET, "labels.chance=0.0", "topology=none", "protocol=none"))
    assert (path == path[0]).all()


def test_a_step_is_the_mean_over_those_with_a_label() -> None:
    torch.manual_seed(0)
    out, y = torch.randn(1, 5, 8).double(), torch.randint(0, 5, (1, 8))
    known = torch.tensor([[True, False, True, True, False, False, True, False]])
    full, loss = CrossEntropy(), PartialLabelLoss()
    target = full.encode(y, 5, torch.float64) * (known * (8 / known.sum())).unsqueeze(1)
    got = loss.grad_outputs(out, target) / 8
    alone = (
        full.grad_outputs(out[:, :, known[0]], full.encode(y[:, known[0]], 5, torch.float64)) / 4
    )
    assert torch.allclose(got[:, :, known[0]], alone)
    assert (got[:, :, ~known[0]] == 0).all()


def test_wrong_answers_do_not_count_against_the_prediction(tmp_path: object) -> None:
    """Devices are scored by what is true, whatever they were told."""
    facts = run(
        tmp_path / "run",
        *MEET,
        "labels.chance=1.0",
        "labels.wrong=1.0",
        "data=digits_like",
        "data.per_device=400",
        "rounds=20",
        "optimizer.lr=0.5",
    )  # type: ignore[operator]
    assert facts["arms"]["swarm"]["prequential_accuracy"] < 0.1
    assert facts["arms"]["swarm"]["accuracy_mean"] < 0.1


def test_only_told_samples_are_remembered() -> None:
    from tests.support import simulation

    ready = prepared(*MEET, "labels.chance=0.2", "replay=reservoir", "replay.size=10")
    given = ready.dataset.observed_labels
    assert given is not None
    with simulation(ready) as running:
        for _ in running.records(4):
            pass
        kept = running.engine.snapshot()["kept"].numpy()
    assert (given[kept[kept >= 0]] >= 0).all()
    assert (kept >= 0).any()
