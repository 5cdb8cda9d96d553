"""Swarm-intelligence simulation for many learning devices.

The public API: :func:`run` and :func:`resume` a scenario, :func:`check` a configuration,
:func:`compose` one as the command line does, :func:`load` what was written,
:func:`save_start` parameters for another run, :func:`speculate`: write with a small model's drafts,
:func:`audit` a run's privacy, and :func:`check_plugin` of your own.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from swarm.config.aliases import OldPaths

if TYPE_CHECKING:
    from swarm.common.errors import ConfigError, SwarmError
    from swarm.config.composing.compose import compose
    from swarm.experiments.audit.audit import Audit, audit
    from swarm.experiments.checks.check_plugin import check_plugin
    from swarm.experiments.loading import LoadedRun, load
    from swarm.experiments.runner import Result, check, resume, run
    from swarm.experiments.speculation import Speculation, speculate
    from swarm.experiments.sweep.gather import SweepResults
    from swarm.learning.initial_parameters import save_start

__all__ = [
    "Audit",
    "ConfigError",
    "LoadedRun",
    "Result",
    "Speculation",
    "SwarmError",
    "SweepResults",
    "audit",
    "check",
    "check_plugin",
    "compose",
    "load",
    "resume",
    "run",
    "save_start",
    "speculate",
]
_HOMES = {
    "Audit": "swarm.experiments.audit.audit",
    "ConfigError": "swarm.common.errors",
    "LoadedRun": "swarm.experiments.loading",
    "Result": "swarm.experiments.runner",
    "Speculation": "swarm.experiments.speculation",
    "SwarmError": "swarm.common.errors",
    "SweepResults": "swarm.experiments.sweep.gather",
    "audit": "swarm.experiments.audit.audit",
    "check": "swarm.experiments.runner",
    "check_plugin": "swarm.experiments.checks.check_plugin",
    "compose": "swarm.config.composing.compose",
    "load": "swarm.experiments.loading",
    "resume": "swarm.experiments.runner",
    "run": "swarm.experiments.runner",
    "save_start": "swarm.learning.initial_parameters",
    "speculate": "swarm.experiments.speculation",
}

sys.meta_path.append(OldPaths())  # last: only names that nobody else knows


def __getattr__(name: str) -> Any:
    """The API is imported on first use: ``run_swarm.py --help`` need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'swarm' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
