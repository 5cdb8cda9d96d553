"""Chooses an arm's learning rate, and its variant, on the validation split."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from swarm.common.errors import DivergedError
from swarm.config.settings import Settings
from swarm.experiments.resolved import with_lr
from swarm.experiments.runs.prepared import PreparedArm, PreparedRun
from swarm.results.track.units import human_time
from swarm.simulation.checkpoint import Checkpoint
from swarm.simulation.engine.base import Engine
from swarm.simulation.loop import Simulation

Say = Callable[[str], None]
Look = Callable[[], None]
Pair = tuple[int, float]  # the number of a variant, and a learning rate
SAID_EVERY_S = 10.0  # seconds between two lines about how far a search is


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


@dataclass(frozen=True)
class Stage:
    """A stage of a search: so many ``tries`` go on from round ``start`` to round ``end``."""

    tries: int
    start: int
    end: int

    @property
    def rounds(self) -> int:
        """The rounds of all tries together."""
        return self.tries * (self.end - self.start)


def stages(settings: Settings, tries: int) -> list[Stage]:
    """The stages of a search with so many tries; none where there is nothing to choose.

    ``lr_search.method=grid`` has one. ``halving`` has ⌈log₂ tries⌉ (Jamieson and Talwalkar, AISTATS
    2016): after each the better half goes on, to twice as many rounds as before, so that the last
    two come as far as all do in the grid.
    """
    s = settings
    rounds = min(s.rounds, s.lr_search.rounds or max(5, s.rounds // 5))
    if tries < 2:
        return []
    if s.lr_search.method == "grid":
        return [Stage(tries, 0, rounds)]
    found, start, many = [], 0, (tries - 1).bit_length()
    for later in reversed(range(many)):
        end = -(-rounds // 2**later)
        found.append(Stage(tries, start, end))
        start, tries = end, -(-tries // 2)
    return found


def costly(settings: Settings, arms: Sequence[PreparedArm]) -> str | None:
    """A sentence that says that choosing the rates of ``arms`` takes more rounds than running them;
    None where it does not."""
    many = [len(arm.rates) * len(arm.variants) for arm in arms]
    choosing = sum(stage.rounds for tries in many for stage in stages(settings, tries))
    running = settings.rounds * len(arms)
    if choosing <= running:
        return None
    halving = settings.model_copy(
        update={"lr_search": settings.lr_search.model_copy(update={"method": "halving"})}
    )
    fewer = sum(stage.rounds for tries in many for stage in stages(halving, tries))
    other = f", lr_search.method=halving ({fewer:,} rounds)" if fewer < choosing else ""
    return (
        f"choosing learning rates takes {choosing:,} rounds, more than the {running:,} of the run"
        f" itself; a number as optimizer.lr{other} or fewer lr_search.lrs would make it shorter"
    )


class Watch:
    """Calls ``look`` after every round of a search, and says from time to time how far the search
    is and how long it will take yet."""

    def __init__(self, arm: str, say: Say, look: Look) -> None:
        self._arm, self._say, self._look = arm, say, look
        self._began = self._said = time.perf_counter()
        self._started = False
        self._done = self._round = self._number = self._rounds_after = 0
        self._stage = Stage(0, 0, 0)

    def begin(self, stage: Stage, number: int, later: int = 0) -> None:
        """The try ``number`` of ``stage`` begins, counted from 1; ``later`` are the rounds of the
        stages that follow."""
        self._stage, self._number, self._rounds_after = stage, number, later
        self._round = stage.start or -1  # a fresh start has a record of round 0

    def __call__(self) -> None:
        """A round is over."""
        self._look()
        self._round += 1
        self._done += self._round > 0
        now, stage = time.perf_counter(), self._stage
        if not self._started:  # starting the engine may take longer than many rounds
            self._began, self._started = now, True
        if now - self._said < SAID_EVERY_S or not self._done:
            return
        self._said = now
        tries = (stage.tries - self._number) * (stage.end - stage.start)
        rounds = stage.end - self._round + tries + self._rounds_after
        left = (now - self._began) / self._done * rounds
        self._say(
            f"{self._arm}: choosing a learning rate, try {self._number} of {stage.tries}, round"
            f" {self._round} of {stage.end}; about {human_time(left)} left"
        )


def search_lr(
    prepared: PreparedRun,
    arm: PreparedArm,
    engine: Engine,
    say: Say,
    look: Look = lambda: None,
) -> tuple[Settings, dict[str, Any]]:
    """The arm's settings with learning rate and variant chosen, and the facts about the search.

    Every pair of a variant and a rate of the grid runs for ``lr_search.rounds`` rounds, by default
    a fifth of the run, and the best mean accuracy (or R²) on the validation split wins; with
    ``lr_search.method=halving`` the worse ones end earlier. If ``lr_search.rounds`` is not set,
    pairs that share the best score then run as long as the arm itself will. Of pairs that still
    have equal scores the lower loss wins. The test set is never used. ``look`` is called after
    every round and may raise.
    """
    s = prepared.settings
    lrs = arm.rates
    pairs = list(itertools.product(range(len(arm.variants)), lrs))
    planned = stages(s, len(pairs))
    if not planned:
        return arm.first, {"lr": lrs[0], "variant": 0, "tried": []}
    rounds = planned[-1].end
    say(_announced(arm, planned))
    watch = Watch(arm.name, say, look)
    tried, last = _played(prepared, arm, pairs, planned, engine, watch)
    best = max(last, key=TriedRate.rank)
    equals = [t for t in last if t.found and best.found and t.found[0] == best.found[0]]
    if len(equals) > 1 and s.lr_search.rounds is None and rounds < s.rounds:
        # A validation split is small, so models often tie. The loss of a short run then misleads:
        # it is lowest for a slow rate, whose model is not yet as confident in its few mistakes as
        # it will be at the end.
        say(f"{arm.name}: {len(equals)} of them are equal so far; {s.rounds} rounds each decide")
        equal = [(t.variant, t.lr) for t in equals]
        in_full = [Stage(len(equal), 0, s.rounds)]
        longer, _ = _played(prepared, arm, equal, in_full, engine, watch)
        tried += longer
        best = max(longer, key=TriedRate.rank)
    variant, lr = best.variant, best.lr
    advice = _advice(best, lrs, lambda: first_scores(prepared, arm, engine))
    if advice:
        say(f"{arm.name}: {advice}")
    return with_lr(arm.variants[variant], lr), {
        "lr": lr,
        "variant": variant,
        "rounds": rounds,
        "tried": [t.facts() for t in tried],
    }


def _announced(arm: PreparedArm, planned: Sequence[Stage]) -> str:
    """The line that a search begins with."""
    many, shortest = len(arm.variants), "" if len(planned) == 1 else f"{planned[0].end} to "
    choice = f"learning rate out of {len(arm.rates)}" + f" × {many} batch sizes" * (many > 1)
    if len(arm.rates) == 1 < many:
        choice = f"batch size out of {many}"
    rounds = f"{shortest}{planned[-1].end} rounds each"
    return f"{arm.name}: choosing a {choice} on the validation split, {rounds}"


def _played(
    prepared: PreparedRun,
    arm: PreparedArm,
    pairs: Sequence[Pair],
    planned: Sequence[Stage],
    engine: Engine,
    watch: Watch,
) -> tuple[list[TriedRate], list[TriedRate]]:
    """What each stage found for each of its ``pairs``, and what the last one found.

    Between two stages the states of the tries are kept in memory; they follow from the settings
    alone, so that a search which is repeated after an interruption chooses the same rate.
    """
    tried: list[TriedRate] = []
    states: dict[Pair, Checkpoint | None] = {}
    alive, last = list(pairs), tried
    for number, stage in enumerate(planned):
        now, later = replace(stage, tries=len(alive)), planned[number + 1 :]
        last = []
        for place, (variant, lr) in enumerate(alive, 1):
            watch.begin(now, place, sum(each.rounds for each in later))
            if len(planned) == 1:
                last.append(try_out(prepared, arm, variant, lr, stage.end, engine, watch))
                continue
            one = TryFrom(states.get((variant, lr)), stage.end, planned[-1].end, bool(later))
            found, states[variant, lr] = _go_on(prepared, arm, (variant, lr), one, engine, watch)
            last.append(found)
        tried += last
        if later:
            alive = _survivors(last, later[0].tries)
            states = {pair: states[pair] for pair in alive}
            if len(alive) < 2:
                break
    return tried, last


def _survivors(found: Sequence[TriedRate], count: int) -> list[Pair]:
    """The ``count`` best of a stage, and those that share the score of the last one of these;
    those that diverged are not among them. They keep their order."""
    ranked = sorted((t for t in found if t.found), key=TriedRate.rank, reverse=True)
    least = ranked[min(count, len(ranked)) - 1].found if ranked else None
    return [(t.variant, t.lr) for t in found if t.found and least and t.found[0] >= least[0]]


@dataclass(frozen=True)
class TryFrom:
    """A part of a try: from ``state`` (None: the start) to round ``until`` of ``rounds``; ``keep``
    says whether its state is needed again."""

    state: Checkpoint | None
    until: int
    rounds: int
    keep: bool = False


def try_out(
    prepared: PreparedRun,
    arm: PreparedArm,
    variant: int,
    lr: float,
    rounds: int,
    engine: Engine,
    look: Look = lambda: None,
) -> TriedRate:
    """Run a variant with the rate ``lr`` for ``rounds`` rounds, without records; ``look`` is called
    after each round."""
    whole = TryFrom(None, rounds, rounds)
    return _go_on(prepared, arm, (variant, lr), whole, engine, look)[0]


def _go_on(
    prepared: PreparedRun,
    arm: PreparedArm,
    pair: Pair,
    part: TryFrom,
    engine: Engine,
    look: Look,
) -> tuple[TriedRate, Checkpoint | None]:
    """Run a part of the try of ``pair``; returns what it has found, and its state if that is
    needed again."""
    (variant, lr), rounds, until = pair, part.rounds, part.until
    settings = with_lr(arm.variants[variant], lr)
    quiet = settings.evaluate.model_copy(update={"every": rounds, "accuracy": False})
    # a short run has the whole schedule, shortened
    if rounds < settings.rounds:
        settings = settings.with_schedule_rounds(None)
    # a try has all its rounds, and its last models are those that count
    every_round = settings.early_stopping.model_copy(
        update={"metric": None, "patience": None, "min_delta": 0.0}
    )
    short = settings.model_copy(
        update={"rounds": rounds, "evaluate": quiet, "early_stopping": every_round}
    )
    with Simulation(prepared.experiment(arm, short), engine) as simulation:
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


def first_scores(prepared: PreparedRun, arm: PreparedArm, engine: Engine) -> tuple[float, float]:
    """The mean score and loss on the validation split before any learning."""
    with Simulation(prepared.experiment(arm, arm.first), engine) as simulation:
        return simulation.measure.validate(0, simulation.counters.scored_N)


def _advice(
    best: TriedRate, lrs: Sequence[float], first: Callable[[], tuple[float, float]]
) -> str | None:
    """A sentence about a choice at an end of the grid; None for any other choice.

    ``first`` gives the score and loss of the model that learning starts from: if the slowest rate
    is better in neither, no rate has learnt anything."""
    grid, slowest = [float(v) for v in lrs], float(min(lrs))
    smaller = ", ".join(f"{slowest / factor:.2g}" for factor in (100, 30, 10))
    remedy = (
        f"smaller ones (lr_search.lrs=[{smaller}]), or features and numeric targets scaled to"
        " about 1, may do"
    )
    if best.found is None:
        return f"every learning rate of {grid} diverged, and the smallest is taken; {remedy}"
    if len(lrs) == 1 or best.lr not in (max(lrs), min(lrs)):
        return None
    if best.lr == min(lrs):
        score, loss = first()
        if best.found[0] <= score and best.found[1] >= loss:
            return f"no learning rate of {grid} does better than the model it starts from; {remedy}"
    return (
        f"the best learning rate {best.lr} is at the edge of {grid}; a wider lr_search.lrs=[…] may"
        " do better"
    )
