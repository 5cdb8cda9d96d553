"""Losses: PyTorch's values, and the residual is the derivative of the value."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.learning.kernels.losses import LOSSES, Loss, loss_for
from tests.support import TORCH_LOSS


def _case(loss: Loss, scale: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    out = scale * torch.randn(2, 4, 6, generator=random, dtype=torch.float64)
    y = (
        torch.randint(0, 4, (2, 6), generator=random)
        if loss.classification
        else torch.randn(2, 6, 4, generator=random, dtype=torch.float64)
    )
    return out, y, loss.encode(y, 4, torch.float64)


@pytest.mark.parametrize("name", LOSSES)
def test_residual_is_the_derivative_of_value(name: str) -> None:
    loss = LOSSES[name]()
    out, _, target = _case(loss)
    out.requires_grad_()
    loss.value(out, target).sum().backward()
    assert out.grad is not None
    torch.testing.assert_close(
        loss.grad_outputs(out.detach().clone(), target), out.grad, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", LOSSES)
def test_value_is_torchs(name: str) -> None:
    loss = LOSSES[name]()
    out, y, target = _case(loss)
    assert loss.value(out, target).shape == (2, 6)
    for i in range(2):
        for j in range(6):
            expected = TORCH_LOSS[name](out[i, :, j].unsqueeze(0), y[i, j].unsqueeze(0)).item()
            assert loss.value(out, target)[i, j].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["mse", "mae"])
def test_errors_are_stated_in_the_unit_of_each_target(name: str) -> None:
    """What is learnt from stays as it is."""
    unit = torch.tensor([[1.0], [10.0], [0.5], [3.0]], dtype=torch.float64)
    loss, plain = loss_for(name, 0, unit), loss_for(name, 0)
    out, _, target = _case(loss)
    assert torch.equal(
        loss.grad_outputs(out.clone(), target), plain.grad_outputs(out.clone(), target)
    )
    torch.testing.assert_close(loss.value(out, target), plain.value(unit * out, unit * target))
    torch.testing.assert_close(loss.score(out, target), (unit * (out - target)).square().mean(-2))


def test_large_logits_stay_finite() -> None:
    loss = LOSSES["cross_entropy"]()
    out, _, target = _case(loss, scale=1e4)
    assert torch.isfinite(loss.value(out, target)).all()
    assert torch.isfinite(loss.grad_outputs(out.clone(), target)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_that_says_the_same_of_all_labels_scores_as_chance(dtype: torch.dtype) -> None:
    loss = LOSSES["cross_entropy"]()
    for labels in (torch.arange(7).repeat(3), torch.zeros(21, dtype=torch.int64)):
        right = loss.score(torch.zeros(2, 7, 21, dtype=dtype), loss.encode(labels, 7, dtype))
        assert right.dtype == dtype
        assert torch.equal(right, torch.full((2, 21), 1 / 7, dtype=dtype))
    nothing = torch.full((1, 7, 21), torch.nan, dtype=dtype)
    assert torch.equal(
        loss.score(nothing, loss.encode(labels, 7, dtype)), torch.zeros(1, 21, dtype=dtype)
    )


def test_an_answer_is_right_if_it_is_above_all_others() -> None:
    loss = LOSSES["cross_entropy"]()
    # [1, 3 classes, 3 samples]
    out = torch.tensor([[[2.0, 1.0, 5.0], [1.0, 1.0, 7.0], [0.0, 0.0, -1.0]]])
    target = loss.encode(torch.tensor([[0, 1, 2]]), 3, torch.float32)
    assert loss.score(out, target).tolist() == [[1.0, 0.5, 0.0]], "right, a tie of two, wrong"


def test_the_loss_fits_the_targets() -> None:
    assert type(loss_for("cross_entropy", 3)) is LOSSES["cross_entropy"]
    assert type(loss_for("mse", 0)) is LOSSES["mse"]
    for name, classes, valid in (("mse", 3, "cross_entropy"), ("cross_entropy", 0, "mse, mae")):
        with pytest.raises(ConfigError, match=rf"train\.loss={name}.*valid: {valid}"):
            loss_for(name, classes)
