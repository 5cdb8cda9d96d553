"""The density of models by rows of a claim's results, against families that were made up."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from swarm.common.statistics import PowerLaw, Reference, ScoreCurve, interval
from swarm.experiments.claims.results import Results
from swarm.experiments.claims.shared.densities import Densities

SIZES = [85, 160, 310, 610, 1210, 2410]
LAW, CURVE = PowerLaw(60.0, 0.8, 0.2), ScoreCurve(0.9, -3.0, 1.4, 0.08)
FAMILY = Reference(LAW, CURVE, float(SIZES[0]), float(SIZES[-1]))
OWN = {"method": "own", "size": 310, "arm": "swarm"}


def densities(*rho: float, lacking: int | None = None) -> Densities:
    """Models of 310 parameters with these densities, one a seed; one seed is ``lacking`` the largest
    model of its family."""
    rows: list[dict[str, Any]] = []
    for seed, each in enumerate(rho):
        for size in SIZES:
            if (seed, size) != (lacking, SIZES[-1]):
                loss = float(LAW.at(size))
                score = float(CURVE.at(loss))
                rows.append({"method": "family", "size": size, "arm": "one", "seed": seed,
                             "loss": loss, "score": score})  # fmt: skip
        rows.append({**OWN, "seed": seed, "score": float(FAMILY.score(each * 310))})
    results = Results(pd.DataFrame(rows).assign(diverged=False), pd.DataFrame())
    return Densities.of(results, SIZES, "loss", "score", method="family", arm="one")


def test_densities_are_those_that_were_made() -> None:
    found = densities(0.5, 1.0, 1.4)
    assert [*found.by_seed(OWN)] == pytest.approx([0.5, 1.0, 1.4], rel=0.01)
    assert found.inside(OWN)
    assert found.mean(OWN) == pytest.approx(interval([0.5, 1.0, 1.4]), rel=0.02)
    assert found.effective_size(OWN) == pytest.approx(interval([155, 310, 434]), rel=0.02)
    assert found.text(OWN) == found.mean(OWN).text(2)
    assert found.mean({**OWN, "arm": "nobody"}) == pytest.approx(interval([]), nan_ok=True)


def test_outside_the_family_nothing_is_extrapolated_and_the_side_is_told() -> None:
    found = densities(0.1, 1.0, 99.0, 0.2)
    assert not found.inside(OWN)
    assert found.effective_size(OWN) is None
    assert found.text(OWN) == "outside: 2 seeds below, 1 above"
    assert found.mean(OWN).mean == pytest.approx(1.0, rel=0.01)


def test_a_seed_that_lacks_a_size_has_no_family() -> None:
    found = densities(0.5, 1.0, lacking=0)
    assert list(found.by_seed(OWN).index) == [1]
    nothing = densities(0.5, lacking=0)
    assert [line.name for line in nothing.family("all")] == ["all"]
    assert not nothing.inside(OWN)
    assert nothing.text(OWN) == "outside: 0 seeds below, 0 above"


def test_the_lines_are_the_models_of_the_family_its_curve_and_others() -> None:
    found = densities(1.0, 1.0)
    measured, line = found.family("all")
    assert [*measured.x_K] == SIZES
    assert measured.y_K == pytest.approx(FAMILY.score(SIZES))
    own = found.points("own", [OWN, OWN])
    assert [*own.x_K] == [310, 310]
    assert own.y_K == pytest.approx([float(FAMILY.score(310))] * 2)
    assert (line.x_K[0], line.x_K[-1]) == pytest.approx((85, 2410))
    assert line.y_K == pytest.approx(FAMILY.score(line.x_K), abs=1e-3)
