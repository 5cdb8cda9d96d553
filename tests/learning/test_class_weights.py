"""Weights of classes in the loss: PyTorch's own weighted cross-entropy, and runs that use it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from swarm.common.errors import ConfigError
from swarm.learning.kernels.losses import CrossEntropy, PartialLabelLoss, Weighted, class_weights
from tests.support import experiment, prepared, require_same_bits, run, trajectory

WEIGHTS = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)


def test_loss_and_gradient_are_pytorch_s() -> None:
    draw = torch.Generator().manual_seed(0)
    out = torch.randn(2, 3, 7, generator=draw, dtype=torch.float64, requires_grad=True)
    y = torch.randint(3, (2, 7), generator=draw)
    loss = Weighted(PartialLabelLoss(), WEIGHTS)
    target = loss.encode(y, 3, torch.float64)
    expected = functional.cross_entropy(out, y, WEIGHTS, reduction="none")
    torch.testing.assert_close(loss.value(out, target), expected, rtol=0, atol=1e-14)
    (gradient,) = torch.autograd.grad(expected.sum(), out)
    found = loss.grad_outputs(out.detach(), target)
    torch.testing.assert_close(found, gradient, rtol=0, atol=1e-14)
    plain = CrossEntropy()
    scores = plain.score(out, plain.encode(y, 3, torch.float64))
    assert torch.equal(loss.score(out, target), scores), "a weight is no part of an accuracy"


def test_balanced_weights_count_every_class_alike() -> None:
    label = np.repeat([0, 1, 3], [60, 30, 10])
    weight_C = class_weights("balanced", label, 4).numpy()
    sums = [weight_C[c] * (label == c).sum() for c in (0, 1, 3)]
    assert sums == pytest.approx([100 / 3] * 3)
    assert weight_C[label].mean() == pytest.approx(1)
    assert weight_C[2] == 1, "a class that nobody has"


def test_weights_of_one_are_no_weights() -> None:
    ones = f"train.class_weights={[1.0] * 10}"
    common = ("devices=6", "topology=ring", "rounds=2", "compute.dtype=float64")
    plain, weighted = trajectory(prepared(*common)), trajectory(prepared(*common, ones))
    np.testing.assert_allclose(weighted, plain, rtol=0, atol=1e-13)
    heavy = f"train.class_weights={[1.0] * 9 + [9.0]}"
    assert not np.allclose(trajectory(prepared(*common, heavy)), plain, atol=1e-6)


def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path) -> None:
    common = ("devices=6", "topology=complete", "engine.block=1", "train.class_weights=balanced")
    require_same_bits(tmp_path, *common, rounds=3, cut=1)
    assert isinstance(experiment(*common).model.loss, Weighted)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train.class_weights=[1,2]",), "class_weights=2 weights: must be null, balanced, or a"),
        (("train.class_weights=even",), r"train\.class_weights.*even"),
        (("train.class_weights=[0,1]",), r"train\.class_weights"),
        (
            ("train.class_weights=balanced", "data=linear_regression", "partition=iid"),
            "train.class_weights=balanced: must be null with numeric targets",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(tmp_path / "run", *words)
    assert not (tmp_path / "run").exists()
