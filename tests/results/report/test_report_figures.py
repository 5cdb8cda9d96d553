"""What the page's tables and the pictures say, and what they leave out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from swarm.results.report import load, write_report
from swarm.results.report.curves import _by_device, _by_round, _name_levels, spread_out
from swarm.results.report.html.page import page
from swarm.results.report.html.page_data import page_data
from swarm.results.report.layout import layout_graph
from swarm.results.report.network import _curve, _scores
from tests.support import run as small

MakeRun = Callable[..., Path]


def test_what_never_happened_takes_no_column(make_run: MakeRun) -> None:
    """No column of lost messages where none was lost, none of rounds where all arms had as many, no
    fact without a value.
    """
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
    assert run.main is not None
    shown = []
    for far in (51, 80):
        concept = np.where(np.arange(101) < 50, 0.0, np.where(np.arange(101) < far, 1.0, 2.0))
        axes = Figure().subplots()
        _by_round(axes, replace(run, metrics=run.metrics.assign(concept=concept)), run.main)
        shown.append(([int(t.get_text()) for t in axes.texts], len(axes.lines)))
    assert shown == [([2], 3), ([1, 2], 3)]


def test_a_name_that_is_no_text_is_drawn(make_run: MakeRun) -> None:
    """JSON can hold half a character, which no file can."""
    folder = make_run(rounds=5)
    text = (folder / "summary.json").read_text()
    (folder / "summary.json").write_text(
        text.replace('"scenario": "growth"', r'"scenario": "gr\ud800wth"')
    )
    write_report(folder)
    assert "gr?wth" in (folder / "report.html").read_text(encoding="utf-8")


def test_signs_that_the_font_lacks_are_named_once(make_run: MakeRun) -> None:
    folder = make_run(rounds=5)
    text = (folder / "summary.json").read_text()
    (folder / "summary.json").write_text(
        text.replace('"scenario": "growth"', '"scenario": "李四李"')
    )
    with pytest.warns(UserWarning, match="its font lacks") as said:
        write_report(folder)
    assert [str(one.message) for one in said] == [
        "curves.png: its font lacks 李 四, in whose place are boxes; report.html shows all names"
    ]


def tables(text: str) -> dict[tuple[str, str], str]:
    """What stands in each cell of the page's tables, by arm and head of the column."""
    found = {}
    for table in re.findall("<table>(.*?)</table>", text, re.S):
        heads = re.findall("<th>([^<]*)</th>", table)
        for row in re.findall('<tr class="arm.*?</tr>', table, re.S):
            cells = [
                re.sub("<[^>]*>", "", cell)
                for cell in re.findall("<t[hd]>(.*?)</t[hd]>", row, re.S)
            ]
            found |= {
                (cells[0].strip(), head): cell
                for head, cell in zip(heads[1:], cells[1:], strict=True)
            }
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


def test_bands_run_from_the_worst_to_the_best_decile(make_run: MakeRun) -> None:
    """In the picture, in the page's curves and in the lines above them; and the devices are
    sorted.
    """
    run = load(make_run(rounds=20, devices=30, arms=("swarm", "isolated")))
    rows = run.arm("isolated").dropna(subset=["accuracy_mean"])
    low, mean, high = (rows[f"accuracy_{name}"].to_numpy(float) for name in ("p10", "mean", "p90"))
    left, right = Figure().subplots(1, 2)
    assert run.main is not None
    _by_round(left, run, run.main)
    band = left.collections[1].get_paths()[0].vertices[:, 1]
    assert {f"{v:.9f}" for v in band} == {f"{v:.9f}" for v in (*low, *high)}
    np.testing.assert_array_equal(left.lines[1].get_ydata(), mean)
    _by_device(right, run, run.main)
    np.testing.assert_array_equal(
        right.lines[1].get_ydata(), np.sort(run.final_devices("isolated")["accuracy"])
    )
    told = page_data(run)
    series = told["series"]["isolated"]
    assert told["band"] == ["accuracy_p10", "accuracy_p90"]
    for name, values in (("accuracy_p10", low), ("accuracy_mean", mean), ("accuracy_p90", high)):
        np.testing.assert_allclose([v for v in series[name] if v is not None], values, rtol=1e-5)
    text = page(run)
    dots = [float(at) for at in re.findall(r'class="dot" style="left:([0-9.]+)%', text)]
    bars = [
        tuple(map(float, at))
        for at in re.findall(r'class="range" style="left:([0-9.]+)%;width:([0-9.]+)%', text)
    ]
    finals = [run.final(arm) for arm in run.arms]
    scale = (dots[0] - dots[1]) / (finals[0]["accuracy_mean"] - finals[1]["accuracy_mean"])
    for final, dot, (start, width) in zip(finals, dots, bars, strict=True):
        assert start == pytest.approx(
            dot + scale * (final["accuracy_p10"] - final["accuracy_mean"]), abs=0.05
        )
        assert width == pytest.approx(
            scale * (final["accuracy_p90"] - final["accuracy_p10"]), abs=0.05
        )


def test_the_time_is_that_of_all_arms(make_run: MakeRun) -> None:
    folder = make_run(rounds=5, arms=("swarm", "isolated"))
    summary = json.loads((folder / "summary.json").read_text())
    for arm, seconds in (("swarm", 70.0), ("isolated", 5.0)):
        summary["arms"][arm]["wall_s"] = seconds
    (folder / "summary.json").write_text(json.dumps(summary))
    assert re.search(
        r'wall time</div><div class="value[^>]*>1 min 15 s<.*?all 2 arms', page(load(folder))
    )


def test_a_run_without_learning_shows_what_it_has(tmp_path: Path) -> None:
    """No learning rate, no data, no protocol that was not run, and no word on columns that are not
    there.
    """
    small(tmp_path / "run", "scenario=consensus", "topology=torus", "devices=9", "rounds=20")
    run = load(tmp_path / "run")
    text = page(run)
    terms = re.findall("<dt>([^<]*)</dt>", text)
    assert "mixing" in terms
    assert not {"train", "protocol"} & set(terms)
    assert "<h2>Data</h2>" not in text
    heads = re.findall("<th>([^<]*)</th>", text)
    assert {"messages sent", "bytes sent"} <= set(heads)
    assert not {"learning rate", "lost", "energy"} & set(heads)
    for said in ("A device: the median", "Lost:", "Late:", "and energy"):
        assert said not in text
    assert "Columns of zeros are left out." in text
    assert {"consensus_distance", "mean_drift"} <= set(page_data(run)["labels"])
    assert not {"lr", "lost", "late", "flops_total"} & set(page_data(run)["labels"])
    small(
        tmp_path / "sum",
        "scenario=consensus",
        "protocol=push_sum_averaging",
        "devices=9",
        "rounds=5",
        "mixing=column",
    )
    assert "<dt>protocol</dt><dd>push_sum_averaging</dd>" in page(load(tmp_path / "sum"))


@pytest.mark.parametrize(("rows", "cols"), [(3, 3), (4, 5), (8, 8)])
def test_links_around_a_torus_are_seen(rows: int, cols: int) -> None:
    """Those that would lie on others are drawn aside, off every device and inside the picture;
    others are not.
    """
    pos = [[c, r] for r in range(rows) for c in range(cols)]
    edges = [[r * cols + c, r * cols + (c + 1) % cols] for r in range(rows) for c in range(cols)]
    edges += [[r * cols + c, (r + 1) % rows * cols + c] for r in range(rows) for c in range(cols)]
    drawn = layout_graph({"n": len(pos), "edges": edges, "pos": pos})
    around = {
        i
        for i, (a, b) in enumerate(edges)
        if abs(pos[a][0] - pos[b][0]) + abs(pos[a][1] - pos[b][1]) > 1
    }
    assert {number for number, *_ in drawn["bent"]} == around
    xy_N2 = np.stack([drawn["x"], drawn["y"]], axis=1)
    step = np.hypot(*(xy_N2[1] - xy_N2[0]))
    for number, *control in drawn["bent"]:
        a, b = edges[number]
        curve_T2 = _curve(xy_N2[[a, b]], np.array(control))
        np.testing.assert_allclose(curve_T2[[0, -1]], xy_N2[[a, b]])
        between = np.delete(xy_N2, [a, b], axis=0)
        middle = curve_T2[len(curve_T2) // 2]
        assert np.hypot(*(between - middle).T).min() > 0.3 * step
        assert curve_T2.min() >= -1e-4
        assert curve_T2.max() <= 1 + 1e-4
    assert (
        layout_graph(
            {
                "n": len(pos),
                "edges": [e for i, e in enumerate(edges) if i not in around],
                "pos": pos,
            }
        )["bent"]
        == []
    )


@pytest.mark.parametrize(
    "levels",
    [[0.9, 0.9], [0.888, 0.892, 0.89], [0.5, 0.501, 0.9], [1.0, 1.0, 1.0, 1.0], [0.2, 0.6]],
)
def test_names_of_levels_that_lie_close_are_all_read(levels: list[float]) -> None:
    """None covers another, all stay inside, and one with room is on its line."""
    axes = Figure(figsize=(4, 3), dpi=100).subplots()
    FigureCanvasAgg(axes.figure)
    axes.set_ylim(0, 1)
    _name_levels(axes, [(f"arm{i}", "#000000", y) for i, y in enumerate(levels)])
    axes.figure.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.y0)
    assert len(boxes) == len(levels)
    assert all(lower.y1 <= upper.y0 for lower, upper in pairwise(boxes))
    assert boxes[0].y0 >= axes.bbox.y0
    assert boxes[-1].y1 <= axes.bbox.y1 + 1
    if levels[-1] - levels[-2] > 0.3:
        assert (boxes[-1].y0 + boxes[-1].y1) / 2 == pytest.approx(
            axes.transData.transform((0, levels[-1]))[1], abs=2
        )


def test_places_are_spread_as_little_as_they_must() -> None:
    assert spread_out([10, 50], 5, 0, 100) == [10, 50]
    assert spread_out([10, 10, 50], 6, 0, 100) == [7, 13, 50]
    assert spread_out([1, 1], 6, 0, 100) == [0, 6]
    assert spread_out([99, 100], 6, 0, 100) == [94, 100]
    assert spread_out([], 6, 0, 100) == []
