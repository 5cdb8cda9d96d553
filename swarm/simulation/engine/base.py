"""The seam between the round loop and whatever runs the shards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.communication.round_messages import Traffic
from swarm.simulation.experiment import Experiment
from swarm.simulation.footprint import Footprint, Part
from swarm.simulation.phases.base import TrainResult

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Block = int | Literal["auto"]


@dataclass(frozen=True)
class RoundResult:
    """What happened in one round, per device in id order.

    ``loss_N``: mean training loss; ``scored_N``/``score_N``: samples met for the first time and the
    sum of their scores before learning; ``steps_N``: local steps taken; ``work_N``: what was
    computed, in local steps; ``finite_N``: whether the parameters are still finite.
    ``actor_seconds``: by kind of work, what each actor spent on it since the record before; empty
    in one process.
    """

    round: int
    loss_N: Floats
    scored_N: Floats
    score_N: Floats
    steps_N: Ints
    work_N: Floats
    finite_N: npt.NDArray[np.bool_]
    traffic: Sequence[Traffic]  # of each phase that exchanges something
    actor_seconds: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """The evaluated devices on T samples: ids, mean loss, hits by label (or squared error by
    target), votes ``[T, C]``, and a column for each metric of outputs.
    """

    devices_M: Ints
    loss_M: Floats
    hits_MC: Floats
    votes_TC: Ints | None
    values_MV: Floats

    def members(self, member_M: npt.NDArray[np.bool_]) -> Evaluation:
        """Those devices only; the votes, which come by block, are of all or of none."""
        return Evaluation(
            self.devices_M[member_M],
            self.loss_M[member_M],
            self.hits_MC[member_M],
            self.votes_TC if member_M.all() else None,
            self.values_MV[member_M],
        )


def prepare_process() -> None:
    """Set up the arithmetic of a process that hosts shards; every engine calls it in each of them.

    One thread: on small products more gain nothing, and their sums would depend on the number.
    Numbers below 1e-38 count as zero: a confident softmax is full of them, and the processor takes
    a hundred times as long over each.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def merge(parts: Sequence[Mapping[int, Tensor]]) -> Tensor:
    """The sum of blocks' partial sums in the order of their ids, whoever holds them."""
    by_block = {block: row for part in parts for block, row in part.items()}
    return added((block, by_block[block]) for block in sorted(by_block))


def added(parts: Iterable[tuple[int, Tensor]]) -> Tensor:
    """The same, of partial sums that come in this order, one by one."""
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
    """A round's record out of the shards' reports (none for a round without learning); ``shards``
    has their device ids.
    """
    loss, seen, score, work = (np.zeros(devices) for _ in range(4))
    steps, finite = np.zeros(devices, np.int64), np.ones(devices, bool)
    for d, part in zip(shards, learnt, strict=bool(learnt)):
        loss[d], seen[d], score[d] = part.loss_n, part.scored_n, part.score_n
        steps[d], work[d], finite[d] = part.steps_n, part.work_n, part.finite_n
    return RoundResult(round, loss, seen, score, steps, work, finite, sent)


class Engine(ABC):
    """Runs the shards of one experiment at a time, between ``start`` and ``stop``; ``stop`` also
    comes after errors.

    Used as a context manager it may keep what is costly to start, such as processes, from one
    experiment to the next.
    """

    # devices that train together: part of the results, so part of the run's config
    block: Block = "auto"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        return

    def check(self, experiment: Experiment) -> None:
        """Raises :class:`ConfigError` if this engine cannot run the experiment; before anything is
        allocated or written.

        It is asked about the run's own settings. An arm with fewer blocks makes do with fewer
        shards.
        """
        return

    def own_memory(self, experiment: Experiment, swarm: Footprint) -> Sequence[Part]:
        """What this engine takes of the machine's memory beside the ``swarm`` itself."""
        return ()

    @abstractmethod
    def start(self, experiment: Experiment) -> None:
        """Place the shards and give every device its first row."""

    @abstractmethod
    def advance(self, until: int) -> Iterator[RoundResult]:
        """Run the rounds up to and including ``until``, in order, one record each.

        Shards may be rounds ahead of the record; they are to be looked at only when all records
        have been taken.
        """

    @abstractmethod
    def evaluate(self, samples: Ints, blocks: Ints) -> Evaluation:
        """The devices of these blocks on the samples with these ids."""

    @abstractmethod
    def total(self, shares_N: Floats) -> Tensor:
        """Σ_i share_i · x_i, ``[P]`` in float64: per block first, then over blocks in their
        order.
        """

    @abstractmethod
    def row_values(self, mean_P: Tensor) -> Floats:
        """A column for each metric of parameters, ``[N, V]``: each block's values, from its rows
        and the mean.
        """

    @abstractmethod
    def snapshot(self) -> dict[str, Tensor]:
        """Every kept array, rows in device order, on the CPU."""

    def current(self) -> dict[str, Tensor]:
        """As :meth:`snapshot`, to be looked at before the next round only: an engine that has the
        rows here need not copy them. They may be on the compute device, as ``snapshot``'s may
        not."""
        return self.snapshot()

    @abstractmethod
    def restore(self, arrays: Mapping[str, Tensor], round: int) -> None:
        """Go on from a snapshot taken after ``round`` rounds.

        Its arrays are the engine's own from here on. Each is asked for when it is its turn, so that
        they may be read from a file one by one; of other arrays no notice is taken."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What really runs: for the summary."""

    @abstractmethod
    def stop(self) -> None:
        """Give everything back."""
