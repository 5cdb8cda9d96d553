"""The actor side: one process with one shard.

It knows nothing of Ray; what it gets and returns are arrays.

A *turn* is one call: take in what has arrived, then go on until something has to be sent. With
D-PSGD that is one call an actor and round: mix, learn, pack.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Hashable, Sequence
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
from swarm.simulation.evaluation import apart
from swarm.simulation.experiment import Experiment, RunSpec
from swarm.simulation.phases.base import Phase, TrainResult
from swarm.simulation.phases.transport import Arrived
from swarm.simulation.shard import Shard

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
TIMED = ("learn", "pack", "mix", "wait")


@dataclass(frozen=True)
class Step:
    """One thing to do in a turn: collect what a phase sends, or apply what has arrived.

    Attributes:
        kind: Which of the two.
        round: The round, counted from 1.
        phase: The number of the phase in its protocol.
        transport: How rows travel in it.
        route: The key of the round's route, where rows travel.
        reusable: Whether that route comes back in later rounds.
    """

    kind: Literal["collect", "apply"]
    round: int
    phase: int
    transport: Literal["none", "links", "mean"] = "none"
    route: Hashable = None
    reusable: bool = False


@dataclass(frozen=True)
class Report:
    """What a turn tells the driver: what was learnt in which round, and the seconds that each kind
    of work took.
    """

    learnt: dict[int, TrainResult]
    seconds: dict[str, float]


@dataclass(frozen=True)
class EvaluationPart:
    """A shard's part of an evaluation: block ids, and their devices' results as
    :class:`BlockEvaluation` has them, one block after the other; ``votes_CT`` is summed over the
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
        # what comes out of Ray's object store is read-only, and is only ever read
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        prepare_process()

    def ping(self) -> int:
        """The process id, once everything asked for before is done."""
        return os.getpid()

    @blamed()
    def begin(
        self, settings: Settings, dataset: Dataset, holdings: DeviceSplit, blocks: Ints, folder: str
    ) -> None:
        """Be these blocks of this plan, as they are before the first round.

        ``folder`` is where plug-ins are looked up.
        """
        self.shard, self.routes, self.idle_since = (
            None,
            {},
            None,
        )  # the old shard's memory goes before the new one comes
        if Path(folder).is_dir():
            os.chdir(folder)
        # Hidden from Ray, which would import it in every worker as it reads what is sent there
        # first. By now that is done, and a plug-in may well need it.
        if sys.modules.get("pyarrow", ...) is None:
            del sys.modules["pyarrow"]
        with torch.inference_mode():
            self.shard = Shard(Experiment(RunSpec(settings, dataset, holdings)), blocks)

    @blamed()
    def reset(self, arrays: dict[str, Array] | None) -> None:
        """Go on from these rows of an earlier :meth:`snapshot`; None: from the start."""
        old = self._own()
        with torch.inference_mode():
            self.shard = Shard(old.experiment, old.blocks)
            if arrays is not None:  # copied, for the rows are written to
                self.shard.restore({name: torch.tensor(value) for name, value in arrays.items()})
        self.idle_since = None

    def end(self) -> None:
        """Give the shard's memory back."""
        self.shard, self.routes = None, {}

    # --- a round ----------------------------------------------------------------------------------

    @blamed()
    def turn(self, steps: Sequence[Step], routes: dict[Hashable, Route], *arrived: Array) -> Any:
        """Do ``steps`` in order and return a :class:`Report`, followed by the arrays that are to be
        sent, if any.

        ``routes`` are those not sent before. ``arrived`` is for the first step: a mean, or
        one array for each entry of the route's inbox, in the order of their shards'
        numbers.
        """
        shard, seconds = self._own(), dict.fromkeys(TIMED, 0.0)
        if self.idle_since is not None:
            seconds["wait"] = time.perf_counter() - self.idle_since
        self.routes |= routes
        learnt: dict[int, TrainResult] = {}
        out: list[Array] = []
        with torch.inference_mode():
            for step in steps:
                start = time.perf_counter()
                phase = shard.experiment.communication.phases[step.phase]
                if step.kind == "collect":
                    out += self._collect(shard, phase, step)
                else:
                    found = phase.apply(shard, step.round, self._arrived(step, arrived))
                    if found is not None:
                        learnt[step.round] = found  # of two times in a round the second
                took = "pack" if step.kind == "collect" else "learn" if phase.learns else "mix"
                seconds[took] += time.perf_counter() - start
        self.idle_since = time.perf_counter()
        report = Report(learnt, seconds)
        return (report, *out) if out else report

    def _collect(self, shard: Shard, phase: Phase, step: Step) -> list[Array]:
        """What a phase sends: rows for other shards, or the terms of a mean."""
        payload = phase.collect(shard, step.round)
        if step.transport == "mean":
            return [self._means(payload.packets, phase.shares(step.round))]
        shard.payload = payload
        boxes = shard.outgoing(self.routes[step.route])
        return [_array(boxes[other]) for other in sorted(boxes)]

    def _arrived(self, step: Step, arrays: Sequence[Array]) -> Arrived:
        """What has come for a step."""
        if step.transport == "mean":
            return Arrived(mean_M=torch.as_tensor(arrays[0]))
        if step.transport == "none":
            return Arrived()
        route = self.routes[step.route] if step.reusable else self.routes.pop(step.route)
        pairs = zip(sorted(route.inbox), arrays, strict=True)
        return Arrived(route=route, from_shards={j: torch.as_tensor(rows) for j, rows in pairs})

    def _means(self, rows_nM: Tensor | None, shares_N: Array) -> Array:
        """The partial sums ``[blocks, M]`` of rows (None: of the parameters), in the order of the
        shard's blocks.
        """
        parts = dict(self._own().partial_means(rows_nM, shares_N))
        return _array(torch.stack([parts[int(block)] for block in self._own().blocks]))

    def merge(self, blocks: Sequence[Ints], *parts: Array) -> Array:
        """Add up everybody's partial sums in the order of the block ids: ``[P]``."""
        rows = [
            dict(zip(b.tolist(), torch.as_tensor(part), strict=True))
            for b, part in zip(blocks, parts, strict=True)
        ]
        return _array(merge(rows))

    # --- look -------------------------------------------------------------------------------------

    def means(self, shares_N: Array) -> Array:
        """Partial sums of the parameters, ``[blocks, P]``."""
        with torch.inference_mode():
            self.idle_since = None
            return self._means(None, shares_N)

    @blamed()
    def row_values(self, mean_P: Array) -> Array:
        """A column for each metric of parameters, of every device here."""
        with torch.inference_mode():
            return self._looked_at().row_values(torch.as_tensor(mean_P))

    @blamed()
    def evaluate(self, samples: Ints, blocks: set[int]) -> EvaluationPart:
        """The devices of those of ``blocks`` that live here, on the samples with these ids."""
        with torch.inference_mode():
            found, votes = apart(self._looked_at().evaluate(samples, blocks))
        return EvaluationPart(
            list(found),
            [_array(part.loss_B) for part in found.values()],
            [_array(part.hits_BC) for part in found.values()],
            [_array(part.values_BV) for part in found.values()],
            None if votes is None else _array(votes),
        )

    def snapshot(self) -> dict[str, Array]:
        """All that has to be kept to go on later, a row for each device."""
        return {name: _array(value) for name, value in self._looked_at().snapshot().items()}

    def _looked_at(self) -> Shard:
        """The shard, and no waiting time until its next turn."""
        self.idle_since = None
        return self._own()

    def _own(self) -> Shard:
        assert self.shard is not None, "begin comes first"
        return self.shard


def _array(value: Tensor) -> Array:
    return value.cpu().numpy()
