"""What a researcher would write instead of our engine: plain loops, a JAX program, one centralised
model, and the same round by hand over stacked rows.

Each is a :data:`Turn`, which takes the same steps on the same samples once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

Turn = Callable[[], float]  # takes all steps of the work once more; returns seconds of processor
LR, CLASSES = 0.1, 10


@dataclass(frozen=True)
class Work:
    """What every contestant trains on: the batches that ours draws in the first rounds of a run."""

    make: Callable[[], nn.Module]
    x: Tensor  # [N, rounds, K, b, *features]
    y: Tensor  # [N, rounds, K, b]

    @property
    def devices(self) -> int:
        return self.x.shape[0]

    @property
    def rounds(self) -> int:
        return self.x.shape[1]

    @property
    def steps(self) -> int:
        """Local steps of one turn, all devices together."""
        return self.y[..., 0].numel()


# --- models ---------------------------------------------------------------------------------------


def mlp(features: int, hidden: int) -> nn.Module:
    """A perceptron of one hidden layer, as ``model=mlp``."""
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES))


def cnn() -> nn.Module:
    """``model=cnn model.channels=[8,16]`` on flat samples of 28 × 28 pixels."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        *(nn.Conv2d(1, 8, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(784, CLASSES)),
    )


def gn_lenet() -> nn.Module:
    """LeNet with GroupNorm for images of 3 × 32 × 32, as in the literature on decentralised
    learning (Hsieh et al., ICML 2020, arXiv 1910.00189)."""
    layers: list[nn.Module] = [nn.Unflatten(1, (3, 32, 32))]
    for before, after in ((3, 32), (32, 32), (32, 64)):
        convolution = nn.Conv2d(before, after, 5, padding="same")
        layers += [convolution, nn.GroupNorm(2, after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, CLASSES))


def noisy() -> nn.Module:
    """A perceptron with BatchNorm and dropout for samples of 64 features."""
    hidden = nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2)
    return nn.Sequential(*hidden, nn.Linear(32, CLASSES))


# --- time -----------------------------------------------------------------------------------------


def timed(work: Callable[[], object]) -> float:
    """Seconds of this thread's processor time: what other processes do is not in it."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


# --- plain loops ----------------------------------------------------------------------------------


def loop_optim(work: Work, memory: torch.memory_format) -> Turn:
    """One module and one ``optim.SGD`` for each device."""
    models = [_in(work.make(), memory) for _ in range(work.devices)]
    optimizers = [torch.optim.SGD(m.parameters(), lr=LR) for m in models]
    loss = nn.CrossEntropyLoss()

    def play() -> None:
        for r, k, i in _steps(work):
            optimizers[i].zero_grad()
            loss(models[i](work.x[i, r, k]), work.y[i, r, k]).backward()
            optimizers[i].step()
            if k == work.x.shape[2] - 1 and i == work.devices - 1:
                with torch.no_grad():
                    for parameters in zip(*(m.parameters() for m in models), strict=True):
                        _ring(list(parameters))

    return lambda: timed(play)


def loop_functional(work: Work, memory: torch.memory_format) -> Turn:
    """Bare parameters for each device, with ``autograd.grad`` and a fused update."""
    skeleton = _in(work.make(), memory)
    models = [
        {
            name: p.detach().clone(memory_format=torch.preserve_format).requires_grad_()
            for name, p in _in(work.make(), memory).named_parameters()
        }
        for _ in range(work.devices)
    ]
    loss = nn.functional.cross_entropy

    def play() -> None:
        for r, k, i in _steps(work):
            own = models[i]
            out = functional_call(skeleton, own, (work.x[i, r, k],))
            gradients = torch.autograd.grad(loss(out, work.y[i, r, k]), list(own.values()))
            with torch.no_grad():
                torch._foreach_add_(list(own.values()), gradients, alpha=-LR)
            if k == work.x.shape[2] - 1 and i == work.devices - 1:
                with torch.no_grad():
                    for name in own:
                        _ring([each[name] for each in models])

    return lambda: timed(play)


def _steps(work: Work) -> Iterator[tuple[int, int, int]]:
    """(round, step, device), in the order in which loops take them."""
    for r in range(work.rounds):
        for i in range(work.devices):
            for k in range(work.x.shape[2]):
                yield r, k, i


def _in(module: nn.Module, memory: torch.memory_format) -> nn.Module:
    return module.to(memory_format=memory)


def _ring(parameters: list[Tensor]) -> None:
    old = torch.stack(parameters)
    mixed = (old + old.roll(1, 0) + old.roll(-1, 0)) / 3
    for parameter, value in zip(parameters, mixed, strict=True):
        parameter.copy_(value)


# --- one model ------------------------------------------------------------------------------------


def one_model(work: Work, memory: torch.memory_format) -> Turn:
    """One centralised model that takes K steps of batch N · b a round on the same samples."""
    x, y = (
        a.permute(1, 2, 0, 3, *range(4, a.dim())).flatten(2, 3).contiguous()
        for a in (work.x, work.y)
    )
    model, loss = _in(work.make(), memory), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)

    def play() -> None:
        for x_kb, y_kb in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True):
            optimizer.zero_grad()
            loss(model(x_kb), y_kb).backward()
            optimizer.step()

    return lambda: timed(play)


# --- the round by hand ----------------------------------------------------------------------------


def bare_round(work: Work, samples_S: Tensor, labels_S: Tensor, chosen: Tensor, block: int) -> Turn:
    """A round of a two-layer MLP by hand over stacked rows, with all that ours does in one: the
    samples ``chosen``, ``[N, rounds, K, b]``, are gathered, predicted, scored and learnt from, and
    rows are averaged over the ring. Only the draw of the samples is left out.
    """
    shapes = [p.shape for p in work.make().parameters()]
    sizes = [s.numel() for s in shapes]
    n, (_, rounds, k, b) = work.devices, chosen.shape
    rows = torch.randn(n, sum(sizes)) * 0.05
    bounds = np.linspace(0, n, -(-n // block) + 1).astype(int)

    def train(low: int, high: int, r: int) -> Tensor:
        count, index = high - low, chosen[low:high, r].reshape(-1)
        x = samples_S.index_select(0, index).view(count, k, b, -1)
        y = labels_S.index_select(0, index).view(count, k, 1, b)
        target = torch.zeros(count, k, CLASSES, b).scatter_(2, y, 1.0)
        parts = [p.contiguous() for p in rows[low:high].split(sizes, 1)]
        w1, b1, w2, b2 = (p.view(count, *s) for p, s in zip(parts, shapes, strict=True))
        b1, b2, ones = b1.unsqueeze(1), b2.unsqueeze(2), torch.ones(count, b, 1)
        outs = []
        for x_k, t_k in zip(x.unbind(1), target.unbind(1), strict=True):
            h = torch.baddbmm(b1, x_k, w1.transpose(1, 2)).relu_()
            out = torch.baddbmm(b2, w2, h.transpose(1, 2))
            d = torch.softmax(out, 1).sub_(t_k)
            down = torch.bmm(d.transpose(1, 2), w2)
            w2.baddbmm_(d, h, alpha=-LR / b)
            b2.baddbmm_(d, ones, alpha=-LR / b)
            down.mul_(h.sign_())
            w1.baddbmm_(down.transpose(1, 2), x_k, alpha=-LR / b)
            b1.baddbmm_(ones.transpose(1, 2), down, alpha=-LR / b)
            outs.append(out)
        logits = torch.stack(outs, 1)
        (torch.log_softmax(logits, 2) * target).sum((1, 2, 3))
        best = logits == logits.amax(2, keepdim=True)
        (best * target).sum((1, 2, 3))
        return torch.cat(parts, 1)

    def play() -> None:
        nonlocal rows
        for r in range(rounds):
            learnt = torch.cat([train(low, high, r) for low, high in pairwise(bounds)])
            rows = (learnt + learnt.roll(1, 0) + learnt.roll(-1, 0)) / 3

    def turn() -> float:
        with torch.inference_mode():
            return timed(play)

    return turn


# --- JAX ------------------------------------------------------------------------------------------


def jax_program(work: Work, devices_at_once: int | None) -> Turn:
    """``lax.map`` over groups of devices (None: ``vmap`` over all of them), ``lax.scan`` over
    steps, all under ``jit``, for chains of the layers that :func:`_jax_layer` knows.
    """
    import jax
    from jax import numpy as jnp

    layers = [part for part in work.make().modules() if not list(part.children())]
    x, y = (jnp.asarray(a.transpose(0, 1).numpy()) for a in (work.x, work.y))
    draw = np.random.default_rng(0)
    rows = [
        jnp.asarray(draw.normal(0, 0.05, (work.devices, *p.shape)), dtype=jnp.float32)
        for p in work.make().parameters()
    ]

    def loss(p: list[jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
        rest = iter(p)
        for layer in layers:
            x = _jax_layer(layer, x, [next(rest) for _ in layer.parameters()])
        return -jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], 1).mean()

    def step(p: list[jax.Array], xy: tuple[jax.Array, jax.Array]) -> tuple[list[jax.Array], None]:
        return jax.tree.map(lambda a, g: a - LR * g, p, jax.grad(loss)(p, *xy)), None

    def device(pxy: tuple[list[jax.Array], jax.Array, jax.Array]) -> list[jax.Array]:
        return jax.lax.scan(step, pxy[0], pxy[1:])[0]

    @jax.jit
    def play_round(p: list[jax.Array], x: jax.Array, y: jax.Array) -> list[jax.Array]:
        learnt = (
            jax.lax.map(device, (p, x, y), batch_size=devices_at_once)
            if devices_at_once
            else jax.vmap(device)((p, x, y))
        )
        return jax.tree.map(lambda a: (a + jnp.roll(a, 1, 0) + jnp.roll(a, -1, 0)) / 3, learnt)

    def play() -> None:
        nonlocal rows
        for r in range(work.rounds):
            rows = play_round(rows, x[r], y[r])
        jax.block_until_ready(rows)

    return lambda: timed(play)


def _jax_layer(layer: nn.Module, x: "jax.Array", own: Sequence["jax.Array"]) -> "jax.Array":  # noqa: F821, UP037
    import jax

    match layer:
        case nn.Linear():
            return x @ own[0].T + own[1]
        case nn.ReLU():
            return jax.nn.relu(x)
        case nn.Unflatten():
            return x.reshape(x.shape[0], *layer.unflattened_size)
        case nn.Flatten():
            return x.reshape(x.shape[0], -1)
        case nn.Conv2d():
            out = jax.lax.conv(x, own[0], layer.stride, str(layer.padding).upper())
            return out + own[1][:, None, None]
        case nn.MaxPool2d():
            window = (1, 1, 2, 2)
            return jax.lax.reduce_window(x, -np.inf, jax.lax.max, window, window, "VALID")
        case nn.GroupNorm():
            b, c, h, w = x.shape
            groups = x.reshape(b, layer.num_groups, -1)
            mean, variance = groups.mean(-1, keepdims=True), groups.var(-1, keepdims=True)
            normal = ((groups - mean) * jax.lax.rsqrt(variance + layer.eps)).reshape(b, c, h, w)
            return normal * own[0][:, None, None] + own[1][:, None, None]
    raise TypeError(f"no JAX form of {layer}")
