"""From a protocol's phases to calls of actors: who does what, and who gets whose arrays.

Only references pass here.

Nothing waits: a turn's arrays are arguments of other actors' next turns, so each shard goes on as
soon as its own neighbours have sent, whatever the rest do.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from swarm.communication.round_messages import RoundMessages, Traffic
from swarm.communication.routing import Route, routes
from swarm.simulation.engine.base import Ints
from swarm.simulation.engine.ray.actor import Step
from swarm.simulation.engine.ray.actor_pool import ActorHandle, Call
from swarm.simulation.experiment import Experiment
from swarm.simulation.phases.base import Phase
from swarm.simulation.phases.transport import play_round


@dataclass
class ShardAssignment:
    """An experiment's shards on their actors: ``blocks`` and ``devices`` of each, in the members'
    order.
    """

    experiment: Experiment
    members: list[ActorHandle]
    blocks: list[Ints]
    devices: list[Ints]
    _routes: dict[Hashable, list[Route]] = field(default_factory=dict)

    def routes(self, exchange: RoundMessages) -> list[Route]:
        """The routes of an exchange, one a shard; kept for those that come back."""
        if exchange.key in self._routes:
            return self._routes[exchange.key]
        found = routes(exchange, self.devices, self.experiment.settings.compute.dtype)
        if exchange.reusable:
            self._routes[exchange.key] = found
        return found

    def mean(self, parts: Sequence[Any]) -> Call:
        """Have the first actor add up everybody's partial sums, in the order of the blocks."""
        first = self.members[0]
        return Call(
            first, first.handle.merge.remote(self.blocks, *parts), "adding up a mean", parts
        )


class CallScheduler:
    """Collects steps, and hands them out as one call an actor whenever something has to be sent."""

    def __init__(self, assignment: ShardAssignment) -> None:
        self.assignment = assignment
        self.made: list[list[Call]] = []  # a turn: one call a member
        self._steps: list[Step] = []
        self._arrived: list[list[Any]] = [[] for _ in assignment.members]
        self._needed = 0  # turns until the last lesson of a round

    def round(self, round: int) -> tuple[list[Traffic], int]:
        """Ask for a round: its traffic, and how many turns must be done before all of it has been
        learnt.
        """
        before, self._needed = len(self.made), 0
        sent = play_round(self.assignment.experiment.communication.phases, round, self)
        if len(self.made) == before:
            self.flush()
        return sent, max(self._needed, len(self.made))

    def flush(self) -> None:
        """Hand out what is left."""
        if self._steps:
            self._turn(lambda _: 0, [{} for _ in self.assignment.members])

    # --- how a phase is played, by what travels ---------------------------------------------------

    def local(self, phase: Phase, round: int) -> None:
        """See :class:`~swarm.simulation.phases.transport.Carrier`."""
        self._steps.append(Step("apply", round, phase.number))
        if phase.learns:
            self._needed = len(self.made) + 1

    def mean_over_all(self, phase: Phase, round: int) -> None:
        """See :class:`~swarm.simulation.phases.transport.Carrier`."""
        step = Step("collect", round, phase.number, "mean")
        self._steps.append(step)
        parts = [one for (one,) in self._turn(lambda _: 1, [{} for _ in self.assignment.members])]
        mean = self.assignment.mean(parts)
        self._arrived = [[mean.ref] for _ in self.assignment.members]
        self._steps.append(replace(step, kind="apply"))

    def along_links(self, phase: Phase, round: int, messages: RoundMessages) -> None:
        """See :class:`~swarm.simulation.phases.transport.Carrier`."""
        each_route = self.assignment.routes(messages)
        # two phases may share the messages of one round, and each forgets its route when it is done
        key = messages.key if messages.reusable else (phase.number, messages.key)
        step = Step("collect", round, phase.number, "links", key, messages.reusable)
        self._steps.append(step)
        new: list[dict[Hashable, Route]] = [
            {} if key in member.routes else {key: route}
            for member, route in zip(self.assignment.members, each_route, strict=True)
        ]
        sent = self._turn(lambda i: len(each_route[i].outbox), new)
        if step.reusable:
            for member in self.assignment.members:
                member.routes.add(key)
        boxes = [
            dict(zip(sorted(route.outbox), refs, strict=True))
            for route, refs in zip(each_route, sent, strict=True)
        ]
        self._arrived = [
            [boxes[j][i] for j in sorted(route.inbox)] for i, route in enumerate(each_route)
        ]
        self._steps.append(replace(step, kind="apply"))

    def _turn(
        self, sends: Callable[[int], int], each_route: list[dict[Hashable, Route]]
    ) -> list[list[Any]]:
        """One call an actor; returns the references of what each sends."""
        steps, arrived = tuple(self._steps), self._arrived
        self._steps, self._arrived = [], [[] for _ in arrived]
        first, last = steps[0], steps[-1]
        words = f"round {first.round} ({first.kind}) to round {last.round} ({last.kind})"
        calls, sent = [], []
        for i, (member, route, arrays) in enumerate(
            zip(self.assignment.members, each_route, arrived, strict=True)
        ):
            refs = member.handle.turn.options(num_returns=1 + sends(i)).remote(
                steps, route, *arrays
            )
            refs = refs if isinstance(refs, list) else [refs]
            calls.append(Call(member, refs[0], words, arrays))
            sent.append(refs[1:])
        self.made.append(calls)
        return sent


def format_ids(devices: Ints) -> str:
    """Device ids for people: ``0 to 5, 12``."""
    ends = np.flatnonzero(np.diff(devices) != 1)
    starts = [0, *(ends + 1)]
    parts = [
        f"{devices[a]}" if a == b else f"{devices[a]} to {devices[b]}"
        for a, b in zip(starts, [*ends, len(devices) - 1], strict=True)
    ]
    return ", ".join(parts[:4]) + (", …" if len(parts) > 4 else "")
