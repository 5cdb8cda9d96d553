"""Chooses an arm's learning rate, and its variant, on the validation split."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from swarm.config.settings import Settings
from swarm.experiments.resolved import with_lr
from swarm.experiments.runs.lr_search.stages import Look, Say, Stage, Watch, stages
from swarm.experiments.runs.lr_search.tries import TriedRate, Tries, first_scores
from swarm.experiments.runs.prepared import PreparedArm, PreparedRun
from swarm.simulation.engine.base import Engine


def search_lr(
    prepared: PreparedRun,
    arm: PreparedArm,
    engine: Engine,
    say: Say,
    look: Look = lambda: None,
    *,
    tell: Say | None = None,
) -> tuple[Settings, dict[str, Any]]:
    """The arm's settings with learning rate and variant chosen, and the facts about the search.

    Every pair of a variant and a rate of the grid runs for ``lr_search.rounds`` rounds, by default
    a fifth of the run, and the best mean accuracy (or R²) on the validation split wins; with
    ``lr_search.method=halving`` the worse ones end earlier. If ``lr_search.rounds`` is not set,
    pairs that share the best score then run as long as the arm itself will. Of pairs that still
    have equal scores the lower loss wins. The test set is never used. ``look`` is called after
    every round and may raise. ``tell`` says how far the search is; by default ``say`` does.
    """
    s = prepared.settings
    lrs = arm.rates
    pairs = list(itertools.product(range(len(arm.variants)), lrs))
    planned = stages(s, len(pairs))
    if not planned:
        return arm.first, {"lr": lrs[0], "variant": 0, "tried": []}
    rounds = planned[-1].end
    say(_announced(arm, planned))
    tries = Tries(prepared, arm, engine, Watch(arm.name, tell or say, look))
    tried, last = tries.play(pairs, planned)
    best = max(last, key=TriedRate.rank)
    equals = [t for t in last if t.found and best.found and t.found[0] == best.found[0]]
    if len(equals) > 1 and s.lr_search.rounds is None and rounds < s.rounds:
        # A validation split is small, so models often tie. The loss of a short run then misleads:
        # it is lowest for a slow rate, whose model is not yet as confident in its few mistakes as
        # it will be at the end.
        say(f"{arm.name}: {len(equals)} of them are equal so far; {s.rounds} rounds each decide")
        longer = tries.in_full([(t.variant, t.lr) for t in equals], rounds)
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
    choice = f"learning rate out of {len(arm.rates)}"
    choice += f" × {many} {arm.differ_in}s" if many > 1 else ""
    if len(arm.rates) == 1 < many:
        choice = f"{arm.differ_in} out of {many}"
    rounds = f"{shortest}{planned[-1].end} rounds each"
    return f"{arm.name}: choosing a {choice} on the validation split, {rounds}"


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
