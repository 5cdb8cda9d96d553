"""The picture of a sweep: every combination can be told from every other by the legend alone."""

from __future__ import annotations

from itertools import product

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from swarm.experiments.sweep.gather import ANY, SweepResults
from swarm.experiments.sweep.picture import figure
from swarm.experiments.sweep.picture.looks import Looks
from swarm.results.columns import DEFAULTS, main

ARM, CONTROL = "swarm", "isolated"


def swept(factors: dict[str, list[str]], common: bool = True, gaps: bool = True) -> SweepResults:
    """A sweep of four rounds in which all combinations have the same curve, so each hides the others
    unless the picture prevents it.
    """
    score = main(DEFAULTS, lambda key: key == "accuracy_mean")
    assert score is not None
    table, curves = [], []
    cells = [dict(zip(factors, values, strict=True)) for values in product(*factors.values())]
    arms = [(values, ARM) for values in cells]
    arms += [(dict.fromkeys(factors, ANY), CONTROL)] if common else [(v, CONTROL) for v in cells]
    first = next(iter(factors), "")
    for values, arm in arms:
        level = 0.8 if arm == ARM else 0.4
        ends = {"accuracy_low": level - 0.1, "accuracy_high": level + 0.1}
        gap = 0.1 * (1 + factors[first].index(values[first])) if gaps and arm == ARM else None
        table.append({**values, "arm": arm, "accuracy": level, "spectral_gap": gap, **ends})
        for at in range(5):
            sent = at * 100.0 if arm == ARM else 0.0
            place = {"round": at, "bytes_total": sent, "virtual_s": float(at)}
            curves.append({**values, "arm": arm, "accuracy": level * at / 4, **place, **ends})
    return SweepResults(
        [*factors], score, ARM, [CONTROL] if common else [], pd.DataFrame(), pd.DataFrame(table),
        pd.DataFrame(curves),
    )  # fmt: skip


def look(line: Line2D) -> tuple[object, object, object]:
    return line.get_color(), line.get_linestyle(), line.get_marker()


def named(drawn: Figure) -> dict[str, Line2D]:
    [legend] = drawn.legends
    handles = legend.legend_handles
    entries = zip(legend.get_texts(), handles, strict=True)
    return {text.get_text(): line for text, line in entries if isinstance(line, Line2D)}


THREE = {"topology": ["ring", "torus", "complete"], "protocol": ["dpsgd", "d2", "relay_sgd"]}


def test_two_factors_have_colour_and_line_and_one_legend_names_both() -> None:
    drawn = figure(swept(THREE), "title", "subtitle")
    legend = named(drawn)
    colours = {name: legend[name].get_color() for name in THREE["topology"]}
    lines = {name: look(legend[name])[1:] for name in THREE["protocol"]}
    assert len(set(colours.values())) == len(set(lines.values())) == 3
    assert {*legend} >= {"topology", "protocol", "controls", CONTROL}
    wanted = {(colours[a], *lines[b]) for a, b in product(*THREE.values())}
    for panel in drawn.axes[:3]:
        assert wanted <= {look(line) for line in panel.get_lines()}


def test_no_curve_hides_another() -> None:
    """Each of nine equal curves shows a marker at a round at which the one drawn last has none, or
    it is the last.
    """
    long = swept(THREE)
    rounds = pd.DataFrame({"at": range(30)})
    curves = long.curves.drop_duplicates(["topology", "protocol", "arm"]).merge(rounds, how="cross")
    curves = curves.assign(round=curves["at"], virtual_s=curves["at"] * 1.0)
    found = SweepResults(long.keys, long.main, ARM, [CONTROL], long.runs, long.table, curves)
    panel = figure(found, "", "").axes[0]
    marked = [line.get_markevery() for line in panel.get_lines() if line.get_marker() in "osD"]
    assert len(marked) == 9
    assert len({start for start, _ in marked}) >= 4  # type: ignore[misc]


def test_the_final_points_of_one_spectral_gap_stand_apart() -> None:
    gap = figure(swept(THREE), "", "").axes[3]
    places = sorted(float(line.get_xdata()[0]) for line in gap.get_lines() if line.get_marker() in "osD")  # type: ignore[index]  # fmt: skip
    assert len(set(places)) == len(places) == 9


def test_a_combination_without_a_spectral_gap_is_drawn_too() -> None:
    """Side by side: on an axis of gaps it had no place, and was left out without a word."""
    found = swept(THREE)
    found.table.loc[0, "spectral_gap"] = None
    panel = figure(found, "", "").axes[3]
    assert sum(line.get_marker() in "osD" for line in panel.get_lines()) == 9
    assert [text.get_text() for text in panel.get_xticklabels()] == THREE["topology"]


@pytest.mark.parametrize(
    ("factors", "colours", "lines"),
    [
        ({"a": ["x", "y"], "b": ["1", "2", "3"]}, "b", 2),  # most values
        ({"a": ["x"], "b": ["1", "2"], "c": ["u", "v"]}, "b", 2),  # one value tells nothing
        ({"a": ["x", "y", "z"], "b": ["1", "2"], "c": ["u", "v"]}, "a", 4),
        ({"a": [str(i) for i in range(12)], "b": [str(i) for i in range(9)]}, "a", 9),
    ],
)
def test_any_factors_give_each_combination_a_look_of_its_own(
    factors: dict[str, list[str]], colours: str, lines: int
) -> None:
    cells = [dict(zip(factors, values, strict=True)) for values in product(*factors.values())]
    looks = Looks(cells)
    assert looks.tinted == (colours,)
    assert len(looks.lines) == lines
    found = [looks(values) for values in cells]
    assert len({(each.colour, str(each.dash), each.mark) for each in found}) == len(cells)


def test_controls_of_each_combination_are_drawn_and_named_once() -> None:
    drawn = figure(swept(THREE, common=False), "", "")
    hollow = [line for line in drawn.axes[0].get_lines() if line.get_markerfacecolor() == "white"]
    assert len({(line.get_color(), line.get_marker()) for line in hollow}) == 9
    assert CONTROL in named(drawn)
    finals = [line for line in drawn.axes[3].get_lines() if line.get_markerfacecolor() == "white"]
    assert len(finals) == 9


def test_a_long_legend_makes_the_picture_higher_and_says_what_it_leaves_out() -> None:
    few = figure(swept({"batch": ["1", "2", "3"]}), "", "")
    many = figure(swept({"batch": [str(i) for i in range(60)]}), "", "")
    assert many.get_figheight() > few.get_figheight()
    assert "and 13 more: table.md" in named(many)
    assert "batch=46" in named(many)
