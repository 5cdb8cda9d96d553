"""Tables and charts of a claim from columns as data, and conditions from sizes and controls."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from swarm.common.errors import ConfigError
from swarm.common.statistics import Interval, interval
from swarm.experiments.claims.base import Claim, Condition, SizedBudget, Verdict
from swarm.experiments.claims.charts import Chart
from swarm.experiments.claims.results import Figure, Mean, Only, Results, Text

from . import two_graphs

ARMS = ("swarm", "isolated", "centralised")
SCORES = {("ring", "swarm"): [0.8, 0.9], ("ring", "isolated"): [0.5, 0.5], ("star", "swarm"): [0.7, 0.7]}  # fmt: skip


def found(diverged: tuple[str, str] = ("", "")) -> Results:
    """Two seeds of two graphs; what ``diverged`` has no final score."""
    rows = [
        {
            "graph": graph,
            "arm": arm,
            "seed": seed,
            "round": 1,
            "score": math.nan if (graph, arm) == diverged else score,
            "sent": 2_000_000.0,
            "diverged": (graph, arm) == diverged,
        }
        for (graph, arm), scores in SCORES.items()
        for seed, score in enumerate(scores)
    ]
    return Results(pd.DataFrame(rows), pd.DataFrame(rows))


ROWS = [{"graph": graph, "arm": arm} for graph, arm in SCORES]


def shown(cell: Any, results: Results | None = None) -> list[Any]:
    return (results or found()).table(ROWS, {"cell": cell})["cell"].tolist()


def test_a_mean_is_shown_with_its_interval() -> None:
    means = [interval(scores).text(1, 100, "%") for scores in SCORES.values()]
    assert shown(Mean("score", 1, 100, "%")) == means
    assert shown(Mean("score"))[1] == "0.500 [0.500, 0.500]"


def test_a_mean_minus_another_row_is_paired_by_seed() -> None:
    lost = interval([0.7 - 0.8, 0.7 - 0.9])
    assert shown(Mean("score", 1, 100, minus={"graph": "ring"}))[2] == lost.text(1, 100)
    assert shown(Mean("score", 1, minus={"arm": "isolated"}))[2] == "–"  # no such run


def test_a_mean_may_come_from_a_function_of_the_row() -> None:
    def half(row: Any) -> Interval | None:
        return None if row["arm"] == "isolated" else interval([0.5, 0.5])

    assert shown(Mean(half, 2)) == ["0.50 [0.50, 0.50]", "–", "0.50 [0.50, 0.50]"]
    assert shown(half) == ["0.500 [0.500, 0.500]", "–", "0.500 [0.500, 0.500]"]


def test_a_function_returns_its_difference_itself() -> None:
    with pytest.raises(ValueError, match="minus is of a metric"):
        Mean(lambda row: interval([1.0]), minus={"graph": "ring"})


def test_a_figure_has_a_unit_and_no_interval() -> None:
    assert shown(Figure("sent", ".1f", per=1e6)) == ["2.0"] * 3
    assert shown(Figure(lambda row: len(row["graph"]), ",.0f", per=2)) == ["2"] * 3


def test_values_of_the_row_keep_their_type_and_texts_are_filled_in() -> None:
    rows = [{"size": 8, "share": 0.25, "arm": "swarm"}, {"size": 9, "share": 1, "arm": "isolated"}]
    columns = {"n": "size", "share": Text("{share:.0%}"), "who": Text("{size}", arm="swarm")}
    table = found().table(rows, columns, own=("arm",))
    assert table.to_dict("list") == {
        "arm": ["swarm", "isolated"],
        "n": [8, 9],
        "share": ["25%", "100%"],
        "who": ["8", "isolated"],
    }


def test_a_column_may_be_of_some_rows_only() -> None:
    assert shown(Only("graph", arm="swarm")) == ["ring", "–", "star"]
    assert shown(Only(Mean("score", 1), graph=("ring", "tree"), arm="isolated"))[::2] == ["–"] * 2
    assert shown(Only(lambda row: 7, graph="star")) == ["–", "–", 7]


@pytest.mark.parametrize("nothing", [None, math.nan, interval([])])
def test_what_is_not_there_is_a_dash(nothing: Any) -> None:
    assert shown(lambda row: nothing) == ["–"] * 3


@pytest.mark.parametrize("cell", [Mean("unheard of"), Figure("unheard of", ".1f")])
def test_a_metric_that_is_missing_is_a_dash(cell: Any) -> None:
    assert shown(cell) == ["–"] * 3


@pytest.mark.parametrize(
    "cell", [Mean("score"), Figure("score", ".1f"), Mean("score", minus={"graph": "star"})]
)
def test_an_arm_that_diverged_is_a_dash_and_the_others_are_not(cell: Any) -> None:
    cells = shown(cell, found(diverged=("ring", "swarm")))
    assert [each == "–" for each in cells[::2]] == [True, False]


@pytest.mark.parametrize("cell", [Mean("score"), Figure("score", ".1f"), lambda row: None])
def test_without_a_finished_run_all_rows_are_there_and_empty(cell: Any) -> None:
    nothing = Results(pd.DataFrame(), pd.DataFrame())
    assert shown(cell, nothing) == ["–"] * 3
    assert nothing.by_seed_along("score", "graph", ["ring", "star"]).empty
    assert [len(line.x_K) for line in nothing.by_rounds("score", {"a": {}, "b": {}})] == [0, 0]


def test_scores_by_seed_and_a_value_stand_side_by_side() -> None:
    frame = found().by_seed_along("score", "graph", ["star", "ring"], arm="swarm")
    assert frame.to_dict("list") == {"star": [0.7, 0.7], "ring": [0.8, 0.9]}
    assert (
        found().by_seed_along("score", "graph", ["ring", "tree"], arm="swarm")["tree"].isna().all()
    )


def test_lines_are_named_and_share_what_all_have() -> None:
    lines = found().by_rounds(
        "score", {"A": {"graph": "ring"}, "B": {"graph": "star"}}, arm="swarm"
    )
    assert [(line.name, *line.y_K) for line in lines] == [("A", pytest.approx(0.85)), ("B", 0.7)]


class Graphs(Claim):
    """Two graphs of one size."""

    hypotheses = ()
    Budget = SizedBudget

    def conditions(self) -> list[Condition]:
        size = self.budget.size(4)
        return [
            Condition.of(
                {"graph": name},
                size,
                {"topology": name},
                arms=ARMS if name == "ring" else ["swarm"],
            )
            for name in ("ring", "star")
        ]

    def conclude(self, results: Results) -> list[Verdict]:
        return []

    def charts(self, results: Results) -> list[Chart]:
        return []

    def table(self, results: Results) -> pd.DataFrame:
        return results.table(self.rows(), {"graph": "graph"})


def claim(cls: type[Claim] = Graphs, **own: Any) -> Claim:
    budget = {"seeds": 5, "devices": 8, "rounds": 10}
    return cls(own.get("settings", []), budget, budget)


def test_a_condition_has_its_size_its_own_changes_and_its_arms() -> None:
    ring, star = claim().conditions()
    size = {"devices": 8, "rounds": 10, "evaluate.every": 2}
    three = ["swarm", "isolated", "centralised"]
    assert ring.changes == {**size, "topology": "ring", "scenario.arms": three}
    assert star.changes == {**size, "topology": "star", "scenario.arms": ["swarm"]}
    assert claim().budget.size(99)["evaluate.every"] == 1
    later = Condition.of({}, {"rounds": 1}, {"rounds": 2}, arms=ARMS)
    assert later.changes["rounds"] == 2


def test_there_is_a_row_for_each_condition_and_arm() -> None:
    arms = [(row["graph"], row["arm"]) for row in claim().rows()]
    ring = [("ring", "swarm"), ("ring", "isolated"), ("ring", "centralised")]
    assert arms == [*ring, ("star", "swarm")]
    last = [(row["graph"], row["arm"]) for row in claim().rows(controls_last=True)]
    assert last == [ring[0], ("star", "swarm"), *ring[1:]]


def test_rows_have_the_arms_of_conditions_that_do_not_name_them() -> None:
    class Plain(Graphs):
        def conditions(self) -> list[Condition]:
            return [Condition({"graph": "ring"}, {"topology": "ring"})]

        def holdout(self) -> list[Condition]:
            return [Condition({"graph": "star"}, {"scenario.arms": ["swarm"]})]

    def arms(of: Claim) -> list[str]:
        return [row["arm"] for row in of.rows() if row["graph"] == "ring"]

    assert arms(claim(Plain)) == ["swarm", "isolated", "centralised", "fedavg"]
    assert arms(claim(Plain, settings=["scenario.arms=[swarm,fedavg]"])) == ["swarm", "fedavg"]
    assert claim(Plain).rows()[-1]["graph"] == "star"


def test_a_budget_that_cannot_work_is_named() -> None:
    class Sizes(SizedBudget):
        sizes: list[int]

    class Ladder(Graphs):
        Budget = Sizes

    def of(*sizes: int) -> Claim:
        budget = {"seeds": 5, "devices": 8, "rounds": 10, "sizes": [*sizes]}
        return Ladder([], budget, budget)

    of(1, 2).require_ascending("sizes", 2)
    of(1).require(True, "sizes", "must be whatever it is")
    valid = "2 or more different sizes, in ascending order"
    for wrong in ([1], [2, 1], [1, 1]):
        with pytest.raises(ConfigError, match=rf"quick\.sizes.*{valid}"):
            of(*wrong).require_ascending("sizes", 2, "sizes")
    with pytest.raises(ConfigError, match=r"quick\.sizes.*must be small"):
        of(9).require(9 < 3, "sizes", "must be small")


def test_a_mean_may_be_of_values_by_seed() -> None:
    results = two_graphs.found()

    def rise(row: Any) -> pd.Series[float] | None:
        return results.by_seed("score", **row) - 0.5 if row["graph"] == "ring" else None

    cells = results.table([two_graphs.RING, two_graphs.STAR], {"rise": Mean(rise, 1, 100)})[
        "rise"
    ].tolist()
    assert cells == [interval([0.3, 0.1]).text(1, 100), "–"]


def test_a_figure_may_have_nothing_to_show_at_zero() -> None:
    columns = {"a": Figure("sent", ".1f"), "b": Figure("sent", ".1f", zero=False)}
    columns |= {"c": Figure("score", ".1f", zero=False)}
    assert two_graphs.found().table([two_graphs.RING], columns).iloc[0].tolist() == [
        "0.0",
        "–",
        "0.7",
    ]
