"""What claims ask of their results: ratios, means over sizes, lines by name, rounds and devices; and
metrics that follow from others."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from swarm.common.statistics import Bound, interval
from swarm.experiments.claims.base import Hypothesis
from swarm.experiments.claims.charts import Line
from swarm.experiments.claims.results import Results
from swarm.experiments.claims.shared.changes import custom
from swarm.experiments.claims.shared.derived import assigned, unfolded

GAIN = {("ring", 8): [0.1, 0.2], ("ring", 16): [0.3, 0.5]}
NOTHING = Results(pd.DataFrame(), pd.DataFrame())
RING, STAR = {"graph": "ring"}, {"graph": "star"}


def found(without: tuple[str, int, int] | None = None) -> Results:
    """Two seeds of a ring and a star of two sizes, but ``without`` one of the runs; the ring is
    ahead by :data:`GAIN`."""
    rows = [
        {"graph": graph, "n": n, "seed": seed, "arm": "swarm", "diverged": False,
         "score": 0.5 + gain * (graph == "ring"), "calls_5": 5.0 * n, "calls_9": 9.0 * n}
        for graph in ("ring", "star")
        for (_, n), gains in GAIN.items()
        for seed, gain in enumerate(gains)
        if (graph, n, seed) != without
    ]  # fmt: skip
    return Results(pd.DataFrame(rows), pd.DataFrame(rows).assign(round=1))


def test_a_ratio_is_paired_by_seed() -> None:
    assert found().ratio("score", {**RING, "n": 8}, {**STAR, "n": 8}) == interval([1.2, 1.4])
    lacking = found(without=("star", 8, 1)).ratio("score", {**RING, "n": 8}, {**STAR, "n": 8})
    assert lacking.mean == pytest.approx(1.2)
    assert math.isnan(NOTHING.ratio("score", RING, STAR).mean)


def test_a_difference_along_sizes_is_of_the_seeds_that_have_them_all() -> None:
    both = found().difference_along("score", "n", [8, 16], RING, STAR)
    assert both == pytest.approx(interval([0.2, 0.35]))
    one = found(without=("star", 8, 1)).difference_along("score", "n", [8, 16], RING, STAR)
    assert one.mean == pytest.approx(0.2)
    assert math.isnan(NOTHING.difference_along("score", "n", [8], RING, STAR).mean)


def test_lines_along_a_value_are_named_and_share_what_all_have() -> None:
    ring, star = found().lines_along("score", "n", {"R": RING, "S": STAR}, "line", arm="swarm")
    assert (ring.name, star.name, ring.kind) == ("R", "S", "line")
    assert [*ring.x_K] == [8, 16]
    assert ring.y_K == pytest.approx([0.65, 0.9])
    assert star.y_K == pytest.approx([0.5, 0.5])


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


def test_devices_are_looked_up_by_seed() -> None:
    rows = [{**RING, "seed": seed, "device": device, "accuracy": seed + device / 10}
            for seed in (1, 0) for device in (0, 1, 3)]  # fmt: skip
    results = replace(found(), devices=pd.DataFrame(rows))
    assert results.over_devices("accuracy", device=1, **RING).to_dict() == {0: 0.1, 1: 1.1}
    both = results.over_devices("accuracy", device=(1, 3)).to_dict()
    assert both == pytest.approx({0: 0.2, 1: 1.2})
    assert results.over_devices("accuracy", **STAR).empty
    assert found().over_devices("accuracy", device=1).empty


def test_a_metric_that_follows_from_others_is_looked_up_as_they_are() -> None:
    lost = assigned(found(), error=lambda finals: 1 - finals["score"])
    assert lost.mean("error", **STAR, n=8).mean == 0.5
    assert "error" not in found().finals
    assert assigned(NOTHING, error=lambda finals: 1 - finals["score"]) is NOTHING


def test_metrics_of_several_thresholds_become_rows() -> None:
    names = {0.5: {"calls": "calls_5"}, 0.9: {"calls": "calls_9", "bytes": "unheard of"}}
    rows = unfolded(found(), "threshold", names)
    assert rows.mean("calls", threshold=0.9, **RING, n=8).mean == 72
    assert rows.mean("score", threshold=0.5, **RING, n=8) == found().mean("score", **RING, n=8)
    assert rows.by_seed("bytes", threshold=0.9, **RING, n=8).empty
    assert len(rows.finals) == 2 * len(found().finals)
    assert unfolded(NOTHING, "threshold", names) is NOTHING


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
