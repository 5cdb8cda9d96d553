"""Starts W&B runs without what takes most of a start and tells nothing new.

Of the processor time of a start 1.5 s were the import of ``wandb.sdk.launch``, which only a process
that stages inputs for W&B Launch needs, and 0.3 s, for every run, a list of the installed packages.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import ModuleType
from typing import Any

INPUTS = "wandb.sdk.launch.inputs.internal"
PACKAGES = "x_save_requirements"


class _NothingStaged:
    """Stands for W&B's ``StagedLaunchInputs`` where nothing has been staged."""

    def apply(self, run: Any) -> None:
        """Apply no inputs."""


@contextmanager
def without_launch() -> Iterator[None]:
    """A context in which ``wandb.init`` does not import W&B Launch.

    It asks a module of Launch for the inputs that this process has staged for the run. Nobody can
    have staged any as long as that module is not imported.
    """
    if INPUTS in sys.modules:
        yield
        return
    stand_in: Any = ModuleType(INPUTS)
    stand_in.StagedLaunchInputs = _NothingStaged
    sys.modules[INPUTS] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(INPUTS) is stand_in:
            del sys.modules[INPUTS]


def packages_listed(settings: type, listed: bool) -> dict[str, Any]:
    """The arguments of W&B's ``settings`` by which a run has the list of installed packages or not;
    none for a W&B without that setting."""
    return {PACKAGES: listed} if PACKAGES in getattr(settings, "model_fields", {}) else {}


@contextmanager
def silenced() -> Iterator[None]:
    """Keeps what W&B prints off the terminal, where a progress bar is being drawn; its log files
    have it all. The streams are the main thread's: on another one W&B is only called offline, where
    it prints nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
