"""What results say beside final metrics: records, means over devices, rolling means; and metrics
that are made of curves, of other rows, or of arms that diverged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from swarm.common.statistics import interval
from swarm.experiments.claims.results import Figure, Mean, Results
from swarm.experiments.claims.shared.measures import counting_diverged, with_measures, with_share

NOTHING = Results(pd.DataFrame(), pd.DataFrame())
SCORES = {("ring", 0): 0.8, ("ring", 1): 0.6, ("star", 0): 0.4, ("star", 1): 0.6}
RING, STAR = {"graph": "ring", "arm": "swarm"}, {"graph": "star", "arm": "swarm"}


def found(diverged: tuple[str, int] = ("", 0)) -> Results:
    """Two seeds of two graphs: scores that rise by a tenth a round to those of the end, and two
    devices, a tenth below it and above; ``diverged`` is left with a score of a tenth."""
    runs = [{"graph": graph, "seed": seed, "arm": "swarm"} for graph, seed in SCORES]
    finals = [
        {**run, "score": 0.1 if lost else score, "sent": 0.0, "diverged": lost}
        for run, score in zip(runs, SCORES.values(), strict=True)
        for lost in [(run["graph"], run["seed"]) == diverged]
    ]
    curves = [
        {**run, "round": round, "score": score - 0.1 * (2 - round), "spent": 10.0 * round + seed}
        for run, ((_, seed), score) in zip(runs, SCORES.items(), strict=True)
        for round in (2, 0, 1)
    ]
    devices = [
        {**run, "device": device, "kind": kind, "score": score + step}
        for run, score in zip(runs, SCORES.values(), strict=True)
        for device, (kind, step) in enumerate((("weak", -0.1), ("strong", 0.1), ("broken", np.nan)))
    ]
    return Results(*map(pd.DataFrame, (finals, curves)), devices=pd.DataFrame(devices))


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


def test_a_metric_may_be_made_of_each_curve() -> None:
    def last(curve: pd.DataFrame) -> dict[str, float]:
        assert curve["round"].tolist() == [0, 1, 2]
        return {"first": curve["score"].iloc[0], "rise": curve["score"].iloc[-1] - 0.5}

    results = with_measures(found(), last, ["graph"])
    assert results.by_seed("first", **STAR).to_dict() == pytest.approx({0: 0.2, 1: 0.4})
    assert results.mean("rise", **RING).mean == pytest.approx(0.2)
    assert results.mean("score", **RING) == found().mean("score", **RING)
    assert with_measures(NOTHING, last, ["graph"]) is NOTHING


def test_a_run_without_a_curve_has_no_such_metric() -> None:
    whole = found()
    half = Results(whole.finals, whole.curves[whole.curves["graph"] == "ring"])
    results = with_measures(half, lambda curve: {"rounds seen": len(curve)}, ["graph"])
    assert results.by_seed("rounds seen", **RING).tolist() == [3, 3]
    assert results.by_seed("rounds seen", **STAR).empty


def test_a_share_is_of_the_row_of_the_same_seed() -> None:
    results = with_share(found(), "kept", "score", by=(), **RING)
    assert results.by_seed("kept", **STAR).to_dict() == pytest.approx({0: 0.5, 1: 1.0})
    assert results.by_seed("kept", **RING).tolist() == [1, 1]
    assert with_share(NOTHING, "kept", "score", by=(), **RING) is NOTHING
    with pytest.raises(ValueError, match="not unique"):
        with_share(found(), "kept", "score", by=(), arm="swarm")


def test_a_share_is_of_the_row_with_the_same_values() -> None:
    two = [
        found().finals.assign(size=size, score=found().finals["score"] * size) for size in (1, 2)
    ]
    results = with_share(Results(pd.concat(two), pd.DataFrame()), "kept", "score", ["size"], **RING)
    assert results.by_seed("kept", size=2, **STAR).to_dict() == pytest.approx({0: 0.5, 1: 1.0})


def test_there_is_no_share_of_what_diverged() -> None:
    results = with_share(found(diverged=("ring", 0)), "kept", "score", by=(), **RING)
    assert results.by_seed("kept", **STAR).to_dict() == pytest.approx({1: 1.0})


def test_what_diverged_may_count_with_other_figures() -> None:
    results = found(diverged=("ring", 0))
    assert results.by_seed("score", **RING).to_dict() == {1: 0.6}
    assert counting_diverged(results, score=0.0).by_seed("score", **RING).to_dict() == {
        0: 0,
        1: 0.6,
    }
    assert counting_diverged(results).by_seed("score", **RING).to_dict() == {0: 0.1, 1: 0.6}
    assert counting_diverged(results, score=0.0).diverged() == []
    assert results.diverged() == ["swarm"]
    assert counting_diverged(NOTHING, score=0.0) is NOTHING


def test_a_mean_may_be_of_values_by_seed() -> None:
    results = found()

    def rise(row: Any) -> pd.Series[float] | None:
        return results.by_seed("score", **row) - 0.5 if row["graph"] == "ring" else None

    cells = results.table([RING, STAR], {"rise": Mean(rise, 1, 100)})["rise"].tolist()
    assert cells == [interval([0.3, 0.1]).text(1, 100), "–"]


def test_a_figure_may_have_nothing_to_show_at_zero() -> None:
    columns = {"a": Figure("sent", ".1f"), "b": Figure("sent", ".1f", zero=False)}
    columns |= {"c": Figure("score", ".1f", zero=False)}
    assert found().table([RING], columns).iloc[0].tolist() == ["0.0", "–", "0.7"]
