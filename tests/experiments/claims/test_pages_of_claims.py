"""What people look at: the folder of a claim, its page, and what goes to the tracker."""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

import pytest
import yaml

from swarm.cli.commands.report import main as report
from swarm.config.build import option
from swarm.experiments.claims.base import Verdict
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
    (mark,) = judged.glob("wandb/ended-*")
    nothing, before = "c is finished already; nothing to do\n", stamps()
    for gone in ("", "page"):
        mark.unlink()  # as a process leaves it that is killed in the middle of this
        if gone == "page":
            (judged / "report.html").unlink()
        done = command("resume=c", "--trust")
        assert done.code == 0
        assert ("c: the tracker has not all of report, and is told again now" in done.out) == (
            gone != "page"
        )
        assert mark.exists()
        (part,) = judged.glob("wandb/offline-run-*")
        assert kept == {file.name for file in (part / "files").iterdir()}
        assert command("resume=c").out == nothing
    assert stamps() == before


def test_trials_have_a_tracker_if_told(tiny: Tiny) -> None:
    words = (
        "scenario.quick.topologies=[ring]",
        "scenario.quick.seeds=1",
        '+scenario.quick.settings=["tracker=tensorboard"]',
    )
    assert tiny(*words).code == 0
    assert [*Path("c/runs").glob("*/tensorboard")]
