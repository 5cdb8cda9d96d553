"""Modules that bring their own mathematics for a block of devices: it is autograd's, for every
device, whoever sleeps.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.learning.kernels import batched as stacked
from swarm.learning.kernels.batched import BatchedKernel
from swarm.learning.kernels.losses import CrossEntropy
from swarm.learning.kernels.module import kernel_for
from swarm.learning.models.gru import GRU
from swarm.learning.models.mcsd import MCSD
from swarm.learning.models.sequence import SequenceModel, Views
from swarm.learning.models.transformer import Transformer
from tests.support import (
    final_rows,
    module_of,
    plain_gradient,
    predict,
    prepared,
    row_of,
    sgd,
    train,
)

B, b, T, C = 5, 3, 9, 7
NAMES = ["gru", "mcsd", "transformer"]
ALL = [
    (name, predict, dtype)
    for name in NAMES
    for predict in ("every", "last")
    for dtype in ("float32", "float64")
]
TOLERANCE = {
    torch.float32: 1e-5,
    torch.float64: 1e-10,
}  # of a layer, whose rounding the next adds to


def made(
    name: str, predict: str = "every", depth: int = 2, vocabulary: int | None = None
) -> SequenceModel:
    size = {"width": 12, "depth": depth, "predict": predict, "vocabulary": vocabulary}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "gru":
            return GRU((T,), C, **size)  # type: ignore[arg-type]
        if name == "mcsd":
            return MCSD((T,), C, channels=3, hidden=10, **size)  # type: ignore[arg-type]
        return Transformer((T,), C, heads=2, hidden=10, **size)  # type: ignore[arg-type]


def _rows(module: nn.Module) -> Tensor:
    row = row_of(module)
    return row + 0.2 * torch.randn(
        B, len(row), generator=torch.Generator().manual_seed(1), dtype=row.dtype
    )


def _text(predict: str, steps: int = 1) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(2)
    x = torch.randint(C, (B, steps, b, T), generator=draw)
    return x, torch.randint(C, (B, steps, b, *([T] if predict == "every" else [])), generator=draw)


@cache
def _expected(name: str, predict: str, dtype: str, depth: int) -> Tensor:
    """The gradients of all devices, one after the other, by autograd."""
    module = made(name, predict, depth).to(getattr(torch, dtype))
    x, y = _text(predict)
    x_BP = _rows(module)
    flat = _Flat(module)
    return torch.stack(
        [
            plain_gradient(x_BP[i], flat, x[i, 0], y[i, 0].flatten(), "cross_entropy")
            for i in range(B)
        ]
    )


class _Flat(nn.Module):
    """Every position a sample, as PyTorch's cross-entropy wants it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out.flatten(0, -2)


@pytest.mark.parametrize("together", [1, 2, B])
@pytest.mark.parametrize(("name", "predict", "dtype"), ALL)
@pytest.mark.parametrize("depth", [1, 3])
def test_the_gradient_is_autograds(
    name: str, predict: str, dtype: str, depth: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many devices run together; by the shortcut of plain descent, and by collecting
    gradients (``clip``).
    """
    module, kind = made(name, predict, depth).to(getattr(torch, dtype)), CrossEntropy()
    x_BP, (x, y) = _rows(module), _text(predict)
    labels = y.flatten(2)
    monkeypatch.setattr(stacked, "POSITIONS_AT_ONCE", together * labels.shape[2])
    kernel, expected = (
        kernel_for(module, kind, x[0, 0], block=B),
        _expected(name, predict, dtype, depth),
    )
    assert isinstance(kernel, BatchedKernel)
    assert expected.norm(dim=1).min() > 1e-2
    within = TOLERANCE[x_BP.dtype] * (depth if x_BP.dtype == torch.float32 else 1)
    for clip in (None, 1e9):
        moved = x_BP.clone()
        train(kernel, kind, sgd(), moved, {}, x, labels, C, clip=clip)
        torch.testing.assert_close(x_BP - moved, expected, rtol=0, atol=within)


@pytest.mark.parametrize("predict_", ["every", "last"])
@pytest.mark.parametrize("name", NAMES)
def test_predictions_and_steps_not_taken(name: str, predict_: str) -> None:
    module, kind = made(name, predict_).double(), CrossEntropy()
    x_BP, (x, y) = _rows(module), _text(predict_, steps=2)
    labels = y.flatten(2)
    kernel = kernel_for(module, kind, x[0, 0], block=1)
    assert isinstance(kernel, BatchedKernel), "a block of one device, too"
    with torch.no_grad():
        plain = torch.stack(
            [module_of(x_BP[i], module)(x[i, 0]).flatten(0, -2).T for i in range(B)]
        )
    torch.testing.assert_close(predict(kernel, x_BP, x[:, 0]), plain, rtol=0, atol=1e-12)
    both, one = x_BP.clone(), x_BP.clone()
    active = torch.tensor([[True, i % 2 == 0] for i in range(B)])
    train(kernel, kind, sgd(), both, {}, x, labels, C, lr=0.1, active=active)
    train(kernel, kind, sgd(), one, {}, x[:, :1], labels[:, :1], C, lr=0.1)
    assert torch.equal(both[1::2], one[1::2]), "a step that is not taken changes nothing"
    assert (both[::2] - one[::2]).abs().amax(1).min() > 1e-4


@pytest.mark.parametrize("vocabulary", [b * T - 1, b * T, 40])
@pytest.mark.parametrize("name", NAMES)
def test_a_vocabulary_of_its_own(name: str, vocabulary: int) -> None:
    """More tokens are read than there are classes to predict; and fewer positions, where it can be,
    than tokens.
    """
    module, kind = made(name, "last", vocabulary=vocabulary).double(), CrossEntropy()
    x_BP, x = _rows(module), torch.arange(B * b * T).view(B, 1, b, T) * 5 % vocabulary
    labels = torch.arange(B * b).view(B, 1, b) % C
    kernel = kernel_for(module, kind, x[0, 0], block=2)
    expected = torch.stack(
        [plain_gradient(x_BP[i], module, x[i, 0], labels[i, 0], "cross_entropy") for i in range(B)]
    )
    moved = x_BP.clone()
    train(kernel, kind, sgd(), moved, {}, x, labels, C)
    torch.testing.assert_close(x_BP - moved, expected, rtol=0, atol=1e-10)


class _Changed(GRU):
    """Overrides ``forward`` and inherits ``over_rows``."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class _Own(nn.Module):
    """A user's module that brings both."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(C, T))

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.weight.dtype) @ self.weight.T

    def over_rows(self, parameters: Views, inputs: Tensor) -> Tensor:
        weight = parameters["weight"]
        return torch.bmm(inputs.to(weight.dtype), weight.transpose(1, 2))


def test_what_a_module_brings_is_compared_with_its_forward() -> None:
    x = _text("last")[0][0, 0]
    with pytest.raises(
        ConfigError, match="_Changed: has a method over_rows that disagrees with forward"
    ):
        kernel_for(_Changed((T,), C, width=8, depth=1), CrossEntropy(), x, block=2)
    assert isinstance(kernel_for(_Own(), CrossEntropy(), x, block=2), BatchedKernel)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("name", NAMES)
def test_shards_do_not_change_a_bit(name: str, optimizer: str) -> None:
    same = (
        "devices=11", "rounds=3", "engine.block=2", "data=markov", "data.context=70", "data.per_device=8",
        "partition=natural", f"model={name}", "model.width=16", "train.batch=2", "train.local_steps=2",
        f"optimizer={optimizer}", "optimizer.lr=0.05",
    )  # fmt: skip
    one = final_rows(prepared(*same))
    for shards in (2, 5):
        assert (final_rows(prepared(*same, f"engine.shards={shards}")) == one).all()
