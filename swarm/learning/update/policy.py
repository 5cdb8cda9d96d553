"""When a device learns, and from what: the policy of its stream.

A device meets every sample of its stream once, and predicts it before anything else
(test-then-train; Gama, Sebastião, Rodrigues, *On evaluating stream learning algorithms*, Machine
Learning 90, 2013). What it does then is its policy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from swarm.common.errors import ConfigError
from swarm.common.plugin import called, is_plugin, returned, shape_of
from swarm.config.aliases.old_members import OldMembers
from swarm.data.stream.stream import Stream
from swarm.learning.update.replay import Replay

SampleSource = Literal["all", "new", "kept"]


@dataclass(frozen=True)
class BatchPlan:
    """A part of a round: ``steps`` mini-batches (None: as many as a round has by the section
    ``train``; of *kept* samples, as many as the device has met since it last learnt from those).

    ``source`` says of what: *new* samples of the stream, *kept* ones of the replay memory, or *all*
    of the device's samples, time and again. Without ``learn`` they are predicted and scored only.
    """

    source: SampleSource
    learn: bool
    steps: int | None = None


class UpdatePolicy(OldMembers, ABC):
    """Says what a device does in a round.

    The same for all; who is asleep, or whose stream has ended, does nothing. One object serves
    several runs of an arm, so what it answers follows from the round alone.
    """

    streams = True
    """Whether devices meet each sample once, in an order; otherwise they have all of them at
    hand.
    """
    keeps = False
    """Whether it cannot do without a replay memory."""

    @abstractmethod
    def batch_plans(self, round: int) -> tuple[BatchPlan, ...]:
        """What there is to do in ``round`` (counted from 1), in this order."""

    def learns(self, rounds: int) -> bool:
        """Whether anything is learnt in so many rounds."""
        return any(
            plan.learn for round in range(1, rounds + 1) for plan in batch_plans_of(self, round)
        )


def batch_plans_of(policy: UpdatePolicy, round: int) -> tuple[BatchPlan, ...]:
    """``policy.batch_plans(round)``.

    Raises :class:`ConfigError` for anything but a tuple of batch plans.
    """
    found = policy.batch_plans(round)
    if isinstance(found, tuple) and all(isinstance(plan, BatchPlan) for plan in found):
        return found
    raise returned(
        "update",
        policy,
        f"batch_plans({round})",
        f"returns {shape_of(found)}",
        "a tuple of BatchPlan is needed",
    )


class Epochs(UpdatePolicy):
    """A device has all its samples at hand and goes through them time and again; the first time
    around is scored.
    """

    streams = False

    def batch_plans(self, round: int) -> tuple[BatchPlan, ...]:
        return (BatchPlan("all", learn=True),)


class Online(UpdatePolicy):
    """Predict a mini-batch, be scored, learn from it at once; it never comes back, unless out of
    the replay memory.
    """

    def batch_plans(self, round: int) -> tuple[BatchPlan, ...]:
        return (BatchPlan("new", learn=True),)


class Frozen(UpdatePolicy):
    """Online until round ``after``; from then on the device predicts only.

    With 0 it never learns (``init=FILE`` then says what it knows)."""

    def __init__(self, after: int = 0) -> None:
        if after < 0:
            raise ConfigError("after", after, "must be a number of rounds ≥ 0")
        self.after = after

    def batch_plans(self, round: int) -> tuple[BatchPlan, ...]:
        return (BatchPlan("new", learn=round <= self.after),)


class Nightly(UpdatePolicy):
    """For ``day`` rounds the device predicts and fills its replay memory; at the end of the last of
    them it takes ``steps`` steps (None: as many as it met mini-batches since the last night it was
    awake) on samples drawn from there."""

    keeps = True

    def __init__(self, day: int = 10, steps: int | None = None) -> None:
        if day < 1:
            raise ConfigError("day", day, "must be a number of rounds ≥ 1")
        if steps is not None and steps < 1:
            raise ConfigError("steps", steps, "must be null or a number ≥ 1")
        self.day, self.steps = day, steps

    def batch_plans(self, round: int) -> tuple[BatchPlan, ...]:
        day = BatchPlan("new", learn=False)
        return (day, BatchPlan("kept", True, self.steps)) if round % self.day == 0 else (day,)


def check_policy(
    policy: UpdatePolicy, replay: Replay, stream: Stream, epochs: float | None, classes: int
) -> None:
    """Raises :class:`ConfigError` for a policy without the memory it needs, a memory that nobody
    reads, and streams of which nothing can be learnt."""
    name = called(policy) if is_plugin(policy) else type(policy).__name__.lower()
    memory = called(replay)
    if policy.keeps and not replay.size:
        raise ConfigError(
            "replay", "none", f"must be ring, reservoir or class_balanced with update={name}"
        )
    if replay.size and not policy.streams:
        raise ConfigError(
            "replay", memory, f"must be none with update={name}, which has all samples at hand"
        )
    if replay.size and not policy.learns(1) and not policy.keeps:
        raise ConfigError(
            "replay",
            memory,
            f"must be none with update={name}, which never learns; update.after=1 does once",
        )
    if replay.size and not policy.keeps and not replay.drawn(stream.batch):
        valid = (
            f"of a mini-batch of {stream.batch} is not one sample, so that the memory is never"
            " read; must be more"
        )
        raise ConfigError("replay.ratio", replay.ratio, valid)
    if replay.by_class and classes < 2:
        raise ConfigError(
            "replay", memory, "needs one class label a sample; ring or reservoir would do"
        )
    if not policy.streams:
        return
    if epochs is not None:
        raise ConfigError(
            "train.local_epochs",
            epochs,
            f"must be null with update={name}, which meets every sample once",
        )
    most = int(stream.sizes_N.max())
    if most < stream.batch:
        found = f"the longest stream has {most} samples"
        raise ConfigError(
            "train.batch",
            stream.batch,
            f"{found}, less than one mini-batch; at most {most} would do, or more data",
        )
