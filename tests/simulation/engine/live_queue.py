"""Live actors without Ray: their calls wait in a queue, and a test says who is served next."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from swarm.simulation.engine.live.actor import LiveActor
from swarm.simulation.experiment import Experiment
from swarm.simulation.shard import Shard


class Answer:
    """What a call returns, once it has been served."""

    there, value = False, None


class Handle:
    """An actor and its queue; ``handle.step.remote(1)`` appends a call, as with Ray."""

    def __init__(self, actor: LiveActor) -> None:
        self.actor, self.queue = actor, deque[tuple[Answer, str, Any]]()

    def __getattr__(self, name: str) -> Any:
        return _Method(self, name)

    def serve(self) -> None:
        """Do what has been asked until now, but not what that asks for."""
        for _ in range(len(self.queue)):
            answer, name, arguments = self.queue.popleft()
            answer.value = getattr(self.actor, name)(*arguments)
            answer.there = True


class _Method:
    def __init__(self, handle: Handle, name: str) -> None:
        self.handle, self.name = handle, name

    def remote(self, *arguments: Any) -> Answer:
        answer = Answer()
        self.handle.queue.append((answer, self.name, arguments))
        return answer


def actors(experiment: Experiment, count: int, go: bool = True) -> list[Handle]:
    """So many actors of an experiment, which have begun, and play rounds if they ``go``."""
    parts = experiment.blocks.spread(count)
    owner_N = np.empty(experiment.settings.devices, np.int64)
    handles = [Handle(LiveActor()) for _ in parts]
    for number, (handle, part) in enumerate(zip(handles, parts, strict=True)):
        handle.actor.shard = Shard(experiment, part)
        owner_N[handle.actor.shard.devices] = number
    for number, handle in enumerate(handles):
        handle.actor.join(1, number, owner_N, handles, 0, 0.0)
        if go:
            handle.actor.go()
    return handles
