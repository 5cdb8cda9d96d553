"""The actors of a session, numbered from 0, and waiting for their answers: with a deadline, after
which the message names the actor that does not answer.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

from swarm.common.errors import SwarmError
from swarm.common.system.machine import ran_out_of_memory
from swarm.simulation.engine.ray.actor import Order, ShardActor
from swarm.simulation.engine.ray.cluster import Cluster, ClusterError

START_SECONDS = 120.0  # seconds for the first actor to start
EACH_SECONDS = 10.0  # seconds more for each further actor, twice what one takes on a busy core
PATIENCE = 20.0  # a turn may take this many times as long as the slowest round so far
LEAST_SECONDS = 60.0  # but at least this long
FIRST_SECONDS = 600.0  # the deadline before any round is done
LOOK_SECONDS = 0.5  # how often the driver checks whether an answer can still come


# Ray's names of the errors that say that a process or a machine, or an object on it, is lost
LOST = (
    "RayActorError",
    "ObjectLostError",
    "WorkerCrashedError",
    "OutOfMemoryError",
    "NodeDiedError",
    "ActorUnschedulableError",
)


class StuckError(SwarmError):
    """An actor neither answers nor dies."""


class FaultError(Exception):
    """An actor has died, or a result of it is lost; the run can go on from an earlier state.

    ``of_memory`` says that Ray killed the actor because the machine's memory was nearly full.
    """

    def __init__(self, text: str, of_memory: bool = False) -> None:
        self.of_memory = of_memory
        super().__init__(text)


@dataclass
class ActorHandle:
    """One actor: its handle, process id, the devices it holds, the routes it has been sent, and
    whether it has been asked to build its shard."""

    number: int
    handle: Any
    pid: int = 0
    devices: str = "none yet"
    routes: set[Hashable] = field(default_factory=set)
    begun: bool = False
    _turn_methods: dict[int, Any] = field(
        default_factory=dict
    )  # the method by the number of its results

    def replace(self, handle: Any) -> None:
        """Let a new actor, which has been told nothing yet, take the place of a dead one."""
        self.handle, self.routes, self.begun, self._turn_methods = handle, set(), False, {}

    def turn(self, order: Order, arrived: Sequence[Any], sends: int) -> list[Any]:
        """Call :meth:`ShardActor.turn`; returns the references of its report and of the ``sends``
        arrays that it sends."""
        if sends not in self._turn_methods:  # making it takes as long as calling it
            self._turn_methods[sends] = self.handle.turn.options(num_returns=1 + sends)
        refs = self._turn_methods[sends].remote(order, *arrived)
        return refs if isinstance(refs, list) else [refs]


@dataclass(frozen=True)
class Call:
    """A call of an actor: the reference of its first result, its description in words, and the
    references that it waits for.
    """

    member: ActorHandle
    ref: Any
    words: str
    waits_for: Sequence[Any] = ()


class ActorPool:
    """The actors of a session; there are as many as were ever asked for, until the cluster ends."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.ray = cluster, cluster.ray
        # With 0 cores each, any number of actors can share the cores of our own Ray.
        self._host = self.ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)(ShardActor)
        self.members: list[ActorHandle] = []
        self.slowest: float | None = None  # seconds of a round
        self._starting: list[Call] = []

    def ensure(self, count: int) -> list[ActorHandle]:
        """The first ``count`` actors; those that are missing are started. They can be called before
        :meth:`wait_started` returns."""
        slots = self._slots(count)
        new = [ActorHandle(n, self._make(n, slots)) for n in range(len(self.members), count)]
        self.members += new
        self._starting = self._pings(new)
        return self.members[:count]

    def wait_started(self) -> None:
        """Wait for the actors that the last :meth:`ensure` has started."""
        calls, self._starting = self._starting, []
        self._wait_ready(calls)

    def restart_dead(self, members: Sequence[ActorHandle]) -> None:
        """Restart those of ``members`` that no longer answer; they have to begin again."""
        calls = [Call(m, m.handle.ping.remote(), "finishing what it was asked") for m in members]
        dead = []
        for call in calls:
            try:
                (call.member.pid,) = self.gather([call])
            except FaultError:
                dead.append(call.member)
        slots = self._slots(len(self.members)) if dead else []
        for member in dead:
            member.replace(self._make(member.number, slots))
        self._wait_ready(self._pings(dead))

    def _slots(self, count: int) -> list[str]:
        """The id of a living node of the cluster for each of ``count`` actors; empty on our own
        Ray, which is one node.

        Every node gets about the same share of its cores, and the actors of a node follow each
        other in their order, as actors that are close in it have most to tell each other. Ray
        itself would spread actors by the cores that they ask for. Ours ask for none, so Ray may put
        all of them on one node.
        """
        if self.cluster.address is None:
            return []
        cores = {
            node["NodeID"]: int(node["Resources"].get("CPU", 0))
            for node in self.ray.nodes()
            if node["Alive"]
        }
        most = max(cores.values(), default=0)
        one_of_each_core = [
            name for turn in range(most) for name in sorted(cores) if turn < cores[name]
        ]
        if not one_of_each_core:
            return []
        return sorted(islice(cycle(one_of_each_core), count))

    def _make(self, number: int, slots: Sequence[str]) -> Any:
        """A new actor on the node that it is to live on.

        If that node has gone meanwhile, the actor's first answer is an error like that of an actor
        which has died. Ray would not heed a wish (``soft=True``) of actors that ask for no core.
        """
        if not slots:
            return self._host.remote()
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        home = NodeAffinitySchedulingStrategy(node_id=slots[number], soft=False)
        return self._host.options(scheduling_strategy=home).remote()

    def _pings(self, members: Sequence[ActorHandle]) -> list[Call]:
        return [Call(m, m.handle.ping.remote(), "starting") for m in members]

    def _wait_ready(self, pings: Sequence[Call]) -> None:
        found = self.gather(pings, START_SECONDS + EACH_SECONDS * len(pings))
        for call, pid in zip(pings, found, strict=True):
            call.member.pid = pid

    @property
    def patience(self) -> float:
        """The seconds after which an actor counts as stuck, which follow from the slowest round so
        far."""
        return (
            FIRST_SECONDS if self.slowest is None else max(LEAST_SECONDS, PATIENCE * self.slowest)
        )

    def gather(self, calls: Sequence[Call], seconds: float | None = None) -> list[Any]:
        """The results of the calls, in their order.

        Raises :class:`FaultError` if an actor has died, :class:`StuckError` after ``seconds``
        (default: ``patience``), a :class:`SwarmError` or an error about memory that an actor has
        raised, and :class:`ClusterError` for any other error of an actor.
        """
        errors = self.ray.exceptions
        limit = self.patience if seconds is None else seconds
        end = time.monotonic() + limit
        try:
            while True:
                self.cluster.check()
                left = max(end - time.monotonic(), 0.0)
                try:
                    return list(
                        self.ray.get([call.ref for call in calls], timeout=min(left, LOOK_SECONDS))
                    )
                except errors.GetTimeoutError:
                    if left <= LOOK_SECONDS:
                        raise self._stuck(calls, limit) from None
        except errors.RayError as error:
            cause = getattr(error, "cause", None) or error
            if isinstance(cause, tuple(getattr(errors, name) for name in LOST)):
                text = " ".join(str(cause).split())[:500]
                raise FaultError(text, isinstance(cause, errors.OutOfMemoryError)) from None
            if isinstance(cause, SwarmError) or ran_out_of_memory(cause):
                raise cause from None
            raise ClusterError(f"an actor failed: {error}") from None

    def _stuck(self, calls: Sequence[Call], limit: float) -> StuckError:
        """The error that names the actor which has all its arguments and does not answer; the
        others wait for it.
        """

        def ready(ref: Any) -> bool:
            return bool(self.ray.wait([ref], timeout=0, fetch_local=False)[0])

        late = [call for call in calls if not ready(call.ref)]
        guilty = next(
            (call for call in late if all(map(ready, call.waits_for))),
            late[0] if late else calls[0],
        )
        m = guilty.member
        return StuckError(
            f"actor {m.number} (process {m.pid}, devices {m.devices}) has not finished within"
            f" {limit:.0f} s: {guilty.words}"
        )
