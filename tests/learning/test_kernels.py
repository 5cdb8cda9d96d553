"""All kernels give one gradient, that of plain autograd on one device at a time: by hand, by
torch.func, by loop.
"""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from swarm.learning.kernels.dense import Dense
from swarm.learning.kernels.kernel import Functional, Kernel, PerDevice
from swarm.learning.kernels.losses import LOSSES, Loss
from swarm.learning.kernels.module import kernel_for
from swarm.learning.models.dense import MLP
from tests.support import TORCH_LOSS, module_of, plain_gradient, predict, row_of, sgd, train

B, b, D, C = 3, 5, 7, 4
HIDDEN: list[list[int]] = [[], [6], [6, 5], [3, 8, 2]]


def _case(
    loss: str, features: tuple[int, ...] = (D,), outputs: int = C, seed: int = 0
) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(B, 1, b, *features, generator=random, dtype=torch.float64)
    if loss == "cross_entropy":
        return x, torch.randint(0, outputs, (B, 1, b), generator=random)
    return x, torch.randn(B, 1, b, outputs, generator=random, dtype=torch.float64)


def _rows(module: nn.Module) -> Tensor:
    random = torch.Generator().manual_seed(1)
    row = row_of(module)
    return row + 0.3 * torch.randn(B, len(row), generator=random, dtype=torch.float64)


def _gradient(
    kernel: Kernel, loss: Loss, x_BP: Tensor, x: Tensor, y: Tensor, clip: float | None = None
) -> Tensor:
    """What a step of rate 1 takes off the rows; ``clip`` above any norm sends it past the in-place
    shortcut.
    """
    moved = x_BP.clone()
    train(kernel, loss, sgd(), moved, {}, x, y, C, clip=clip)
    return x_BP - moved


@pytest.mark.parametrize(
    ("hidden", "activation", "loss"),
    list(product(HIDDEN, ["relu", "tanh", "sigmoid"], LOSSES)),
    ids=lambda v: v if isinstance(v, str) else f"hidden{len(v)}",
)
def test_dense_functional_and_autograd_agree(hidden: list[int], activation: str, loss: str) -> None:
    module = MLP((D,), C, hidden, activation).double()
    kind, x_BP = LOSSES[loss](), _rows(module)
    x, y = _case(loss)
    expected = torch.stack(
        [plain_gradient(x_BP[i], module, x[i, 0], y[i, 0], loss) for i in range(B)]
    )
    assert expected.norm(dim=1).min() > 1e-3
    dense = Dense.match(module, kind)
    assert dense is not None
    assert isinstance(kernel_for(module, kind, x[0, 0], block=2), Dense), (
        "the hand-written kernel is the one that runs"
    )
    for kernel in (dense, Functional(module, kind), PerDevice(module, kind)):
        for clip in (None, 1e9):
            torch.testing.assert_close(
                _gradient(kernel, kind, x_BP, x, y, clip), expected, rtol=0, atol=1e-10
            )
        with torch.no_grad():
            plain = torch.stack([module_of(x_BP[i], module)(x[i, 0]).T for i in range(B)])
        torch.testing.assert_close(predict(kernel, x_BP, x[:, 0]), plain, rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("hidden", HIDDEN, ids=lambda h: f"hidden{len(h)}")
def test_scores_are_those_of_plain_torch(hidden: list[int], loss: str) -> None:
    """Mean loss, and right answers (or squared errors), both before the step."""
    module = MLP((D,), C, hidden, "tanh").double()
    kind, x_BP = LOSSES[loss](), _rows(module)
    x, y = _case(loss)
    scores = train(
        kernel_for(module, kind, x[0, 0], block=2), kind, sgd(), x_BP.clone(), {}, x, y, C
    )
    for i in range(B):
        out = module_of(x_BP[i], module)(x[i, 0]).detach()
        assert scores.scored_B is not None
        assert scores.score_B is not None
        assert scores.loss_B[i].item() == pytest.approx(
            TORCH_LOSS[loss](out, y[i, 0]).item(), abs=1e-12
        )
        right = (
            (out.argmax(1) == y[i, 0]).sum()
            if kind.classification
            else (out - y[i, 0]).square().mean(1).sum()
        )
        assert scores.score_B[i].item() == pytest.approx(right.item(), abs=1e-12)
        assert scores.scored_B[i] == b


def test_steps_a_device_does_not_take_are_not_scored() -> None:
    module = MLP((D,), C, [6]).double()
    kind, x_BP = LOSSES["cross_entropy"](), _rows(module)
    cases = [_case("cross_entropy", seed=seed) for seed in (0, 1)]
    x, y = (torch.cat(parts, 1) for parts in zip(*cases, strict=True))
    kernel = kernel_for(module, kind, x[0, 0], block=B)
    active = torch.tensor([[True, True], [True, False], [True, False]])
    both = train(kernel, kind, sgd(), x_BP.clone(), {}, x, y, C, active=active)
    one = train(kernel, kind, sgd(), x_BP.clone(), {}, x[:, :1], y[:, :1], C)
    assert both.scored_B is not None
    assert both.score_B is not None
    assert one.score_B is not None
    assert both.scored_B.tolist() == [2 * b, b, b]
    assert torch.equal(both.score_B[1:], one.score_B[1:])
    torch.testing.assert_close(both.loss_B[1:], one.loss_B[1:], rtol=0, atol=1e-12)


def test_other_activations_run_through_torch_func() -> None:
    module = MLP((D,), C, [5], "gelu").double()
    kind, x_BP = LOSSES["cross_entropy"](), _rows(module)
    x, y = _case("cross_entropy")
    kernel = kernel_for(module, kind, x[0, 0], block=2)
    assert isinstance(kernel, Functional)
    expected = torch.stack(
        [plain_gradient(x_BP[i], module, x[i, 0], y[i, 0], "cross_entropy") for i in range(B)]
    )
    torch.testing.assert_close(_gradient(kernel, kind, x_BP, x, y), expected, rtol=0, atol=1e-10)


def _repeated(again: bool) -> nn.Module:
    layer, activation = nn.Linear(D, D), nn.Tanh()
    return nn.Sequential(
        layer, activation, layer, activation if again else nn.Tanh(), nn.Linear(D, C)
    )


def _one_activation() -> nn.Module:
    activation = nn.ReLU()
    return nn.Sequential(nn.Linear(D, 5), activation, nn.Linear(5, 6), activation, nn.Linear(6, C))


class _Twice(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x)
        return 2 * out


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(D, C, bias=False)),
        nn.Sequential(nn.Linear(D, C), nn.ReLU()),
        nn.Sequential(nn.Linear(D, 5), nn.Linear(5, C)),
        nn.Sequential(nn.Linear(D, 5), nn.LayerNorm(5), nn.Linear(5, C)),
        _Twice(nn.Linear(D, C)),
        _repeated(again=False),
        _repeated(again=True),
        _one_activation(),
    ],
    ids=[
        "no bias",
        "ends in relu",
        "no activation",
        "layer norm",
        "own forward",
        "one layer twice",
        "layer and activation twice",
        "one activation",
    ],
)
def test_look_alikes_of_a_chain_still_get_the_right_gradient(module: nn.Module) -> None:
    """Whichever kernel takes them, what counts is the gradient."""
    module = module.double()
    kind, x_BP = LOSSES["cross_entropy"](), _rows(module)
    x, y = _case("cross_entropy")
    expected = torch.stack(
        [plain_gradient(x_BP[i], module, x[i, 0], y[i, 0], "cross_entropy") for i in range(B)]
    )
    found = _gradient(kernel_for(module, kind, x[0, 0], block=2), kind, x_BP, x, y)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
