"""Searches for garbage that take less time, or are not made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """A block of imports: what they make stays, and a search for garbage in it takes a fifth of
    their time."""
    searches = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searches:
            gc.enable()


@contextmanager
def only_new_garbage() -> Iterator[None]:
    """A block in which searches for garbage look at what is made in it, and not at the modules and
    objects before it: a fifth of a second less for each search of everything."""
    gc.collect()  # what is garbage already could not be let go before the block's end
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
