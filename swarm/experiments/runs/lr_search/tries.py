"""Tries of learning rates: short runs of an arm, of which some are gone on with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import torch

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
    which is repeated after an interruption chooses the same rate; so does which tries run together
    (:mod:`swarm.simulation.replicas`).
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
            last = self._stage(alive, now, planned[-1].end, later)
            tried += last
            if later:
                alive = survivors(last, later[0].tries)
                self._states = {pair: self._states.get(pair) for pair in alive}
                if len(alive) < 2:
                    break
        return tried, last

    def in_full(self, pairs: Sequence[Pair], rounds: int) -> list[TriedRate]:
        """What ``pairs`` find in all rounds of the run. A try of ``rounds`` rounds goes on from
        where it stopped, if it was kept and had the rates of the whole run so far."""
        settings, variants = self._prepared.settings, self._arm.variants
        alike = all(_begins_alike(variants[variant], rounds) for variant, _ in pairs)
        goes_on = alike and all(self._states.get(pair) is not None for pair in pairs)
        self._states = {pair: self._states[pair] for pair in pairs} if goes_on else {}
        start = rounds if goes_on else 0
        found, _ = self.play(pairs, [Stage(len(pairs), start, settings.rounds)])
        return found

    def _stage(
        self, pairs: Sequence[Pair], stage: Stage, rounds: int, later: Sequence[Stage]
    ) -> list[TriedRate]:
        """What ``pairs`` find in ``stage`` of tries of so many ``rounds``."""
        s, found = self._prepared.settings, list[TriedRate]()
        tie_may_follow = s.lr_search.rounds is None and stage.end < s.rounds
        keep = self._keeps and (bool(later) or tie_may_follow)
        for group in self._groups(pairs):
            done = len(found), len(found) + len(group)
            self._progress.begin(stage, done, sum(each.rounds for each in later))
            states = [state for pair in group if (state := self._states.pop(pair, None))]
            part = Part(states, stage.end, rounds, keep)
            tried = go_on(self._prepared, self._arm, group, part, self._engine, self._progress)
            found += [each for each, _ in tried]
            self._states |= {pair: state for pair, (_, state) in zip(group, tried, strict=True)}
        return found

    def _groups(self, pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
        """The ``pairs`` that run together: replicas of one device that stand in one block."""
        for variant, each in groupby(pairs, key=itemgetter(0)):
            own, most = list(each), self._arm.together[variant]
            yield from (own[i : i + most] for i in range(0, len(own), most))


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
    """A part of some tries: from their ``states`` (none: the start) to round ``until`` of
    ``rounds``; ``keep`` says whether their states are needed again."""

    states: Sequence[Checkpoint]
    until: int
    rounds: int
    keep: bool = False


def go_on(
    prepared: PreparedRun,
    arm: PreparedArm,
    group: Sequence[Pair],
    part: Part,
    engine: Engine,
    look: Look = lambda: None,
) -> list[tuple[TriedRate, Checkpoint | None]]:
    """Run a part of the tries of a ``group`` of pairs, which have one variant and run together;
    returns what each has found, and its state if that is needed again.

    One that diverges changes nothing for the others."""
    (variant, lr), until, many = group[0], part.until, len(group)
    lrs = [lr for _, lr in group]
    settings = _as_a_try(with_lr(arm.variants[variant], lr), part.rounds)
    found: list[tuple[float, float] | None] = [None] * many
    states: list[Checkpoint | None] = [None] * many
    with Simulation(prepared.experiment(arm, settings, lrs), engine) as simulation:
        if part.states:
            simulation.restore(_together(part.states))
        measure, good_N = simulation.measure, np.ones(simulation.experiment.settings.devices, bool)
        good = np.ones(many, bool)
        for happened in simulation.advance(until):
            good &= ~measure.diverged(happened).reshape(many, -1).any(1)
            if not good.any():
                break
            look()
        else:
            good_N = np.repeat(good, len(good_N) // many)
            seen_N = simulation.counters.scored_N
            each = measure.validate(simulation.round, seen_N, good_N)
            scores, losses = (values.reshape(int(good.sum()), -1).mean(1) for values in each)
            kept = _apart(simulation.checkpoint(), many) if part.keep else states
            for place, score, loss in zip(np.flatnonzero(good), scores, losses, strict=True):
                if np.isfinite(score) and loss <= measure.largest_loss:
                    found[place], states[place] = (float(score), float(loss)), kept[place]
    tried = [TriedRate(variant, lr, until, each) for lr, each in zip(lrs, found, strict=True)]
    return list(zip(tried, states, strict=True))


def _together(states: Sequence[Checkpoint]) -> Checkpoint:
    """The state of replicas, given that of each."""
    if len(states) == 1:
        return states[0]
    arrays = [state.arrays for state in states]
    return replace(
        states[0], arrays={name: torch.cat([each[name] for each in arrays]) for name in arrays[0]}
    )


def _apart(state: Checkpoint, many: int) -> list[Checkpoint | None]:
    """The state of each of so many replicas. Nothing is copied, as the simulation ends, and nobody
    else has its arrays."""
    if many == 1:
        return [state]
    return [
        replace(state, arrays={name: rows[k : k + 1] for name, rows in state.arrays.items()})
        for k in range(many)
    ]


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
        score_M, loss_M = simulation.measure.validate(0, simulation.counters.scored_N)
        return float(score_M.mean()), float(loss_M.mean())
