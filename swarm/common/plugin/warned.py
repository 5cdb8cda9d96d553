"""Shows each sentence of a warning once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def each_warned_once() -> Iterator[None]:
    """A block in which each sentence of a warning is shown once: the parts of a run are built
    again for every arm, and would say the same again.
    """
    show, said, over = warnings.showwarning, set[str](), False

    def once(message: Warning | str, *rest: Any, **others: Any) -> None:
        # of two blocks on two threads, the one that ends last puts the other's back
        if over or str(message) not in said:
            said.add(str(message))
            show(message, *rest, **others)

    warnings.showwarning = once
    try:
        yield
    finally:
        over, warnings.showwarning = True, show
