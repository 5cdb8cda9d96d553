"""Follows docs/plugins.md to the letter: writes its files, types its commands, in an empty
folder.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.docs.pages import bash, blocks, write_files

DOC = "docs/plugins.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with the page's files written into it."""
    folder = tmp_path_factory.mktemp("mine")
    assert write_files(DOC, folder) == 12
    return folder


def test_the_page_works_as_written(folder: Path) -> None:
    commands = blocks(DOC, "bash")
    assert [command.info for command in commands] == ["", "", "", "", "", "", "", "fails", ""]
    for command in (*commands[:7], commands[8]):
        done = bash(command.code, folder)
        assert (command.info, done.returncode) == ("", 0), done.stderr
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


def test_the_mistake_on_the_page_is_answered_as_printed(folder: Path) -> None:
    (wrong,) = [block for block in blocks(DOC, "bash") if block.info == "fails"]
    before = visible(folder)
    done = bash(wrong.code, folder)
    (said,) = blocks(DOC, "text")
    assert (done.returncode, done.stderr, done.stdout) == (2, said.code, "")
    assert visible(folder) == before


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")
