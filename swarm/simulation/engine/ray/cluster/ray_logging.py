"""Keeps Ray's own messages off the terminal, as the run itself reports every error that ends it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def ray_logging() -> Iterator[None]:
    """Silence Ray's loggers, and the messages that its other processes have the driver print,
    within the block.

    With ``SWARM_DEBUG=1`` nothing is silenced. Ray must be imported before. ``log_to_driver=False``
    would not suffice: an actor's death would still print a paragraph on standard output.
    """
    if os.environ.get("SWARM_DEBUG") == "1":
        yield
        return
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    worker: Any = sys.modules.get("ray._private.worker")
    printed = getattr(worker, "print_to_stdstream", None)
    if printed is not None:
        worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        logger.setLevel(level)
        if printed is not None:
            worker.print_to_stdstream = printed
