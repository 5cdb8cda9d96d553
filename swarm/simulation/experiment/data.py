"""The data of an arm: what its devices learn from, and in which order they meet it."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import numpy.typing as npt

from swarm.common.plugin import absent
from swarm.common.rng import Keys
from swarm.config.build import build
from swarm.config.choices import choice
from swarm.data.dataset import label_mixes
from swarm.data.stream.practice import Practice
from swarm.data.stream.stream import Stream
from swarm.learning.augmentation.base import Augmentation, Augmentations
from swarm.learning.goal.base import Goal
from swarm.learning.privacy.mechanism import Privacy
from swarm.learning.update.policy import UpdatePolicy, check_policy
from swarm.learning.update.replay import Replay
from swarm.simulation.experiment.spec import RunSpec


class Data:
    """The data set and its split, the streams made of them, and how devices learn from these.

    Attributes:
        dataset: Features, labels and the three splits.
        split: Which training samples each device holds.
        stream: The order in which each device meets its samples.
        table: Which devices learn otherwise than the config says; None: nobody.
        policy: Which mini-batches of a round devices learn from.
        replay: Which samples of their streams devices keep in a replay memory.
        augment: What happens to training images, each time that they are learnt from.
        goal: By which devices choose what they practise; None: they do not choose.
        privacy: What bounds how much of these data others learn.
        within_deadline_N: How many local steps fit into a round without stragglers, ``[N]``; None:
            there is no deadline.
    """

    def __init__(self, spec: RunSpec, policy: UpdatePolicy | None = None) -> None:
        self.settings = s = spec.settings
        self.dataset, self.split = spec.dataset, spec.split
        if policy is None:
            policy = build(s.update, UpdatePolicy, "update", s.plugins)
        self.policy: UpdatePolicy = policy
        self.replay: Replay = build(s.replay, Replay, "replay", s.plugins)
        goal: Goal = build(s.goal, Goal, "goal", s.plugins)
        self.goal = None if absent(goal) else goal
        parts = [build(node, Augmentation, "augment", s.plugins) for node in s.augment]
        self.augment = Augmentations(parts, s.seed)
        self.table = self.split.table
        batch_N = None
        if self.table is not None and "batch" in self.table.columns:
            usual_N = np.full(self.split.devices, s.train.batch, np.int64)
            batch_N = self.table.or_else("batch", usual_N)
        self.privacy: Privacy = build(s.privacy, Privacy, "privacy", s.plugins)
        self.stream = self._stream(batch_N)
        self.within_deadline_N: npt.NDArray[np.int64] | None = None

    def _stream(self, batch_N: npt.NDArray[np.int64] | None) -> Stream:
        keys, batch = Keys(self.settings.seed, "stream"), self.settings.train.batch
        return self.privacy.stream(self.split, batch, keys, batch_N)

    def take_batches(self, batch_N: npt.NDArray[np.int64]) -> None:
        """Give each device mini-batches of its own size, before anything is learnt."""
        self.stream = self._stream(batch_N)
        self.__dict__.pop("relative_batch_N", None)

    @property
    def features(self) -> tuple[int, ...]:
        """The shape of one sample's features."""
        return tuple(self.dataset.x.shape[1:])

    @property
    def outputs(self) -> int:
        """The number of a model's outputs: one for each class, or for each target."""
        y = self.dataset.y
        return self.dataset.classes or (y.shape[1] if y.ndim > 1 else 1)

    @property
    def classes_told(self) -> int:
        """The number of classes among the labels that devices are told."""
        return self.dataset.known_labels()[1]

    @property
    def classes_practised(self) -> int:
        """The number of classes whose samples are counted as they are met; 0 where nobody has a
        goal."""
        return self.dataset.classes if self.goal is not None else 0

    @cached_property
    def practice(self) -> Practice | None:
        """The samples of devices that have goals; None where nobody has."""
        if self.goal is None:
            return None
        label_S, classes = self.dataset.known_labels()
        batch = self.settings.train.batch
        chosen = int(self.goal.strength * batch + 0.5)
        return Practice(self.split, label_S, classes, batch, chosen, self.settings.seed)

    @cached_property
    def validation_NC(self) -> npt.NDArray[np.int64]:
        """The number of each device's own validation samples of each class, ``[N, C]``."""
        held, classes = self.split.local_validation, self.outputs
        assert held is not None, "checked before the start"
        cell = held.device_S * classes + self.dataset.y[held.sample].astype(np.int64)
        return np.bincount(cell, minlength=held.devices * classes).reshape(-1, classes)

    @cached_property
    def local_steps_N(self) -> npt.NDArray[np.int64]:
        """The number of local steps of each device in a round, ``[N]``."""
        train = self.settings.train
        if train.local_steps is not None:
            steps_N = np.full(self.settings.devices, train.local_steps, dtype=np.int64)
        else:
            assert train.local_epochs is not None
            steps_N = self.stream.steps_of_epochs(train.local_epochs)
        if self.table is None:
            return steps_N
        epochs_N = self.table.columns.get("local_epochs")
        if epochs_N is not None:
            own_N = self.stream.steps_of_epochs(np.nan_to_num(epochs_N))
            steps_N = np.where(np.isnan(epochs_N), steps_N, own_N)
        return self.table.or_else("local_steps", steps_N)

    @property
    def steps_a_round(self) -> int:
        """The local steps of all devices in a round, as steps on ``train.batch`` samples; with a
        deadline, those of a round without stragglers."""
        relative_N, steps_N = self.relative_batch_N, self.usual_steps_N
        if relative_N is None:
            return max(1, int(steps_N.sum()))
        return max(1, round(float((steps_N * relative_N).sum())))

    @property
    def usual_steps_N(self) -> npt.NDArray[np.int64]:
        """The local steps of each device in a round without stragglers, ``[N]``."""
        within_N = self.within_deadline_N
        return self.local_steps_N if within_N is None else np.minimum(self.local_steps_N, within_N)

    @cached_property
    def relative_batch_N(self) -> npt.NDArray[np.float64] | None:
        """The size of each device's mini-batches over ``train.batch``, ``[N]``; None: 1 for all."""
        batch_N = self.stream.mean_batch_N
        return None if batch_N is None else batch_N / self.settings.train.batch

    @cached_property
    def label_mix_WNC(self) -> npt.NDArray[np.float64]:
        """The fraction of each label among a device's samples of each concept, ``[W, N, C]``, which
        weights its own-distribution accuracy.
        """
        return label_mixes(self.dataset, self.split)

    @cached_property
    def local_test_NN(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """How many labels or targets the own held-out samples of each device have, and the sum over
        the targets of Σ(y − ȳ)², ``[N]`` each; the sum is 0 for labels.
        """
        held = self.split.local_test
        assert held is not None
        y, device_S = self.dataset.y, held.device_S
        labels = math.prod(y.shape[1:]) if self.dataset.classes else 1
        spread_N = np.zeros(held.devices)
        if not self.dataset.classes:
            for y_S in y[held.sample].reshape(len(device_S), -1).T.astype(np.float64):
                mean_N = np.bincount(device_S, y_S, held.devices) / held.sizes_N.clip(1)
                spread_N += np.bincount(device_S, (y_S - mean_N[device_S]) ** 2, held.devices)
        return held.sizes_N * labels, spread_N

    def text_bytes(self, counts_C: npt.NDArray[np.float64]) -> float:
        """How many bytes of UTF-8 so many labels of each class stand for; 0 without text."""
        tokens = self.dataset.tokens
        return 0.0 if tokens is None else float(counts_C @ tokens.bytes_C)

    @cached_property
    def local_text_bytes_N(self) -> npt.NDArray[np.float64]:
        """How many bytes of UTF-8 the labels of each device's own held-out text stand for, ``[N]``;
        0 without text."""
        held, tokens = self.split.local_test, self.dataset.tokens
        if held is None or tokens is None:
            return np.zeros(self.split.devices)
        bytes_S = tokens.bytes_C[self.dataset.y[held.sample].astype(np.int64)]
        each_S = bytes_S.reshape(len(held.sample), -1).sum(1)
        return np.bincount(held.device_S, each_S, held.devices).astype(np.float64)

    @cached_property
    def progress(self) -> dict[str, tuple[int, ...]]:
        """The shapes, for one device, of the integers in a checkpoint that hold its position in its
        stream and its replay memory.
        """
        found: dict[str, tuple[int, ...]] = {"steps": (), "met": (), "lately": ()}
        if self.privacy.counted:
            found["releases"] = ()
        if self.replay.size:
            classes = self.classes_told
            found |= {"kept": (self.replay.size,), "offered": (classes,), "largest": (classes,)}
        if self.classes_practised:
            found["practised"] = (self.classes_practised,)
        return found

    def replay_bytes(self, itemsize: int) -> int:
        """The bytes of the samples in a full replay memory of one device: ``itemsize`` bytes a
        feature and 8 bytes a label.
        """
        x, y = self.dataset.x, self.dataset.y
        return int(self.replay.size * (x[0].size * itemsize + y[0].size * 8))

    def check(self) -> None:
        """Raises :class:`~swarm.common.errors.ConfigError` if policy, replay and data do not go
        together."""
        check_policy(
            self.policy,
            self.replay,
            self.stream,
            self.settings.train.local_epochs,
            self.classes_told,
        )
        names = [choice("augmentation", node) for node in self.settings.augment]
        self.augment.check(self.features, names, self.dataset.x.dtype.kind == "f")
