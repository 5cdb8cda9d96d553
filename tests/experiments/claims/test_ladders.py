"""A claim that fits a law to small runs, and predicts a large one of each ladder."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import pytest

from swarm.common.statistics import PowerLaw, interval, power_law
from swarm.experiments.claims.base import Condition, Verdict
from swarm.experiments.claims.charts import Chart
from swarm.experiments.claims.results import Results
from swarm.experiments.claims.shared.ladders import Ladders

SIZES, LARGE = {"a": [1, 2, 4], "b": [2, 4, 8]}, {"a": 40, "b": 80}
SCALE = {("a", 0): 1.0, ("a", 1): 2.0, ("b", 0): 3.0, ("b", 1): 5.0}


class Loss(Ladders):
    """Two ladders of three sizes, whose loss falls as 1/n."""

    hypotheses = ()
    arm, metric, measured = "swarm", "score", "loss"

    def conditions(self) -> list[Condition]:
        return [_condition(ladder, size) for ladder, each in SIZES.items() for size in each]

    def holdout(self) -> list[Condition]:
        return [_condition(ladder, size) for ladder, size in LARGE.items()]

    def laws(self, results: Results, ladder: str) -> Mapping[int, PowerLaw]:
        rows = self.small(results, ladder)
        return {seed: power_law(rows.columns, row, floor=False) for seed, row in rows.T.items()}  # type: ignore[misc]

    def conclude(self, results: Results) -> list[Verdict]:
        return []

    def charts(self, results: Results) -> list[Chart]:
        return []

    def table(self, results: Results) -> pd.DataFrame:
        cell = self.at_goal(lambda ladder: self.predicted(results, ladder), 2)
        return results.table(self.by_ladder(), {"said": cell}, own=("ladder", "size"))


def _condition(ladder: str, size: int) -> Condition:
    return Condition.of({"ladder": ladder, "size": size}, {}, arms=["swarm"])


OF = Loss([], {"seeds": 2}, {"seeds": 5})


def found(lacking: tuple[str, int, int] | None = None) -> Results:
    rows = [
        {"ladder": ladder, "size": size, "seed": seed, "arm": "swarm", "diverged": False,
         "score": scale / size}
        for (ladder, seed), scale in SCALE.items()
        for size in [*SIZES[ladder], LARGE[ladder]]
        if (ladder, size, seed) != lacking
    ]  # fmt: skip
    return Results(pd.DataFrame(rows), pd.DataFrame())


def test_the_prediction_has_the_law_of_every_seed_and_their_mean() -> None:
    said = OF.predict(found())
    assert list(said) == ["a", "b"]
    assert said["b"]["size"] == 80
    assert said["b"]["by_seed"]["1"]["loss"] == pytest.approx(5 / 80, rel=1e-4)
    assert said["b"]["by_seed"]["1"]["law"]["a"] == pytest.approx(5, rel=1e-4)
    assert said["b"]["loss"] == pytest.approx(interval([3 / 80, 5 / 80]), rel=1e-3)
    assert OF.predicted(found(), "b") == said["b"]["loss"]


def test_what_is_said_and_what_is_found_are_by_seed() -> None:
    results = found()
    said = OF.said(OF.laws(results, "a"), "a")
    assert said.to_dict() == pytest.approx(OF.large(results, "a").to_dict(), rel=1e-4)
    assert OF.small(results, "a").to_dict("list") == {1: [1, 2], 2: [0.5, 1], 4: [0.25, 0.5]}


def test_a_seed_that_lacks_a_size_has_no_law() -> None:
    results = found(lacking=("a", 2, 0))
    assert list(OF.small(results, "a").index) == [1]
    assert list(OF.predict(results)["a"]["by_seed"]) == ["1"]


def test_the_line_reaches_from_the_smallest_size_to_the_predicted_one() -> None:
    line = OF.fitted(found(), "a", "law")
    assert (line.x_K[0], line.x_K[-1]) == pytest.approx((1, 40))
    assert (line.y_K[0], line.y_K[-1]) == pytest.approx((1.5, 1.5 / 40), rel=1e-3)


def test_the_table_is_ladder_by_ladder_and_predicts_the_large_size_alone() -> None:
    table = OF.table(found())
    assert table["size"].tolist() == [1, 2, 4, 40, 2, 4, 8, 80]
    said = table["said"].tolist()
    assert [each for each in said if each != "–"] == [said[3], said[7]]
    assert said[3].startswith("0.04 ")
