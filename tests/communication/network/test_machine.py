"""Any sequence of joining, leaving, dying, restoring and going on: the promises hold after every
step.
"""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.strategies import integers

from swarm.communication.network.base import Bools, Churn
from swarm.communication.network.network import UNSENT
from swarm.simulation.loop import Simulation
from tests.support import prepared

N, LAST = 8, 12
STUDY = prepared(f"devices={N}", f"rounds={LAST}", "network.drop=0.2", "delay=exponential", "network.max_delay=2",
                 "model=softmax", "train.local_steps=1", "churn=joining", "engine.shards=2", "engine.block=2")  # fmt: skip


class Scripted(Churn):
    """Who is there in each round as the machine has said so far."""

    def __init__(self) -> None:
        self.there = np.ones((4 * LAST, N), bool)

    def online(self, round: int) -> Bools:
        return np.asarray(self.there[round].copy())


class Swarm(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.script, self.saved, self.dead = Scripted(), None, set[int]()
        self.running = self._fresh()
        self.saved = (0, self._rows())

    def teardown(self) -> None:
        if hasattr(self, "running"):
            self.running.engine.stop()

    def _fresh(self) -> Simulation:
        """A new engine on the script as it is: nothing of the old one is left."""
        running = Simulation(
            STUDY.experiment(STUDY.arms[0], STUDY.arms[0].variants[0]), STUDY.engine
        )
        object.__setattr__(running.experiment.communication.network, "churn", self.script)
        running.__enter__()
        return running

    def _rows(self) -> dict[str, torch.Tensor]:
        return {name: rows.clone() for name, rows in self.running.engine.snapshot().items()}

    @property
    def round(self) -> int:
        return int(self.running.engine.round)  # type: ignore[attr-defined]

    def _say(self, device: int, there: bool) -> None:
        """From the next round on: everything up to now has happened.

        A new engine forgets what the old one looked up.
        """
        self.script.there[self.round + 1 :, device] = there
        self._restart(self.round, self._rows())

    def _restart(self, round: int, rows: dict[str, torch.Tensor]) -> None:
        self.running.engine.stop()
        self.running = self._fresh()
        self.running.engine.restore({name: each.clone() for name, each in rows.items()}, round)

    @rule(device=integers(0, N - 1))
    def leave(self, device: int) -> None:
        self._say(device, False)

    @rule(device=integers(0, N - 1))
    def join(self, device: int) -> None:
        if device not in self.dead:
            self._say(device, True)

    @rule(device=integers(0, N - 1))
    def kill(self, device: int) -> None:
        self.dead.add(device)
        self._say(device, False)

    @rule()
    def save(self) -> None:
        self.saved = (self.round, self._rows())

    @rule()
    def restore(self) -> None:
        assert self.saved is not None
        self._restart(*self.saved)

    @rule(rounds=integers(1, 3))
    def advance_and_replay(self, rounds: int) -> None:
        if self.round + rounds > LAST:
            return
        start, before = self.round, self._rows()
        for _ in self.running.engine.advance(start + rounds):
            pass
        after = self._rows()
        self._restart(start, before)
        for _ in self.running.engine.advance(start + rounds):
            pass
        again = self._rows()
        for name in after:
            assert torch.equal(after[name], again[name]), name

    @invariant()
    def promises(self) -> None:
        if not hasattr(self, "running") or not self.round:
            return
        schedule, round = self.running.experiment.communication.messages, self.round
        assert torch.isfinite(self._rows()["x"]).all()
        exchange = schedule.mix(round)
        np.testing.assert_allclose(exchange.matrix.sum(1), 1.0, rtol=0, atol=1e-12)
        away = np.flatnonzero(~self.script.there[round])
        graph, outcomes = schedule.sent(round)
        assert (outcomes.ticks_E[np.isin(graph.src_E, away)] == UNSENT).all()
        assert not np.isin(exchange.dst_R, away).any()


Swarm.TestCase.settings = settings(
    max_examples=5,
    stateful_step_count=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestSwarm = Swarm.TestCase
