"""Every optimiser equals ``torch.optim``, device by device; gradient clipping equals PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.learning.kernels.losses import LOSSES
from swarm.learning.kernels.module import kernel_for
from swarm.learning.models.dense import MLP
from swarm.learning.optim.optimizer import SGD, Adam, Optimizer
from swarm.learning.optim.schedule import Constant
from tests.support import module_of, row_of, train

B, K, b, D, C = 3, 7, 4, 5, 3
LR = 0.05

CASES: dict[str, tuple[Optimizer, Callable[..., torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (SGD(LR, Constant()), torch.optim.SGD, {}),
    "sgd, weight decay": (SGD(LR, Constant(), weight_decay=0.1), torch.optim.SGD, {"weight_decay": 0.1}),
    "momentum": (SGD(LR, Constant(), momentum=0.9), torch.optim.SGD, {"momentum": 0.9}),
    "momentum, weight decay": (
        SGD(LR, Constant(), momentum=0.8, weight_decay=0.1), torch.optim.SGD, {"momentum": 0.8, "weight_decay": 0.1}),
    "nesterov": (SGD(LR, Constant(), momentum=0.9, nesterov=True), torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adam": (Adam(LR, Constant(), decoupled=False), torch.optim.Adam, {}),
    "adam, own betas": (Adam(LR, Constant(), 0.7, 0.95, 1e-3), torch.optim.Adam, {"betas": (0.7, 0.95), "eps": 1e-3}),
    "adam, weight decay": (
        Adam(LR, Constant(), weight_decay=0.1, decoupled=False), torch.optim.Adam, {"weight_decay": 0.1}),
    "adamw": (Adam(LR, Constant(), weight_decay=0.1), torch.optim.AdamW, {"weight_decay": 0.1}),
}  # fmt: skip


def _data() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(B, K, b, D, generator=random, dtype=torch.float64), torch.randint(
        0, C, (B, K, b), generator=random
    )


def _start() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    modules = [MLP((D,), C, [6], "tanh").double() for _ in range(B)]
    return modules[0], torch.stack([row_of(m) for m in modules])


def _plain(
    make: Callable[..., torch.optim.Optimizer],
    options: dict[str, Any],
    clip: float | None,
    steps: list[int],
) -> Tensor:
    """Each device alone, in plain PyTorch."""
    like, start_BP = _start()
    x, y = _data()
    rows = []
    for i in range(B):
        module = module_of(start_BP[i], like)
        optimizer = make(module.parameters(), lr=LR, **options)
        for k in range(steps[i]):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[i, k]), y[i, k]).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(module.parameters(), clip)
            optimizer.step()
        rows.append(row_of(module))
    return torch.stack(rows)


def _ours(
    optimizer: Optimizer, clip: float | None, chunks: list[int], active: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """A block at once, its K steps taken in ``chunks``."""
    like, x_BP = _start()
    x, y = _data()
    loss = LOSSES["cross_entropy"]()
    kernel = kernel_for(like, loss, x[0, 0], block=2)
    slots = {name: torch.zeros_like(x_BP) for name in optimizer.slots}
    done = 0
    for count in chunks:
        part = slice(done, done + count)
        train(
            kernel, loss, optimizer, x_BP, slots, x[:, part], y[:, part], C, lr=LR, clip=clip,
            active=None if active is None else active[:, part], done=done,
        )  # fmt: skip
        done += count
    return x_BP, slots


@pytest.mark.parametrize("clip", [None, 0.3], ids=["", "clipped"])
@pytest.mark.parametrize("name", CASES)
def test_equals_torch_optim(name: str, clip: float | None) -> None:
    optimizer, make, options = CASES[name]
    expected = _plain(make, options, clip, [K] * B)
    for chunks in ([K], [3, 4]):  # the state lives on from one round to the next
        # torch's clipping divides by norm + 1e-6
        torch.testing.assert_close(
            _ours(optimizer, clip, chunks)[0],
            expected,
            rtol=0,
            atol=1e-10 if clip is None else 1e-5,
        )


def test_clipping_bites_on_long_gradients_only() -> None:
    """The step of a device is as long as the limit, or untouched; each device by its own norm."""
    _, start = _start()
    free = (_ours(CASES["sgd"][0], None, [1])[0] - start) / LR
    norm = free.norm(dim=1)
    limit = float(norm.sort().values[1])  # between the shortest and the longest
    step = (_ours(CASES["sgd"][0], limit, [1])[0] - start) / LR
    torch.testing.assert_close(step.norm(dim=1), norm.clamp_max(limit), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        step / step.norm(dim=1, keepdim=True), free / norm[:, None], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", CASES)
def test_a_device_that_has_done_its_steps_stands_still(name: str) -> None:
    """Masked steps move neither parameters nor the optimiser's state, by not one bit; the other
    devices go on.
    """
    optimizer, make, options = CASES[name]
    steps = [K, 2, 4]
    active = torch.arange(K) < torch.tensor(steps)[:, None]
    x_BP, slots = _ours(optimizer, None, [K], active)
    torch.testing.assert_close(x_BP, _plain(make, options, None, steps), rtol=0, atol=1e-10)
    for i, count in enumerate(steps):
        short_BP, short = _ours(optimizer, None, [count], active)
        assert torch.equal(short_BP[i], x_BP[i])
        assert all(torch.equal(short[s][i], slots[s][i]) for s in slots)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: SGD(0.0, Constant()), "lr"), (lambda: SGD(float("nan"), Constant()), "lr"),
        (lambda: SGD(LR, Constant(), momentum=1.0), "momentum"), (lambda: SGD(LR, Constant(), nesterov=True), "nesterov"),
        (lambda: SGD(LR, Constant(), weight_decay=-1.0), "weight_decay"), (lambda: Adam(LR, Constant(), beta1=1.0), "beta1"),
        (lambda: Adam(LR, Constant(), beta2=-0.1), "beta2"), (lambda: Adam(LR, Constant(), eps=0.0), "eps"),
    ],
)  # fmt: skip
def test_senseless_settings_are_refused_by_name(make: Callable[[], Optimizer], key: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        make()
    assert refusal.value.key == key
