"""The interface of an engine: the seam between the round loop and what runs the shards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.rows import Blocks
from swarm.communication.round_messages import Traffic
from swarm.simulation.evaluation import Asked
from swarm.simulation.experiment import Experiment
from swarm.simulation.footprint import Footprint, Part
from swarm.simulation.phases.base import TrainResult

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Block = int | Literal["auto"]


@dataclass(frozen=True)
class RoundResult:
    """The result of one round, per device in id order.

    Attributes:
        round: The round, counted from 1.
        loss_N: The mean training loss.
        scored_N: How many samples were met for the first time.
        score_N: The sum of their scores before learning from them.
        steps_N: The local steps taken.
        work_N: The computation, in local steps on a plain mini-batch.
        finite_N: Whether the parameters are finite.
        kept_finite_N: Whether what devices keep for themselves beside them is finite.
        traffic: What was sent, for each phase that sends anything.
        actor_seconds: The seconds that each actor spent since the previous result, by kind of work;
            empty in one process.
        measured: Further numbers of the record, which only this engine measures.
    """

    round: int
    loss_N: Floats
    scored_N: Floats
    score_N: Floats
    steps_N: Ints
    work_N: Floats
    finite_N: npt.NDArray[np.bool_]
    kept_finite_N: npt.NDArray[np.bool_]
    traffic: Sequence[Traffic]
    actor_seconds: Mapping[str, Floats] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """The results of M evaluated devices on T samples.

    ``devices_M`` are their ids, ``loss_M`` their mean losses, ``hits_MC`` their right answers by
    label (or squared errors by target), ``votes_TC`` the devices that predict each label (None for
    a regression), and ``values_MV`` has the numbers of the metrics of outputs, or of the one metric
    that has looked at the devices.
    """

    devices_M: Ints
    loss_M: Floats
    hits_MC: Floats
    votes_TC: Ints | None
    values_MV: Floats

    def members(
        self, member_M: npt.NDArray[np.bool_], voter_M: npt.NDArray[np.bool_] | None = None
    ) -> Evaluation:
        """The results of the devices that ``member_M`` selects. Votes are counted over whole
        blocks, so they are left out unless all devices that vote, ``voter_M`` (None: all), are
        selected."""
        voted = member_M if voter_M is None else member_M[voter_M]
        return Evaluation(
            self.devices_M[member_M],
            self.loss_M[member_M],
            self.hits_MC[member_M],
            self.votes_TC if voted.all() else None,
            self.values_MV[member_M],
        )


def prepare_process(device: torch.device | None = None) -> None:
    """Set up the arithmetic of a process that hosts shards, on this ``device`` (None: the CPU);
    every engine calls it in each of them.

    torch runs on one thread: more gain nothing on small products, and sums would depend on their
    number. Numbers below 1e-38 count as zero: a confident softmax has many of them, and the
    processor takes a hundred times as long for each.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if device is not None and device.type == "cuda":
        # some sums on a card are otherwise added up in whatever order its threads end
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.deterministic = True
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def merge(parts: Sequence[Mapping[int, Tensor]]) -> Tensor:
    """The sum ``[M]`` of the partial sums of all blocks, in the order of block ids; each of
    ``parts`` maps some block ids to their sums."""
    by_block = {block: row for part in parts for block, row in part.items()}
    return added((block, by_block[block]) for block in sorted(by_block))


def added(parts: Iterable[tuple[int, Tensor]]) -> Tensor:
    """The sum ``[M]`` of the partial sums of blocks, in the order in which they come."""
    total: Tensor | None = None
    for _, row in parts:
        total = row.clone() if total is None else total.add_(row)
    assert total is not None
    return total


def record(
    round: int,
    devices: int,
    shards: Sequence[Ints],
    learnt: Sequence[TrainResult],
    sent: Sequence[Traffic],
) -> RoundResult:
    """The result of ``round``, put together from the learning results of the shards (``learnt``,
    empty for a round without learning); ``shards`` has the device ids of each shard.
    """
    loss, seen, score, work = (np.zeros(devices) for _ in range(4))
    steps, (finite, kept) = np.zeros(devices, np.int64), np.ones((2, devices), bool)
    for d, part in zip(shards, learnt, strict=bool(learnt)):
        loss[d], seen[d], score[d] = part.loss_n, part.scored_n, part.score_n
        steps[d], work[d] = part.steps_n, part.work_n
        finite[d], kept[d] = part.finite_n, part.kept_finite_n
    return RoundResult(round, loss, seen, score, steps, work, finite, kept, sent)


class Engine(ABC):
    """Runs the shards of one experiment at a time, between ``start`` and ``stop``; ``stop`` is also
    called after errors.

    As a context manager, an engine may keep what is costly to start, such as processes, from one
    experiment to the next.
    """

    # How many devices train together. Results depend on it, so it is part of the run's config.
    block: Block = "auto"

    # Whether all devices play a round before anybody plays the next one.
    common_rounds: bool = True

    # Whether the experiment has ended before its last round, because this engine ended it.
    ended: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        return

    def check(self, experiment: Experiment) -> None:
        """Raises :class:`~swarm.common.errors.ConfigError` if this engine cannot run the
        experiment.

        It is called before anything is allocated or written, for an experiment with the run's own
        settings. An arm with fewer blocks is run with fewer shards.
        """
        return

    def check_arm(self, experiment: Experiment) -> None:
        """Raises :class:`~swarm.common.errors.ConfigError` if this engine cannot run an arm with
        this experiment, however large it is. It is called for every arm, before the start."""
        return

    def may_fork(self, experiment: Experiment) -> bool:
        """Whether a forked copy of this process may run other experiments with this engine, while
        it runs this one here."""
        return False

    def own_memory(self, experiment: Experiment, swarm: Footprint) -> Sequence[Part]:
        """The memory that this engine takes on this machine beside that of the ``swarm``."""
        return ()

    @abstractmethod
    def start(self, experiment: Experiment) -> None:
        """Place the shards and give every device its first row."""

    @abstractmethod
    def advance(self, until: int) -> Iterator[RoundResult]:
        """Run the rounds up to and including ``until``, in order; yields the result of each.

        An engine without common rounds (:mod:`swarm.simulation.engine.live`) leaves out some
        numbers, may go beyond ``until``, and may stop before it (:attr:`ended`).

        Shards may be rounds ahead of the results, so they may be evaluated only after the last
        result has been taken.
        """

    @abstractmethod
    def evaluate(self, samples: Asked, blocks: Ints) -> Evaluation:
        """Evaluate the devices of these blocks on these samples, or look at them as a metric does,
        which gives values only."""

    @abstractmethod
    def total(self, shares_N: Floats) -> Tensor:
        """Σ_i share_i · x_i, ``[P]`` in float64; it is added up per block first, then over blocks
        in their order.
        """

    @abstractmethod
    def row_values(self, mean_P: Tensor) -> Floats:
        """The values of the metrics of parameters, ``[N, V]``, computed block by block from its
        rows and the mean model ``mean_P``.
        """

    @abstractmethod
    def snapshot(self) -> dict[str, Tensor]:
        """Every array that a later :meth:`restore` needs, rows in device order, on the CPU."""

    def current(self) -> dict[str, Tensor]:
        """The arrays of :meth:`snapshot`, valid until the next round only, so that an engine which
        has the rows in this process need not copy them. They may be on the compute device."""
        return self.snapshot()

    @abstractmethod
    def restore(self, arrays: Mapping[str, Tensor], round: int) -> None:
        """Go on from a snapshot taken after ``round`` rounds.

        The engine owns these arrays afterwards. It asks for one after the other, so they may be
        read from a file one by one, and ignores arrays that it does not need."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Facts for the summary about how the experiment really runs."""

    @abstractmethod
    def stop(self) -> None:
        """End the experiment and free its memory."""


def require_blocks(key: str, parts: int, blocks: Blocks) -> None:
    """Refuse to share ``blocks`` out to more ``parts`` than there are.

    Raises :class:`ConfigError` that names ``key``, and the block size that gives enough of them.
    """
    if parts <= len(blocks):
        return
    valid = f"must be at most {len(blocks)}: there are {len(blocks)} blocks of up to {blocks.size}"
    valid += " devices to share out"
    if parts <= blocks.devices:
        valid += f"; engine.block={blocks.devices // parts} makes enough (and changes last bits)"
    raise ConfigError(key, parts, valid)
