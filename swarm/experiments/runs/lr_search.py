"""Chooses an arm's learning rate, and its variant, on the validation split."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swarm.common.errors import DivergedError
from swarm.config.settings import Settings
from swarm.experiments.resolved import with_lr
from swarm.experiments.runs.prepared import PreparedArm, PreparedRun
from swarm.simulation.engine.base import Engine
from swarm.simulation.loop import Simulation

Say = Callable[[str], None]


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


def search_lr(
    prepared: PreparedRun,
    arm: PreparedArm,
    engine: Engine,
    say: Say,
    look: Callable[[], None] = lambda: None,
) -> tuple[Settings, dict[str, Any]]:
    """The arm's settings with learning rate and variant chosen, and the facts about the search.

    Every pair of a variant and a rate of the grid runs for ``lr_search.rounds`` rounds, by default
    a fifth of the run, and the best mean accuracy (or R²) on the validation split wins. If
    ``lr_search.rounds`` is not set, pairs that share the best score then run as long as the arm
    itself will. Of pairs that still have equal scores the lower loss wins. The test set is never
    used. ``look`` is called after every round and may raise.
    """
    s = prepared.settings
    lrs = arm.rates
    pairs = list(itertools.product(range(len(arm.variants)), lrs))
    if len(pairs) == 1:
        return arm.first, {"lr": lrs[0], "variant": 0, "tried": []}
    rounds = min(s.rounds, s.lr_search.rounds or max(5, s.rounds // 5))
    batches = f" × {len(arm.variants)} batch sizes" if len(arm.variants) > 1 else ""
    say(
        f"{arm.name}: choosing a learning rate out of {len(lrs)}{batches} on the validation split,"
        f" {rounds} rounds each"
    )
    tried = [try_out(prepared, arm, v, lr, rounds, engine, look) for v, lr in pairs]
    best = max(tried, key=TriedRate.rank)
    equals = [t for t in tried if t.found and best.found and t.found[0] == best.found[0]]
    if len(equals) > 1 and s.lr_search.rounds is None and rounds < s.rounds:
        # A validation split is small, so models often tie. The loss of a short run then misleads:
        # it is lowest for a slow rate, whose model is not yet as confident in its few mistakes as
        # it will be at the end.
        say(f"{arm.name}: {len(equals)} of them are equal so far; {s.rounds} rounds each decide")
        longer = [try_out(prepared, arm, t.variant, t.lr, s.rounds, engine, look) for t in equals]
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


def try_out(
    prepared: PreparedRun,
    arm: PreparedArm,
    variant: int,
    lr: float,
    rounds: int,
    engine: Engine,
    look: Callable[[], None] = lambda: None,
) -> TriedRate:
    """Run a variant with the rate ``lr`` for ``rounds`` rounds, without records; ``look`` is called
    after each round."""
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
        try:
            for _ in simulation.records(rounds):
                look()
        except DivergedError:
            return TriedRate(variant, lr, rounds, None)
        score, loss = found = simulation.measure.validate(
            simulation.round, simulation.counters.scored_N
        )
        good = np.isfinite(score) and loss <= simulation.measure.largest_loss
    return TriedRate(variant, lr, rounds, found if good else None)


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
