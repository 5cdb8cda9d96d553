"""What the page's tables and the pictures say, and what they leave out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from swarm.report import load, write_report
from swarm.report.curves import _by_round
from swarm.report.html import page

MakeRun = Callable[..., Path]


def test_what_never_happened_takes_no_column(make_run: MakeRun) -> None:
    """No column of lost messages where none was lost, none of rounds where all arms had as many, no fact without a value."""
    folder = make_run(rounds=6, arms=("swarm", "isolated"))
    summary = json.loads((folder / "summary.json").read_text())
    summary["topology"]["estimated_from"] = None

    def heads() -> list[str]:
        (folder / "summary.json").write_text(json.dumps(summary))
        text = page(load(folder))
        assert "estimated from" not in text
        return re.findall("<th>([^<]*)</th>", text)

    assert not {"lost", "late", "rounds"} & set(heads())
    summary["arms"]["swarm"] |= {"lost_total": 3, "rounds": 5}
    assert {"lost", "rounds"} <= set(heads())
    assert "late" not in heads()


def test_numbers_of_concepts_that_crowd_are_left_out(make_run: MakeRun) -> None:
    """Two in one place say neither; the lines are all there."""
    run = load(make_run(rounds=100, arms=("swarm",)))
    shown = []
    for far in (51, 80):
        concept = np.where(np.arange(101) < 50, 0.0, np.where(np.arange(101) < far, 1.0, 2.0))
        axes = Figure().subplots()
        _by_round(axes, replace(run, metrics=run.metrics.assign(concept=concept)), "accuracy")
        shown.append(([int(t.get_text()) for t in axes.texts], len(axes.lines)))
    assert shown == [([2], 3), ([1, 2], 3)]


def test_a_name_that_is_no_text_is_drawn(make_run: MakeRun) -> None:
    """JSON can hold half a character, which no file can."""
    folder = make_run(rounds=5)
    text = (folder / "summary.json").read_text()
    (folder / "summary.json").write_text(text.replace('"scenario": "growth"', r'"scenario": "gr\ud800wth"'))
    write_report(folder)
    assert "gr?wth" in (folder / "report.html").read_text(encoding="utf-8")
