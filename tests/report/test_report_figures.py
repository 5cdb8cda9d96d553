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
from swarm.report.network import _scores

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


def tables(text: str) -> dict[tuple[str, str], str]:
    """What stands in each cell of the page's tables, by arm and head of the column."""
    found = {}
    for table in re.findall("<table>(.*?)</table>", text, re.S):
        heads = re.findall("<th>([^<]*)</th>", table)
        for row in re.findall('<tr class="arm.*?</tr>', table, re.S):
            cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall("<t[hd]>(.*?)</t[hd]>", row, re.S)]
            found |= {(cells[0].strip(), head): cell for head, cell in zip(heads[1:], cells[1:], strict=True)}
    return found


def test_each_figure_stands_in_its_column(make_run: MakeRun) -> None:
    folder = make_run(rounds=6, arms=("swarm", "isolated"))
    summary = json.loads((folder / "summary.json").read_text())
    summary["arms"]["swarm"] |= {"messages_total": 200, "lost_total": 30, "late_total": 8, "bytes_total": 2048, "bytes": 1,
                                 "joules_total": 1500.0, "accuracy_p10": 0.25, "accuracy_min": 0.125, "forgetting": 0.5,
                                 "backward_transfer": -0.75, "recovery_rounds": [3, None]}  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    shown = tables(page(load(folder)))
    expected = {"messages sent": "200", "lost": "30 (15.0%)", "late": "8 (4.0%)", "bytes sent": "2 KiB", "energy": "1.5 kJ",
                "worst decile": "0.250", "worst device": "0.125", "forgetting": "0.500", "backward transfer": "-0.750",
                "rounds to recover": "3, never", "sent": "2 KiB"}  # fmt: skip
    assert {head: shown["swarm", head] for head in expected} == expected
    assert shown["isolated", "forgetting"] == "–"


def test_a_device_of_the_graph_has_its_own_colour(make_run: MakeRun) -> None:
    """Also where not all are drawn, or a device was not evaluated."""
    run = load(make_run(rounds=5, devices=12))
    last = run.final_devices("swarm").set_index("device")["accuracy"]
    found = _scores(replace(run, devices=run.devices[run.devices["device"] != 4]), [7, 4, 2])
    assert found is not None
    np.testing.assert_array_equal(found, [last[7], np.nan, last[2]])
