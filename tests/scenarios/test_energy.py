"""The rule of claim 22 on energies made up for it, with prices that can be checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from scenarios.energy import (
    CENTRE,
    DEVICE,
    SERVER_FLOPS,
    SERVER_W,
    WRONG_BY,
    Energy,
    Prices,
    _spent,
)
from swarm.experiments.claims.results import Results
from tests.scenarios.made_up import claim, judged, noise

SAMPLES, FEATURES, PARAMETERS = 1000, 9, 50
DEVICE_FLOP = DEVICE["fleet.active"] / DEVICE["fleet.flops"]
FIRST, SECOND = 0.95, 0.97


def found(of: Energy, joules: float, reached: float = FIRST, centre: float = FIRST) -> Results:
    """Two records an arm: a swarm that sends every number has spent ``joules`` by radio at its
    second one, and as much again for its FLOP; the others spend ten times that."""
    finals, curves = [], []
    for condition in of.conditions():
        sharing = condition.values["sharing"]
        for arm in condition.changes["scenario.arms"]:
            for seed in range(of.budget.seeds):
                spent = joules * (1 + noise(seed)) * (1 if sharing == "every number" else 10)
                accuracy = {"isolated": 0.5, "centralised": centre}.get(arm, reached)
                flops = np.array([0.0, spent / DEVICE_FLOP, 2 * spent / DEVICE_FLOP])
                rows = {
                    "round": [0, 1, 2],
                    "accuracy_mean": [0.1, accuracy, SECOND if accuracy > 0.9 else accuracy],
                    "flops_total": flops * (arm != "centralised"),
                    "joules_total": 2 * flops * DEVICE_FLOP if arm != "centralised" else np.nan,
                }
                about = {"sharing": sharing, "seed": seed, "arm": arm}
                curves.append(pd.DataFrame(rows).assign(**about))
                facts = {"train_samples": SAMPLES, "features": FEATURES, "parameters": PARAMETERS}
                finals.append({"accuracy_mean": accuracy, "diverged": False, **facts, **about})
    return Results(pd.DataFrame(finals), pd.concat(curves, ignore_index=True))


def to_the_server(of: Energy) -> float:
    samples = 4 * SAMPLES * (FEATURES + 1) * DEVICE["fleet.radio_send"]
    return samples + 4 * PARAMETERS * of.budget.devices * DEVICE["fleet.radio_receive"]


@pytest.mark.parametrize(
    ("times", "holds"),
    [
        (0.05, True),  # a twentieth of the centre's, and the prices together are 9 times off
        (20.0, False),
        (1.0, None),
        (0.5, None),  # less than what the centre takes, but not at all prices
        (1.5, None),  # more, but not at all prices
    ],
)
def test_the_verdict_holds_at_all_prices(times: float, holds: bool | None) -> None:
    of = claim("energy")
    assert isinstance(of, Energy)
    # a record has as many joules of FLOP as of radio
    results = found(of, times * to_the_server(of) / 2)
    (verdict,) = judged(of, results)
    assert verdict.holds is holds
    assert verdict.figures["every number"].mean == pytest.approx(times, rel=0.01)
    assert verdict.figures["8 bits a number"].mean == pytest.approx(10 * times, rel=0.01)


def test_each_price_counts_what_it_prices() -> None:
    of = claim("energy")
    assert isinstance(of, Energy)
    results = found(of, 3.0)
    swarm = {"sharing": "every number", "arm": "swarm"}
    counted = of._counted(results)
    one = _spent(counted, swarm)
    device = _spent(counted, swarm, Prices(device_flop=WRONG_BY))
    radio = _spent(counted, swarm, Prices(radio=WRONG_BY))
    assert one.mean() == pytest.approx(6, rel=0.01)
    assert device.to_numpy() == pytest.approx(2 * one.to_numpy())  # half of it is FLOP
    assert radio.to_numpy() == pytest.approx(2 * one.to_numpy())
    results.curves.loc[results.curves["arm"] == "centralised", "flops_total"] = 1e12
    centre = _spent(of._counted(results), CENTRE, Prices(server_flop=2.0))
    learning = 2 * 1e12 * SERVER_W / SERVER_FLOPS
    assert centre.to_numpy() == pytest.approx(learning + to_the_server(of))


def test_a_swarm_that_never_gets_there_refutes_it() -> None:
    of = claim("energy")
    assert isinstance(of, Energy)
    (verdict,) = judged(of, found(of, 0.1, reached=0.89))
    assert verdict.holds is False
    (verdict,) = judged(of, found(of, 0.1, reached=0.89, centre=0.89))
    assert verdict.holds is None
    assert math.isnan(verdict.figures.get("every number", (math.nan,))[0])
