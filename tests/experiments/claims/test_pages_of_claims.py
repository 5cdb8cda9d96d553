"""What people look at: pages, pictures, tables, what is published and what goes to the tracker."""

from __future__ import annotations

import csv
import io
import itertools
import sys
import time
from pathlib import Path

import matplotlib.colors
import matplotlib.figure
import matplotlib.image
import numpy as np
import pytest
import yaml

from swarm.cli import publish
from swarm.cli.report import main as report
from swarm.config.build import option
from swarm.experiments.claims.base import Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.page import pictures
from swarm.experiments.claims.page.pictures import DARK, draw
from swarm.experiments.claims.page.talk import sentence
from swarm.simulation import checkpoint
from tests.cli.conftest import Command
from tests.results.report.browser import BINARY, Browser

from .conftest import Tiny, facts, rewrite, stamps

WIDTHS = (1280, 400)


def test_the_folder_of_a_claim(judged: Path) -> None:
    assert {file.name for file in judged.iterdir() if not file.name.startswith(".")} == {
        "config.yaml", "summary.json", "prediction.json", "seconds.json", "report.html", "verdict.md", "chart1.png",
        "table.csv", "runs.csv", "runs", "overrides.json",
    }  # fmt: skip
    assert (judged / "chart1.png").read_bytes().startswith(b"\x89PNG")
    rows = [*csv.reader((judged / "table.csv").open())]
    assert [row[0] for row in rows] == ["topology <hr>", "ring", "complete"]
    markdown = (judged / "verdict.md").read_text()
    assert "**indicates yes**: accuracy" in markdown
    assert "confirmed if above & beyond 0" in markdown
    assert "scenario=tiny preset=quick" in markdown
    said = "Says something of two graphs, and always says yes of two seeds or more."
    assert f"## What was run\n\n{said}\n" in markdown
    assert f"<h2>What was run</h2><p>{said}</p>" in (judged / "report.html").read_text()
    # nothing of the option's own but what was typed
    assert "'scenario.quick.foretold=[\"star\"]'" in markdown
    assert "scenario.quick.seeds" not in markdown


def test_nothing_a_claim_says_is_taken_for_html(judged: Path) -> None:
    page = (judged / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; devices | learn." in page
    for tag in ("<b>", "<u>", "<i>", "<hr>"):
        assert tag not in page
        assert tag not in (judged / "verdict.md").read_text()


@pytest.mark.skipif(BINARY is None, reason="no Chromium here")
def test_pages_fit_and_ask_for_nothing(judged: Path, tmp_path: Path) -> None:
    shown = set()
    with Browser(tmp_path) as browser:
        for width in WIDTHS:
            for dark in (False, True):
                theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
                browser.call(
                    "Emulation.setDeviceMetricsOverride",
                    width=width,
                    height=900,
                    deviceScaleFactor=1,
                    mobile=False,
                )
                browser.call("Emulation.setEmulatedMedia", features=[theme])
                browser.call("Page.navigate", url=(judged / "report.html").resolve().as_uri())
                deadline = time.monotonic() + 30
                while not browser.run(
                    "document.readyState === 'complete' && document.images[0]?.naturalWidth"
                ):
                    assert time.monotonic() < deadline
                assert browser.run("document.documentElement.scrollWidth") == width
                scale = browser.run(
                    "document.images[0].clientWidth / document.images[0].naturalWidth"
                )
                assert 0.55 < scale < 1.1  # or its letters are too small to read
                shown.add(browser.run("document.images[0].currentSrc"))
        assert len(shown) == 4  # one for each width and theme
        assert browser.errors == []


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


def test_the_page_is_drawn_again_without_running_anything(
    judged: Path, ours: None, capfd: pytest.CaptureFixture[str]
) -> None:
    assert report(["c"]) == 0
    pages = {
        name: (judged / name).read_bytes()
        for name in ("report.html", "verdict.md", "chart1.png", "runs.csv")
    }
    before, closed = stamps(), (judged / "summary.json").read_bytes()
    for name in pages:
        (judged / name).unlink()
    assert report(["c"]) == 0
    assert {name: (judged / name).read_bytes() for name in pages} == pages
    assert (stamps(), (judged / "summary.json").read_bytes()) == (before, closed)
    assert "c/report.html" in capfd.readouterr().out


def test_an_unfinished_claim_shows_what_it_can(judged: Path, ours: None) -> None:
    for name in (
        "summary.json",
        "runs/topology=complete,seed=0/summary.json",
        "runs/topology=complete,seed=1/summary.json",
    ):
        (judged / name).unlink()
    assert report(["c"]) == 0
    page = (judged / "report.html").read_text()
    assert "not finished: 4 of 6 runs are" in page
    assert "The charts cannot be shown (KeyError" in page
    assert "<th>ring</th>" in page
    assert not (judged / "chart1.png").exists()
    assert not (judged / "summary.json").exists()


def test_a_judge_that_fails_costs_no_run(
    judged: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(self: object, results: object) -> list[Verdict]:
        raise ZeroDivisionError("a bug")

    (judged / "summary.json").unlink()
    before = stamps()
    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["tiny"].Tiny, "conclude", judge)
        done = command("resume=c")
    assert done.code == 1
    assert (
        "all 6 runs are finished, but the judge of tiny failed (ZeroDivisionError: a bug)"
        in done.err
    )
    assert "resume=c judges again, and repeats no run" in done.err
    page = (judged / "report.html").read_text()
    assert "the judge of tiny failed" in page
    assert "<th>ring</th>" in page
    assert not (judged / "summary.json").exists()
    again = command("resume=c")
    assert (again.code, again.err) == (0, "")
    assert facts()["verdicts"][0]["verdict"] == "indicates yes"
    assert stamps() == before
    assert not (judged / "unjudged.json").exists()


def test_a_plug_in_draws_its_page_on_resume_only(
    judged: Path, command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    page, before, closed = (
        (judged / "report.html").read_text(),
        stamps(),
        (judged / "summary.json").read_bytes(),
    )
    (judged / "report.html").unlink()
    (judged / "chart1.png").unlink()
    assert report(["c"]) == 2
    said = capfd.readouterr().err
    assert said.startswith(
        "error: scenario=tiny.Tiny: draws the page of this claim, and comes from a plug-in; a"
        " report runs no "
    )
    assert "resume=c draws it" in said
    done = command("resume=c")
    assert (done.code, done.err) == (0, "")
    assert "c was finished but for its page, which is drawn now" in done.out
    assert (judged / "report.html").read_text() == page
    assert (judged / "chart1.png").exists()
    assert (stamps(), (judged / "summary.json").read_bytes()) == (before, closed)


def test_killed_while_the_page_is_written(
    judged: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each file that the end of a claim writes, it is not finished, and resume makes it so
    without a run.
    """
    there = {file.name for file in judged.iterdir()}
    for file in ("summary.json", "report.html", "chart1.png"):
        (judged / file).unlink()
    before, real = stamps(), checkpoint.write_bytes
    for name in ("chart1.png", "verdict.md", "runs.csv", "report.html", "summary.json"):

        def killed(path: Path, data: bytes, name: str = name) -> None:
            if path.name == name:
                raise KeyboardInterrupt
            real(path, data)

        with monkeypatch.context() as patched:
            patched.setattr(checkpoint, "write_bytes", killed)
            assert command("resume=c").code == 130, name
    assert command("resume=c").code == 0
    assert {file.name for file in judged.iterdir()} == there
    assert stamps() == before


def test_figures_that_rest_on_fewer_seeds_are_said(judged: Path, ours: None) -> None:
    run = judged / "runs/topology=ring,seed=1"
    summary = facts(run)
    summary["arms"]["swarm"]["diverged"] = {"device": 0, "round": 2}
    rewrite(run, summary)
    assert report(["c"]) == 0
    for file in ("report.html", "verdict.md"):
        assert (
            "Left out of all figures, as they diverged: swarm of topology=ring,seed=1."
            in (judged / file).read_text()
        )


def test_what_cannot_be_drawn_or_compared_is_one_sentence(
    judged: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert report(["c", "c/runs/topology=ring,seed=0"]) == 2
    said = capfd.readouterr().err
    assert said.startswith(
        "error: run folder=c: holds many runs, which judge a claim; python run_swarm.py report c"
        " draws"
    )
    assert said.count("\n") == 1
    assert (
        report(
            ["c/runs/topology=ring,seed=0", "c/runs/topology=complete,seed=0", "--csv", "both.csv"]
        )
        == 0
    )
    (judged / "config.yaml").write_text("[")
    capfd.readouterr()
    assert report(["c"]) == 2
    assert "config.yaml: damaged; must be one YAML mapping" in capfd.readouterr().err


def _as_full(judged: Path, scenario: str = "drift", word: str = "refuted", number: int = 2) -> None:
    summary = facts(judged) | {"preset": "full", "scenario": scenario}
    summary["verdicts"] = [row | {"verdict": word, "number": number} for row in summary["verdicts"]]
    rewrite(judged, summary)


def test_what_is_judged_is_published(judged: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _as_full(judged)
    assert publish.main(["c"]) == 0
    home = Path("docs/claims")
    assert capfd.readouterr().out.strip() == "docs/claims/README.md"
    assert {file.name for file in (home / "drift").iterdir()} == {
        "README.md",
        "chart1.png",
        "verdict.json",
    }
    assert (home / "drift/README.md").read_text() == (judged / "verdict.md").read_text()
    _as_full(judged, "swarm_size", "confirmed", 1)
    assert publish.main(["c", "--to", "docs/claims"]) == 0
    table = (home / "README.md").read_text()
    # by their numbers
    assert table.index("[swarm_size](swarm_size/README.md)") < table.index(
        "[drift](drift/README.md)"
    )
    assert (
        "2 claims, judged by rules written down before the runs: 1 confirmed, 1 refuted, 0"
        " undecided." in table
    )
    refuted = table[table.index("## What was refuted") : table.index("## What stays undecided")]
    assert refuted.count(". Measured: accuracy") == 1
    assert "<script" not in table
    assert str(judged.resolve().parent) not in table
    (home / "README.md").unlink()
    assert publish.main(["--talk", "talk.html"]) == 0  # from what is published
    assert (home / "README.md").read_text() == table
    shown = Path("talk.html").read_text()
    assert shown.index("swarm_size") < shown.index("scenario=drift")
    assert shown.count('src="data:image/png') == 2


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


@pytest.mark.parametrize(
    ("because", "said"),
    [
        ("it is 3 [1, 5]", "it is 3 [1, 5]"),
        ("it is 3 [1, 5]; that is 4", "it is 3 [1, 5]"),
        ("it is 3 (here; there 2); that is 4", "it is 3 (here; there 2)"),
        ("", ""),
    ],
)
def test_a_talk_has_the_first_clause(because: str, said: str) -> None:
    assert sentence(because) == said


@pytest.mark.parametrize(
    ("preset", "failed", "finished", "said"),
    [
        ("quick", {}, True, "run=c: is of preset=quick, which judges nothing; preset=full does"),
        ("full", {"a": "b"}, True, "run=c: has 1 failed runs; resume=c tries them again"),
        ("full", {}, False, "run=c: is not finished; resume=c goes on with it"),
    ],
)
def test_what_judges_nothing_is_not_published(
    judged: Path,
    capfd: pytest.CaptureFixture[str],
    preset: str,
    failed: dict[str, str],
    finished: bool,
    said: str,
) -> None:
    rewrite(judged, facts(judged) | {"preset": preset, "failed": failed})
    if not finished:
        (judged / "summary.json").unlink()
    assert publish.main(["c"]) == 2
    assert capfd.readouterr().err == f"error: {said}\n"
    assert not Path("docs").exists()


@pytest.mark.parametrize(
    "damage", ["", "{}", '{"verdicts": 3}', '{"scenario": "a", "seeds": 5, "verdicts": [{}]}']
)
def test_damage_beside_it_is_one_sentence(
    judged: Path, capfd: pytest.CaptureFixture[str], damage: str
) -> None:
    _as_full(judged)
    place = Path("docs/claims/swarm_size")
    place.mkdir(parents=True)
    (place / "verdict.json").write_text(damage)
    assert publish.main(["c"]) == 2
    assert (
        "swarm_size/verdict.json: is damaged; publish the claim swarm_size again"
        in capfd.readouterr().err
    )
    assert not Path("docs/claims/drift").exists()


def test_what_is_no_claim_is_not_published(judged: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for folder, said in (
        ("c/runs/topology=ring,seed=0", "judges no claim"),
        ("nowhere", "is no run folder"),
    ):
        assert publish.main([folder]) == 2
        assert said in capfd.readouterr().err


def test_page_verdict_and_pictures_go_to_the_tracker(judged: Path, command: Command) -> None:
    pytest.importorskip("wandb")
    (judged / "summary.json").unlink()
    config = yaml.safe_load((judged / "config.yaml").read_text())
    (judged / "config.yaml").write_text(
        yaml.safe_dump(config | {"tracker": option("tracker", "wandb")})
    )
    assert command("resume=c", "--trust").code == 0
    (part,) = judged.glob("wandb/offline-run-*")
    kept = {file.name for file in (part / "files").iterdir()}
    assert {"report.html", "verdict.md", "chart1.png", "summary.json", "prediction.json"} <= kept
    assert not [*judged.glob("runs/*/wandb")]


def test_trials_have_a_tracker_if_told(tiny: Tiny) -> None:
    words = (
        "scenario.quick.topologies=[ring]",
        "scenario.quick.seeds=1",
        '+scenario.quick.settings=["tracker=tensorboard"]',
    )
    assert tiny(*words).code == 0
    assert [*Path("c/runs").glob("*/tensorboard")]
