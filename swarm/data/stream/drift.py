"""Drift added to any data set: the features or the labels of a device's samples change along its
stream.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from swarm.common.errors import ConfigError, counted
from swarm.common.plugin import called
from swarm.common.ranges import number, room
from swarm.common.rng import Keys
from swarm.data.dataset import Dataset, DeviceSplit, Floats, Ints
from swarm.data.prepare import on_cache_lines
from swarm.data.stream.concept_schedule import ConceptSchedule, DriftKind


class Drift(ABC):
    """Makes a data set drift, given which device holds which samples."""

    absent: ClassVar[bool] = False
    """Whether the data stay as they are, as the option ``none`` says; all else needs a stream."""

    @abstractmethod
    def apply(self, data: Dataset, holdings: DeviceSplit) -> Dataset:
        """The data set as the devices meet it under drift.

        Raises ``ConfigError`` for data that this kind of drift does not fit.
        """


class NoDrift(Drift):
    """No drift: the data set stays as it is."""

    absent = True

    def apply(self, data: Dataset, holdings: DeviceSplit) -> Dataset:
        return data


@dataclass(eq=False)
class Transformed(Drift):
    """Each concept is a transformation of the samples; concept 0 leaves them as they are.

    A training sample is transformed by the concept under which its device meets it. Test and
    validation samples are copied, one copy for each concept.
    :class:`~swarm.data.stream.concept_schedule.ConceptSchedule` says when concepts change.
    """

    seed: int
    kind: DriftKind = "sudden"
    concepts: int = 2
    width: float = 0.1
    periods: int = 2
    phase: float = 0.0

    def __post_init__(self) -> None:
        self.keys = Keys(self.seed, "drift")
        self.timeline = ConceptSchedule(
            self.keys, self.kind, self.concepts, self.width, self.periods, self.phase
        )

    @abstractmethod
    def transformed(self, x: Floats, y: Ints, concept: int, data: Dataset) -> tuple[Floats, Ints]:
        """The samples ``x`` ``[s, *features]`` and their labels ``y`` ``[s]`` under ``concept``."""

    def apply(self, data: Dataset, holdings: DeviceSplit) -> Dataset:
        if data.concept is not None:
            raise ConfigError(
                "/drift", called(self), "changes data that drift by themselves; must be none"
            )
        if not data.classes:
            raise ConfigError(
                "/drift", called(self), "needs class labels; the data have numeric targets"
            )
        concepts, size = self.timeline.concepts, len(data.x)
        self.timeline.require("concepts", concepts, int(holdings.sizes_N.max()))
        copied = np.concatenate([data.validation, data.test])
        room("concepts", concepts, size + len(copied) * (concepts - 1), int(np.prod(data.features)))
        device_S = holdings.device_S
        index_S = np.arange(len(device_S)) - holdings.ptr_N1[device_S]
        concept = np.zeros(size, np.int64)
        share_S = (index_S + 0.5) / holdings.sizes_N[device_S]
        concept[holdings.sample] = self.timeline.concept(share_S, device_S, index_S)
        x, y = data.x.copy(), data.y.astype(np.int64)
        more_x, more_y = [], []
        for c in range(1, concepts):
            ids = np.flatnonzero(concept == c)
            x[ids], y[ids] = self.transformed(x[ids], y[ids], c, data)
            copy_x, copy_y = self.transformed(
                data.x[copied], data.y[copied].astype(np.int64), c, data
            )
            more_x.append(copy_x)
            more_y.append(copy_y)
        first = size + np.arange(concepts - 1)[:, None] * len(copied)
        validation, test = np.split(first + np.arange(len(copied)), [len(data.validation)], axis=1)
        again = np.tile(copied, concepts - 1)
        return replace(
            data,
            x=on_cache_lines(np.concatenate([x, *more_x])),
            y=np.concatenate([y, *more_y]),
            owner=None if data.owner is None else np.concatenate([data.owner, data.owner[again]]),
            time=None if data.time is None else np.concatenate([data.time, data.time[again]]),
            concept=np.concatenate([concept, np.repeat(np.arange(1, concepts), len(copied))]),
            validation=np.concatenate([data.validation, validation.reshape(-1)]),
            test=np.concatenate([data.test, test.reshape(-1)]),
        )


@dataclass(eq=False)
class LabelSwap(Transformed):
    """Under each new concept ``pairs`` pairs of labels, drawn from the seed, trade places."""

    pairs: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        number("pairs", self.pairs, 1)

    def transformed(self, x: Floats, y: Ints, concept: int, data: Dataset) -> tuple[Floats, Ints]:
        if 2 * self.pairs > data.classes:
            raise ConfigError(
                "pairs",
                self.pairs,
                f"must be 1 to {data.classes // 2}: there are {counted(data.classes, 'label')}",
            )
        drawn = self.keys.generator(1, concept).permutation(data.classes)[: 2 * self.pairs]
        becomes = np.arange(data.classes)
        becomes[drawn] = np.roll(drawn.reshape(2, -1), 1, axis=0).reshape(-1)
        return x, becomes[y]


@dataclass(eq=False)
class Rotation(Transformed):
    """Pairs of features, drawn from the seed, are rotated by ``angle`` degrees more with every
    concept. The map is orthogonal, so distances between samples stay as they are."""

    angle: float = 60.0

    def __post_init__(self) -> None:
        super().__post_init__()
        number("angle", self.angle, -360, 360)

    def transformed(self, x: Floats, y: Ints, concept: int, data: Dataset) -> tuple[Floats, Ints]:
        if data.y.ndim > 1:
            raise ConfigError(
                "/drift", "Rotation", "turns numeric features; the data are sequences of tokens"
            )
        flat = x.reshape(len(x), -1)
        drawn = self.keys.generator(2).permutation(flat.shape[1])
        a, b = drawn[: len(drawn) // 2 * 2].reshape(2, -1)
        turn = np.deg2rad(self.angle * concept)
        cos, sin, out = np.float32(np.cos(turn)), np.float32(np.sin(turn)), flat.copy()
        out[:, a], out[:, b] = (
            cos * flat[:, a] - sin * flat[:, b],
            sin * flat[:, a] + cos * flat[:, b],
        )
        return out.reshape(x.shape), y
