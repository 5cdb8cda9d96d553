"""The operations of the sequence models for a whole block of devices, with hand-written backward
passes.

Activations are ``[B, T, b, D]``: B devices, T time steps, b sequences of each device. All sequences
of all devices take a step of a recurrence together; an operation on single positions is one batched
product over ``[B, T · b, D]``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

CHUNK = 64  # positions of a long sequence that a recurrence visits one after the other


def looked_up(table_BVD: Tensor, token_BbT: Tensor) -> Tensor:
    """Look up every device's tokens ``[B, b, T]`` in its own embedding table: ``[B, T, b, D]``."""
    block, vocabulary, width = table_BVD.shape
    own = torch.arange(0, block * vocabulary, vocabulary, device=token_BbT.device).view(-1, 1, 1)
    return functional.embedding(
        token_BbT.transpose(1, 2).long() + own, table_BVD.reshape(-1, width)
    )


def linear(x: Tensor, weight_BHD: Tensor, bias_BH: Tensor | None = None) -> Tensor:
    """Return x·Wᵀ + bias for every device: ``[B, …, D]`` becomes ``[B, …, H]``."""
    flat, transposed = x.reshape(x.shape[0], -1, x.shape[-1]), weight_BHD.transpose(1, 2)
    out = (
        torch.bmm(flat, transposed)
        if bias_BH is None
        else torch.baddbmm(bias_BH.unsqueeze(1), flat, transposed)
    )
    return out.view(*x.shape[:-1], -1)


def plus_linear(x: Tensor, y: Tensor, weight_BDH: Tensor) -> Tensor:
    """Return x + y·Wᵀ for every device, in one pass: x ``[B, …, D]``, y ``[B, …, H]``."""
    flat = [z.reshape(z.shape[0], -1, z.shape[-1]) for z in (x, y)]
    return torch.baddbmm(flat[0], flat[1], weight_BDH.transpose(1, 2)).view(x.shape)


def normed(x: Tensor) -> Tensor:
    """Return x / √(mean(x²) + 1e-6), RMSNorm without its gain, which the caller multiplies into the
    weights of the next product.
    """
    return _applied(_Normed, x)


def fed_forward(own: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return x + FFN(norm(x)), with the gated network ``ffn`` and the gain of ``ffn_norm`` among
    the parameters ``own``.
    """
    weight_BHD = torch.cat([own["ffn.gate.weight"], own["ffn.up.weight"]], 1) * own[
        "ffn_norm.gain"
    ].unsqueeze(1)
    return plus_linear(x, gated(linear(normed(x), weight_BHD)), own["ffn.down.weight"])


def faded(uv: Tensor, rate_D: Tensor) -> Tensor:
    """Return u ⊙ h with h_t = rate ⊙ h_{t−1} + v_t, ``[B, T, b, D]``; ``uv`` holds u and v side by
    side, ``[B, T, b, 2D]``.
    """
    return _applied(_Faded, uv, rate_D)


def gated(ab: Tensor) -> Tensor:
    """Return silu(a) ⊙ b; ``ab`` holds a and b side by side on the last axis."""
    return _applied(_Gated, ab)


def rotated(x: Tensor, angle_Th: Tensor) -> Tensor:
    """Return x ``[…, T, 2h]`` with each pair of numbers (i, i + h) turned by its angle, in new
    memory: rotary embeddings (Su et al., arXiv 2104.09864).
    """
    return _applied(_Rotated, x, angle_Th.cos(), angle_Th.sin())


def recurrent(given: Tensor, weight_BGD: Tensor, bias_BG: Tensor) -> Tensor:
    """Return the states of a GRU, ``[B, T, b, D]``.

    ``given`` is the part of n, r and z that comes from the input, in this order, ``[B, T, b, 3D]``.
    ``weight_BGD`` and ``bias_BG`` give the part of r, z and n that comes from the state, in
    PyTorch's order.
    """
    return _applied(_Recurrent, given, weight_BGD, bias_BG)


def _applied(function: Any, *given: Tensor) -> Tensor:
    out: Tensor = function.apply(*given)
    return out


class _Normed(Function):
    """With s = 1/√(mean(x²) + ε) and y = s·x: ∂x = s·(∂y − y·mean(∂y ⊙ y))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        scale = (
            torch.linalg.vector_norm(x, dim=-1, keepdim=True)
            .square_()
            .mul_(1 / x.shape[-1])
            .add_(1e-6)
            .rsqrt_()
        )
        out: Tensor = x * scale
        ctx.save_for_backward(out, scale)
        return out

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Tensor:
        out, scale = ctx.saved_tensors
        into = d * out
        along = into.mean(-1, keepdim=True)
        return torch.addcmul(d, out, along, value=-1.0, out=into).mul_(scale)


class _Gated(Function):
    """∂a = ∂y ⊙ b ⊙ silu′(a), ∂b = ∂y ⊙ silu(a)."""

    @staticmethod
    def forward(ctx: Any, ab: Tensor) -> Tensor:
        a, b = ab.chunk(2, -1)
        ctx.save_for_backward(ab)
        out: Tensor = functional.silu(a).mul_(b)
        return out

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Tensor:
        (ab,) = ctx.saved_tensors
        a, b = ab.chunk(2, -1)
        into = torch.empty_like(ab)
        to_a, to_b = into.chunk(2, -1)
        share = torch.sigmoid(a)
        torch.mul(a, share, out=to_b)  # silu(a); silu′(a) = share + silu(a)·(1 − share)
        torch.addcmul(share, to_b, share, value=-1.0, out=to_a).add_(to_b).mul_(b).mul_(d)
        to_b.mul_(d)
        return into


class _Rotated(Function):
    """(a, b) becomes (a·cos − b·sin, b·cos + a·sin); the gradient is turned back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1.0)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(d, cos, sin, -1.0), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor, sign: float) -> Tensor:
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    (a, b), (to_a, to_b) = x.chunk(2, -1), out.chunk(2, -1)
    torch.mul(a, cos, out=to_a).addcmul_(b, sin, value=-sign)
    torch.mul(b, cos, out=to_b).addcmul_(a, sin, value=sign)
    return out


class _Faded(Function):
    """The recursion of :func:`faded`; its gradient runs backwards in time: ∂v_t = rate ⊙ ∂v_{t+1} +
    ∂y_t ⊙ u_t and ∂u = ∂y ⊙ h.
    """

    @staticmethod
    def forward(ctx: Any, uv: Tensor, rate_D: Tensor) -> Tensor:
        u, v = uv.chunk(2, -1)
        h = v.clone(memory_format=torch.contiguous_format)
        _fade_(h, rate_D, back=False)
        ctx.save_for_backward(u, h, rate_D)
        return u * h

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None]:
        u, h, rate_D = ctx.saved_tensors
        into = h.new_empty(*h.shape[:-1], 2 * h.shape[-1])
        to_u, to_v = into.chunk(2, -1)
        torch.mul(d, h, out=to_u)
        torch.mul(d, u, out=to_v)
        _fade_(to_v, rate_D, back=True)
        return into, None


def _fade_(h: Tensor, rate_D: Tensor, back: bool) -> None:
    """h_t += rate ⊙ h_{t−1}, or h_{t+1} with ``back``, in place and one step after the other.

    All chunks of a long sequence do so at once. Then the last h of each chunk is carried to the
    next one in the same way.
    """
    length = h.shape[1]
    whole = length - length % CHUNK if length > CHUNK else length
    first, rest = (
        (h[:, length - whole :], h[:, : length - whole]) if back else (h[:, :whole], h[:, whole:])
    )
    chunks = first.view(h.shape[0], -1, min(CHUNK, whole), *h.shape[2:])
    _in_turn_(chunks.unbind(2), rate_D, back)
    if length > CHUNK:
        left = chunks[:, :, 0 if back else -1].clone()
        _fade_(left, rate_D**CHUNK, back)
        power_t1D = rate_D ** torch.arange(1, CHUNK + 1, device=h.device).view(-1, 1, 1)
        now, before = (chunks[:, :-1], left[:, 1:]) if back else (chunks[:, 1:], left[:, :-1])
        now.addcmul_(before.unsqueeze(2), power_t1D.flip(0) if back else power_t1D)
        steps = rest.unbind(1)
        _in_turn_((*steps, first[:, 0]) if back else (first[:, -1], *steps), rate_D, back)


def _in_turn_(steps: tuple[Tensor, ...], rate_D: Tensor, back: bool) -> None:
    for before, now in pairwise(reversed(steps) if back else steps):
        now.addcmul_(before, rate_D)


class _Recurrent(Function):
    """The states of a GRU; the backward pass runs back through time, and computes the factors that
    do not depend on the state's gradient for all steps beforehand.
    """

    @staticmethod
    def forward(ctx: Any, given: Tensor, weight_BGD: Tensor, bias_BG: Tensor) -> Tensor:
        block, length, count, gates = given.shape
        width = gates // 3
        own = given.new_empty(length, block, count, gates)  # r, z, and the state's part of n
        n, h = (
            given.new_empty(length, block, count, width),
            given.new_empty(block, length + 1, count, width),
        )
        h[:, 0] = 0.0
        transposed, bias_B1G = weight_BGD.transpose(1, 2), bias_BG.unsqueeze(1)
        to_n, to_rz = (part.unbind(1) for part in (given[..., :width], given[..., width:]))
        r, z, from_h = (part.unbind(0) for part in own.chunk(3, -1))
        rz, states, each, new = (
            own[..., : 2 * width].unbind(0),
            h.unbind(1),
            own.unbind(0),
            n.unbind(0),
        )
        for t in range(length):
            torch.baddbmm(bias_B1G, states[t], transposed, out=each[t])
            rz[t].add_(to_rz[t]).sigmoid_()
            torch.addcmul(to_n[t], r[t], from_h[t], out=new[t]).tanh_()
            torch.lerp(new[t], states[t], z[t], out=states[t + 1])
        ctx.save_for_backward(weight_BGD, own, n, h)
        return h[:, 1:]

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight_BGD, own, n, h = ctx.saved_tensors
        block, count, width = n.shape[1:]
        before = h[:, :-1]
        factor, z = (
            _factors(own.transpose(0, 1), n.transpose(0, 1), before),
            own[..., width : 2 * width].unbind(0),
        )
        both, inner = (
            factor.view(*factor.shape[:-1], 4, width).unbind(1),
            factor[..., width:].unbind(1),
        )
        state = n.new_zeros(block, count, width)
        for t, now in reversed(list(enumerate(d.unbind(1)))):
            both[t].mul_(state.add_(now).unsqueeze(-2))
            state.mul_(z[t]).baddbmm_(inner[t], weight_BGD)
        flat = factor[..., width:].flatten(1, 2)
        weight = torch.bmm(flat.transpose(1, 2), before.reshape(block, -1, width))
        return factor[..., : 3 * width], weight, flat.sum(1)


def _factors(own: Tensor, n: Tensor, before: Tensor) -> Tensor:
    """The factors of ∂h in the gradients of the sums of n, r and z before their activation, and of
    the state's part of n, ``[B, T, b, 4D]``.
    """
    r, z, from_h = own.chunk(3, -1)
    out = n.new_empty(*before.shape[:-1], 4 * before.shape[-1])
    to_n, to_r, to_z, to_h = out.chunk(4, -1)
    rest = 1 - z
    torch.addcmul(rest, torch.mul(n, n, out=to_h), rest, value=-1.0, out=to_n)  # (1 − z)(1 − n²)
    torch.mul(to_n, r, out=to_h)
    torch.mul(to_h, from_h, out=to_r)
    to_r.addcmul_(to_r, r, value=-1.0)  # ⊙ r(1 − r)
    torch.sub(before, n, out=to_z).mul_(z).mul_(rest)
    return out
