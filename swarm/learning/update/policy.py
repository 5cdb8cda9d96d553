"""Update policies: when a device learns, and from which samples.

A device meets every sample of its stream once, and predicts it first (test-then-train; Gama,
Sebastião, Rodrigues, *On evaluating stream learning algorithms*, Machine Learning 90, 2013). The
update policy says whether and when it then learns from the sample.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from swarm.common.errors import ConfigError, counted
from swarm.common.plugin import called, is_plugin, returned, shape_of
from swarm.config.aliases.old_members import OldMembers
from swarm.data.stream.stream import Stream
from swarm.learning.update.replay import Replay

SampleSource = Literal["all", "new", "kept"]


@dataclass(frozen=True)
class BatchPlan:
    """A part of a round: ``steps`` mini-batches from one source.

    Attributes:
        source: ``new`` samples of the stream, ``kept`` samples of the replay memory, or ``all``
            samples of the device, again and again.
        learn: Whether the device learns from the samples; if not, it only predicts them and is
            scored.
        steps: The number of mini-batches. None means as many as the section ``train`` says; for
            ``kept``, as many as the device has met since it last learnt from its memory.
    """

    source: SampleSource
    learn: bool
    steps: int | None = None


class UpdatePolicy(OldMembers, ABC):
    """Says what a device does in a round.

    All devices have the same policy; one that is not active, or whose stream has ended, does
    nothing. One policy object is used by several experiments, so its answers must depend on the
    round alone.
    """

    streams = True
    """Whether devices meet each sample once, in an order; if not, they have all their samples from
    the start.
    """
    keeps = False
    """Whether the policy needs a replay memory."""
    only_predicts: bool = False
    """Whether devices are meant to learn nothing in any round, so that nobody is warned of it, and
    a replay memory is refused.
    """
    why_idle: str = "learns nothing in these rounds; more rounds would do"
    """What a message says after ``update=NAME`` where devices learn nothing, and what would change
    that.
    """

    @abstractmethod
    def batch_plans(self, round: int) -> tuple[BatchPlan, ...]:
        """Return the parts of ``round`` (counted from 1) in their order."""

    def learns(self, rounds: int) -> bool:
        """Whether devices learn in any of the first ``rounds`` rounds."""
        return any(
            plan.learn for round in range(1, rounds + 1) for plan in batch_plans_of(self, round)
        )


def batch_plans_of(policy: UpdatePolicy, round: int) -> tuple[BatchPlan, ...]:
    """Return ``policy.batch_plans(round)``.

    Raises :class:`ConfigError` if that is not a tuple of batch plans.
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
    """A device has all its samples from the start and learns from them in epochs; the predictions
    of the first epoch are scored.
    """

    streams = False

    def batch_plans(self, round: int) -> tuple[BatchPlan, ...]:
        return (BatchPlan("all", learn=True),)


class Online(UpdatePolicy):
    """A device predicts each mini-batch of its stream, is scored, and learns from it at once; the
    samples come back only from a replay memory.
    """

    def batch_plans(self, round: int) -> tuple[BatchPlan, ...]:
        return (BatchPlan("new", learn=True),)


class Frozen(UpdatePolicy):
    """A device learns online until round ``after``, and only predicts from then on.

    With ``after=0`` it never learns; ``init=FILE`` can give it trained parameters. Raises
    :class:`ConfigError` unless ``after`` ≥ 0.
    """

    def __init__(self, after: int = 0) -> None:
        if after < 0:
            raise ConfigError("after", after, "must be a number of rounds ≥ 0")
        self.after, self.only_predicts = after, after == 0
        self.why_idle = "never learns; with update.after=1 it does so in one round"

    def batch_plans(self, round: int) -> tuple[BatchPlan, ...]:
        return (BatchPlan("new", learn=round <= self.after),)


class Nightly(UpdatePolicy):
    """A device predicts and fills its replay memory for ``day`` rounds; at the end of the last of
    them it takes ``steps`` local steps on samples drawn from the memory.

    ``steps`` None means one step for each mini-batch that the device met since it last learnt.
    Raises :class:`ConfigError` unless ``day`` and ``steps`` are at least 1.
    """

    keeps = True

    def __init__(self, day: int = 10, steps: int | None = None) -> None:
        if day < 1:
            raise ConfigError("day", day, "must be a number of rounds ≥ 1")
        if steps is not None and steps < 1:
            raise ConfigError("steps", steps, "must be null or a number ≥ 1")
        self.day, self.steps = day, steps
        self.why_idle = (
            f"learns nothing before round {day}; more rounds or a shorter update.day would do"
        )

    def batch_plans(self, round: int) -> tuple[BatchPlan, ...]:
        day = BatchPlan("new", learn=False)
        return (day, BatchPlan("kept", True, self.steps)) if round % self.day == 0 else (day,)


def check_policy(
    policy: UpdatePolicy, replay: Replay, stream: Stream, epochs: float | None, classes: int
) -> None:
    """Refuse a policy, a replay memory and data that cannot work together, with a ConfigError.

    ``epochs`` is ``train.local_epochs``, and ``classes`` the number of classes (0 without labels).
    """
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
    if replay.size and policy.only_predicts:
        valid = f"must be none with update={name}, which {policy.why_idle}"
        raise ConfigError("replay", memory, valid)
    if replay.size and not policy.keeps and not replay.drawn(stream.batch):
        valid = (
            f"adds less than one remembered sample to a mini-batch of {stream.batch}, so that the"
            " memory is never read; must be larger"
        )
        raise ConfigError("replay.ratio", replay.ratio, valid)
    if replay.by_class and classes < 2:
        raise ConfigError(
            "replay", memory, "needs a class label for each sample; ring or reservoir would do"
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
        found = f"the longest stream has {counted(most, 'sample')}"
        raise ConfigError(
            "train.batch",
            stream.batch,
            f"{found}, less than one mini-batch; at most {most} would do, or more data",
        )
