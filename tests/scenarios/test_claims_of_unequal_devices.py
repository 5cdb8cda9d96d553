"""Claims about devices that differ, by results made up to lie on either side of the threshold: their
hardware, their data, their goals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from scenarios.terminals import MESSAGE_BITS, STEP_FLOPS, fleet_of
from swarm.common.errors import ConfigError
from swarm.config.settings import Settings
from swarm.experiments.claims.base import Claim, Condition
from swarm.experiments.claims.plan import ClaimPlan, varied
from swarm.experiments.claims.results import Results
from swarm.experiments.resolved import resolve
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.cost import cost
from swarm.simulation.experiment import Experiment
from tests.conftest import composed
from tests.scenarios.made_up import claim, judged, noise, results

# --- terminals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weak", "strong", "holds"),
    [
        (0.05, 0.02, True),
        (0.05, -0.005, True),  # half a point is no loss
        (0.05, -0.03, False),
        (-0.05, 0.0, False),
        (0.0, 0.0, None),
    ],
)
def test_terminals(weak: float, strong: float, holds: bool | None) -> None:
    """Devices alone come to 0.8; each kind is at its own places under each seed."""
    of = claim("terminals")
    rows, size = [], of.budget.each
    for condition in of.conditions():
        swarm, method = condition.values["swarm"], condition.values["method"]
        for seed in range(of.budget.seeds):
            fleet = fleet_of(swarm, size, seed)
            for device in range(len(fleet.class_N)):
                more = strong if fleet.kind(device) in ("pc", "drone") else weak
                level = 0.8 + (more if swarm == "mixed" else 0.0)
                level += noise(seed + len(swarm))
                found = {"swarm": swarm, "method": method, "arm": "swarm", "seed": seed}
                rows.append({**found, "device": device, "accuracy": level, "joules": 1.0})
    made = Results(pd.DataFrame({"x": [1]}), pd.DataFrame(), devices=pd.DataFrame(rows))
    assert [verdict.holds for verdict in of.conclude(made)] == [holds] * 3


def test_runs_of_terminals_end_within_the_same_virtual_time() -> None:
    """What the scenario takes for the FLOP of a step and the bits of a message are those of its
    runs, and rounds last as long as it says.
    """
    of = claim("terminals")
    for condition in of.conditions()[:2]:
        e = first_experiment(of, condition)
        assert (e.model.step_flops, e.communication.phases[1].bits) == (STEP_FLOPS, MESSAGE_BITS)
        n, rounds = e.settings.devices, e.settings.rounds
        spent = cost(e, 1, e.data.usual_steps_N * 1.0, np.zeros(n, int), np.zeros(n, int))
        assert spent is not None
        seconds = of.budget.seconds
        assert seconds - spent.seconds < rounds * spent.seconds <= seconds * (1 + 1e-9)


def first_experiment(of: Claim, condition: Condition) -> Experiment:
    """The first arm of a claim's condition."""
    settings = varied(Settings.parse(composed()), {**of.settings, **condition.changes})
    ready = PreparedRun.prepare(settings)
    return ready.experiment(ready.arms[0], ready.arms[0].variants[0])


# --- personal -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("differ", "alone", "alike", "holds"),
    [
        (0.93, 0.8, 0.9, True),
        (0.93, 0.8, 0.895, True),  # half a point is no loss
        (0.87, 0.8, 0.9, False),
        (0.93, 0.95, 0.9, False),
        (0.93, 0.8, 0.88, False),
        (0.9, 0.8, 0.9, None),
    ],
)
@pytest.mark.parametrize("method", ["ditto", "body"])
def test_personal(
    method: str, differ: float, alone: float, alike: float, holds: bool | None
) -> None:
    """Sharing all comes to 0.9 everywhere; what is judged is one method, and the other one is
    well."""

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        local = 0.9 + noise(seed)
        if arm == "isolated":
            local = alone + noise(seed)
        elif values["shared"] == method:
            level = differ if values["alpha"] < 1 else alike
            # 0.05 and 0.3 lie as far above as below: only their mean is judged
            uneven = {0.05: 0.1, 0.3: -0.1}.get(values["alpha"], 0.0)
            level += uneven
            local = level + noise(seed + len(values["shared"]))
        elif values["shared"] != "all":
            local = (0.96 if values["alpha"] < 1 else 0.9) + noise(seed)
        return {"local_accuracy_mean": local, "local_accuracy_p10": 0.5, "accuracy_mean": 0.8}

    of = claim("personal", seeds=40)
    verdicts = judged(of, results(of, value))
    ditto, body = (verdict.holds for verdict in verdicts)
    assert (ditto if method == "ditto" else body) is holds


@pytest.mark.parametrize("alphas", ["[0.1,0.1,10]", "[0.1,0.3]", "[1,10]"])
def test_alphas_that_leave_nothing_to_compare_are_refused(alphas: str) -> None:
    words = ("scenario=personal", "preset=full", f"scenario.full.alphas={alphas}")
    with pytest.raises(ConfigError, match=r"^scenario\.full\.alphas="):
        ClaimPlan.make(resolve(Settings.parse(composed(*words))))


# --- goals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gap", "advantage", "entropy", "wide", "holds"),
    [
        (0.02, -0.02, -0.1, 0.0, [True, False, True]),
        (-0.02, 0.02, 0.1, 0.0, [False, True, False]),
        (0.01, 0.01, 0.02, 0.1, [None, None, None]),
    ],
)
def test_goals(
    gap: float, advantage: float, entropy: float, wide: float, holds: list[bool | None]
) -> None:
    """Devices that hold alike and unlike lie far above and below: only their mean is judged. Where
    devices have no goal nothing is judged."""
    best = {"gap": gap, "comparative_advantage": advantage, "none": 0.4, "weakest": 0.3}

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        goal, uneven = values["goal"], 0.1 if values["held"] == "alike" else -0.1
        own = 0.0 if goal == "random" else uneven + noise(seed + len(goal)) + wide * (seed % 3 - 1)
        return {
            "best_in_group": 0.6 + best.get(goal, 0.0) + own + noise(seed),
            "specialisation_mean": 2 + own + (entropy if goal == "comparative_advantage" else 0.0),
            "ensemble_accuracy": 0.8,
            "consensus_accuracy": 0.8,
            "accuracy_mean": 0.7,
            "bytes_total": 1e6,
        }

    of = claim("goals")

    def curve(values: dict[str, Any], seed: int) -> pd.DataFrame:
        return pd.DataFrame({"round": [0, 1], "best_in_group": 0.5, "ensemble_accuracy": 0.6})

    assert [verdict.holds for verdict in judged(of, results(of, value, curve))] == holds
