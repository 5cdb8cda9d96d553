"""Generated streams whose concept drifts: each device has its own stream, all go through the same concepts."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import numpy.typing as npt

from swarm.data.check import number, room
from swarm.data.dataset import Dataset, Ints, Source
from swarm.data.prepare import Samples, prepare
from swarm.data.timeline import Kind, Timeline
from swarm.rng import Keys

Reals = npt.NDArray[np.float64]


class Drifting(Source):
    """``per_device`` samples a device, ordered in time; ``held_out`` test samples of each concept, and as many to validate."""

    def __init__(
        self,
        devices: int,
        seed: int,
        features: int,
        timeline: Timeline,
        per_device: int,
        held_out: int,
        noise: float,
    ) -> None:
        number("per_device", per_device, 2)
        timeline.require("concepts", timeline.concepts, per_device)
        number("held_out", held_out, 1)
        number("noise", noise, 0, 1)
        room("per_device", per_device, devices * per_device + 2 * held_out * timeline.concepts, features)
        self.devices, self.features, self.timeline = devices, features, timeline
        self.per_device, self.held_out, self.noise = per_device, held_out, noise
        self.keys = Keys(seed, type(self).__name__)

    @abstractmethod
    def label(self, x_SF: Reals, concept_S: Ints) -> Ints:
        """The true class, 0 or 1, of inputs in [0, 1) under each sample's concept."""

    def load(self) -> Dataset:
        concepts, train = self.timeline.concepts, self.devices * self.per_device
        device_S, index_S = np.divmod(np.arange(train), self.per_device)
        lived_S = self.timeline.concept((index_S + 0.5) / self.per_device, device_S, index_S)
        concept_S = np.concatenate([lived_S, np.tile(np.arange(concepts), 2 * self.held_out)])
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
        return prepare(samples, self.keys.seed)


class SEA(Drifting):
    """x in [0, 10)³, y = [x_1 + x_2 ≤ θ_c]; the third feature means nothing. θ = 8, 9, 7, 9.5 in turn (Street & Kim, *A
    streaming ensemble algorithm*, KDD 2001). A share ``noise`` of the training labels is wrong. Features are scaled to
    [−1, 1)."""

    THRESHOLDS = (8.0, 9.0, 7.0, 9.5)

    def __init__(
        self,
        devices: int,
        kind: Kind = "sudden",
        concepts: int = 4,
        width: float = 0.1,
        periods: int = 2,
        phase: float = 0.0,
        per_device: int = 1000,
        held_out: int = 500,
        noise: float = 0.1,
        seed: int = 0,
    ) -> None:
        number("concepts", concepts, 2, len(self.THRESHOLDS))
        timeline = Timeline(Keys(seed, "drift"), kind, concepts, width, periods, phase)
        super().__init__(devices, seed, 3, timeline, per_device, held_out, noise)

    def label(self, x_SF: Reals, concept_S: Ints) -> Ints:
        return (10 * (x_SF[:, 0] + x_SF[:, 1]) <= np.asarray(self.THRESHOLDS)[concept_S]).astype(np.int64)


class Hyperplane(Drifting):
    """y = [w_c · (x − ½) > 0] for x in [0, 1)^F: a plane through the middle that turns by ``angle`` degrees with each
    concept, in a direction drawn from the seed (after Hulten, Spencer, Domingos, KDD 2001). Features are scaled to [−1, 1)."""

    def __init__(
        self,
        devices: int,
        features: int = 10,
        angle: float = 20.0,
        kind: Kind = "sudden",
        concepts: int = 10,
        width: float = 0.1,
        periods: int = 2,
        phase: float = 0.0,
        per_device: int = 1000,
        held_out: int = 200,
        noise: float = 0.05,
        seed: int = 0,
    ) -> None:
        number("features", features, 2, 1e6)
        number("angle", angle, -360, 360)
        timeline = Timeline(Keys(seed, "drift"), kind, concepts, width, periods, phase)
        super().__init__(devices, seed, features, timeline, per_device, held_out, noise)
        self.angle = angle

    def label(self, x_SF: Reals, concept_S: Ints) -> Ints:
        plane_2F = np.linalg.qr(self.keys.generator(1).standard_normal((self.features, 2)))[0].T
        turn_S = np.deg2rad(self.angle) * concept_S
        along_S2 = (x_SF - 0.5) @ plane_2F.T
        side_S: Ints = (np.cos(turn_S) * along_S2[:, 0] + np.sin(turn_S) * along_S2[:, 1] > 0).astype(np.int64)
        return side_S
