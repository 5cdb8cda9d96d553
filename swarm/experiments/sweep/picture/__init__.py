"""Draws ``sweep.png``, which shows a sweep in one picture.

``looks`` gives every combination a colour, a line and a marker, ``curves`` and ``finals`` draw the
panels, ``legend`` names what is drawn.
"""

from __future__ import annotations

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from swarm.experiments.sweep.gather import SweepResults
from swarm.experiments.sweep.picture.curves import draw_curves
from swarm.experiments.sweep.picture.finals import draw_finals
from swarm.experiments.sweep.picture.legend import Legend
from swarm.experiments.sweep.picture.looks import Looks
from swarm.results.report.axes import INK
from swarm.results.report.style import SOFT, literal

_HEADINGS, _PANELS = 0.58, 6.8  # inches: above the legend, and below it


def draw(found: SweepResults, title: str, subtitle: str) -> bytes:
    """A PNG of 1,430 pixels by about 1,040, higher where the legend needs many lines: the score by
    round, by bytes and by virtual seconds, each the mean over seeds with its 95% interval, and the
    final score against the spectral gap. Controls that are the same in all combinations are drawn
    once.
    """
    buffer = io.BytesIO()
    figure(found, title, subtitle).savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def figure(found: SweepResults, title: str, subtitle: str) -> Figure:
    """The picture before it is written."""
    looks = Looks(found.combinations)
    legend = Legend.of(found, looks)
    height = max(8.0, _HEADINGS + legend.height + 0.3 + _PANELS)
    drawn = Figure(figsize=(11, height), dpi=130, facecolor="white")
    FigureCanvasAgg(drawn)
    top = 1 - (_HEADINGS + legend.height + 0.55) / height
    drawn.subplots_adjust(
        left=0.07, right=0.985, top=top, bottom=0.56 / height, wspace=0.17, hspace=0.36
    )
    (rounds, sent), (seconds, gap) = drawn.subplots(2, 2)
    draw_curves(rounds, found, looks, "round", "By rounds", "round")
    said = "By what was sent (straight across: sends nothing)"
    draw_curves(sent, found, looks, "bytes_total", said, "bytes sent by all devices")
    draw_curves(seconds, found, looks, "virtual_s", "By virtual time", "virtual seconds")
    draw_finals(gap, found, looks)
    for text, at, size, weight, colour in (
        (title, 0.12, 13, "bold", INK),
        (subtitle, 0.408, 10, "normal", SOFT),
    ):
        drawn.text(0.012, 1 - at / height, literal(text), fontsize=size, fontweight=weight,
                    color=colour, va="top")  # fmt: skip
    legend.draw(drawn, _HEADINGS)
    return drawn
