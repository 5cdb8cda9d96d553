"""The settings that the environment variable ``SWARM_OVERRIDES`` adds to a command line."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

VARIABLE = "SWARM_OVERRIDES"


def with_environment(typed: Sequence[str]) -> list[str]:
    """Return the words ``typed`` with those of ``SWARM_OVERRIDES``, as if they had been typed, too.

    The variable makes the commands of a script or of a page small without editing them:
    ``SWARM_OVERRIDES="rounds=2 tracker=none"``. A typed word with the same key gives way. What is
    added is printed on stderr and recorded with the typed words, so that no run is changed unseen.
    A run that is resumed has its settings already, and nothing is added.

    Raises :class:`ConfigError` or :class:`UsageError` for words that cannot be read, and for
    ``resume``, which chooses a folder and is no setting.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return list(typed)
    from swarm.common.errors import ConfigError
    from swarm.config.composing.overrides import UsageError, parse

    try:
        words = shlex.split(text)
    except ValueError as error:
        valid = "must be settings KEY=VALUE as they are typed in a shell; a quote is not closed"
        raise ConfigError(VARIABLE, text, valid) from error
    try:
        parsed = parse(words)
    except UsageError as error:
        raise UsageError(f"{VARIABLE}: {error}") from error
    keys = {override.get_key_element().lstrip("+~") for override in parsed}
    if "resume" in keys:
        raise ConfigError(VARIABLE, text, "must not have resume=, which names one run's folder")
    if any(word.lstrip("+").startswith("resume=") for word in typed):
        print(f"{VARIABLE} is left out, as a run that is resumed has its settings", file=sys.stderr)
        return list(typed)
    print(f"{VARIABLE} adds: {shlex.join(words)}", file=sys.stderr)
    return [word for word in typed if word.partition("=")[0].lstrip("+~") not in keys] + words
