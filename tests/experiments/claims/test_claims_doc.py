"""The claim of docs/claims.md, word for word."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.cli.conftest import Command
from tests.docs.pages import blocks, write_files

from .conftest import facts

PAGE = "docs/claims.md"


def test_the_claim_of_the_docs_is_judged(command: Command) -> None:
    assert write_files(PAGE, Path()) == 2
    (line,) = (
        text
        for block in blocks(PAGE, "bash")
        for text in block.code.splitlines()
        if "plugins=" in text
    )
    _, *words = shlex.split(line.removeprefix("python "))
    done = command(*words, "tracker=none", "hydra.run.dir=c")
    assert done.err == ""
    assert done.code == 0
    assert facts()["verdicts"][0]["verdict"] in ("indicates yes", "indicates no", "undecided")
    assert facts()["runs"] == 4
