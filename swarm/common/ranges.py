"""Range checks that plug-ins share, and the counts that shares come to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from swarm.common.errors import ConfigError
from swarm.common.system.machine import available_bytes

LARGEST_WHOLE = 2**53
"""The largest whole number in a setting: a float holds every whole number up to it, and 64-bit
arithmetic with it does not overflow.
"""
SMALLEST, LARGEST = 1e-18, 1e18
"""The size of any other number in a setting lies between these two, so that its square and its
inverse can be written as float32.
"""
_MOST = 8 << 30  # bytes
# copies of the samples while they are scaled: the original, the result, and intermediate arrays
_COPIES = 4
_ASIDE = 128  # bytes for each sample's label, owner and place in the splits


def ordinary(key: str, value: Any) -> None:
    """Refuse values that cannot be calculated with or written to a file, anywhere within ``value``.

    These are whole numbers above ``LARGEST_WHOLE`` in size; other numbers that are not finite, or
    whose size is not between ``SMALLEST`` and ``LARGEST``; and text that UTF-8 cannot write or that
    has a zero byte. Raises :class:`ConfigError` on ``key``.
    """
    if isinstance(value, Mapping):
        for name, item in value.items():
            ordinary(f"{key}.{name}", item)
    elif isinstance(value, list | tuple):
        for item in value:
            ordinary(key, item)
    elif isinstance(value, str) and not is_text(value):
        raise ConfigError(
            key, ascii(value)[1:-1], "must be text that UTF-8 can write, without a zero byte"
        )
    elif isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        raise ConfigError(
            key, value, f"must be a whole number of at most {LARGEST_WHOLE:,} in size"
        )
    elif isinstance(value, float) and value and not SMALLEST <= abs(value) <= LARGEST:
        how = "too close to 0" if abs(value) < SMALLEST else "too far from 0"
        valid = f"is {how}; a number other than 0 must have a size from {SMALLEST:g} to {LARGEST:g}"
        raise ConfigError(key, value, valid)


def is_text(value: str) -> bool:
    """Whether UTF-8 can write ``value`` and it has no zero byte, which ends a text in C."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def number(
    key: str, value: float, low: float, high: float = math.inf, *, open_low: bool = False
) -> None:
    """Refuse a value outside ``[low, high]`` (``(low, high]`` if ``open_low``), and any NaN or
    infinity, with a :class:`ConfigError` on ``key``.
    """
    inside = (value > low if open_low else value >= low) and value <= high and math.isfinite(value)
    if not inside:
        if (low, high, open_low) == (0, 1, False):
            raise ConfigError(key, value, "must be between 0 and 1")
        bound = "finite and " if math.isinf(value) and math.isinf(high) else ""
        bound += f"above {low:g}" if open_low else f"at least {low:g}"
        raise ConfigError(
            key,
            value,
            f"must be {bound}" + (f" and at most {high:g}" if math.isfinite(high) else ""),
        )


def share_of(share: float, count: int) -> int:
    """The number of things that a positive ``share`` of ``count`` comes to: the closest whole
    number, the larger of two, and at least one.
    """
    return max(1, int(share * count + 0.5))


def no_room(key: str, value: object, need: str, free: int, fits: str) -> ConfigError:
    """Make the error for a run that needs more memory than there is.

    ``need`` says how much it needs and for what, and ``fits`` what would fit into the ``free``
    bytes.
    """
    return ConfigError(key, value, f"would need {need}, and {size_text(free)} are free; {fits}")


def size_text(size: int) -> str:
    """Write a number of bytes for people: ``57.3 GiB``, ``120 MiB``."""
    return f"{size / 2**30:,.1f} GiB" if size >= 1 << 30 else f"{size / 2**20:,.0f} MiB"


def room(
    key: str,
    value: object,
    rows: int,
    columns: int,
    each: int = 4,
    what: tuple[str, str] = ("samples", "features"),
) -> None:
    """Refuse to generate a table that is too large, before anything is allocated.

    The table has ``rows`` times ``columns`` numbers of ``each`` bytes. It may take at most 8 GiB,
    and with the copies that are made on the way at most the memory that is free. ``what`` names its
    rows and columns in the message. Raises :class:`ConfigError` on ``key``.
    """
    free, row = available_bytes(), each * columns
    most = _MOST // row
    limit = "8 GiB"
    if free is not None and free // (_COPIES * row + _ASIDE) < most:
        most, limit = free // (_COPIES * row + _ASIDE), f"{free / 2**30:.1f} GiB are free"
    if rows > most:
        made = f"makes {rows} {what[0]} of {columns} {what[1]}"
        raise ConfigError(key, value, f"{made}; at most {most} {what[0]} ({limit}) would do")
