"""Follows docs/tutorial.md to the letter: writes its files, types its commands, in an empty folder.

``make run`` is left out: it is the default run, and makes an environment. Commands of ours run in
this process, which has torch imported already.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import swarm
from tests.cli.conftest import Command, command
from tests.docs.pages import bash, blocks, write_files

__all__ = ["command"]  # the fixture
PAGE = "docs/tutorial.md"


def test_the_tutorial_works_as_written(command: Command, tmp_path: Path) -> None:
    assert write_files(PAGE, tmp_path) == 5
    for block in blocks(PAGE, "bash"):
        for line in block.code.replace("\\\n", " ").splitlines():
            program, *words = shlex.split(line)
            if program != "run-swarm":
                done = bash(line, tmp_path)
                assert done.returncode == 0, (line, done.stderr)
            elif block.info == "fails":
                (said,) = [text.code for text in blocks(PAGE, "text") if text.info == "said"]
                assert f"error: {command(*words).sentence}\n" == said
            else:
                answer = command(*words)
                assert answer.code == 0, (line, answer.err)
    ring, relaxed, complete = (
        swarm.load(Path("outputs", name)).final("swarm") for name in ("ring", "relaxed", "complete")
    )
    weakest = swarm.load("outputs/weakest")
    finals = [weakest.final(arm)["weakest_class_mean"] for arm in weakest.arms]
    assert [round(value, 1) for value in finals] == [0.4, 0.0, 0.9, 0.8]
    assert ring["accuracy_mean"] < relaxed["accuracy_mean"] < complete["accuracy_mean"]
    assert relaxed["consensus_distance"] < ring["consensus_distance"]
    assert relaxed["bytes_total"] == ring["bytes_total"] < complete["bytes_total"] / 14
