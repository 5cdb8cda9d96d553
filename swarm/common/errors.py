"""The errors a user can meet.

Each is one sentence that names the key, the value and what would be valid.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


def typed(value: object) -> str:
    """``value`` as it is typed on the command line: ``null``, ``true``, ``[a, b]``, without
    Python's quotes.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {typed(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(typed, value)) + "]"
    return str(value)


def meant(wrong: object, names: Iterable[str]) -> str:
    """`` (did you mean ring?)``, where one of the ``names`` is spelt much like what was given; else
    empty.
    """
    word = str(wrong)
    close = [] if word.isdigit() else difflib.get_close_matches(word, list(names), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


class SwarmError(Exception):
    """Anything that ends a run with a message instead of a traceback.

    ``exit_code`` is the process's.
    """

    exit_code = 1


class ConfigError(SwarmError):
    """A setting, or a file named by one, cannot be used.

    ``ConfigError("k", 3, "must be even")`` reads ``k=3: must be even``; whoever knows the
    surrounding section adds it with :meth:`under`, so a plug-in names only its own parameter.
    """

    exit_code = 2

    def __init__(self, key: str, value: object, valid: str) -> None:
        self.key, self.value, self.valid = key, value, valid
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            value = int(value)  # whoever types 2 for a share gets it here as 2.0
        given = f"{key.removeprefix('/')}={typed(value)}".replace("\n", "\\n").replace("\r", "\\r")
        # one line, whatever was typed
        super().__init__(f"{given}: {valid}".replace("\n", " ").replace("\r", " "))

    def __reduce__(self) -> tuple[Any, ...]:  # it travels: out of an actor, or a sweep's worker
        return type(self), (self.key, self.value, self.valid), {"exit_code": self.exit_code}

    def under(self, section: str) -> ConfigError:
        """The same error with ``section.`` in front of the key, unless the key is already absolute
        (``/devices``).
        """
        key = self.key[1:] if self.key.startswith("/") else f"{section}.{self.key}"
        return ConfigError(key, self.value, self.valid)


class CheckpointError(ConfigError):
    """A checkpoint is missing, damaged, or does not belong to this run."""


class StorageError(SwarmError):
    """A run's files cannot be written any more: a full disk, a folder that is gone.

    Ends the run, which can go on later.
    """


class DivergedError(SwarmError):
    """A device's parameters are no longer finite, or its loss is beyond all measure: ends its arm,
    not the run.
    """

    def __init__(self, device: int, round: int, name: str | None = None) -> None:
        self.device, self.round, self.name = device, round, name
        called = f" ({name})" if name else ""
        super().__init__(
            f"device {device}{called} diverged (not finite, or a loss beyond all measure) in round"
            f" {round}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.device, self.round, self.name)
