"""A suite runs every claim, whatever becomes of one of them, and ends with the table of
verdicts.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from swarm.cli.commands import publish
from swarm.cli.commands.report import main as report
from swarm.experiments.claims import suite
from tests.cli.conftest import Command

from .conftest import HERE, TINY, facts, stamps
from .tiny import MOOD, PARENT

BOTH = tuple("scenario=both" if word == "scenario=tiny" else word for word in TINY)


@pytest.fixture(autouse=True)
def _members(monkeypatch: pytest.MonkeyPatch) -> None:
    """``tiny`` and ``other`` as if they were options of conf/; the second is moody."""
    values = yaml.safe_load((HERE / "conf/scenario/tiny.yaml").read_text())

    def option(group: str, name: str) -> dict[str, Any]:
        topologies = ["moody"] if name == "other" else ["ring"]
        quick = {"seeds": 1, "rounds": 1, "topologies": topologies, "foretold": []}
        return {**values, "quick": quick, "jobs": 2, "_target_": f"tiny.{name.capitalize()}"}

    monkeypatch.setattr(suite, "option", option)
    monkeypatch.setenv(PARENT, str(os.getpid()))


def test_all_are_judged_and_one_that_fails_stops_no_other(
    command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    Path(MOOD).write_text("raise")
    done = command(*BOTH, "hydra.run.dir=s")
    assert done.code == 1
    assert f"error: no verdict from other; resume={Path.cwd() / 's'} tries again" in done.err
    assert [(row["scenario"], row["verdict"]) for row in facts("s")["verdicts"]] == [
        ("tiny", "indicates yes"), ("other", "undecided")
    ]  # fmt: skip
    table = done.out[done.out.rindex("scenario") :]
    assert "indicates yes" in table
    assert "undecided" in table
    page = Path("s/report.html").read_text()
    assert '<a href="tiny/report.html">' in page
    assert "<script" not in page
    assert page.count('<img class="small"') == 1  # one has charts, and leads to its page
    talk = Path("s/talk.html").read_text()
    assert talk.count("<section>") == 2
    assert "indicates yes" in talk
    assert "http" not in talk.replace('http-equiv="Content-Security-Policy"', "")
    before = stamps("s/tiny")

    Path(MOOD).unlink()
    again = command("resume=s")
    assert (again.code, again.err) == (0, "")
    assert stamps("s/tiny") == before
    assert "s/tiny is finished already" in again.out
    assert facts("s")["failed"] == []
    assert [row["verdict"] for row in facts("s")["verdicts"]] == ["indicates yes"] * 2

    run = next(Path("s/other/runs").iterdir()) / "summary.json"
    for file in (Path("s/report.html"), Path("s/other/summary.json"), run):
        file.unlink()
    assert report(["s"]) == 0
    assert "not finished" in Path("s/report.html").read_text()
    # the table is drawn; what only a plug-in could draw is left as it is
    said = capfd.readouterr().err
    assert said.count("comes from a plug-in") == said.count("\n") == 2
    assert publish.main(["s"]) == 2
    assert "s/other: is not finished; resume=s/other goes on with it" in capfd.readouterr().err


def test_a_claim_that_cannot_judge_stops_no_other(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(self: Any, results: Any) -> Any:
        raise ZeroDivisionError("a bug")

    from swarm.config.plug_ins import load_plugins

    load_plugins([str(HERE / "tiny.py")])
    import sys

    monkeypatch.setattr(
        sys.modules["tiny"].Other, "conclude", sys.modules["tiny"].Tiny.conclude, raising=False
    )
    monkeypatch.setattr(sys.modules["tiny"].Tiny, "conclude", judge)
    done = command(*BOTH, "hydra.run.dir=s")
    assert done.code == 1
    assert "the judge of tiny failed (ZeroDivisionError: a bug)" in done.err
    assert Path("s/other/summary.json").exists()
    assert facts("s")["failed"] == ["tiny"]
    assert "not finished" in Path("s/report.html").read_text()
