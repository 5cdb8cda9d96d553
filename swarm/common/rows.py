"""Rows: everything a device has is one row of a two-dimensional tensor, the device on the leading
axis.

Axes in names: N devices of the swarm, B devices of a block, P parameters of one device's model.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError


@dataclass(frozen=True)
class ParameterSpec:
    """Where one parameter of the model lies in a row, or one of its running statistics.

    ``statistic`` marks a buffer that changes while the model learns, such as BatchNorm's running
    mean. ``counts`` says that the buffer holds whole numbers, and ``least`` is the smallest value
    that it may have; None: any value.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    statistic: bool = False
    counts: bool = False
    least: float | None = None

    @property
    def stop(self) -> int:
        """The position in a row after the parameter's last number."""
        return self.start + math.prod(self.shape)


@dataclass(frozen=True)
class Hidden:
    """A hidden layer: its number of neurons ``width``, and ``axes``, which axis of which parameter
    counts them, as (name of the parameter, axis).

    The length of an axis may be a multiple of ``width``: a neuron then has several entries, which
    stand together.
    """

    width: int
    axes: tuple[tuple[str, int], ...]


class HasNeurons(ABC):
    """A model that states which of its parameters belong to which hidden neuron."""

    @abstractmethod
    def neurons(self) -> list[dict[str, int]]:
        """Return for each hidden layer {name of a parameter: its axis that counts the layer's
        neurons}, for the weights into the neurons and out of them alike.

        The shortest such axis has one entry for each neuron.
        """


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of ``module`` that are not frozen, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def frozen_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of ``module`` that are frozen, by all their names."""
    every = module.named_parameters(remove_duplicate=False)
    return {name: p for name, p in every if not p.requires_grad}


def size_of(tensors: Mapping[str, Tensor]) -> int:
    """Return the bytes of named tensors, of which several names may have the same."""
    return sum(t.numel() * t.element_size() for t in {id(t): t for t in tensors.values()}.values())


@dataclass(frozen=True)
class Layout:
    """How the parameters of a module that learn are laid out in a row of P numbers: flattened, in
    ``named_parameters`` order, and the running statistics behind them.

    A parameter that is frozen (``requires_grad`` is False) is in no row: the module itself holds
    it, once for all devices.

    ``slots`` has one entry for each parameter and each running statistic, and ``hidden`` one for
    each hidden layer, if the module states them. A parameter that several modules share has several
    names: ``ties`` holds the further ones, as (further name, name of the slot). The last ``local``
    slots are never sent: each device keeps its own.
    """

    slots: tuple[ParameterSpec, ...]
    hidden: tuple[Hidden, ...] = ()
    ties: tuple[tuple[str, str], ...] = ()
    local: int = 0

    @classmethod
    def of(
        cls,
        module: nn.Module,
        statistics: Iterable[ParameterSpec] = (),
        local: Container[str] = (),
    ) -> Layout:
        """Return the layout of a module's parameters that learn, and of its running ``statistics``;
        devices keep the entries named in ``local`` for themselves.

        Raises :class:`ConfigError` for a module that states neurons which it does not have.
        """
        learning = trainable(module)
        entries = [ParameterSpec(name, tuple(p.shape), 0) for name, p in learning.items()]
        entries += statistics
        entries.sort(key=lambda entry: entry.name in local)  # a stable sort
        slots = packed_in_a_row(entries)
        first = {id(parameter): name for name, parameter in learning.items()}
        first |= {id(module.get_buffer(s.name)): s.name for s in slots if s.statistic}
        every = (
            *module.named_parameters(remove_duplicate=False),
            *module.named_buffers(remove_duplicate=False),
        )
        shared = ((name, first.get(id(tensor), name)) for name, tensor in every)
        ties = tuple((name, slot) for name, slot in shared if slot != name)
        stated = module.neurons() if isinstance(module, HasNeurons) else []
        shapes = {s.name: s.shape for s in slots}
        hidden = tuple(_hidden(shapes, axes) for axes in stated)
        return cls(slots, hidden, ties, sum(s.name in local for s in slots))

    @classmethod
    def saved(
        cls,
        slots: Iterable[tuple[str, Sequence[int]]],
        ties: Iterable[tuple[str, str]],
        counts: Container[str] = (),
        least: Mapping[str, float] | None = None,
    ) -> Layout:
        """Return the layout that a checkpoint describes: ``slots`` are (name, shape) in the order
        of a row, ``ties`` as in the class, ``counts`` names those that hold whole numbers, and
        ``least`` has the smallest values of those that have one.
        """
        bounds = least or {}
        entries = [
            ParameterSpec(n, tuple(shape), 0, counts=n in counts, least=bounds.get(n))
            for n, shape in slots
        ]
        return cls(packed_in_a_row(entries), ties=tuple((name, slot) for name, slot in ties))

    @cached_property
    def sent(self) -> Layout:
        """The layout of what devices send, which is the first part of a row."""
        if not self.local:
            return self
        slots = self.slots[: len(self.slots) - self.local]
        names = {s.name for s in slots}
        whole = tuple(h for h in self.hidden if all(name in names for name, _ in h.axes))
        return Layout(slots, whole, tuple(tie for tie in self.ties if tie[1] in names))

    @cached_property
    def statistics(self) -> tuple[ParameterSpec, ...]:
        """The entries that are running statistics."""
        return tuple(s for s in self.slots if s.statistic)

    @property
    def width(self) -> int:
        """P, the number of parameters and running statistics of one device."""
        return self.slots[-1].stop if self.slots else 0

    def views(self, x_BP: Tensor) -> dict[str, Tensor]:
        """Return each parameter as a view ``[B, *shape]`` into the rows ``[B, P]``: writing to the
        view writes to the rows.
        """
        return {s.name: x_BP[:, s.start : s.stop].view(x_BP.shape[0], *s.shape) for s in self.slots}

    def pack(self, values: Mapping[str, Tensor]) -> Tensor:
        """Make one row ``[P]`` from named tensors, such as a module's ``state_dict``.

        Raises KeyError for a parameter that is missing, ValueError for one of another shape.
        """
        for s in self.slots:
            if tuple(values[s.name].shape) != s.shape:
                raise ValueError(
                    f"parameter {s.name} has shape {tuple(values[s.name].shape)}, the model's is"
                    f" {s.shape}"
                )
        return torch.cat([values[s.name].detach().reshape(-1) for s in self.slots])

    def state_dict(self, row_P: Tensor) -> dict[str, Tensor]:
        """Cut one row ``[P]`` into a module's parameters under all their names, the opposite of
        :meth:`pack`; each is a copy.
        """
        found = {s.name: row_P[s.start : s.stop].reshape(s.shape).clone() for s in self.slots}
        for s in self.slots:
            if s.least is not None:
                found[s.name] = found[s.name].clamp_min(s.least)
            if s.counts:
                found[s.name] = found[s.name].round().to(torch.int64)
        return found | {name: found[slot].clone() for name, slot in self.ties}


def packed_in_a_row(entries: Iterable[ParameterSpec]) -> tuple[ParameterSpec, ...]:
    """Return the entries, each of which starts where the one before it stops."""
    found, start = [], 0
    for entry in entries:
        found.append(replace(entry, start=start))
        start = found[-1].stop
    return tuple(found)


def _hidden(shapes: Mapping[str, tuple[int, ...]], axes: Mapping[str, int]) -> Hidden:
    for name, axis in axes.items():
        if not 0 <= axis < len(shapes.get(name, ())):
            raise ConfigError(
                "/model",
                name,
                f"is named by neurons() with axis {axis}, which must be an axis of a parameter",
            )
    lengths = {name: shapes[name][axis] for name, axis in axes.items()}
    width = min(lengths.values())
    odd = [name for name, length in lengths.items() if length % width]
    if odd:
        raise ConfigError(
            "/model",
            odd[0],
            f"has {lengths[odd[0]]} entries by neurons(), which must be a multiple of the layer's"
            f" {width}",
        )
    return Hidden(width, tuple(axes.items()))


class BlockParameters:
    """The parameters of a block's B devices, each parameter in memory of its own; ``views`` holds
    them as ``[B, *shape]``.

    The last bit of a matrix product depends on the alignment of its operands in memory, which is
    therefore the same wherever the rows are stored. A batched product that writes to these arrays
    runs as one call for the whole block, which it does not when it writes to rows with gaps.
    """

    def __init__(self, layout: Layout, block: int, like: Tensor) -> None:
        self.widths = [s.stop - s.start for s in layout.slots]
        self.flat = [like.new_empty(block, width) for width in self.widths]
        self.views = {
            s.name: part.view(block, *s.shape)
            for s, part in zip(layout.slots, self.flat, strict=True)
        }

    def load(self, x_mP: Tensor, row_B: Tensor | None = None) -> None:
        """Copy the parameters from rows ``[B, P]``, or from those of m rows that ``row_B``
        names."""
        for part, values in zip(
            self.flat, torch.split_with_sizes(x_mP, self.widths, 1), strict=True
        ):
            if row_B is None:
                part.copy_(values)
            else:
                torch.index_select(values, 0, row_B, out=part)

    def rows(self) -> Tensor:
        """Copy the parameters to new rows ``[B, P]``."""
        return torch.cat(self.flat, 1)


# One process trains a small swarm the faster the larger its blocks are: 100 devices in 4 blocks a
# fifth faster than in 16. A small swarm gains nothing from more than a few processes.
FEWEST_BLOCKS = 4
MOST_NUMBERS = 1_000_000  # parameters of a block: with more they do not fit into the cache


@dataclass(frozen=True)
class Blocks:
    """The devices 0…N−1 cut into ``count`` blocks of consecutive devices, whose sizes differ by one
    device at most.

    The devices of a block train together, and a shard owns whole blocks. Results depend on the
    blocks, which are the shapes of the batched kernels, but never on which shard holds which block.
    """

    devices: int
    count: int

    @classmethod
    def of_size(cls, devices: int, most: int) -> Blocks:
        """Cut the devices into as few blocks as possible of at most ``most`` devices each."""
        return cls(devices, -(-devices // most))

    @classmethod
    def auto(cls, devices: int, width: int, share: float = 1.0) -> Blocks:
        """Cut the devices into blocks whose parameters fit into the cache of a CPU core.

        ``width`` is P, the parameters of one device. On average the fraction ``share`` of the
        devices learns in a round, so only that fraction of a block has to fit. There are at least
        ``FEWEST_BLOCKS`` blocks to distribute over shards, if there are as many devices. The result
        is a function of these arguments alone, so that the numbers of a run do not depend on the
        machine.
        """
        most = int(max(1, min(MOST_NUMBERS // max(width, 1), 32)) / share)
        return cls(devices, max(-(-devices // most), min(FEWEST_BLOCKS, devices)))

    @property
    def size(self) -> int:
        """The number of devices of the largest block."""
        return -(-self.devices // self.count)

    def __len__(self) -> int:
        return self.count

    def first(self, block: int) -> int:
        """Return the first device of a block; N for the block number ``count``, behind the last."""
        return block * self.devices // self.count

    def devices_of(self, block: int) -> npt.NDArray[np.int64]:
        """Return the device ids of a block, in order."""
        return np.arange(self.first(block), self.first(block + 1), dtype=np.int64)

    def spread(self, shards: int) -> list[npt.NDArray[np.int64]]:
        """Return the block ids of each of ``shards`` shards: consecutive blocks, whose number
        differs by one at most.
        """
        return [np.asarray(part) for part in np.array_split(np.arange(len(self)), shards)]

    def slices(self, blocks: npt.NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
        """Yield (block id, its rows in the shard) for a shard that holds ``blocks`` one after the
        other.
        """
        start = 0
        for block in blocks:
            stop = start + self.first(int(block) + 1) - self.first(int(block))
            yield int(block), slice(start, stop)
            start = stop


def params_sha256(x_NP: npt.NDArray[np.generic], *kept: npt.NDArray[np.generic]) -> str:
    """Return the SHA-256 of the rows ``[N, P]`` as little-endian bytes in device order, and then of
    what devices ``kept`` beside them: equal hashes mean equal bits in every parameter.
    """
    found = hashlib.sha256()
    for rows in (x_NP, *kept):
        little = np.ascontiguousarray(rows).astype(rows.dtype.newbyteorder("<"), copy=False)
        found.update(little.data)
    return found.hexdigest()
