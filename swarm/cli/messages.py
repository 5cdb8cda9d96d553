"""The messages of the command line about errors and interrupts, and its exit codes; the parser that
all commands beside the run itself share."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from swarm.common.errors import ConfigError, SwarmError
from swarm.common.plugin.warned import each_warned_once

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


INTERRUPTED, TERMINATED = 130, 143  # exit codes: 128 + the number of the signal


class CommandParser(argparse.ArgumentParser):
    """The parser of a command such as ``report``, which says in one sentence what is wrong with the
    words behind it.
    """

    def __init__(self, command: str, **described: Any) -> None:
        super().__init__(prog=f"python run_swarm.py {command}", allow_abbrev=False, **described)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def complain(error: SwarmError) -> int:
    """Print the error on stderr, in one sentence or with ``SWARM_DEBUG=1`` as a traceback; returns
    its exit code."""
    if os.environ.get("SWARM_DEBUG") == "1":
        traceback.print_exception(error)
    else:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
    return error.exit_code


@contextmanager
def warnings_for_users() -> Iterator[None]:
    """Print the warnings of the block without file and line, and each sentence once."""
    form = warnings.formatwarning
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        with each_warned_once():
            yield
    finally:
        warnings.formatwarning = form


@contextmanager
def numbers_as_typed(overrides: Sequence[Override]) -> Iterator[None]:
    """Quote numbers in errors of the block as they were typed: ``devices=1e9`` is not refused as
    ``devices=1000000000.0``.
    """
    from swarm.config.composing.overrides import key_of, value_of
    from swarm.config.explain import shown

    try:
        yield
    except ConfigError as error:
        if type(error) is ConfigError:
            for override in overrides:
                value = None if override.is_sweep_override() else override.value()
                parts = value if isinstance(value, list) else [value]
                same = key_of(override) == error.key and shown(value) == shown(error.value)
                if same and any(isinstance(part, float) for part in parts):
                    raise ConfigError(error.key, value_of(override), error.valid) from error
        raise


def short(folder: Path) -> Path:
    """``folder`` relative to the working folder, if it is inside of it."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
