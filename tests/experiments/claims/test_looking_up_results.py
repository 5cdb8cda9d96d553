"""What claims ask of their results: ratios, means over sizes, lines by name, rounds and devices."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from swarm.common.statistics import Bound, interval
from swarm.experiments.claims.base import Hypothesis
from swarm.experiments.claims.charts import Line
from swarm.experiments.claims.results import Results
from swarm.experiments.claims.shared.changes import custom

from .two_graphs import NOTHING, RING, STAR, found

GAIN = {("ring", 8): [0.1, 0.2], ("ring", 16): [0.3, 0.5]}


def of_sizes(without: tuple[str, int, int] | None = None) -> Results:
    """Two seeds of a ring and a star of two sizes, but ``without`` one of the runs; the ring is
    ahead by :data:`GAIN`."""
    rows = [
        {"graph": graph, "n": n, "seed": seed, "arm": "swarm", "diverged": False,
         "score": 0.5 + gain * (graph == "ring")}
        for graph in ("ring", "star")
        for (_, n), gains in GAIN.items()
        for seed, gain in enumerate(gains)
        if (graph, n, seed) != without
    ]  # fmt: skip
    return Results(pd.DataFrame(rows), pd.DataFrame(rows).assign(round=1))


def test_a_ratio_is_paired_by_seed() -> None:
    assert of_sizes().ratio("score", {**RING, "n": 8}, {**STAR, "n": 8}) == interval([1.2, 1.4])
    lacking = of_sizes(without=("star", 8, 1)).ratio("score", {**RING, "n": 8}, {**STAR, "n": 8})
    assert lacking.mean == pytest.approx(1.2)
    assert math.isnan(NOTHING.ratio("score", RING, STAR).mean)


def test_a_difference_along_sizes_is_of_the_seeds_that_have_them_all() -> None:
    both = of_sizes().difference_along("score", "n", [8, 16], RING, STAR)
    assert both == pytest.approx(interval([0.2, 0.35]))
    one = of_sizes(without=("star", 8, 1)).difference_along("score", "n", [8, 16], RING, STAR)
    assert one.mean == pytest.approx(0.2)
    assert math.isnan(NOTHING.difference_along("score", "n", [8], RING, STAR).mean)


def test_lines_along_a_value_are_named_and_share_what_all_have() -> None:
    ring, star = of_sizes().lines_along("score", "n", {"R": RING, "S": STAR}, "line", arm="swarm")
    assert (ring.name, star.name, ring.kind) == ("R", "S", "line")
    assert [*ring.x_K] == [8, 16]
    assert ring.y_K == pytest.approx([0.65, 0.9])
    assert star.y_K == pytest.approx([0.5, 0.5])


def test_a_line_may_be_along_some_values() -> None:
    (ring,) = of_sizes().lines_along("score", "n", {"R": RING}, n=(16, 32))
    assert [*ring.x_K] == [16]
    assert ring.y_K == pytest.approx([0.9])


def curve(losses: list[float], seed: int) -> pd.DataFrame:
    rounds = np.arange(len(losses))
    return pd.DataFrame({"round": rounds, "loss": losses, "seed": seed, "graph": "ring"})


def test_rounds_until_a_level_are_by_seed_in_the_order_of_the_rounds() -> None:
    rows = [curve([math.nan, 4.0, 2.0], 0), curve([9.0, 9.0, 9.0], 1), curve([1.0, 0.0, 0.0], 2)]
    results = Results(pd.DataFrame(), pd.concat(rows).iloc[::-1])
    by_seed = results.falls_to("loss", 3.0, graph="ring")
    assert by_seed.to_dict() == pytest.approx({0: 1.5, 1: math.nan, 2: 0.0}, nan_ok=True)
    assert results.falls_to("loss", 3.0, graph="star").empty
    assert results.falls_to("unheard of", 3.0).empty
    assert NOTHING.falls_to("loss", 3.0).empty


def test_records_are_those_with_the_values_one_or_several() -> None:
    assert len(found().records(graph="ring", round=2)) == 2
    assert len(found().records(round=(0, 2))) == 8
    assert found().records(graph="tree").empty
    assert NOTHING.records(graph="ring").empty


def test_a_curve_may_stand_against_another_metric() -> None:
    line = found().against("score", "spent", "R", **RING)
    assert line.x_K == pytest.approx([0.5, 10.5, 20.5])
    assert line.y_K == pytest.approx([0.5, 0.6, 0.7])
    assert line.low_K[2] == interval([0.8, 0.6]).low
    results = found()
    results.curves.loc[results.curves["round"] == 1, "score"] = math.nan
    assert results.against("score", "spent", "R", **RING).x_K == pytest.approx([0.5, 20.5])
    assert [len(each.against("score", "spent", "R").x_K) for each in (NOTHING,)] == [0]
    assert len(found().against("unheard of", "spent", "R").x_K) == 0


def test_a_rolling_mean_begins_with_its_first_whole_one() -> None:
    mean = found().rolling("score", 2, **RING)
    assert [*mean.index] == [1, 2]
    assert [*mean.columns] == [0, 1]
    assert mean[0].to_numpy() == pytest.approx([0.65, 0.75])
    assert NOTHING.rolling("score", 2, **RING).empty


def test_what_diverged_has_no_rolling_mean() -> None:
    mean = found(diverged=("ring", 0)).rolling("score", 2, **RING)
    assert [*mean.columns] == [1]
    assert [*found(diverged=("star", 0)).rolling("score", 2, **RING).columns] == [0, 1]


def test_a_mean_over_devices_is_by_seed_and_of_those_with_the_values() -> None:
    results = found()
    assert results.over_devices("score", kind="weak", **RING).to_dict() == pytest.approx(
        {0: 0.7, 1: 0.5}
    )
    both = results.over_devices("score", kind=("weak", "strong"), **STAR)
    assert both.to_dict() == pytest.approx({0: 0.4, 1: 0.6})
    assert results.over_devices("score", kind="broken", **RING).empty
    assert results.over_devices("score", kind="none", **RING).empty
    assert NOTHING.over_devices("score", kind="weak").empty


def test_a_fitted_line_is_the_mean_of_its_laws() -> None:
    line = Line.fitted("law", [lambda n: 2 * n, lambda n: 4 * n], 1, 100, points=3)
    assert [*line.x_K] == pytest.approx([1, 10, 100])
    assert [*line.y_K] == pytest.approx([3, 30, 300])
    assert line.kind == "law"
    assert np.isnan(Line.fitted("none", [], 1, 100).y_K).all()


@pytest.mark.parametrize(
    ("mean", "only_if", "holds"),
    [
        (1.0, True, True),
        (1.0, None, None),
        (1.0, False, None),
        (-1.0, False, False),
        (0.0, True, None),
    ],
)
def test_what_a_rule_asks_besides_confirms_and_never_refutes(
    mean: float, only_if: bool | None, holds: bool | None
) -> None:
    bounds = {"gain": Bound(interval([mean - 0.01, mean + 0.01, mean]), above=0)}
    verdict = Hypothesis(1, "", "", "").judged(bounds, "so it is", "more", only_if=only_if)
    assert verdict.holds is holds
    assert verdict.missing == "more"


def test_a_class_of_a_claims_own_file_is_named_by_its_place() -> None:
    assert custom("data", Results, per_device=40, kept=0.5) == {
        "data": "custom",
        "data._target_": "swarm.experiments.claims.results.Results",
        "data.per_device": 40,
        "data.kept": 0.5,
    }
