"""Tries of learning rates: short runs of an arm, of which some are gone on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from swarm.common.errors import DivergedError
from swarm.common.system.processes.child import Child, Parent
from swarm.config.build import build
from swarm.config.settings import Settings
from swarm.experiments.resolved import with_lr
from swarm.experiments.runs.lr_search.stages import Look, Stage, Watch
from swarm.experiments.runs.prepared import PreparedArm, PreparedRun
from swarm.learning.optim.schedule import Schedule
from swarm.simulation.checkpoint import Checkpoint
from swarm.simulation.engine.base import Engine
from swarm.simulation.loop import Simulation

Pair = tuple[int, float]  # the number of a variant, and a learning rate


@dataclass(frozen=True)
class TriedRate:
    """A learning rate (and variant) tried for some rounds. ``found`` is the score and loss on the
    validation split; None if the loss was beyond
    :attr:`~swarm.simulation.measure.SwarmEvaluator.largest_loss` or the arm diverged."""

    variant: int
    lr: float
    rounds: int
    found: tuple[float, float] | None

    def rank(self) -> tuple[bool, float, float]:
        """A key whose largest value is the best rate: the highest score, among equal scores the
        lowest loss; if all diverged, the smallest rate.
        """
        if self.found is None:
            return False, -self.lr, 0.0
        return True, self.found[0], -self.found[1]

    def facts(self) -> dict[str, Any]:
        """The entry of this try in ``summary.json``."""
        score, loss = self.found or (None, None)
        return {
            "variant": self.variant,
            "lr": self.lr,
            "rounds": self.rounds,
            "score": score,
            "loss": loss,
        }

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> TriedRate:
        """The try that has these :meth:`facts`."""
        found = None if facts["score"] is None else (facts["score"], facts["loss"])
        return cls(facts["variant"], facts["lr"], facts["rounds"], found)


class Tries:
    """The tries of an arm, stage by stage.

    Where ``lr_search.method=halving``, what goes on does so from where it stopped, and the states
    are kept in memory between two stages. They follow from the settings alone, so that a search
    which is repeated after an interruption chooses the same rate.
    """

    def __init__(
        self, prepared: PreparedRun, arm: PreparedArm, engine: Engine, watch: Watch
    ) -> None:
        self._prepared, self._arm, self._engine, self._progress = prepared, arm, engine, watch
        self._states: dict[Pair, Checkpoint | None] = {}
        self._keeps = prepared.settings.lr_search.method == "halving"

    def play(
        self, pairs: Sequence[Pair], planned: Sequence[Stage]
    ) -> tuple[list[TriedRate], list[TriedRate]]:
        """What each of the stages found for each of its ``pairs``, and what the last one found."""
        tried: list[TriedRate] = []
        alive, last = list(pairs), tried
        for number, stage in enumerate(planned):
            now, later = replace(stage, tries=len(alive)), planned[number + 1 :]
            last = [
                self._one(pair, now, place, planned[-1].end, later)
                for place, pair in enumerate(alive, 1)
            ]
            tried += last
            if later:
                alive = survivors(last, later[0].tries)
                self._states = {pair: self._states.get(pair) for pair in alive}
                if len(alive) < 2:
                    break
        return tried, last

    def in_full(self, pairs: Sequence[Pair], rounds: int, beside: bool = False) -> list[TriedRate]:
        """What ``pairs`` find in all rounds of the run. A try of ``rounds`` rounds goes on from
        where it stopped, if it was kept and had the rates of the whole run so far. With ``beside``
        a child runs every other one of them."""
        settings, variants = self._prepared.settings, self._arm.variants
        alike = all(_begins_alike(variants[variant], rounds) for variant, _ in pairs)
        goes_on = alike and all(self._states.get(pair) is not None for pair in pairs)
        self._states = {pair: self._states[pair] for pair in pairs} if goes_on else {}
        start = rounds if goes_on else 0
        stage = Stage(len(pairs), start, settings.rounds)
        if beside:
            return self._in_two(pairs, stage)
        found, _ = self.play(pairs, [stage])
        return found

    def _in_two(self, pairs: Sequence[Pair], stage: Stage) -> list[TriedRate]:
        """What ``pairs`` find in ``stage``, every other one of them in a child."""
        places = list(enumerate(pairs, 1))

        def one(place: int, pair: Pair) -> TriedRate:
            return self._one(pair, stage, place, stage.end, ())

        def others(parent: Parent) -> None:
            self._progress = self._progress.silent(parent.beat)
            for place, pair in places[1::2]:
                parent.send(one(place, pair).facts())

        try:
            child = Child(others)
        except OSError:  # no more processes are allowed
            return [one(*each) for each in places]
        try:
            here = [one(*each) for each in places[::2]]
            there = []
            for each in places[1::2]:
                facts = child.receive(self._progress.look)
                there.append(one(*each) if facts is None else TriedRate.of(facts))
        finally:
            child.end()
        return [(there if k % 2 else here)[k // 2] for k in range(len(pairs))]

    def _one(
        self, pair: Pair, stage: Stage, place: int, rounds: int, later: Sequence[Stage]
    ) -> TriedRate:
        self._progress.begin(stage, place, sum(each.rounds for each in later))
        settings = self._prepared.settings
        tie_may_follow = settings.lr_search.rounds is None and stage.end < settings.rounds
        keep = self._keeps and (bool(later) or tie_may_follow)
        part = Part(self._states.pop(pair, None), stage.end, rounds, keep)
        found, state = go_on(self._prepared, self._arm, pair, part, self._engine, self._progress)
        self._states[pair] = state
        return found


def survivors(found: Sequence[TriedRate], count: int) -> list[Pair]:
    """The ``count`` best of a stage, and those that share the score of the last one of these;
    those that diverged are not among them. They keep their order."""
    ranked = sorted((t for t in found if t.found), key=TriedRate.rank, reverse=True)
    least = ranked[min(count, len(ranked)) - 1].found if ranked else None
    return [(t.variant, t.lr) for t in found if t.found and least and t.found[0] >= least[0]]


def _begins_alike(settings: Settings, rounds: int) -> bool:
    """Whether a try of so many rounds has the learning rates with which the whole run begins."""
    schedule: Schedule = build(settings.schedule_plug_in, Schedule, "schedule", settings.plugins)
    own = settings.schedule_rounds
    return all(
        schedule.factor(done, rounds) == schedule.factor(done, own) for done in range(rounds)
    )


@dataclass(frozen=True)
class Part:
    """A part of a try: from ``state`` (None: the start) to round ``until`` of ``rounds``; ``keep``
    says whether its state is needed again."""

    state: Checkpoint | None
    until: int
    rounds: int
    keep: bool = False


def go_on(
    prepared: PreparedRun,
    arm: PreparedArm,
    pair: Pair,
    part: Part,
    engine: Engine,
    look: Look = lambda: None,
) -> tuple[TriedRate, Checkpoint | None]:
    """Run a part of the try of ``pair``; returns what it has found, and its state if that is
    needed again."""
    (variant, lr), until = pair, part.until
    settings = _as_a_try(with_lr(arm.variants[variant], lr), part.rounds)
    with Simulation(prepared.experiment(arm, settings), engine) as simulation:
        if part.state is not None:
            simulation.restore(part.state)
        try:
            for _ in simulation.records(until):
                look()
        except DivergedError:
            return TriedRate(variant, lr, until, None), None
        score, loss = found = simulation.measure.validate(
            simulation.round, simulation.counters.scored_N
        )
        good = np.isfinite(score) and loss <= simulation.measure.largest_loss
        # not copied: the simulation ends here, and nobody else has its arrays
        state = simulation.checkpoint() if part.keep and good else None
    return TriedRate(variant, lr, until, found if good else None), state


def _as_a_try(settings: Settings, rounds: int) -> Settings:
    """The settings of a try of ``rounds`` rounds, which is measured at its end only."""
    # a short run has the whole schedule, shortened
    if rounds < settings.rounds:
        settings = settings.with_schedule_rounds(None)
    evaluate = settings.evaluate.model_copy(update={"every": rounds, "accuracy": False})
    # a try has all its rounds, and its last models are those that count
    every_round = settings.early_stopping.model_copy(
        update={"metric": None, "patience": None, "min_delta": 0.0}
    )
    return settings.model_copy(
        update={"rounds": rounds, "evaluate": evaluate, "early_stopping": every_round}
    )


def first_scores(prepared: PreparedRun, arm: PreparedArm, engine: Engine) -> tuple[float, float]:
    """The mean score and loss on the validation split before any learning."""
    with Simulation(prepared.experiment(arm, arm.first), engine) as simulation:
        return simulation.measure.validate(0, simulation.counters.scored_N)
