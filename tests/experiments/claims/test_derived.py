"""Final metrics that are made of others, of curves, of other rows, or of arms that diverged."""

from __future__ import annotations

import pandas as pd
import pytest

from swarm.experiments.claims.results import Results
from swarm.experiments.claims.shared.derived import (
    assigned,
    counting_diverged,
    unfolded,
    with_measures,
    with_share,
)

from .two_graphs import NOTHING, RING, STAR, found


def test_a_metric_that_follows_from_others_is_looked_up_as_they_are() -> None:
    lost = assigned(found(), error=lambda finals: 1 - finals["score"])
    assert lost.mean("error", **STAR).mean == 0.5
    assert "error" not in found().finals
    assert assigned(NOTHING, error=lambda finals: 1 - finals["score"]) is NOTHING


def test_metrics_of_several_thresholds_become_rows() -> None:
    names = {0.5: {"calls": "sent"}, 0.9: {"calls": "score", "bytes": "unheard of"}}
    rows = unfolded(found(), "threshold", names)
    assert rows.by_seed("calls", threshold=0.5, **RING).tolist() == [0, 0]
    assert rows.by_seed("calls", threshold=0.9, **RING).tolist() == [0.8, 0.6]
    assert rows.mean("score", threshold=0.5, **RING) == found().mean("score", **RING)
    assert rows.by_seed("bytes", threshold=0.9, **RING).empty
    assert len(rows.finals) == 2 * len(found().finals)
    assert unfolded(NOTHING, "threshold", names) is NOTHING


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
