"""docs/python.md lists what ``swarm`` offers as the code has it."""

from __future__ import annotations

import re

from tests.docs.api import entries
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


def test_the_list_is_that_of_the_code() -> None:
    """``python -m tests.docs.api`` prints the list that the page must have."""
    listed = [line for line in PAGE.splitlines() if re.match(r" *- ", line)]
    assert listed == list(entries())


def test_every_sentence_of_the_list_is_whole() -> None:
    for line in entries():
        assert "  " not in line.strip()
        assert ":meth:" not in line
        assert line.count("`") % 2 == 0
        assert line.endswith(".") or line.startswith("    - fields: ")
