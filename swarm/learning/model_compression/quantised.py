"""Numbers of few bits: groups of consecutive numbers, each with a scale and a zero of its own.

A group of a tensor's numbers w is stored in b bits each (MiniCPM, arXiv 2404.06395, with b = 4):

    scale = (max − min) / (2^b − 1),   zero = −min / scale − 2^(b−1),
    q = round(w / scale + zero),       ŵ = scale · (q − zero),

so that q goes from −2^(b−1) to 2^(b−1) − 1, and |ŵ − w| ≤ scale / 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from swarm.common.errors import ConfigError

PLAIN = 32
"""The bits of a number that is not quantised."""
FEWEST, MOST = 2, 8
MOST_GROUP = 1 << 20
BITS_OF_A_GROUP = 64  # scale and zero, in float32


def check_quantised(bits: int, group: int) -> None:
    """Refuse other ``bits`` than 2 to 8 and 32, and a ``group`` of no numbers.

    Raises :class:`ConfigError`."""
    if bits != PLAIN and not FEWEST <= bits <= MOST:
        valid = f"must be from {FEWEST} to {MOST}, or {PLAIN} for numbers as they are"
        raise ConfigError("bits", bits, valid)
    if not 1 <= group <= MOST_GROUP:
        valid = f"must be from 1 to {MOST_GROUP:,}, the numbers that share a scale"
        raise ConfigError("group", group, valid)


def quantised(value: Tensor, bits: int, group: int) -> Tensor:
    """Return ŵ for each number of ``value``, in new memory; ``value`` itself with 32 bits.

    Groups are ``group`` consecutive numbers of the flattened tensor, the last one maybe fewer. A
    group of equal numbers keeps them. Computed in float64.
    """
    if bits == PLAIN or not value.numel():
        return value
    flat = value.detach().double().reshape(1, 1, -1)
    missing = -flat.shape[-1] % group
    # padded by its last number, which changes neither end of the last group
    w_Gg = functional.pad(flat, (0, missing), mode="replicate").view(-1, group)
    least_G1, most_G1 = w_Gg.aminmax(dim=1, keepdim=True)
    scale_G1 = (most_G1 - least_G1) / (2**bits - 1)
    equal_G1 = scale_G1 == 0
    safe_G1 = scale_G1.masked_fill(equal_G1, 1.0)
    half = 2 ** (bits - 1)
    zero_G1 = -least_G1 / safe_G1 - half
    q_Gg = (w_Gg / safe_G1 + zero_G1).round_().clamp_(-half, half - 1)
    found_Gg = torch.where(equal_G1, w_Gg, safe_G1 * (q_Gg - zero_G1))
    return found_Gg.flatten()[: value.numel()].view(value.shape).to(value.dtype)


def matrices(module: nn.Module) -> tuple[str, ...]:
    """The names of a module's parameters that are worth fewer bits: those of two or more axes. The
    others (biases, gains) are few, and are kept as they are."""
    every = module.named_parameters(remove_duplicate=False)
    return tuple(name for name, each in every if each.dim() > 1)


def with_bits(
    values: Mapping[str, Tensor], names: Iterable[str], bits: int, group: int
) -> dict[str, Tensor]:
    """Return named tensors, those in ``names`` quantised; float16 ones come back as float32."""
    chosen = set() if bits == PLAIN else {*names}
    found = dict(values)
    for name in chosen & found.keys():
        found[name] = quantised(_wide(found[name]), bits, group)
    return found


def _wide(value: Tensor) -> Tensor:
    return value.float() if value.dtype.itemsize < 4 else value


def packed_bytes(numbers: int, bits: int, group: int) -> int:
    """The bytes that ``numbers`` numbers of a tensor take: ``bits`` each, and a scale and a zero in
    float32 for each group."""
    if bits == PLAIN:
        return 4 * numbers
    groups = -(-numbers // group)
    return -(-(numbers * bits + groups * BITS_OF_A_GROUP) // 8)
