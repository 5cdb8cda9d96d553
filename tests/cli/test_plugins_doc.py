"""Follows docs/plugins.md to the letter: writes its files, types its commands, in an empty
folder.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOC = Path(__file__).parents[2] / "docs/plugins.md"
BLOCK = re.compile(r"^```(\w+)(?: ([^\n]*))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """The code blocks of a language: (what stands behind the language's name, the code)."""
    return [
        (info or "", code)
        for name, info, code in BLOCK.findall(DOC.read_text())
        if name == language
    ]


def bash(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with the page's files written into it."""
    folder = tmp_path_factory.mktemp("mine")
    files = blocks("python") + blocks("yaml")
    assert len(files) == 6
    for info, code in files:
        file = folder / info.removeprefix("file=")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
    return folder


def test_the_page_works_as_written(folder: Path) -> None:
    commands = [(info, code) for info, code in blocks("bash")]
    assert [info for info, _ in commands] == ["", "", "", "", "fails", ""]
    for info, code in (*commands[:4], commands[5]):
        done = bash(code, folder)
        assert (info, done.returncode) == ("", 0), done.stderr
    first = json.loads((folder / "first/summary.json").read_text())
    assert first["rounds"] == 6
    assert list(first["arms"]) == ["swarm"]
    assert first["topology"]["edges"] == 2 * 45 + 2  # two complete halves of 10 and two bridges
    third = json.loads((folder / "third/summary.json").read_text())["arms"]["swarm"]
    assert third["accuracy_mean"] <= third["top_two_mean"] <= 1
    jobs = [folder / f"sweep/topology.bridges={bridges}/summary.json" for bridges in (1, 8)]
    sweep = [json.loads(job.read_text())["topology"]["edges"] for job in jobs]
    assert sweep == [2 * 45 + 1, 2 * 45 + 8]


def test_the_mistake_on_the_page_is_answered_as_printed(folder: Path) -> None:
    ((_, code),) = [block for block in blocks("bash") if block[0] == "fails"]
    before = visible(folder)
    done = bash(code, folder)
    ((_, said),) = blocks("text")
    assert (done.returncode, done.stderr, done.stdout) == (2, said, "")
    assert visible(folder) == before


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")
