"""A plug-in for the tests: a protocol that leaves out mixing in most rounds."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from swarm.communication.protocol.base import Protocol, State


class Seldom(Protocol):
    """D-PSGD that mixes in every ``every``-th round only; ``answer`` is a wrong one."""

    def __init__(self, every: int, answer: Any = None) -> None:
        self.every, self.answer = every, answer

    def plays(self, phase: int, round: int) -> bool:
        return round % self.every == 0 if self.answer is None else self.answer

    def start(self, state: State) -> Tensor:
        state.round_buffers["before"] = state.x
        return state.x
