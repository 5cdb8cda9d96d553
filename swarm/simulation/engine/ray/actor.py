"""The actor side: one process with one shard.

It does not use Ray; its arguments and results are arrays.

A *turn* is one call of an actor: apply what has arrived, then go on until something has to be sent.
With D-PSGD an actor has one turn a round: mix, learn, pack.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.plugin import blamed
from swarm.communication.routing import Route
from swarm.config.settings import Settings
from swarm.data.dataset import Dataset, DeviceSplit
from swarm.simulation.engine.base import merge, prepare_process
from swarm.simulation.evaluation import Asked, with_summed_votes
from swarm.simulation.experiment import Experiment, RunSpec
from swarm.simulation.phases.base import Phase, TrainResult
from swarm.simulation.phases.transport import Arrived
from swarm.simulation.shard import Shard

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
# Ray hands smaller results on within its messages, and puts larger ones into its object store,
# where they are read in place.
COPIED_BYTES = 100 << 10
TIMED = ("learn", "pack", "mix", "wait")


@dataclass(frozen=True)
class Step:
    """One step of a turn: collect what a phase sends, or apply what has arrived.

    Attributes:
        kind: Which of the two.
        round: The round, counted from 1.
        phase: The place of the phase among those of a round.
        transport: How rows travel in the phase.
        route: The key of the round's route, where rows travel along links.
        reusable: Whether that route comes back in later rounds.
    """

    kind: Literal["collect", "apply"]
    round: int
    phase: int
    transport: Literal["none", "links", "mean"] = "none"
    route: Hashable = None
    reusable: bool = False


@dataclass(frozen=True)
class Order:
    """What an actor is told to do in a turn: the steps, in order, and the routes among theirs that
    it has not been sent before."""

    steps: tuple[Step, ...]
    routes: dict[Hashable, Route]


@dataclass(frozen=True)
class Report:
    """The report of a turn to the driver: the results of learning by round, and the seconds that
    each kind of work took.
    """

    learnt: dict[int, TrainResult]
    seconds: dict[str, float]

    def packed(self) -> bytes:
        """The report as bytes, which Ray hands on as they are: a line of JSON, and a table for each
        round."""
        head = json.dumps([list(self.learnt), self.seconds]).encode()
        tables = [np.array([*vars(part).values()], float) for part in self.learnt.values()]
        return b"\n".join([head, b"".join(table.tobytes() for table in tables)])

    @classmethod
    def unpacked(cls, data: bytes) -> Report:
        """The report that :meth:`packed` made these bytes of."""
        head, _, tables = data.partition(b"\n")
        rounds, seconds = json.loads(head)
        learnt, found = {}, np.frombuffer(tables).reshape(len(rounds), 7, -1) if rounds else ()
        for round, (loss_n, scored_n, score_n, steps_n, work_n, *finite) in zip(
            rounds, found, strict=True
        ):
            finite_n, kept_n = (each_n.astype(bool) for each_n in finite)
            counts = scored_n, score_n, steps_n.astype(np.int64), work_n
            learnt[round] = TrainResult(loss_n, *counts, finite_n, kept_n)
        return cls(learnt, seconds)


@dataclass(frozen=True)
class EvaluationPart:
    """A shard's part of an evaluation: block ids, and for each block the arrays of
    :class:`~swarm.simulation.evaluation.BlockEvaluation`; ``votes_CT`` is summed over the
    blocks."""

    blocks: list[int]
    loss: list[Array]
    hits: list[Array]
    values: list[Array]
    votes_CT: Array | None


@dataclass(repr=False)
class ShardActor:
    """Holds one shard at a time. Between two runs it holds none and waits for the next."""

    shard: Shard | None = None
    routes: dict[Hashable, Route] = field(default_factory=dict)
    idle_since: float | None = None

    def __post_init__(self) -> None:
        # Arrays from Ray's object store are read-only; this process only reads them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        prepare_process()

    def ping(self) -> int:
        """The process id; the answer comes after all earlier calls are done."""
        return os.getpid()

    @blamed()
    def begin(
        self, settings: Settings, dataset: Dataset, holdings: DeviceSplit, blocks: Ints, folder: str
    ) -> None:
        """Build the shard of ``blocks`` in its state before the first round.

        ``folder`` becomes the working folder, in which plug-ins are found.
        """
        self.shard, self.routes, self.idle_since = (
            None,
            {},
            None,
        )  # so that the old shard's memory is freed before the new one is made
        if Path(folder).is_dir():
            os.chdir(folder)
        # pyarrow was hidden from Ray, which would import it in every worker to read its first
        # arguments. That is done by now, and a plug-in may need pyarrow.
        if sys.modules.get("pyarrow", ...) is None:
            del sys.modules["pyarrow"]
        with torch.inference_mode():
            self.shard = Shard(Experiment(RunSpec(settings, dataset, holdings)), blocks)

    @blamed()
    def reset(self, arrays: dict[str, Array] | None) -> None:
        """Go back to the rows ``arrays`` of an earlier :meth:`snapshot`; None means the start."""
        old = self._own()
        with torch.inference_mode():
            self.shard = Shard(old.experiment, old.blocks)
            if arrays is not None:  # copied, as the shard writes to its rows
                self.shard.restore({name: torch.tensor(value) for name, value in arrays.items()})
        self.idle_since = None

    def end(self) -> None:
        """Free the shard's memory."""
        self.shard, self.routes = None, {}

    # --- a round ----------------------------------------------------------------------------------

    @blamed()
    def turn(self, order: Order, *arrived: Array | bytes) -> Any:
        """Do the steps of ``order``; returns a packed :class:`Report`, followed by
        the arrays to be sent, if any.

        ``arrived`` is for the first step: a mean, or one array for each entry of the route's inbox,
        in the order of shard numbers.
        """
        shard, seconds = self._own(), dict.fromkeys(TIMED, 0.0)
        if self.idle_since is not None:
            seconds["wait"] = time.perf_counter() - self.idle_since
        self.routes |= order.routes
        learnt: dict[int, TrainResult] = {}
        out: list[Any] = []
        with torch.inference_mode():
            for step in order.steps:
                start = time.perf_counter()
                phase = shard.experiment.communication.phases[step.phase]
                if step.kind == "collect":
                    out += self._collect(shard, phase, step)
                else:
                    found = phase.apply(shard, step.round, self._arrived(step, arrived))
                    if found is not None:
                        learnt[step.round] = found  # the second result, if a round learns twice
                took = "pack" if step.kind == "collect" else "learn" if phase.learns else "mix"
                seconds[took] += time.perf_counter() - start
        self.idle_since = time.perf_counter()
        report = Report(learnt, seconds).packed()
        return (report, *out) if out else report

    def _collect(self, shard: Shard, phase: Phase, step: Step) -> list[Any]:
        """The arrays that a phase sends: rows for other shards, or the partial sums of a mean."""
        if step.transport == "mean":
            return [self._by_block(phase.partial_sums(shard, step.round))]
        shard.payload = phase.collect(shard, step.round)
        return [_packed(_array(rows)) for rows in shard.outgoing(self.routes[step.route])]

    def _arrived(self, step: Step, arrays: Sequence[Any]) -> Arrived:
        """What has arrived for ``step``, out of the arrays of the call."""
        if step.transport == "mean":
            return Arrived(mean_M=torch.as_tensor(arrays[0]))
        if step.transport == "none":
            return Arrived()
        route = self.routes[step.route] if step.reusable else self.routes.pop(step.route)
        dtype, found = self._own().experiment.settings.compute.dtype, {}
        for j, rows in zip(sorted(route.inbox), arrays, strict=True):
            found[j] = torch.as_tensor(_unpacked(rows, len(route.inbox[j]), dtype))
        return Arrived(route=route, from_shards=found)

    def _by_block(self, found: Iterable[tuple[int, Tensor]]) -> Array:
        """Partial sums ``[blocks, M]``, in the order of the shard's blocks."""
        parts = dict(found)
        return _array(torch.stack([parts[int(block)] for block in self._own().blocks]))

    def merge(self, blocks: Sequence[Ints], *parts: Array) -> Array:
        """The sum of the partial sums of all actors in the order of block ids, ``[M]``; ``blocks``
        has the block ids of each of ``parts``."""
        rows = [
            dict(zip(b.tolist(), torch.as_tensor(part), strict=True))
            for b, part in zip(blocks, parts, strict=True)
        ]
        return _array(merge(rows))

    # --- look -------------------------------------------------------------------------------------

    def means(self, shares_N: Array) -> Array:
        """The weighted partial sums of the parameters, ``[blocks, P]``."""
        with torch.inference_mode():
            self.idle_since = None
            return self._by_block(self._own().partial_means(None, shares_N))

    @blamed()
    def row_values(self, mean_P: Array) -> Array:
        """The values of the metrics of parameters for this shard's devices, ``[n, V]``."""
        with torch.inference_mode():
            return self._looked_at().row_values(torch.as_tensor(mean_P))

    @blamed()
    def evaluate(self, samples: Asked, blocks: set[int]) -> EvaluationPart:
        """Evaluate the devices of ``blocks``, all of this shard; see :meth:`Engine.evaluate`."""
        with torch.inference_mode():
            found, votes = with_summed_votes(self._looked_at().evaluate(samples, blocks))
        return EvaluationPart(
            list(found),
            [_array(part.loss_B) for part in found.values()],
            [_array(part.hits_BC) for part in found.values()],
            [_array(part.values_BV) for part in found.values()],
            None if votes is None else _array(votes),
        )

    def snapshot(self) -> dict[str, Array]:
        """Every array that :meth:`reset` needs, a row for each device."""
        return {name: _array(value) for name, value in self._looked_at().snapshot().items()}

    def _looked_at(self) -> Shard:
        """The shard; the time until its next turn does not count as waiting."""
        self.idle_since = None
        return self._own()

    def _own(self) -> Shard:
        assert self.shard is not None, "begin comes first"
        return self.shard


def _array(value: Tensor) -> Array:
    return value.cpu().numpy()


def _packed(rows: Array) -> Array | bytes:
    """Rows to be sent: as bytes if Ray copies them anyway."""
    return rows.tobytes() if rows.nbytes < COPIED_BYTES else rows


def _unpacked(sent: Array | bytes, rows: int, dtype: npt.DTypeLike) -> Array:
    """The so many rows that :func:`_packed` was given."""
    return np.frombuffer(sent, dtype).reshape(rows, -1) if isinstance(sent, bytes) else sent
