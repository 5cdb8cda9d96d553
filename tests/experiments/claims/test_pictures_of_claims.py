"""What charts of claims look like."""

from __future__ import annotations

import io
import itertools

import matplotlib.colors
import matplotlib.figure
import matplotlib.image
import numpy as np
import pytest

from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.page import pictures
from swarm.experiments.claims.page.pictures import DARK, draw


def test_what_shares_cannot_be_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float]] = []
    real = matplotlib.figure.Figure.savefig

    def save(figure: matplotlib.figure.Figure, *given: object, **named: object) -> None:
        seen.append(figure.axes[0].get_ylim())
        real(figure, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", save)
    x, y = np.arange(3.0), np.array([0.2, 0.5, 0.9])
    for scale in (1, 10, -1):
        draw(Chart("t", "x", "y", [Line("a", x, scale * y, scale * y - 5, scale * y + 5)]))
    assert seen[0] == (-0.05, 1.05)
    assert seen[1][1] > 10
    assert seen[2][0] < -5


@pytest.mark.parametrize("points", [2, 7, 40])
def test_a_curve_that_lies_on_another_is_seen(points: int) -> None:
    x = np.arange(float(points))
    same = [Line(name, x, x, x, x) for name in ("_a", "_b")]  # an underscore: not in the legend
    pixels = matplotlib.image.imread(io.BytesIO(draw(Chart("t", "x", "y", same))))[..., :3]
    for colour in pictures.LIGHT.lines[:2]:
        assert np.isclose(pixels, matplotlib.colors.to_rgb(colour), atol=0.01).all(-1).sum() > 20


def test_names_of_places_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on a wide picture nor on a narrow one, and nothing joins what they name."""
    seen: list[matplotlib.figure.Figure] = []

    def look(figure: matplotlib.figure.Figure, *_: object, **__: object) -> None:
        figure.canvas.draw()
        seen.append(figure)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", look)
    x, names = np.arange(6.0), [*["from scratch, in a swarm", "pruned", "distilled"] * 2]
    for form in (pictures.WIDE, pictures.NARROW):
        draw(Chart("t", "x", "y", [Line("a", x, x, x, x, "points")], names=names), form=form)
        axes = seen[-1].axes[0]
        labels = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert [label.get_text().replace("\n", " ") for label in axes.get_xticklabels()] == names
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(labels))
        assert labels[0].x0 > 0
        assert labels[-1].x1 < seen[-1].bbox.width
        assert axes.xaxis.label.get_window_extent().y0 > 0
        assert axes.get_lines()[0].get_linestyle() == "None"


@pytest.mark.parametrize("kind", ["line", "points"])
def test_any_chart_can_be_drawn(kind: str) -> None:
    nothing = np.zeros(0)
    one = np.ones(1)
    gap = np.array([1.0, np.nan, 3.0])
    lines = [Line("empty", nothing, nothing, nothing, nothing, kind), Line("one", one, one, one * np.nan, one, kind),
             Line("$", np.arange(1.0, 4), gap, gap - 1, gap + 1, kind)]  # type: ignore[arg-type]  # fmt: skip
    for log in (False, True):
        chart = Chart(
            "long " * 40,
            "$x",
            "y_$",
            lines,
            log_x=log,
            log_y=log,
            level=(1.0, "$ level"),
            at=(2.0, "at"),
        )
        assert draw(chart, DARK).startswith(b"\x89PNG")
    assert draw(Chart("nothing at all", "x", "y", [])).startswith(b"\x89PNG")
    assert len(pictures.LIGHT.lines) == len(DARK.lines)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.25, "0.25"),
        (999.6, "1e+03"),
        (5000, "5,000"),
        (200_000, "200k"),
        (12_345, "12,345"),
        (5e7, "50M"),
    ],
)
def test_a_tick_leaves_room_for_the_name_of_its_axis(value: float, said: str) -> None:
    assert pictures._number(value) == said
