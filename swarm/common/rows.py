"""Rows: everything a device has is one row of a two-dimensional tensor, the device on the leading
axis.

Axes in names: N devices of the swarm, B devices of a block, P parameters of one device's model.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError


@dataclass(frozen=True)
class ParameterSpec:
    """Where one parameter of the model lies in a row."""

    name: str
    shape: tuple[int, ...]
    start: int

    @property
    def stop(self) -> int:
        return self.start + math.prod(self.shape)


@dataclass(frozen=True)
class Hidden:
    """A hidden layer: how many neurons it has, and which axis of which parameters counts them,
    several entries to a neuron where the axis is a multiple of ``width`` (those of a neuron stand
    together)."""

    width: int
    axes: tuple[tuple[str, int], ...]


class HasNeurons(ABC):
    """A model that states which of its parameters belong to which hidden neuron."""

    @abstractmethod
    def neurons(self) -> list[dict[str, int]]:
        """For each hidden layer {name of a parameter: its axis that counts the layer's neurons},
        weights into the neurons and out of them alike. The shortest such axis has one entry for
        each neuron."""


@dataclass(frozen=True)
class Layout:
    """How the parameters of a module are laid out in a row of P numbers: flattened, in
    ``named_parameters`` order; and its ``hidden`` layers, if it states them. ``ties`` are the
    further names of parameters that have several: (name, slot)."""

    slots: tuple[ParameterSpec, ...]
    hidden: tuple[Hidden, ...] = ()
    ties: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, module: nn.Module) -> Layout:
        """Raises :class:`ConfigError` for a module that states neurons which it does not have."""
        slots, start = [], 0
        first: dict[int, str] = {}
        for name, parameter in module.named_parameters():
            slots.append(ParameterSpec(name, tuple(parameter.shape), start))
            start = slots[-1].stop
            first[id(parameter)] = name
        every = module.named_parameters(remove_duplicate=False)
        ties = tuple((name, first[id(p)]) for name, p in every if first[id(p)] != name)
        stated = module.neurons() if isinstance(module, HasNeurons) else []
        shapes = {s.name: s.shape for s in slots}
        return cls(tuple(slots), tuple(_hidden(shapes, axes) for axes in stated), ties)

    @classmethod
    def saved(
        cls, slots: Iterable[tuple[str, Sequence[int]]], ties: Iterable[tuple[str, str]]
    ) -> Layout:
        """The layout that a checkpoint describes: (name, shape) in a row's order, and the ties."""
        found, start = [], 0
        for name, shape in slots:
            found.append(ParameterSpec(name, tuple(shape), start))
            start = found[-1].stop
        return cls(tuple(found), ties=tuple((name, slot) for name, slot in ties))

    @property
    def width(self) -> int:
        """P, the number of parameters of one device."""
        return self.slots[-1].stop if self.slots else 0

    def views(self, x_BP: Tensor) -> dict[str, Tensor]:
        """Each parameter as a view ``[B, *shape]`` into the rows: writing to it writes to the
        rows.
        """
        return {s.name: x_BP[:, s.start : s.stop].view(x_BP.shape[0], *s.shape) for s in self.slots}

    def pack(self, values: Mapping[str, Tensor]) -> Tensor:
        """One row ``[P]`` from named tensors (a module's ``state_dict``); KeyError or ValueError if
        they do not fit.
        """
        for s in self.slots:
            if tuple(values[s.name].shape) != s.shape:
                raise ValueError(
                    f"parameter {s.name} has shape {tuple(values[s.name].shape)}, the model's is"
                    f" {s.shape}"
                )
        return torch.cat([values[s.name].detach().reshape(-1) for s in self.slots])

    def state_dict(self, row_P: Tensor) -> dict[str, Tensor]:
        """The opposite of :meth:`pack`: a module's parameters under all their names, a copy
        each.
        """
        found = {s.name: row_P[s.start : s.stop].reshape(s.shape).clone() for s in self.slots}
        return found | {name: found[slot].clone() for name, slot in self.ties}


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
    """The parameters of a block, each in memory of its own: ``views`` holds them as ``[B,
    *shape]``.

    Products over them see the same alignment, on which their last bit depends, wherever the rows
    live; and products that write to them run as one call for the whole block, which they do not on
    rows with gaps.
    """

    def __init__(self, layout: Layout, block: int, like: Tensor) -> None:
        self.widths = [s.stop - s.start for s in layout.slots]
        self.flat = [like.new_empty(block, width) for width in self.widths]
        self.views = {
            s.name: part.view(block, *s.shape)
            for s, part in zip(layout.slots, self.flat, strict=True)
        }

    def load(self, x_BP: Tensor) -> None:
        """Copy from rows."""
        for part, values in zip(
            self.flat, torch.split_with_sizes(x_BP, self.widths, 1), strict=True
        ):
            part.copy_(values)

    def rows(self) -> Tensor:
        """Copy to new rows ``[B, P]``."""
        return torch.cat(self.flat, 1)


@dataclass(frozen=True)
class Blocks:
    """The devices 0…N−1 cut into blocks of equal size, to one device: the unit that trains together
    and that a shard owns whole.

    Results depend on the blocks (they shape the batched kernels), never on which shard holds which
    block.
    """

    devices: int
    count: int

    @classmethod
    def of_size(cls, devices: int, most: int) -> Blocks:
        """As few blocks as hold ``most`` devices each."""
        return cls(devices, -(-devices // most))

    @classmethod
    def auto(cls, devices: int, width: int, share: float = 1.0) -> Blocks:
        """Blocks whose parameters fit a core's cache, at least 16 of them to share out where there
        are as many devices. ``share`` of the devices learn in a round on average: what fits is that
        share of a block.

        A pure function of the number of devices and of parameters, so that the numbers do not
        depend on the machine.
        """
        most = int(max(1, min(500_000 // max(width, 1), 32)) / share)
        return cls(devices, max(-(-devices // most), min(16, devices)))

    @property
    def size(self) -> int:
        """Devices of the largest block."""
        return -(-self.devices // self.count)

    def __len__(self) -> int:
        return self.count

    def first(self, block: int) -> int:
        """The first device of a block; of block ``count``, N."""
        return block * self.devices // self.count

    def devices_of(self, block: int) -> npt.NDArray[np.int64]:
        return np.arange(self.first(block), self.first(block + 1), dtype=np.int64)

    def spread(self, shards: int) -> list[npt.NDArray[np.int64]]:
        """Block ids for each of ``shards`` workers: contiguous, sizes differing by one block at
        most.
        """
        return [np.asarray(part) for part in np.array_split(np.arange(len(self)), shards)]

    def slices(self, blocks: npt.NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
        """For a shard that holds ``blocks`` one after the other: (block id, its rows in the
        shard).
        """
        start = 0
        for block in blocks:
            stop = start + self.first(int(block) + 1) - self.first(int(block))
            yield int(block), slice(start, stop)
            start = stop


def params_sha256(x_NP: npt.NDArray[np.generic]) -> str:
    """SHA-256 of the rows' bytes in device order, little-endian: equal hashes are equal bits in
    every parameter.
    """
    return hashlib.sha256(
        np.ascontiguousarray(x_NP).astype(x_NP.dtype.newbyteorder("<"), copy=False).data
    ).hexdigest()
