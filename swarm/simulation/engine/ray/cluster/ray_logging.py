"""What Ray has to say to a terminal: nothing, while all goes well or is mended.

What ends a run, the run itself says.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def ray_logging() -> Iterator[None]:
    """For as long as the block lasts, Ray's loggers, and what its other processes have the driver
    print, are silent.

    Not with ``SWARM_DEBUG=1``. Ray is to be imported before. ``log_to_driver=False`` does not go
    for the latter: an actor's death would be a paragraph on standard output all the same.
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
