"""Turns the phases of a protocol into calls of actors: which actor does what, and which arrays it
gets from which other actor.

The driver handles references only and waits for nothing: the arrays of one turn are arguments of
other actors' next turns, so each shard goes on as soon as its own neighbours have sent.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from swarm.communication.round_messages import RoundMessages, Traffic
from swarm.communication.routing import Route, routes
from swarm.simulation.engine.base import Ints
from swarm.simulation.engine.ray.actor import Order, Step
from swarm.simulation.engine.ray.actor_pool import ActorHandle, Call
from swarm.simulation.experiment import Experiment
from swarm.simulation.phases.base import Phase
from swarm.simulation.phases.transport import play_round


@dataclass
class ShardAssignment:
    """The shards of an experiment and their actors: ``blocks`` and ``devices`` have the ids of each
    shard, in the order of ``members``.
    """

    experiment: Experiment
    members: list[ActorHandle]
    blocks: list[Ints]
    devices: list[Ints]
    _routes: dict[Hashable, list[Route]] = field(default_factory=dict)

    def routes(self, messages: RoundMessages) -> list[Route]:
        """The routes of ``messages``, one for each shard; routes that come back in
        later rounds are kept."""
        if messages.key in self._routes:
            return self._routes[messages.key]
        found = routes(messages, self.devices, self.experiment.settings.compute.dtype)
        if messages.reusable:
            self._routes[messages.key] = found
        return found

    def mean(self, parts: Sequence[Any]) -> Call:
        """Have the first actor add up the partial sums of all actors, in the order of blocks."""
        first = self.members[0]
        return Call(
            first, first.handle.merge.remote(self.blocks, *parts), "adding up a mean", parts
        )


class CallScheduler:
    """Collects steps, and makes one call of each actor whenever something has to be sent."""

    def __init__(self, assignment: ShardAssignment) -> None:
        self.assignment = assignment
        self.made: list[list[Call]] = []  # for each turn, one call of each actor
        self._steps: list[Step] = []
        self._arrived: list[list[Any]] = [[] for _ in assignment.members]
        self._needed = 0  # how many turns must be done until a round has learnt for the last time

    def round(self, round: int) -> tuple[list[Traffic], int]:
        """Schedule a round; returns its traffic, and how many turns must be done before the
        learning results of the round are there.
        """
        before, self._needed = len(self.made), 0
        sent = play_round(self.assignment.experiment.communication.phases, round, self)
        if len(self.made) == before:
            self.flush()
        return sent, max(self._needed, len(self.made))

    def flush(self) -> None:
        """Make the calls for the steps that are left."""
        if self._steps:
            self._turn(lambda _: 0, [{} for _ in self.assignment.members])

    # --- how a phase is played, by what travels ---------------------------------------------------

    def local(self, phase: Phase, round: int) -> None:
        """See :class:`~swarm.simulation.phases.transport.Carrier`."""
        self._steps.append(Step("apply", round, phase.place))
        if phase.learns:
            self._needed = len(self.made) + 1

    def mean_over_all(self, phase: Phase, round: int) -> None:
        """See :class:`~swarm.simulation.phases.transport.Carrier`."""
        step = Step("collect", round, phase.place, "mean")
        self._steps.append(step)
        parts = [one for (one,) in self._turn(lambda _: 1, [{} for _ in self.assignment.members])]
        mean = self.assignment.mean(parts)
        self._arrived = [[mean.ref] for _ in self.assignment.members]
        self._steps.append(replace(step, kind="apply"))

    def along_links(self, phase: Phase, round: int, messages: RoundMessages) -> None:
        """See :class:`~swarm.simulation.phases.transport.Carrier`."""
        each_route = self.assignment.routes(messages)
        # Two phases of a round may share its messages; each drops its own route when it is done.
        key = messages.key if messages.reusable else (phase.number, messages.key)
        step = Step("collect", round, phase.place, "links", key, messages.reusable)
        self._steps.append(step)
        new: list[dict[Hashable, Route]] = [
            {} if key in member.routes else {key: route}
            for member, route in zip(self.assignment.members, each_route, strict=True)
        ]
        sent = self._turn(lambda i: len(each_route[i].multicasts), new)
        if step.reusable:
            for member in self.assignment.members:
                member.routes.add(key)
        boxes = [route.addressed(refs) for route, refs in zip(each_route, sent, strict=True)]
        self._arrived = [
            [boxes[j][i] for j in sorted(route.inbox)] for i, route in enumerate(each_route)
        ]
        self._steps.append(replace(step, kind="apply"))

    def _turn(
        self, sends: Callable[[int], int], each_route: list[dict[Hashable, Route]]
    ) -> list[list[Any]]:
        """Make one call of each actor; returns the references of the arrays that each sends."""
        steps, arrived = tuple(self._steps), self._arrived
        self._steps, self._arrived = [], [[] for _ in arrived]
        first, last = steps[0], steps[-1]
        phases = self.assignment.experiment.communication.phases
        words = (
            f"round {first.round} ({phases[first.phase].name}) to round {last.round}"
            f" ({phases[last.phase].name})"
        )
        calls, sent = [], []
        for i, (member, route, arrays) in enumerate(
            zip(self.assignment.members, each_route, arrived, strict=True)
        ):
            refs = member.turn(Order(steps, route), arrays, sends(i))
            calls.append(Call(member, refs[0], words, arrays))
            sent.append(refs[1:])
        self.made.append(calls)
        return sent


def format_ids(devices: Ints) -> str:
    """Device ids in words: ``0 to 5, 12``; more than four ranges are cut off."""
    ends = np.flatnonzero(np.diff(devices) != 1)
    starts = [0, *(ends + 1)]
    parts = [
        f"{devices[a]}" if a == b else f"{devices[a]} to {devices[b]}"
        for a, b in zip(starts, [*ends, len(devices) - 1], strict=True)
    ]
    return ", ".join(parts[:4]) + (", …" if len(parts) > 4 else "")
