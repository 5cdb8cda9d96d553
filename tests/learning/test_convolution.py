"""Convolutional modules of any shape train as a block, and learn what plain autograd learns."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from swarm.common.rows import Layout
from swarm.learning.kernels import convolution
from swarm.learning.kernels.batched import BatchedKernel
from swarm.learning.kernels.convolution import Convolution
from swarm.learning.kernels.losses import LOSSES
from swarm.learning.kernels.module import kernel_for
from swarm.learning.models.cnn import CNN
from swarm.learning.running_statistics import entries, layout_of, running_statistics
from tests.support import module_of, plain_gradient, predict, row_of, sgd, train

B, b, C = 3, 4, 5


class Residual(nn.Module):
    """A body with a way round, as in a residual network, and functions instead of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding="same", bias=False)
        self.norm = nn.GroupNorm(2, 4)
        self.second = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.head = nn.Linear(4, C, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.first(x)))
        x = x + torch.tanh(self.second(x))
        x = functional.max_pool2d(functional.relu(x), 2)
        x = functional.adaptive_avg_pool2d(x, 1)
        out: Tensor = self.head(x.view(x.size(0), -1))
        return out


class Pooled(nn.Module):
    """The mean over all pixels, as residual networks end."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(2, 3, 3, bias=False), nn.Linear(3, C)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x).sigmoid()
        whole = torch.mean(x, dim=(-1, -2), keepdim=True)
        out: Tensor = self.head((x + x).mean([2, 3]) + whole.flatten(1))
        return out


class Shaped(nn.Module):
    """Flat samples, and outputs by way of their shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(2, 3, 2, stride=2, dilation=2)
        self.head = nn.Sequential(nn.Linear(12, 6), nn.ELU(), nn.Linear(6, C))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x.reshape(x.shape[0], 2, 6, 6))
        out: Tensor = self.head(torch.flatten(x.contiguous(), 1))
        return out


def _chain(*layers: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, C))


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "cnn": (lambda: CNN((6, 6), C, [2, 3], "tanh"), (6, 6)),
    "cnn of flat samples": (lambda: CNN((36,), C, [2, 3]), (36,)),
    "residual": (Residual, (2, 6, 6)),
    "flat samples": (
        lambda: _chain(nn.Unflatten(1, (2, 6, 6)), nn.Conv2d(2, 2, 3), nn.Tanh(), width=32), (72,)
    ),
    "pooled": (Pooled, (2, 6, 6)),
    "shaped": (Shaped, (72,)),
    "group norm": (
        lambda: _chain(
            nn.Conv2d(2, 4, 3), nn.GroupNorm(4, 4, affine=False), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4), nn.GELU(), width=16,
        ), (2, 6, 6),
    ),
    "mean of a window": (
        lambda: _chain(nn.Conv2d(2, 2, 3), nn.SiLU(), nn.AvgPool2d(2), width=8), (2, 6, 6)
    ),
}  # fmt: skip


def _gradients(
    module: nn.Module, features: tuple[int, ...], whole_numbers: bool = False
) -> tuple[Tensor, Tensor]:
    """A step of rate 1 by the kernel of the module, and by plain autograd; the predictions are
    checked on the way."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(B, 1, b, *features, generator=random, dtype=torch.float64)
    y = torch.randint(0, C, (B, 1, b), generator=random)
    row = row_of(module)
    rows = row + 0.3 * torch.randn(B, len(row), generator=random, dtype=torch.float64)
    if whole_numbers:
        x, rows = (x * 2).round(), (rows * 2).round()
    loss = LOSSES["cross_entropy"]()
    kernel = kernel_for(module, loss, x[0, 0], block=B)
    with torch.no_grad():
        plain = torch.stack([module_of(rows[i], module)(x[i, 0]).T for i in range(B)])
    torch.testing.assert_close(predict(kernel, rows, x[:, 0]), plain, rtol=0, atol=1e-10)
    moved = rows.clone()
    train(kernel, loss, sgd(), moved, {}, x, y, C)
    each = [plain_gradient(rows[i], module, x[i, 0], y[i, 0], "cross_entropy") for i in range(B)]
    return rows - moved, torch.stack(each)


@pytest.mark.parametrize("at_once", [1, 2, B], ids=lambda n: f"{n} at once")
@pytest.mark.parametrize("name", MODULES)
def test_a_block_learns_what_each_device_would(
    name: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, features = MODULES[name]
    module = make().double()
    run = Convolution.match(module, torch.zeros(2, *features, dtype=torch.float64))
    assert run is not None, "it trains as a block"
    monkeypatch.setattr(convolution, "NUMBERS_AT_ONCE", at_once * b * run.numbers)
    assert run.devices_at_once(b) == at_once
    found, expected = _gradients(module, features)
    assert expected.norm(dim=1).min() > 1e-3
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


class Normed(nn.Module):
    """BatchNorm of images and of features, with a way round, and one without parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4, momentum=0.3)
        self.second, self.bare = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4, affine=False)
        self.third, self.last, self.head = nn.Linear(36, 6), nn.BatchNorm1d(6), nn.Linear(6, C)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.first(x)))
        x = functional.max_pool2d(x + self.bare(self.second(x)), 2)
        out: Tensor = self.head(torch.tanh(self.last(self.third(x.flatten(1)))))
        return out


@pytest.mark.parametrize("at_once", [1, B], ids=lambda n: f"{n} at once")
def test_a_block_normalises_each_devices_own_batch(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predictions with the running statistics, and two steps of SGD that change parameters and
    statistics, are those of one module a device."""
    random = torch.Generator().manual_seed(0)
    module = Normed().double().train()
    x = torch.randn(B, 2, b, 2, 6, 6, generator=random, dtype=torch.float64)
    y = torch.randint(0, C, (B, 2, b), generator=random)
    layout = layout_of(module, running_statistics(module, x[0, 0]), "average", "all")
    loss = LOSSES["cross_entropy"]()
    kernel = kernel_for(module, loss, x[0, 0], B, layout)
    assert isinstance(kernel, BatchedKernel), "it trains as a block"
    assert isinstance(kernel.run, Convolution)
    monkeypatch.setattr(convolution, "NUMBERS_AT_ONCE", at_once * b * kernel.run.numbers)
    rows = torch.stack([layout.pack(entries(Normed().double())) for _ in range(B)]).double()
    each = [copy.deepcopy(module) for _ in range(B)]
    for row, own in zip(rows, each, strict=True):
        own.load_state_dict(layout.state_dict(row))
    optimizers = [torch.optim.SGD(own.parameters(), lr=1.0) for own in each]
    train(kernel, loss, sgd(), rows, {}, x, y, C)
    for own, optimizer, x_K, y_K in zip(each, optimizers, x, y, strict=True):
        for x_k, y_k in zip(x_K, y_K, strict=True):
            optimizer.zero_grad()
            functional.cross_entropy(own(x_k), y_k).backward()
            optimizer.step()
    expected = torch.stack([layout.pack(entries(own)) for own in each])
    torch.testing.assert_close(rows, expected, rtol=0, atol=1e-9)
    with torch.no_grad():
        plain = torch.stack([own.eval()(x[i, 0]).T for i, own in enumerate(each)])
    torch.testing.assert_close(predict(kernel, rows, x[:, 0]), plain, rtol=0, atol=1e-9)


def test_a_rectifier_behind_the_maximum_has_the_same_derivative() -> None:
    """Whole numbers: many windows have their maximum twice, or at zero, or below it."""
    module = _chain(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.MaxPool2d(2), width=8).double()
    found, expected = _gradients(module, (1, 5, 5), whole_numbers=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    run = Convolution.match(module, torch.zeros(2, 1, 5, 5, dtype=torch.float64))
    assert run is not None
    kinds = [node.target for node in run._graph.nodes if node.op == "call_module"]
    assert kinds[:3] == ["0", "2", "1"]


class Mixing(nn.Module):
    """Half of the channels follow other rules than the others."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(2, 4, 3), nn.Linear(64, C)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        out: Tensor = self.head((x * x.softmax(1)).flatten(1))
        return out


class HalfFrozen(nn.Module):
    """What a graph of operations does not show: the first convolution learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(2, 4, 3), nn.Linear(64, C)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.body(x)
        out: Tensor = self.head(x.flatten(1))
        return out


class Rounded(nn.Module):
    """The same: it computes in another dtype than its parameters have."""

    def __init__(self) -> None:
        super().__init__()
        self.chain = _chain(nn.Conv2d(2, 2, 3), width=32)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out: Tensor = self.chain(x)
            return out


class Twice(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x)
        return 2 * out


def _hooked() -> nn.Module:
    module = _chain(nn.Conv2d(2, 2, 3), width=32)
    module.get_submodule("0").register_forward_hook(lambda _, __, out: 2 * out)
    return module


def _tied() -> nn.Module:
    layer = nn.Conv2d(2, 2, 3, padding=1)
    return _chain(layer, nn.Tanh(), layer, width=72)


@pytest.mark.parametrize(
    "make",
    [
        Mixing,
        HalfFrozen,
        _hooked,
        _tied,
        lambda: Twice(nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(32, C)),
        lambda: _chain(nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), width=72),
        lambda: _chain(nn.Conv2d(2, 2, 3), nn.Softmax(1), width=32),
        lambda: nn.Sequential(nn.Conv2d(2, C, 3), nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten()),
    ],
    ids=["mixing", "no gradient", "hook", "one layer twice", "own forward", "circular", "softmax", "one axis"],
)  # fmt: skip
def test_look_alikes_get_the_right_gradient_too(make: Callable[[], nn.Module]) -> None:
    """Whichever kernel takes them."""
    found, expected = _gradients(make().double(), (2, 6, 6))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_a_module_that_leaves_its_dtype_runs_otherwise() -> None:
    inputs = torch.zeros(2, 2, 6, 6)
    kernel = kernel_for(Rounded(), LOSSES["cross_entropy"](), inputs, block=B)
    assert not isinstance(kernel, BatchedKernel)


def test_large_images_run_device_by_device() -> None:
    module = CNN((3, 32, 32), C, [32])
    kernel = BatchedKernel.match(
        module, LOSSES["cross_entropy"](), torch.zeros(2, 3, 32, 32), Layout.of(module)
    )
    assert kernel is not None
    assert isinstance(kernel.run, Convolution)
    assert kernel.run.numbers == 32 * 32 * 32
    assert [kernel.run.devices_at_once(size) for size in (1, 8, 64)] == [16, 2, 1]
