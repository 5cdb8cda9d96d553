"""The union of several models' rows, in which parameters of one name overlap.

Small models are ordered sub-models of large ones, as in HeteroFL (Diao, Ding & Tarokh, ICLR 2021,
arXiv 2010.01264) and FjORD (Horváth et al., NeurIPS 2021, arXiv 2102.13451): a parameter of the
smaller shape is the leading corner of the larger one of the same name.

Axes in names: P numbers of the union row, c numbers of one cohort's own row, C cohorts, G groups of
numbers that the same cohorts have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.names import listed
from swarm.common.rows import Layout, ParameterSpec, packed_in_a_row
from swarm.learning.cohorts.runs import Runs

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
AxisParts = Mapping[str, Mapping[int, int]]
"""Of each parameter, the axes that hold several parts of equal length one behind the other, and
how many: a corner is then cut from each part."""


@dataclass(frozen=True)
class Shape:
    """The model of one cohort, as far as its numbers are concerned.

    Attributes:
        name: The cohort, as messages call it.
        layout: How its numbers lie in a row of its own.
        last: The name of its last layer; empty for a parameter of the whole module.
        parts: Which axes are made of parts.
    """

    name: str
    layout: Layout
    last: str = ""
    parts: AxisParts = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """What the names of its parameters begin with where they are kept apart."""
        return f"{self.name}/"

    def apart(self) -> Shape:
        """The same model with parameters whose names no other cohort has."""
        return replace(
            self,
            layout=under(self.prefix, self.layout),
            last=self.prefix + self.last,
            parts={self.prefix + name: axes for name, axes in self.parts.items()},
        )


@dataclass(frozen=True, eq=False)
class Places:
    """Where numbers lie in union rows of one width: those of each cohort's own row, and those of
    each group that has some."""

    of_cohort: tuple[Runs, ...]
    of_group: dict[int, Runs]


@dataclass(frozen=True)
class Union:
    """How the rows of C cohorts lie in one row of P numbers.

    Attributes:
        layout: The union row: each parameter in the largest shape that a cohort has for it.
        place_Cc: For each cohort, where the numbers of its own row lie in the union row.
        group_P: The group of each number of the union row.
        held_GC: Which cohorts have the numbers of each group.
        apart: Why no parameter of one cohort is one of another, if names alone do not say so.
    """

    layout: Layout
    place_Cc: tuple[Tensor, ...]
    group_P: Tensor
    held_GC: Bools
    apart: ConfigError | None = None

    @property
    def sent(self) -> int:
        """M, how many numbers of the union row are of what devices send."""
        return self.layout.sent.width

    def places(self, width: int) -> Places:
        """Where numbers lie in rows of all P numbers, or of the first M that devices send."""
        return self._sent_places if width < self.layout.width else self._all_places

    @cached_property
    def _all_places(self) -> Places:
        return self._places_within(self.layout.width)

    @cached_property
    def _sent_places(self) -> Places:
        return self._places_within(self.sent)

    def _places_within(self, width: int) -> Places:
        own = tuple(Runs.of(place[place < width]) for place in self.place_Cc)
        group_W = self.group_P[:width]
        groups: list[int] = torch.unique(group_W).tolist()
        return Places(own, {g: Runs.of(torch.nonzero(group_W == g).squeeze(1)) for g in groups})

    @property
    def shared_CC(self) -> Ints:
        """How many of the numbers that devices send two cohorts have in common; on the diagonal,
        how many a cohort sends."""
        count_G = np.bincount(self.group_P[: self.sent].numpy(), minlength=len(self.held_GC))
        held = self.held_GC.astype(np.int64)
        found: Ints = held.T @ (count_G[:, None] * held)
        return found


def union_of(shapes: Sequence[Shape]) -> Union:
    """Return the union of the models of cohorts.

    Raises :class:`ConfigError` on ``cohorts`` for models of which two have a parameter of one name
    with another number of axes, other parts of an axis, or another use.
    """
    order = sorted(range(len(shapes)), key=lambda c: -shapes[c].layout.width)
    merged: dict[str, ParameterSpec] = {}
    local: set[str] = set()
    for c in order:
        layout = shapes[c].layout
        local |= {s.name for s in layout.slots[len(layout.slots) - layout.local :]}
        for slot in layout.slots:
            before = merged.get(slot.name)
            merged[slot.name] = slot if before is None else _larger(before, slot)
    for one, other in combinations(shapes, 2):
        _require_alike(one, other)
    first = [s for s in merged.values() if s.name not in local]
    kept = [s for s in merged.values() if s.name in local]
    layout = Layout(packed_in_a_row([*first, *kept]), local=len(kept))
    places = [places_of(layout, shape.layout, shape.parts) for shape in shapes]
    held_PC = np.zeros((layout.width, len(shapes)), bool)
    for c, place in enumerate(places):
        held_PC[place, c] = True
    held_GC, group_P = np.unique(held_PC, axis=0, return_inverse=True)
    return Union(
        layout,
        tuple(torch.as_tensor(place) for place in places),
        torch.as_tensor(group_P.reshape(-1).astype(np.int64)),
        held_GC,
    )


def union_or_apart(shapes: Sequence[Shape]) -> Union:
    """Return the union of the models of cohorts; where :func:`union_of` refuses it, that of the
    same models with all parameters apart, so that they can share predictions but no numbers."""
    try:
        return union_of(shapes)
    except ConfigError as error:
        return replace(union_of([shape.apart() for shape in shapes]), apart=error)


def under(prefix: str, layout: Layout) -> Layout:
    """Return the same row with ``prefix`` before the names of its parameters."""
    slots = tuple(replace(slot, name=prefix + slot.name) for slot in layout.slots)
    return replace(layout, slots=slots, hidden=(), ties=())


def places_of(union: Layout, own: Layout, parts: AxisParts) -> Ints:
    """Return where the numbers of the row ``own`` lie in the row ``union``, ``[c]``: those of each
    parameter in the leading corner of the larger one, or of each of its ``parts``."""
    large = {s.name: s for s in union.slots}
    found = [
        large[s.name].start + _corner(large[s.name].shape, s.shape, parts.get(s.name, {}))
        for s in own.slots
    ]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _corner(large: tuple[int, ...], small: tuple[int, ...], parts: Mapping[int, int]) -> Ints:
    """The places, in a flattened array of the shape ``large``, of its corner of the shape
    ``small``."""
    axes = []
    for axis, (most, some) in enumerate(zip(large, small, strict=True)):
        count = parts.get(axis, 1)
        begin = np.arange(count) * (most // count)
        axes.append((begin[:, None] + np.arange(some // count)).reshape(-1))
    if not axes:
        return np.zeros(1, np.int64)
    grid = np.ix_(*axes)
    return np.asarray(np.ravel_multi_index(grid, large)).reshape(-1).astype(np.int64)


def _larger(one: ParameterSpec, other: ParameterSpec) -> ParameterSpec:
    """One parameter in the element-wise larger of two shapes; if these have different numbers of
    axes it is ``one``, and refused later."""
    if len(one.shape) != len(other.shape):
        return one
    return replace(one, shape=tuple(map(max, one.shape, other.shape)))


def _require_alike(one: Shape, other: Shape) -> None:
    """Refuse two models whose parameters of one name cannot be numbers of the same kind."""
    theirs = {s.name: s for s in other.layout.slots}
    kept = [
        {s.name for s in shape.layout.slots[len(shape.layout.slots) - shape.layout.local :]}
        for shape in (one, other)
    ]
    for slot in one.layout.slots:
        its = theirs.get(slot.name)
        if its is None:
            continue
        pair = f"{slot.name} of {one.name} and of {other.name}"
        if len(its.shape) != len(slot.shape):
            why = f"have the shapes {list(slot.shape)} and {list(its.shape)}, which must have the"
            raise ConfigError("cohorts", pair, f"{why} same number of axes")
        if one.parts.get(slot.name, {}) != other.parts.get(slot.name, {}):
            counts = [dict(s.parts.get(slot.name, {})) for s in (one, other)]
            why = (
                f"are made of different parts by axis, {counts[0]} and {counts[1]}, as models with"
            )
            raise ConfigError("cohorts", pair, f"{why} different numbers of heads are")
        if (slot.name in kept[0]) != (slot.name in kept[1]):
            why = "are sent by one and kept by the other under this share; name what is sent by"
            raise ConfigError("cohorts", pair, f"{why} patterns, or take share=all")
        if (slot.statistic, slot.counts) != (its.statistic, its.counts):
            raise ConfigError("cohorts", pair, "are a parameter in one and a buffer in the other")
    _require_one_head(one, other)
    _require_one_head(other, one)


def _require_one_head(one: Shape, other: Shape) -> None:
    """Refuse a last layer of ``one`` that has the name of a layer in the middle of ``other``."""
    if not one.last or one.last == other.last:
        return
    inside = [s.name for s in other.layout.slots if s.name.startswith(f"{one.last}.")]
    if inside:
        value = f"{one.name} and {other.name}"
        valid = (
            f"have different depths: the last layer of {one.name} is {one.last}, and that of"
            f" {other.name} is {other.last}; parameters of one name are averaged"
            f" ({listed(inside)}), so the depth must be the same, or the last layers must have one"
            " name"
        )
        raise ConfigError("cohorts", value, valid)
