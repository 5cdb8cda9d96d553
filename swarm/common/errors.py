"""The errors a user can meet, and how messages write values, counts and articles.

Each is one sentence that names the key, the value and what would be valid.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, SupportsInt, TypeAlias

# words that are spoken with a vowel first: eight, eleven, eighteen, and most that are written so
_VOWEL = re.compile(r"8|1[18](?!\d)|[aeio]|up", re.IGNORECASE)


def typed(value: object) -> str:
    """Write ``value`` as a user types it on the command line: ``null``, ``true``, ``[a, b]``,
    without Python's quotes.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {typed(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(typed, value)) + "]"
    return str(value)


def meant(wrong: object, names: Iterable[str]) -> str:
    """Return `` (did you mean ring?)`` if one of the ``names`` is spelt much like ``wrong``, else
    an empty text.
    """
    word = str(wrong)
    by_sound = {str(name).casefold(): name for name in names}  # BN is much like bn
    close = [] if word.isdigit() else difflib.get_close_matches(word.casefold(), by_sound, n=1)
    return f" (did you mean {by_sound[close[0]]}?)" if close else ""


class SwarmError(Exception):
    """An error that ends a run with a message instead of a traceback.

    The process exits with ``exit_code``.
    """

    exit_code = 1


class ConfigError(SwarmError):
    """A setting, or a file named by one, cannot be used.

    ``ConfigError("k", 3, "must be even")`` reads ``k=3: must be even``. A plug-in names only its
    own parameter; the code that knows the surrounding section adds it with :meth:`under`.
    """

    exit_code = 2

    def __init__(self, key: str, value: object, valid: str) -> None:
        self.key, self.value, self.valid = key, value, valid
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            value = int(value)  # a user types 2 for a float, which arrives here as 2.0
        given = f"{key.removeprefix('/')}={typed(value)}".replace("\n", "\\n").replace("\r", "\\r")
        # the message stays on one line, even if what was typed has line breaks
        super().__init__(f"{given}: {valid}".replace("\n", " ").replace("\r", " "))

    def __reduce__(self) -> tuple[Any, ...]:  # actors and sweep workers pickle the error
        return type(self), (self.key, self.value, self.valid), {"exit_code": self.exit_code}

    def under(self, section: str) -> ConfigError:
        """Return the same error with ``section.`` in front of the key, unless the key is already
        absolute (``/devices``).
        """
        key = self.key[1:] if self.key.startswith("/") else f"{section}.{self.key}"
        return ConfigError(key, self.value, self.valid)


Refusals: TypeAlias = Iterable[tuple[str, object, str]]
"""What does not go together with a part of a run: the key, its value, and what would be valid, in
which the last ``{}`` stands for that part."""


def refuse(refusals: Refusals, part: str) -> None:
    """Raise the first of ``refusals``, if there is any; ``part`` is what they do not go together
    with, such as ``privacy=sample_level``.
    """
    for key, value, valid in refusals:
        before, found, after = valid.rpartition("{}")
        raise ConfigError(key, value, f"{before}{part if found else ''}{after}")


class CheckpointError(ConfigError):
    """A checkpoint is missing, damaged, or does not belong to this run."""


class StorageError(SwarmError):
    """A run's files cannot be written any more, as the disk is full or the folder is gone.

    The error ends the run, which can be resumed later.
    """


class DivergedError(SwarmError):
    """A device's parameters are no longer finite, or its loss is beyond all measure.

    The error ends the arm, and the other arms of the run go on. ``name`` is the name of the device,
    if it has one. ``own`` says that it was the device's own model (``personal``), and not the one
    that it shares.
    """

    def __init__(self, device: int, round: int, name: str | None = None, own: bool = False) -> None:
        self.device, self.round, self.name, self.own = device, round, name, own
        who = f"device {device}" + (f" ({name})" if name else "")
        why = "not finite, or a loss beyond all measure"
        if own:
            who, why = f"the personal model of {who}", "not finite; the shared model is"
        super().__init__(f"{who} diverged ({why}) in round {round}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.device, self.round, self.name, self.own)


class OutOfRangeError(DivergedError):
    """A number of a device's message is outside the range in which it can be encoded.

    It ends the arm as :class:`DivergedError` does: most often the device is about to diverge.
    """

    def __init__(self, device: int, round: int, value: float, largest: float) -> None:
        super().__init__(device, round)
        self.value, self.largest = value, largest
        self.args = (
            f"device {device} has a number of size {value:.3g} to send in round {round}, and"
            f" secure_sum.range={largest:g} must be at least as large; if it diverges, a smaller"
            " optimizer.lr would do",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.device, self.round, self.value, self.largest)


def counted(count: SupportsInt, noun: str) -> str:
    """Return ``1 round``, ``2 rounds`` or ``1,024 rounds`` for the noun ``round``.

    The plural of a noun is made as that of most is: ``class`` gives ``classes``, ``property``
    ``properties``.
    """
    number = int(count)
    if number == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "x", "ch")):
        plural = f"{noun}es"
    elif noun.endswith("y") and noun[-2] not in "aeiou":
        plural = f"{noun[:-1]}ies"
    else:
        plural = f"{noun}s"
    return f"{number:,} {plural}"


def of_the(count: SupportsInt, noun: str, which: str = "each") -> str:
    """Return ``each of the 2 devices``, or ``the one device`` where there is no other."""
    return f"the one {noun}" if int(count) == 1 else f"{which} of the {counted(count, noun)}"


def with_article(text: str) -> str:
    """Return ``text`` with its article: a ring, an 8×8 image, an Aggregator."""
    return f"{'an' if _VOWEL.match(text) else 'a'} {text}"
