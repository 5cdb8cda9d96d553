"""Counts and articles in messages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swarm.common.errors import counted, of_the, with_article

ROOT = Path(__file__).parents[2]


def test_one_of_a_thing_is_no_plural() -> None:
    found = [counted(n, noun) for noun in ("round", "class", "entry", "image") for n in (0, 1, 2)]
    assert found == [
        *("0 rounds", "1 round", "2 rounds"),
        *("0 classes", "1 class", "2 classes"),
        *("0 entries", "1 entry", "2 entries"),
        *("0 images", "1 image", "2 images"),
    ]
    assert counted(1024, "day") == "1,024 days"


@pytest.mark.parametrize(
    ("text", "article"),
    [
        ("ring", "a"),
        ("8×8 image", "an"),
        ("11×11 image", "an"),
        ("18×18 image", "an"),
        ("28×28 image", "a"),
        ("110×110 image", "a"),
        ("80×80 image", "an"),
        ("Aggregator", "an"),
        ("UpdatePolicy", "an"),
        ("Metric", "a"),
    ],
)
def test_articles_follow_what_is_spoken(text: str, article: str) -> None:
    assert with_article(text) == f"{article} {text}"


def test_no_message_makes_its_own_plural() -> None:
    """``{'s' if count > 1 else ''}`` stands nowhere but where no number stands before it."""
    own = re.compile(r"\{[^{}]*\} [a-z ]*\{'e?s' if|\{'' if [^{}]* == 1 else 's'\}")
    files = [f for room in ("swarm", "scenarios") for f in (ROOT / room).rglob("*.py")]
    assert [str(f) for f in files if own.search(f.read_text("utf-8"))] == []


def test_one_thing_is_not_each_of_several() -> None:
    assert of_the(1, "device") == "the one device"
    assert of_the(12, "class") == "each of the 12 classes"
    assert of_the(2, "owner", "any") == "any of the 2 owners"


def test_no_message_speaks_of_each_of_the_one() -> None:
    several = re.compile(r"(each|any|one|all) of (the )?\{counted\(")
    files = [file for room in ("swarm", "scenarios") for file in (ROOT / room).rglob("*.py")]
    assert [str(file) for file in files if several.search(file.read_text("utf-8"))] == []
