"""The rule of claim 17 on results made up for it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from scenarios.density import GENERATIONS, PAPER, REFERENCE
from swarm.common.statistics import PowerLaw, Reference, ScoreCurve
from tests.scenarios.made_up import Value, claim, judged, noise, results

LAW, CURVE = PowerLaw(60.0, 0.8, 0.2), ScoreCurve(0.9, -3.0, 1.4, 0.08)
FAMILY = Reference(LAW, CURVE, 85.0, 4810.0)


def growing(a: float, scatter: float = 0.0, wide: float = 0.0, start: float = 0.5) -> Value:
    """Densities that grow as ln ρ = a·(t − 2011) + ln start; each generation lies off that line by
    ``scatter``, to either side in turn, and a differs by ``wide`` from seed to seed."""

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        size, name = values["size"], values["method"]
        if name == REFERENCE:
            loss = float(LAW.at(size))
            return {"loss_mean": loss, "accuracy_mean": float(CURVE.at(loss))}
        number = [each.name for each in GENERATIONS].index(name)
        years = GENERATIONS[number].time - 2011
        log = (a + wide * (seed - 3.5)) * years + scatter * (-1) ** number + noise(seed + number)
        effective = start * math.exp(log) * size
        return {"accuracy_mean": float(FAMILY.score(effective)), "bytes_total": 1e6}

    return value


@pytest.mark.parametrize(
    ("made", "holds"),
    [
        (growing(0.1), True),
        (growing(-0.1, start=4.0), False),
        (growing(0.0), None),
        (growing(0.03, wide=0.02, start=1.0), None),  # not under every seed
        (growing(0.03, scatter=0.8, start=1.0), None),  # not with the scatter of generations
    ],
)
def test_the_rule_is_that_of_the_text(made: Value, holds: bool | None) -> None:
    of = claim("density", seeds=8)
    found = results(of, made)
    (verdict,) = judged(of, found)
    assert verdict.holds is holds, verdict.because
    assert "outside" not in verdict.because
    assert len(of.charts(found)) == 2


def test_the_doubling_time_is_that_of_the_line() -> None:
    of = claim("density", seeds=8)
    (verdict,) = of.conclude(results(of, growing(0.1)))
    days = math.log(2) / 0.1 * 365.25
    assert verdict.figures["doubling, days"] == pytest.approx(days, rel=0.02)
    assert f"(language models: {PAPER} days)" in verdict.because
    assert verdict.figures["A over generations"].mean == pytest.approx(0.1, rel=0.02)
    (verdict,) = of.conclude(results(of, growing(0.0, wide=0.02, start=1.0)))
    assert "a doubling time cannot be told" in verdict.because


def test_a_generation_outside_the_reference_curve_is_left_out_and_named() -> None:
    of = claim("density", seeds=8)
    inside = growing(0.1)

    def made(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        found = inside(values, arm, seed)
        low = values["method"] == GENERATIONS[0].name and seed == 3
        high = values["method"] == GENERATIONS[-1].name
        return found | ({"accuracy_mean": 0.1} if low else {"accuracy_mean": 0.97} if high else {})

    found = results(of, made)
    (verdict,) = judged(of, found)
    assert verdict.holds is True
    names = f"outside the reference curve: {GENERATIONS[0].name}, {GENERATIONS[-1].name}"
    assert verdict.because.endswith(names)
    cells = of.table(found).set_index("method")["density ρ"]
    assert cells[GENERATIONS[0].name] == "outside: 1 seed below, 0 above"
    assert cells[GENERATIONS[-1].name] == "outside: 0 seeds below, 8 above"
    assert np.isclose(float(cells[GENERATIONS[1].name].split()[0]), 0.5 * math.exp(0.396), 0.02)


def test_without_generations_inside_the_curve_nothing_is_decided() -> None:
    of = claim("density", seeds=8)
    (verdict,) = judged(of, results(of, growing(0.1, start=1e-3)))
    assert verdict.holds is None
    assert "only 0 generations are inside" in verdict.because


def test_generations_follow_one_another_and_each_changes_one_part() -> None:
    times = [each.time for each in GENERATIONS]
    assert times == sorted(set(times))
    of = claim("density", seeds=8)
    swarms = {c.values["method"]: c.changes for c in of.conditions()}
    assert swarms["cosine"]["protocol"] == "fedavg"
    assert swarms["cosine"]["optimizer"] == "adam"
    assert swarms["D-PSGD"]["topology"] == "ring"
    assert "topology.fanout" not in swarms["D-PSGD"], "an option of a graph that was replaced"
    assert (swarms["WSD"]["protocol"], swarms["WSD"]["topology"]) == ("diloco", "none")
    assert swarms["WSD"]["schedule"] == "wsd"
