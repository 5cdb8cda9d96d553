"""Adapters of low rank on a frozen model (LoRA: Hu et al., ICLR 2022, arXiv 2106.09685), whose
weights may be stored in few bits (QLoRA: Dettmers et al., NeurIPS 2023, arXiv 2305.14314).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional

from swarm.common.errors import ConfigError
from swarm.common.names import listed
from swarm.common.ranges import number
from swarm.common.rows import size_of
from swarm.common.system.files import content
from swarm.learning.buffers import copied
from swarm.learning.initial_parameters import saved_tokenizer
from swarm.learning.model_compression.quantised import (
    PLAIN,
    check_quantised,
    matrices,
    packed_bytes,
    with_bits,
)
from swarm.learning.models.base import BatchedBase, ReadsFiles, Wrapped
from swarm.learning.models.sequence import SequenceModel

MOST = 64 << 30  # bytes of a file
MOST_MERGED = 4_000_000  # numbers of a base of which each device of a block has its own copy


class AdaptedLinear(nn.Module):
    """y = W x + b + (alpha / rank) · U D x, with W and b frozen; U (``up``, ``[out, rank]``) and D
    (``down``, ``[rank, in]``) learn. U is zero at first, and so is what it adds.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.weight, self.bias, self.scale = linear.weight, linear.bias, alpha / rank
        self.down = nn.Parameter(linear.weight.new_empty(rank, linear.in_features))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.up = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        added = functional.linear(functional.linear(x, self.down), self.up)
        return functional.linear(x, self.weight, self.bias) + self.scale * added

    def merged(self) -> nn.Linear:
        """A linear layer with the weights W + (alpha / rank) · U D."""
        out, width = self.weight.shape
        made = nn.Linear(width, out, bias=self.bias is not None).to(self.weight)
        with torch.no_grad():
            made.weight.copy_(self.weight + self.scale * self.up @ self.down)
            if self.bias is not None:
                made.bias.copy_(self.bias)
        return made


class Adapters(nn.Module, Wrapped):
    """The model ``base``, frozen, with adapters of ``rank`` numbers beside those of its linear
    layers whose names ``layers`` matches (a shell pattern, or several).

    The weights of ``base`` are what ``bits`` bits can say, ``group`` of them with one scale
    (:mod:`swarm.learning.model_compression.quantised`); the caller has rounded them. A simulation
    holds them as floating-point numbers, once for all devices, and counts for a device what its
    bits take. The adapters, what they are multiplied with, and gradients are floating-point
    numbers.

    Raises :class:`ConfigError` for a pattern that matches no linear layer, and a rank below 1 or
    above the smallest side of an adapted layer.
    """

    def __init__(
        self,
        base: nn.Module,
        rank: int,
        alpha: float,
        layers: str | list[str] = "*",
        bits: int = PLAIN,
        group: int = 64,
    ) -> None:
        super().__init__()
        places = dict(_places(base, [layers] if isinstance(layers, str) else layers))
        if not places:
            there = [name for name, each in base.named_modules() if type(each) is nn.Linear]
            valid = f"matches no linear layer; the base has {listed(there)}"
            raise ConfigError("layers", layers, valid)
        most = min(min(linear.weight.shape) for linear in places.values())
        if not 1 <= rank <= most:
            valid = f"must be from 1 to {most}, the smallest side of an adapted layer"
            raise ConfigError("rank", rank, valid)
        self.bits, self.group = bits, group
        base.requires_grad_(False)
        self.stored_bytes = _stored_bytes(base, bits, group)
        _replace(
            base, {id(linear): AdaptedLinear(linear, rank, alpha) for linear in places.values()}
        )
        self.base, self.scale = base, alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x)
        return out

    def merged(self) -> nn.Module:
        """A copy of the base whose layers have what the adapters add: it predicts the same, and is
        a model of the base's kind."""
        base = copied(self.base)
        adapted = [each for each in base.modules() if isinstance(each, AdaptedLinear)]
        _replace(base, {id(each): each.merged() for each in adapted})
        return base

    def batched(self) -> BatchedBase | None:
        """A small sequence model runs with the merged weights of each device, all devices at once;
        a large one would take too much memory so."""
        small = sum(each.numel() for each in self.base.parameters()) <= MOST_MERGED
        return Merged(self.base) if small and isinstance(self.base, SequenceModel) else None

    def frozen_bytes(self) -> int:
        """See :meth:`Wrapped.frozen_bytes`: in its bits, with the scales of the groups."""
        return self.stored_bytes

    def beside(self) -> dict[str, str]:
        """See :meth:`Wrapped.beside`: the factor of what is added, and the bits of the base."""
        stored = f"{self.bits}" if self.bits == PLAIN else f"{self.bits} in groups of {self.group}"
        return {"model.alpha / model.rank": f"{self.scale:.17g}", "model.bits": stored}


class LoRA(Adapters, ReadsFiles):
    """:class:`Adapters` on a base whose parameters are those of ``base_file``, a .safetensors file
    with its ``state_dict``, such as :func:`swarm.save_start` writes.

    With ``bits`` from 2 to 8 its matrices are rounded as they are read, ``group`` numbers with one
    scale. All devices of a process share them; a row and a message have the adapters alone.
    ``base_sha256`` is the file's hash (None: whatever it is); a run records it, and goes on with
    that very file only.

    Raises :class:`ConfigError` without a base or a file, for a file that cannot be read or does not
    fit the base, for other bits or groups, and as :class:`Adapters` does.
    """

    def __init__(
        self,
        base: nn.Module | None = None,
        base_file: str | None = None,
        base_sha256: str | None = None,
        rank: int = 4,
        alpha: float = 8.0,
        layers: str | list[str] = "*",
        bits: int = PLAIN,
        group: int = 64,
    ) -> None:
        if base is None:
            valid = (
                "must be the frozen model: an option of model=, such as model.base=transformer, or"
                " model.base={transformer: {width: 32}}"
            )
            raise ConfigError("base", "null", valid)
        number("alpha", alpha, 0, open_low=True)
        check_quantised(bits, group)
        stored = () if bits == PLAIN else matrices(base)
        path, held = _checked_file(base_file, base_sha256, stored, bits, group)
        _load(base, held.values, path)
        super().__init__(base, rank, alpha, layers, bits, group)
        self.file, self.sha256, self.tokenizer_sha256 = path, held.sha256, held.tokenizer_sha256

    def require_tokens(self, rules: str | None) -> None:
        """See :meth:`ReadsFiles.require_tokens`."""
        found = None if rules is None else hashlib.sha256(rules.encode()).hexdigest()
        if self.tokenizer_sha256 is None or self.tokenizer_sha256 == found:
            return
        theirs = "no byte pairs" if found is None else f"those with the SHA-256 {found[:16]}…"
        valid = (
            "was trained with the tokens of the tokenizer.json with the SHA-256"
            f" {self.tokenizer_sha256[:16]}…, and the data have {theirs}; data.tokenizer=FILE takes"
            " those of the base's run"
        )
        raise ConfigError("base_file", self.file, valid)

    def beside(self) -> dict[str, str]:
        """See :meth:`Wrapped.beside`: the base's file, too."""
        return {"the SHA-256 of model.base_file": f"{self.sha256[:16]}…", **super().beside()}

    @classmethod
    def with_hashes(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """See :meth:`ReadsFiles.with_hashes`."""
        path, expected = section.get("base_file"), section.get("base_sha256")
        file = _file(path)
        return {**section, "base_sha256": _verified(file, expected)}


class Merged(BatchedBase):
    """A sequence model with adapters, run by the method that all sequence models have for B
    devices: each device has the weights W + (alpha / rank) · U D.
    """

    def __init__(self, base: SequenceModel) -> None:
        self.base = base
        self.adapted = {
            name: each for name, each in base.named_modules() if isinstance(each, AdaptedLinear)
        }
        own = {id(each.down) for each in self.adapted.values()}
        own |= {id(each.up) for each in self.adapted.values()}
        self.frozen = {name: p for name, p in base.named_parameters() if id(p) not in own}
        self.numbers = sum(each.numel() for each in self.frozen.values())

    def over_rows(self, parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """See :meth:`BatchedBase.over_rows`."""
        own = {name: each.expand(len(inputs), *each.shape) for name, each in self.frozen.items()}
        for name, layer in self.adapted.items():
            up, down = (parameters[f"base.{name}.{part}"] for part in ("up", "down"))
            weight_BHD = own[f"{name}.weight"]
            own[f"{name}.weight"] = torch.baddbmm(weight_BHD, up, down, alpha=layer.scale)
        return self.base.over_rows(own, inputs)


def _file(base_file: object) -> Path:
    if not isinstance(base_file, str) or Path(base_file).suffix != ".safetensors":
        valid = (
            "must be a .safetensors file with the base's parameters, as swarm.save_start writes it"
            " of a device of a run"
        )
        raise ConfigError("base_file", "null" if base_file is None else base_file, valid)
    return Path(base_file)


def _verified(file: Path, expected: object) -> str:
    """The SHA-256 of a file. Raises :class:`ConfigError` if another one is ``expected``."""
    found = hashlib.sha256(content(file, MOST, "64 GiB", key="base_file")).hexdigest()
    if expected not in (None, found):
        valid = f"is another file than is asked for: its SHA-256 is {found}, and not {expected}"
        raise ConfigError("base_file", file, valid)
    return found


@dataclass(frozen=True)
class _FileContent:
    """What a file holds: tensors, which nobody may change in place; its SHA-256, and that of the
    tokens that it was saved with, if it says."""

    values: dict[str, Tensor]
    sha256: str
    tokenizer_sha256: str | None


def _checked_file(
    base_file: str | None, expected: str | None, stored: tuple[str, ...], bits: int, group: int
) -> tuple[Path, _FileContent]:
    """The path of a file with parameters, and what it holds, those ``stored`` in few bits rounded
    to what these can say."""
    file = _file(base_file)
    try:
        facts = file.stat()
    except (OSError, ValueError) as error:
        valid = f"cannot be read ({getattr(error, 'strerror', None) or error}); check the file"
        raise ConfigError("base_file", file, valid) from None
    same = facts.st_mtime_ns, facts.st_size, facts.st_ino
    if not stored:
        return file, _held(file, expected, *same)
    return file, _rounded(file, expected, stored, bits, group, *same)


@lru_cache(maxsize=4)
def _rounded(
    file: Path, expected: str | None, stored: tuple[str, ...], bits: int, group: int, *facts: int
) -> _FileContent:
    """What a file holds, in few bits: as :func:`_held`, all modules of a process share it."""
    held = _held(file, expected, *facts)
    with torch.device("cpu"), torch.inference_mode(False):
        return replace(held, values=with_bits(held.values, stored, bits, group))


@lru_cache(maxsize=2)
def _held(file: Path, expected: str | None, *facts: int) -> _FileContent:
    """What a file holds, read once for as long as its ``facts`` stay the same: all modules of a
    process share it."""
    digest = _verified(file, expected)
    try:
        with torch.device("cpu"), torch.inference_mode(False):
            data = content(file, MOST, "64 GiB", key="base_file")
            found = load(data)
    except SafetensorError as error:
        valid = f"is no readable safetensors file ({error})"
        raise ConfigError("base_file", file, valid) from None
    for name, value in found.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ConfigError("base_file", file, f"holds {name} with numbers that are not finite")
    return _FileContent(found, digest, saved_tokenizer(data))


def _load(base: nn.Module, values: Mapping[str, Tensor], file: Path) -> None:
    """Freeze ``base`` with the parameters and buffers ``values``, which it shares.

    Raises :class:`ConfigError` for names and shapes other than those of the base."""
    own = base.state_dict()
    lacking, strange = sorted(own.keys() - values.keys()), sorted(values.keys() - own.keys())
    if lacking or strange:
        wrong = [f"lacks {listed(lacking)}"] if lacking else []
        wrong += [f"holds {listed(strange)}, which the base does not have"] if strange else []
        raise ConfigError("base_file", file, "; it ".join(wrong))
    for name, value in own.items():
        if values[name].shape != value.shape:
            shapes = f"{list(values[name].shape)}, and the base's is {list(value.shape)}"
            raise ConfigError("base_file", file, f"holds {name} of shape {shapes}")
        if values[name].is_floating_point() != value.is_floating_point():
            kind = str(values[name].dtype).removeprefix("torch.")
            raise ConfigError("base_file", file, f"holds {name} as {kind}, another kind of number")
    kept = {name: value.to(own[name].dtype) for name, value in values.items()}
    base.load_state_dict(kept, assign=True)
    base.requires_grad_(False)


def _stored_bytes(base: nn.Module, bits: int, group: int) -> int:
    """The bytes of a frozen base on a device: its matrices in few bits, and all else as it is."""
    few = {*matrices(base)} if bits != PLAIN else set()
    every = base.named_parameters()  # a tied one counts once
    return sum(
        packed_bytes(p.numel(), bits, group) if name in few else size_of({name: p})
        for name, p in every
    )


def _places(base: nn.Module, patterns: list[str]) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers of ``base`` that a pattern matches, with their names. A subclass of
    ``nn.Linear`` may use its weights otherwise, and is left alone."""
    for name, each in base.named_modules():
        if type(each) is nn.Linear and any(fnmatchcase(name, pattern) for pattern in patterns):
            yield name, each


def _replace(base: nn.Module, new: Mapping[int, nn.Module]) -> None:
    """Put another module in each place of those that ``new`` has by their ids."""
    for part in list(base.modules()):
        for name, each in list(part._modules.items()):  # one layer may have several places
            if id(each) in new:
                setattr(part, name, new[id(each)])
