"""Each claim's rule as its text states it: results made up to lie on either side of the threshold,
or across it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from swarm.experiments.claims.results import Results
from tests.scenarios.made_up import Value, claim, judged, noise, results

# --- growth ---------------------------------------------------------------------------------------


def growing(gap: float, slope: float, wide: float = 0.0) -> Value:
    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        spread = wide * (seed - 2)
        error = 0.3 * values["devices"] ** (slope + spread) * (1 + noise(seed))
        closed = gap + spread + noise(seed)
        return {
            "accuracy_mean": 1 - error,
            "accuracy_p10": 0.5,
            "ensemble_accuracy": 0.6,
            "gap_closed": closed,
        }

    return value


@pytest.mark.parametrize(
    ("gap", "slope", "wide", "first", "third"),
    [(0.95, -0.3, 0, True, True), (0.8, 0.1, 0, False, False), (0.9, 0.0, 0.05, None, None)],
)
def test_growth(
    gap: float, slope: float, wide: float, first: bool | None, third: bool | None
) -> None:
    of = claim("swarm_size")
    verdicts = judged(of, results(of, growing(gap, slope, wide)))
    assert [verdict.holds for verdict in verdicts] == [first, third]


def test_growth_ignores_the_fixed_total() -> None:
    of = claim("swarm_size")
    falling, rising = growing(0.95, -0.3), growing(0.95, 0.02)
    found = results(
        of, lambda v, arm, seed: (rising if v["world"] == "each" else falling)(v, arm, seed + 7)
    )
    assert judged(of, found)[1].holds is False


# --- logits ---------------------------------------------------------------------------------------


def predicting(closed: float, wide: float = 0.0) -> Value:
    """Isolated devices at 0.4 and a centralised model at 0.9, between which swarms lie."""

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        share = closed + wide * (seed % 5 - 2) if values["sent"] == "logits" else 0.95
        accuracy = {"isolated": 0.4, "centralised": 0.9}.get(arm, 0.4 + 0.5 * share)
        sent = 100.0 if values["sent"] == "logits" else 250.0
        return {"accuracy_mean": accuracy + noise(seed), "bytes_total": sent, "accuracy_p10": 0.3}

    return value


@pytest.mark.parametrize(
    ("closed", "wide", "holds"), [(0.93, 0, True), (0.85, 0, False), (0.9, 0.02, None)]
)
def test_logits(closed: float, wide: float, holds: bool | None) -> None:
    of = claim("logits")
    (verdict,) = judged(of, results(of, predicting(closed, wide)))
    assert verdict.holds is holds
    assert f"close {100 * closed:.1f}%" in verdict.because
    assert verdict.because.endswith("with 2.5 times the bytes")


# --- spread ---------------------------------------------------------------------------------------


def knowing(
    time: Callable[[str, float], float], accuracy: float = 0.9
) -> Callable[[dict[str, Any], int], pd.DataFrame]:
    def curve(values: dict[str, Any], seed: int) -> pd.DataFrame:
        rounds = np.unique(np.geomspace(1, 60_000, 1500).astype(int))
        at = time(values["topology"], values["devices"]) * (1 + noise(seed, 0.02))
        return pd.DataFrame(
            {"round": rounds, "label_accuracy_p10": (rounds >= at) * 0.6, "accuracy_p10": accuracy}
        )

    return curve


def nothing(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
    return {"label_accuracy_mean": 0.5, "accuracy_mean": 0.9}


def logarithmic(topology: str, n: float) -> float:
    return n**1.6 * 10 if topology == "ring" else 300 + 400 * np.log(n)


def polynomial(topology: str, n: float) -> float:
    return n**1.6 * 10 if topology == "ring" else n * 40


def slow_ring(topology: str, n: float) -> float:
    return 300 + 40 * np.log(n) if topology == "ring" else 300 + 400 * np.log(n)


@pytest.mark.parametrize(
    ("time", "holds"), [(logarithmic, True), (polynomial, False), (slow_ring, False)]
)
def test_spread(time: Callable[[str, float], float], holds: bool) -> None:
    of = claim("knowledge_spread")
    assert judged(of, results(of, nothing, knowing(time)))[0].holds is holds


def test_a_swarm_that_answers_nine_to_everything_does_not_know_nine() -> None:
    of = claim("knowledge_spread")
    found = results(of, nothing, knowing(logarithmic, accuracy=0.1))
    assert of.table(found)["not within the limit"].iloc[0] == of.budget.seeds
    assert judged(of, found)[0].holds is not True


def test_what_is_not_seen_in_time_confirms_nothing() -> None:
    of = claim("knowledge_spread")
    found = results(of, nothing, knowing(lambda t, n: logarithmic(t, n) if n < 64 else 1e9))
    assert judged(of, found)[0].holds is not True


def spreading(random: Callable[[float], float], ring: float, wide: float = 0.0) -> Any:
    """Rounds of the complete graph that grow with n, times a factor of the other graphs."""

    def curve(values: dict[str, Any], seed: int) -> pd.DataFrame:
        n, graph = values["devices"], values["topology"]
        apart = n ** (wide * (seed % 5 - 2) + noise(seed + len(graph), 0.005))
        factor = {"ring": n**ring, "random_matching": random(n) * apart}.get(graph, 1.0)
        return knowing(lambda *_: 20 * n**0.4 * factor)(values, seed)

    return curve


@pytest.mark.parametrize(
    ("random", "ring", "wide", "holds"),
    [
        (lambda n: 2 + 0.5 * np.log(n), 1.2, 0, True),
        (lambda n: n**0.6, 1.2, 0, False),
        (lambda n: 2 + 0.5 * np.log(n), 0.3, 0, False),
        (lambda n: n**0.5, 1.2, 0.05, None),
        (lambda n: 4.0, 2.2, 0, True),  # a large ring is late, and steep all the same
        (lambda n: n**2.5, 1.2, 0, None),  # nor do random peers, so that they seem less steep
    ],
)
def test_spreading_is_what_the_complete_graph_does_not_take(
    random: Callable[[float], float], ring: float, wide: float, holds: bool | None
) -> None:
    of = claim("knowledge_spread")
    verdict = judged(of, results(of, nothing, spreading(random, ring, wide)))[1]
    assert verdict.holds is holds
    assert ("reach their limit: ring" in verdict.because) == (ring == 2.2)
    if ring == 1.2 and not wide:
        assert re.search(r"among random peers and 1\.2\d \[.* on the ring", verdict.because)


# --- cheap ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "share", "holds"),
    [(0.8, 0.7, True), (0.9, 0.7, False), (0.8, 0.899, False), (0.89, 0.7, None)],
)
def test_cheap(bits: float, share: float, holds: bool | None) -> None:
    level = {"2 bits": bits, "1% of the numbers": share}

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        apart = noise(seed) if values["message"] != "32 bits" else 0.0
        sent = 1e6 if values["message"] == "32 bits" else 2.5e5
        return {
            "accuracy_mean": level.get(values["message"], 0.9) + apart,
            "accuracy_p10": 0.5,
            "bytes_total": sent,
        }

    def curve(values: dict[str, Any], seed: int) -> pd.DataFrame:
        return pd.DataFrame({"round": [0, 1], "accuracy_mean": [0.1, 0.9]})

    of = claim("compression")
    (verdict,) = judged(of, results(of, value, curve))
    assert verdict.holds is holds
    assert "25.0% of the bytes" in verdict.because


def test_cheap_where_nothing_is_sent() -> None:
    of = claim("compression")
    found = results(of, lambda *_: {"accuracy_mean": 0.5, "accuracy_p10": 0.4, "bytes_total": 0.0})
    assert [verdict.holds for verdict in of.conclude(found)] == [False]
    assert len(of.table(found)) > 0
    assert of.charts(found)


# --- scaling --------------------------------------------------------------------------------------


def scaled(surprise: float, wide: float = 0.0) -> Value:
    """Losses by a law; the foretold size is off by ``surprise``."""

    middle = (claim("scaling").budget.seeds - 1) / 2

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        n = values["size"]
        large = n == 640 or n > 20_000
        loss = (3.0 * n**-0.5 + 0.4) * (1 + noise(seed, 1e-4))
        return {"loss_mean": loss / (1 + (surprise + wide * (seed - middle) if large else 0.0))}

    return value


@pytest.mark.parametrize(
    ("surprise", "wide", "holds"),
    [(0.0, 0, True), (0.1, 0, False), (-0.1, 0, False), (0.05, 0.004, None)],
)
def test_scaling(surprise: float, wide: float, holds: bool | None) -> None:
    def curve(values: dict[str, Any], seed: int) -> pd.DataFrame:
        return pd.DataFrame({"round": [0, 1], "loss_mean": [2.0, 0.5]})

    of = claim("scaling")
    found = results(of, scaled(surprise, wide), curve)
    assert [verdict.holds for verdict in judged(of, found)] == [holds, holds]


def test_the_prediction_knows_nothing_of_the_large_runs() -> None:
    of = claim("scaling")
    whole = results(of, scaled(0.0))
    sizes = [condition.values["size"] for condition in of.holdout()]
    assert all(size in (640, 24010) for size in sizes)
    before = Results(whole.finals[~whole.finals["size"].isin(sizes)], whole.curves)
    foretold = of.predict(before)
    assert foretold == of.predict(results(of, scaled(0.5)))
    for ladder in foretold.values():
        assert ladder["loss"].mean == pytest.approx(3.0 * ladder["size"] ** -0.5 + 0.4, rel=1e-3)
