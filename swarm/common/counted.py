"""Counts and articles in messages: 1 round, 2 rounds, a ring, an 8×8 image."""

from __future__ import annotations

import re
from typing import SupportsInt

# words that are spoken with a vowel first: eight, eleven, eighteen, and most that are written so
_VOWEL = re.compile(r"8|1[18](?!\d)|[aeio]|up", re.IGNORECASE)


def counted(count: SupportsInt, noun: str) -> str:
    """Return ``1 round``, ``2 rounds`` or ``1,024 rounds`` for the noun ``round``.

    The plural of a noun is made as that of most is: ``class`` gives ``classes``, ``property``
    ``properties``.
    """
    number = int(count)
    if number == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "x", "ch")):
        plural = f"{noun}es"
    elif noun.endswith("y") and noun[-2] not in "aeiou":
        plural = f"{noun[:-1]}ies"
    else:
        plural = f"{noun}s"
    return f"{number:,} {plural}"


def with_article(text: str) -> str:
    """Return ``text`` with its article: a ring, an 8×8 image, an Aggregator."""
    return f"{'an' if _VOWEL.match(text) else 'a'} {text}"
