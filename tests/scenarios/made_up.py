"""Results made up for a claim, and the verdicts on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from swarm.config.build import build, option
from swarm.experiments.claims.base import Claim, Verdict
from swarm.experiments.claims.page.verdicts import decided_by
from swarm.experiments.claims.results import Results

Value = Callable[[dict[str, Any], str, int], dict[str, Any]]


SEEDS = 5


def claim(name: str, **full: Any) -> Claim:
    """The claim with its full preset, but ``full``, and with as many seeds for each: what is made
    up has a scatter that is meant for them."""
    node = option("scenario", name)
    return build(
        {**node, "full": {**node["full"], "seeds": SEEDS, **full}}, Claim, "scenario", preset="full"
    )


def results(
    of: Claim, value: Value, curve: Callable[[dict[str, Any], int], pd.DataFrame] | None = None
) -> Results:
    """What a finished claim would have found, with ``value(condition, arm, seed)`` as an arm's
    final record.
    """
    finals, curves = [], []
    for condition in [*of.conditions(), *of.holdout()]:
        arms = condition.changes.get("scenario.arms", ["swarm"])
        for seed in range(of.budget.seeds):
            for arm in arms:
                final = value(dict(condition.values), arm, seed)
                finals.append(
                    {"diverged": False, **final, **condition.values, "seed": seed, "arm": arm}
                )
            if curve is not None:
                curves.append(
                    curve(dict(condition.values), seed).assign(
                        **condition.values, seed=seed, arm="swarm"
                    )
                )
    return Results(pd.DataFrame(finals), pd.concat(curves) if curves else pd.DataFrame())


def noise(seed: int, size: float = 0.002) -> float:
    """The same for all conditions of a seed, as pairing wants it, but for a little."""
    return size * float(np.random.default_rng(seed).standard_normal())


def judged(of: Claim, found: Results) -> list[Verdict]:
    """Verdicts; and the page can be made of the same results. What is undecided says what would
    decide it."""
    assert of.charts(found)
    assert len(of.table(found))
    verdicts = of.conclude(found)
    assert [verdict.hypothesis for verdict in verdicts] == list(of.hypotheses)
    for verdict in verdicts:
        assert bool(decided_by(verdict, "full", of.budget.seeds)) == (verdict.holds is None)
    return verdicts
