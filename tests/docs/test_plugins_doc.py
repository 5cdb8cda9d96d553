"""Follows docs/plugins.md to the letter: writes its files, types its commands, in an empty folder.

Commands of ours run in this process, which has torch imported already.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import Command, command
from tests.docs.pages import bash, blocks, write_files

__all__ = ["command"]  # the fixture
DOC = "docs/plugins.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with the page's files written into it."""
    folder = tmp_path_factory.mktemp("mine")
    assert write_files(DOC, folder) == 14
    return folder


@pytest.fixture
def there(folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line, typed in that folder."""
    monkeypatch.chdir(folder)
    return command


def test_the_page_works_as_written(folder: Path, there: Command) -> None:
    commands = blocks(DOC, "bash")
    assert [block.info for block in commands] == [*[""] * 8, "fails", ""]
    for block in commands[:8]:
        for line in block.code.replace("\\\n", " ").splitlines():
            program, *words = shlex.split(line)
            answer = there(*words)
            assert (program, answer.code) == ("run-swarm", 0), (line, answer.err)
    done = bash(commands[9].code, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    first = json.loads((folder / "first/summary.json").read_text())
    assert first["rounds"] == 6
    assert list(first["arms"]) == ["swarm"]
    assert first["topology"]["edges"] == 2 * 45 + 2  # two complete halves of 10 and two bridges
    third = json.loads((folder / "third/summary.json").read_text())["arms"]["swarm"]
    assert third["accuracy_mean"] <= third["top_two_mean"] <= 1
    fifth = json.loads((folder / "fifth/summary.json").read_text())
    assert fifth["saved"] > 0
    page = (folder / "fifth/report.html").read_text()
    assert fifth["headline"] in page
    for tile in ("gap closed", "bytes saved"):
        assert f'<div class="key">{tile}</div>' in page
    jobs = [folder / f"sweep/topology.bridges={bridges}/summary.json" for bridges in (1, 8)]
    sweep = [json.loads(job.read_text())["topology"]["edges"] for job in jobs]
    assert sweep == [2 * 45 + 1, 2 * 45 + 8]


def test_the_mistake_on_the_page_is_answered_as_printed(folder: Path, there: Command) -> None:
    (wrong,) = [block for block in blocks(DOC, "bash") if block.info == "fails"]
    before = visible(folder)
    program, *words = shlex.split(wrong.code)
    done = there(*words)
    (said,) = blocks(DOC, "text")
    assert (program, done.code, done.err, done.out) == ("run-swarm", 2, said.code, "")
    assert visible(folder) == before


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")
