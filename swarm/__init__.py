"""Swarm-intelligence simulation for many learning devices."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from swarm.config.aliases import OldPaths

if TYPE_CHECKING:
    from swarm.experiments.runner import Result, resume, run
    from swarm.learning.initial_parameters import save_start
    from swarm.results.load import load

__all__ = ["Result", "load", "resume", "run", "save_start"]
_HOMES = {
    "Result": "swarm.experiments.runner",
    "run": "swarm.experiments.runner",
    "resume": "swarm.experiments.runner",
    "load": "swarm.results.load",
    "save_start": "swarm.learning.initial_parameters",
}

sys.meta_path.append(OldPaths())  # last: only names that nobody else knows


def __getattr__(name: str) -> Any:
    """The API is imported on first use: ``run_swarm.py --help`` need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'swarm' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
