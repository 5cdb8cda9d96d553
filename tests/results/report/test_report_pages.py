"""curves.png and report.html: drawn for every kind of run, self-contained, safe with hostile
names.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image

from swarm.cli.commands.report import main
from swarm.results.report import draw, load, write_report
from swarm.results.report.html.histories.device_history import SCORES_KEPT, device_history
from swarm.results.report.html.page import page
from swarm.results.report.html.page_data import ROWS, page_data, script_json
from swarm.results.report.layout import EDGES, NODES, layout_graph
from swarm.results.report.style import changes
from swarm.results.track.units import human_energy
from tests.support import experiment
from tests.support import run as small

MakeRun = Callable[..., Path]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'$name ${x} \u2028 {0}"


class Parsed(HTMLParser):
    """The elements of a page, and the text of its script elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.shown = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.shown += data


KINDS: dict[str, dict[str, Any]] = {
    "default": {},
    "one arm": {"arms": ("swarm",)},
    "without a swarm": {"arms": ("isolated", "other")},
    "one round": {"rounds": 1},
    "no round": {"rounds": 0},
    "one device": {"devices": 1},
    "regression": {"score": "r2"},
    "diverged": {"diverged": {"isolated": (0, 7)}},
    "diverged at once": {"diverged": {"swarm": (3, 0)}},
    "consensus": {"arms": ("swarm",), "score": None},
    "unfinished": {"finished": False, "graph": False},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run_is_drawn(make_run: MakeRun, kind: str) -> None:
    folder = make_run(**{"rounds": 12, "devices": 20, **KINDS[kind]})
    before = {path.name for path in folder.iterdir()}
    curves, report, *_ = written = write_report(folder)
    names = {"curves.png", "report.html"} | ({"graph.png"} if "graph.json" in before else set())
    assert {path.name for path in written} == names
    assert {path.name for path in folder.iterdir()} == before | names  # no temporary file stays
    pixels = image.imread(curves)
    assert pixels.shape[:2] == (572, 1560)
    coloured = np.abs(pixels[:, :, :3].max(axis=2) - pixels[:, :, :3].min(axis=2)) > 0.3
    assert coloured.sum() > 300  # curves are drawn, not only axes
    text = report.read_text(encoding="utf-8")
    assert "NaN" not in text.split('id="data">')[1].split("</script>")[0]


def test_a_run_without_records_is_drawn(make_run: MakeRun) -> None:
    folder = make_run(finished=False, graph=False)
    (folder / "metrics.jsonl").unlink()
    (folder / "devices.parquet").unlink()
    write_report(folder)


def test_the_page_shows_the_key_figures(make_run: MakeRun) -> None:
    folder = make_run(rounds=20, diverged={"fedavg": (4, 9)})
    run = load(folder)
    assert run.summary is not None
    shown = Parsed(page(run)).shown
    assert f"{100 * run.summary['gap_closed']:.1f}%" in shown
    assert "diverged: device 4, round 9" in shown
    for arm in run.arms:
        assert f"{run.final(arm)['accuracy_mean']:.3f}" in shown
    assert "small_world" in shown


def test_a_gap_that_is_null_gives_its_reason(make_run: MakeRun) -> None:
    shown = Parsed(page(load(make_run(rounds=10, arms=("swarm",))))).shown
    assert "needs the arms swarm, isolated and centralised" in shown


def test_hostile_names_stay_text(make_run: MakeRun) -> None:
    folder = make_run(rounds=10, arms=("swarm", HOSTILE), config={HOSTILE: HOSTILE})
    summary = json.loads((folder / "summary.json").read_text())
    summary |= {
        "run": HOSTILE,
        "scenario": HOSTILE,
        "gap_closed_reason": HOSTILE,
        "versions": {HOSTILE: HOSTILE},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    write_report(folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    parsed = Parsed(text)
    clean = Parsed(page(load(make_run("clean", rounds=10, arms=("swarm", "x")))))
    assert len(parsed.scripts) == len(clean.scripts) == 2
    assert parsed.scripts[1] == clean.scripts[1]
    assert not [tag for tag, _ in parsed.tags if tag == "img"]
    assert not [a for _, attributes in parsed.tags for a in attributes if a.startswith("on")]
    # the data is whole, only written safely
    assert json.loads(parsed.scripts[0])["arms"][1]["name"] == HOSTILE
    assert HOSTILE in parsed.shown


def test_json_in_the_page_cannot_end_its_element() -> None:
    text = script_json({"a": HOSTILE, "b": "<!--"})
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == {"a": HOSTILE, "b": "<!--"}
    with pytest.raises(ValueError):
        script_json(float("nan"))


def test_nothing_is_loaded_from_elsewhere(make_run: MakeRun) -> None:
    text = page(load(make_run(rounds=10)))
    assert not re.search(r"https?:|//[a-z0-9-]+\.[a-z]|@import|url\((?!#)", text)
    policy = next(
        a["content"] for tag, a in Parsed(text).tags if tag == "meta" and "http-equiv" in a
    )
    assert policy is not None
    assert "default-src 'none'" in policy
    links = {
        name: value
        for _, a in Parsed(text).tags
        for name, value in a.items()
        if name in ("src", "href")
    }
    assert links == {"href": "data:,"}


def test_long_runs_are_thinned_but_keep_their_ends(make_run: MakeRun) -> None:
    run = load(make_run(rounds=3000, devices=12, arms=("swarm",), every=2))
    series = page_data(run)["series"]["swarm"]
    assert len(series["round"]) <= ROWS
    assert series["round"][0] == 0
    assert series["round"][-1] == 3000
    assert series["round"] == sorted(series["round"])
    assert sum(v is not None for v in series["accuracy_mean"]) >= ROWS // 2 - 1
    assert len(page(run)) < 400_000


def test_the_picture_of_a_graph_is_capped_and_says_so() -> None:
    n = 1500
    ring = [[i, (i + 1) % n] for i in range(n)] + [[0, i] for i in range(2, 60)]
    drawn = layout_graph({"n": n, "edges": ring, "pos": None})
    assert len(drawn["nodes"]) == len(drawn["x"]) == NODES
    assert 0 in drawn["nodes"]  # the best-connected device
    assert drawn["degree"][drawn["nodes"].index(0)] == 60
    assert "1,000 of 1,500" in drawn["note"]
    complete = [[i, j] for i in range(200) for j in range(i)]
    drawn = layout_graph({"n": 200, "edges": complete, "pos": None})
    assert len(drawn["edges"]) == 2 * EDGES
    assert "6,000 of its edges" in drawn["note"]


@pytest.mark.parametrize("edges", [[], [[0, 1]], [[0, 1], [1, 2], [2, 3], [3, 0]]])
@pytest.mark.parametrize(
    "pos", [None, [[0, 0], [3, 0], [3, 1], [0, 1]], [["a", "b"]] * 4, [[0.0, float("nan")]] * 4]
)
def test_places_fill_the_unit_square(edges: list[list[int]], pos: Any) -> None:
    drawn = layout_graph({"n": 4, "edges": edges, "pos": pos})
    xy = np.array([drawn["x"], drawn["y"]])
    assert np.isfinite(xy).all()
    assert xy.min() >= 0
    assert xy.max() <= 1
    assert np.ptp(xy, axis=1).max() == pytest.approx(1)
    if pos is not None and pos[1] == [3, 0]:
        assert drawn["x"] == [0, 1, 1, 0]  # given places are used


def test_the_command_redraws_or_refuses(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(rounds=5)
    assert main([str(folder)]) == 0
    assert (folder / "report.html").exists()
    capsys.readouterr()
    assert main([str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "nowhere" in captured.err


def test_messages_and_energy_are_accounted_for(tmp_path: Path) -> None:
    """In total and by device, with their units; the numbers are those of the files."""
    options = (
        "devices=8",
        "rounds=12",
        "network.drop=0.3",
        "delay=exponential",
        "network.max_delay=1",
        "fleet=uniform",
    )
    small(tmp_path / "run", *options, "scenario.arms=[swarm,centralised]")
    run = load(tmp_path / "run")
    shown, final, devices = Parsed(page(run)).shown, run.final("swarm"), run.final_devices("swarm")
    for name in ("lost_total", "late_total"):
        assert final[name] > 0
        assert devices[name.removesuffix("_total")].sum() == final[name]
        assert f"{final[name]:,} ({final[name] / final['messages_total']:.1%})" in shown
    assert f"{final['messages_total']:,}" in shown
    for name, written in (
        ("received", "{:,.0f}".format),
        ("lost", "{:,.0f}".format),
        ("joules", human_energy),
    ):
        middle, least, most = (written(f(devices[name])) for f in (np.median, np.min, np.max))
        assert f"{middle} ({least} – {most})" in shown
    for choice in ("exponential", "uniform", "dpsgd", "30%"):
        assert choice in shown


def test_ticks_are_not_set_beside_the_time_that_hardware_took(tmp_path: Path) -> None:
    """The central model has no hardware: its rounds are ticks, and neither table nor curve compares
    them.
    """
    small(
        tmp_path / "run",
        "devices=8",
        "rounds=5",
        "fleet=uniform",
        "scenario.arms=[swarm,centralised]",
    )
    run = load(tmp_path / "run")
    series = page_data(run)["series"]
    assert "virtual_s" in series["swarm"]
    assert "virtual_s" not in series["centralised"]
    small(tmp_path / "without", "devices=8", "rounds=5", "scenario.arms=[swarm,centralised]")
    assert "virtual_s" in page_data(load(tmp_path / "without"))["series"]["centralised"]


def test_scores_keep_their_value_to_a_step(make_run: MakeRun) -> None:
    """What the page's script reads is the devices' scores to half a step."""
    run = load(make_run(rounds=20, devices=30))
    shown = device_history(run)
    assert shown is not None
    for arm, kept in shown["arms"].items():
        byte_RN = np.frombuffer(base64.b64decode(kept["data"]), dtype=np.uint8).reshape(
            len(kept["rounds"]), kept["n"]
        )
        for r, low, high, byte_N in zip(
            kept["rounds"], kept["low"], kept["high"], byte_RN, strict=True
        ):
            rows = run.devices[
                (run.devices["arm"] == arm) & (run.devices["round"] == r)
            ].sort_values("device")
            error_N = low + (high - low) * byte_N / 254 - rows["accuracy"].to_numpy()
            assert np.abs(error_N).max() <= (high - low) / 508 + 2e-6


def test_what_is_left_out_of_many_devices_is_said(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = load(make_run(rounds=100, devices=50, every=1, arms=("swarm", "isolated")))
    assert SCORES_KEPT > 101 * 100
    assert device_history(run) is not None
    monkeypatch.setattr("swarm.results.report.html.histories.device_history.SCORES_KEPT", 600)
    shown = device_history(run)
    assert shown is not None
    assert shown["rounds"][0] == 0
    assert shown["rounds"][-1] == 100
    assert sum(len(base64.b64decode(kept["data"])) for kept in shown["arms"].values()) <= 600
    assert "12 of 101 evaluated rounds" in shown["note"]
    assert "25 of 50 devices" in shown["note"]


@pytest.mark.parametrize("topology", ["waypoint", "epidemic", "one_peer_exponential", "ring"])
def test_links_of_later_rounds_are_those_that_were_used(tmp_path: Path, topology: str) -> None:
    small(tmp_path / "run", f"topology={topology}", "devices=16", "rounds=6", "evaluate.every=2")
    run = load(tmp_path / "run")
    drawn = page_data(run)["graph"]
    if topology == "ring":
        assert drawn["changing"] is None
        return
    used = experiment(f"topology={topology}", "devices=16", "rounds=6")
    start = drawn["changing"]["start"]
    links = np.frombuffer(base64.b64decode(drawn["changing"]["links"]), dtype="<u2").reshape(-1, 2)
    for k, r in enumerate((0, 2, 4, 6)):
        np.testing.assert_array_equal(
            links[start[k] : start[k + 1]], used.communication.graph(max(r, 1)).links_E2
        )
    assert (drawn["changing"]["places"] is not None) == (topology == "waypoint")


@pytest.mark.parametrize(
    "change", [{"seed": 7}, {"plugins": ["x.py"]}, {"topology": {"_target_": "gone.Gone"}}]
)
def test_links_are_not_made_up_where_the_config_is_not_that_of_the_run(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    small(tmp_path / "run", "topology=epidemic", "devices=16", "rounds=2")
    run = load(tmp_path / "run")
    assert page_data(run)["graph"]["changing"] is not None
    assert page_data(replace(run, config=run.config | change))["graph"]["changing"] is None


def test_verdicts_are_shown_with_what_they_rest_on(make_run: MakeRun) -> None:
    folder = make_run(rounds=5)
    assert "Verdicts" not in Parsed(page(load(folder))).shown
    summary = json.loads((folder / "summary.json").read_text())
    entries = [{"claim": "1: growth", "verdict": "confirmed", "difference": 0.12345678, "interval": [0.1, 0.2]},
               {"claim": HOSTILE, "verdict": "refuted"}]  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary | {"verdicts": entries}))
    shown = Parsed(page(load(folder))).shown
    for text in (
        "1: growth",
        "confirmed",
        "difference: 0.1235; interval: [0.1, 0.2]",
        HOSTILE,
        "refuted",
    ):
        assert text in shown
    (folder / "summary.json").write_text(json.dumps(summary | {"verdict": "undecided"}))
    assert "undecided" in Parsed(page(load(folder))).shown


DRIFT = ("devices=9", "rounds=12", "data=sea", "partition=natural", "update=online", "model=softmax", "data.per_device=96",
         "train.batch=4", "train.local_steps=2", "evaluate.every=1", "scenario.arms=[swarm,isolated]")  # fmt: skip


def test_changes_of_the_concept_are_marked_where_they_are(tmp_path: Path) -> None:
    """In the page on every axis, and in the picture, as they are in the records; and in the legend
    and the table.
    """
    small(tmp_path / "run", *DRIFT)
    run = load(tmp_path / "run")
    swarm = run.arm("swarm")
    lived = swarm["concept"].ffill().tolist()
    expected = [(r, lived[r]) for r in range(2, 13) if lived[r] != lived[r - 1]]
    assert [c for _, c in expected] == [1, 2, 3]
    told = page_data(run)["changes"]
    assert set(told) == {"swarm", "isolated"}
    assert [(c["round"], c["concept"]) for c in told["swarm"]] == expected
    assert [c["bytes_total"] for c in told["swarm"]] == [
        swarm["bytes_total"][r] for r, _ in expected
    ]
    assert len(changes(run, "isolated")) == 3
    parsed = Parsed(page(run)).shown
    assert "backward transfer" in parsed
    assert f"{run.final('swarm')['backward_transfer']:.3f}" in parsed
    without = replace(run, metrics=run.metrics.drop(columns="concept"))
    assert page_data(without)["changes"] == {}
    for name, each in (("with", run), ("without", without)):
        draw(each, tmp_path / f"{name}.png")
    pictures = [image.imread(tmp_path / f"{name}.png") for name in ("with", "without")]
    left = [picture[150:500, :516] for picture in pictures]  # the curves by round, not their legend
    assert (left[0] != left[1]).any()
    upright = (left[0] != left[1]).any(axis=2).sum(axis=0) > 100
    assert np.count_nonzero(np.diff(upright.astype(int)) == 1) == 3


def test_every_metric_of_a_run_can_be_looked_at(tmp_path: Path) -> None:
    """Those of regression and of drifting data have other names."""
    small(tmp_path / "run", *DRIFT)
    assert (
        page_data(load(tmp_path / "run"))["labels"]["accuracy_concept_3"] == "accuracy on concept 3"
    )
    options = ("devices=9", "rounds=3", "data=linear_regression", "partition=iid", "model=softmax")
    small(tmp_path / "numbers", *options)
    run = load(tmp_path / "numbers")
    assert {"prequential_mse", "stream_mse"} <= set(page_data(run)["labels"])
    assert "prequential squared error" in Parsed(page(run)).shown


@pytest.mark.parametrize(("centralised", "shaded"), [(0.9, True), (0.51, False), (0.4, False)])
def test_a_gap_that_means_nothing_is_not_shaded(
    make_run: MakeRun, centralised: float, shaded: bool
) -> None:
    folder = make_run(rounds=5, arms=("swarm", "isolated", "centralised"))
    summary = json.loads((folder / "summary.json").read_text())
    for arm, mean in (("isolated", 0.5), ("centralised", centralised)):
        summary["arms"][arm]["accuracy_mean"] = mean
    (folder / "summary.json").write_text(json.dumps(summary))
    text = page(load(folder))
    assert ('<i class="gap"' in text) == shaded
    assert ("is shaded" in text) == shaded


def test_scores_that_hardly_differ_lie_close_together(make_run: MakeRun) -> None:
    folder = make_run(rounds=5, arms=("swarm", "isolated"))
    summary = json.loads((folder / "summary.json").read_text())
    for arm, mean in (("swarm", 0.5), ("isolated", 0.5 + 1e-9)):
        summary["arms"][arm] |= {f"accuracy_{name}": mean for name in ("mean", "p10", "p90")}
    (folder / "summary.json").write_text(json.dumps(summary))
    places = [
        float(at) for at in re.findall(r'class="dot" style="left:([0-9.]+)%', page(load(folder)))
    ]
    assert places == [50, 50]


def test_a_run_that_ended_at_once_is_drawn_by_round(make_run: MakeRun) -> None:
    run = load(make_run(rounds=5, arms=("swarm",), diverged={"swarm": (0, 0)}))
    assert next(iter(page_data(run)["axes"])) == "round"


def test_a_concept_that_comes_back_is_a_change_too(make_run: MakeRun) -> None:
    run = load(make_run(rounds=5, arms=("swarm",)))
    run = replace(run, metrics=run.metrics.assign(concept=[None, 0.0, 1.0, 1.0, 0.0, 0.0]))
    assert changes(run, "swarm")["round"].tolist() == [2, 4]


def test_no_gap_is_shaded_beside_a_control_that_diverged(make_run: MakeRun) -> None:
    folder = make_run(rounds=5, arms=("swarm", "isolated", "centralised"))
    assert '<i class="gap"' in page(load(folder))
    summary = json.loads((folder / "summary.json").read_text())
    summary["arms"]["isolated"]["diverged"] = {"device": 0, "round": 3}
    (folder / "summary.json").write_text(json.dumps(summary))
    assert '<i class="gap"' not in page(load(folder))
