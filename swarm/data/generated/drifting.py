"""Generated streams whose concept drifts: each device has a stream of its own, and all streams go
through the same concepts.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

import numpy as np

from swarm.common.ranges import number, room
from swarm.common.rng import Keys
from swarm.data.dataset import Dataset, Ints, Reals, Source
from swarm.data.prepare import Samples, prepare
from swarm.data.scaling import while_generated
from swarm.data.stream.concept_schedule import ConceptSchedule, DriftKind


@dataclass(eq=False)
class Drifting(Source):
    """A binary problem with ``per_device`` training samples a device, ordered in time, and for each
    concept ``held_out`` test samples and as many validation samples.

    :class:`~swarm.data.stream.concept_schedule.ConceptSchedule` says when concepts change. A share
    ``noise`` of the training labels is wrong; validation and test labels are the true ones.
    """

    devices: int
    features: int = field(init=False)
    kind: DriftKind = "sudden"
    concepts: int = 2
    width: float = 0.1
    periods: int = 2
    phase: float = 0.0
    per_device: int = 1000
    held_out: int = 500
    noise: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        self.keys = Keys(self.seed, type(self).__name__)
        drift = Keys(self.seed, "drift")
        self.timeline = ConceptSchedule(
            drift, self.kind, self.concepts, self.width, self.periods, self.phase
        )
        number("per_device", self.per_device, 2)
        self.timeline.require("concepts", self.concepts, self.per_device, "one of data.per_device")
        number("held_out", self.held_out, 1)
        number("noise", self.noise, 0, 1)
        train, held_out = self.devices * self.per_device, 2 * self.held_out * self.concepts
        most = ("per_device", self.per_device) if train > held_out else ("held_out", self.held_out)
        room(*most, train + held_out, self.features, each=8)

    @abstractmethod
    def label(self, x_SF: Reals, concept_S: Ints) -> Ints:
        """The true class, 0 or 1, of inputs ``[S, F]`` in [0, 1) under each sample's concept:
        ``[S]``."""

    def load(self) -> Dataset:
        train = self.devices * self.per_device
        device_S, index_S = np.divmod(np.arange(train), self.per_device)
        lived_S = self.timeline.concept((index_S + 0.5) / self.per_device, device_S, index_S)
        concept_S = np.concatenate([lived_S, np.tile(np.arange(self.concepts), 2 * self.held_out)])
        draw = self.keys.generator()
        x_SF = draw.random((len(concept_S), self.features))
        y_S = self.label(x_SF, concept_S)
        wrong_S = draw.random(train) < self.noise  # test labels are the true ones
        y_S[:train] ^= wrong_S
        validation, test = np.split(np.arange(train, len(x_SF)), 2)
        samples = Samples(
            2.0 * x_SF - 1.0,
            y_S,
            classes=2,
            owner=np.concatenate([device_S, np.arange(len(test) * 2) % self.devices]),
            time=np.concatenate([index_S, np.zeros(2 * len(test), np.int64)]),
            concept=concept_S,
            validation=validation,
            test=test,
        )
        return prepare(samples, self.seed)

    def loading(self) -> int:
        samples = self.devices * self.per_device + 2 * self.held_out * self.concepts
        return while_generated(samples, samples * self.features, each=8 + 8)  # as drawn, and moved


@dataclass(eq=False)
class SEA(Drifting):
    """The SEA concepts: x in [0, 10)³ and y = [x_1 + x_2 ≤ θ_c]; the third feature is irrelevant.

    θ is 8, 9, 7 and 9.5 in turn (Street & Kim, *A streaming ensemble algorithm*, KDD 2001).
    Features are scaled to [−1, 1).
    """

    THRESHOLDS = (8.0, 9.0, 7.0, 9.5)

    features: int = field(default=3, init=False)
    concepts: int = len(THRESHOLDS)

    def __post_init__(self) -> None:
        number("concepts", self.concepts, 2, len(self.THRESHOLDS))
        super().__post_init__()

    def label(self, x_SF: Reals, concept_S: Ints) -> Ints:
        return (10 * (x_SF[:, 0] + x_SF[:, 1]) <= np.asarray(self.THRESHOLDS)[concept_S]).astype(
            np.int64
        )


@dataclass(eq=False)
class Hyperplane(Drifting):
    """A rotating hyperplane: y = [w_c · (x − ½) > 0] for x in [0, 1)^F.

    The plane goes through the middle and turns by ``angle`` degrees with each concept, in a
    direction drawn from the seed (after Hulten, Spencer, Domingos, KDD 2001). Features are scaled
    to [−1, 1).
    """

    features: int = 10
    concepts: int = 10
    held_out: int = 200
    noise: float = 0.05
    angle: float = 20.0

    def __post_init__(self) -> None:
        number("features", self.features, 2, 1e6)
        number("angle", self.angle, -360, 360)
        super().__post_init__()

    def label(self, x_SF: Reals, concept_S: Ints) -> Ints:
        plane_2F = np.linalg.qr(self.keys.generator(1).standard_normal((self.features, 2)))[0].T
        turn_S = np.deg2rad(self.angle) * concept_S
        along_S2 = (x_SF - 0.5) @ plane_2F.T
        side_S: Ints = (
            np.cos(turn_S) * along_S2[:, 0] + np.sin(turn_S) * along_S2[:, 1] > 0
        ).astype(np.int64)
        return side_S
