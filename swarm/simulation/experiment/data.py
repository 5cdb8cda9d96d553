"""What the devices of an arm learn from, and in which order they meet it."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from swarm.common.rng import Keys
from swarm.config.build import build
from swarm.data.dataset import label_mixes
from swarm.data.stream.stream import Stream
from swarm.learning.update.policy import UpdatePolicy, check_policy
from swarm.learning.update.replay import Replay
from swarm.simulation.experiment.spec import RunSpec


class Data:
    """The data set and its split, the streams made of them, and how devices learn from these.

    Attributes:
        dataset: Features, labels and the three splits.
        split: Which training samples each device holds.
        stream: The order in which each device meets its samples.
        policy: Which mini-batches of a round devices learn from.
        replay: What devices remember of their streams.
    """

    def __init__(self, spec: RunSpec, policy: UpdatePolicy | None = None) -> None:
        self.settings = s = spec.settings
        self.dataset, self.split = spec.dataset, spec.split
        if policy is None:
            policy = build(s.update, UpdatePolicy, "update", s.plugins)
        self.policy: UpdatePolicy = policy
        self.replay: Replay = build(s.replay, Replay, "replay", s.plugins)
        self.stream = Stream(spec.split, s.train.batch, Keys(s.seed, "stream"))

    @property
    def features(self) -> tuple[int, ...]:
        """The shape of one sample's features."""
        return tuple(self.dataset.x.shape[1:])

    @property
    def outputs(self) -> int:
        """How many numbers a model answers with: one for each class, or for each target."""
        y = self.dataset.y
        return self.dataset.classes or (y.shape[1] if y.ndim > 1 else 1)

    @property
    def classes_told(self) -> int:
        """The number of classes among the labels that devices are told."""
        return self.dataset.known_labels()[1]

    @cached_property
    def local_steps_N(self) -> npt.NDArray[np.int64]:
        """Local steps of each device in a round, ``[N]``."""
        train = self.settings.train
        if train.local_steps is not None:
            return np.full(self.settings.devices, train.local_steps, dtype=np.int64)
        assert train.local_epochs is not None
        return self.stream.steps_of_epochs(train.local_epochs)

    @cached_property
    def label_mix_WNC(self) -> npt.NDArray[np.float64]:
        """Each device's share of labels in each concept, ``[W, N, C]``, which its own-distribution
        accuracy is weighted by.
        """
        return label_mixes(self.dataset, self.split)

    @cached_property
    def progress(self) -> dict[str, tuple[int, ...]]:
        """The shapes, for one device, of the whole numbers that say how far it is in its stream and
        what it remembers.
        """
        found: dict[str, tuple[int, ...]] = {"steps": (), "met": (), "lately": ()}
        if self.replay.size:
            classes = self.classes_told
            found |= {"kept": (self.replay.size,), "offered": (classes,), "largest": (classes,)}
        return found

    def replay_bytes(self, itemsize: int) -> int:
        """What the samples of a full replay memory take up on a device: ``itemsize`` bytes a
        feature and 8 bytes a label.
        """
        x, y = self.dataset.x, self.dataset.y
        return int(self.replay.size * (x[0].size * itemsize + y[0].size * 8))

    def check(self) -> None:
        """Raises :class:`ConfigError` where policy, replay and data do not go together."""
        check_policy(
            self.policy,
            self.replay,
            self.stream,
            self.settings.train.local_epochs,
            self.classes_told,
        )
