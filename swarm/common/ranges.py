"""Range checks that plug-ins share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from swarm.common.errors import ConfigError
from swarm.common.system.machine import available_bytes

LARGEST_WHOLE = 2**53
"""The largest whole number in a setting: up to here floats have all of them, and 64-bit arithmetic
has room to spare.
"""
SMALLEST, LARGEST = 1e-18, 1e18
"""Between these lies the size of any other number: its square and its inverse are ordinary numbers,
also of 32 bits.
"""
_MOST = 8 << 30
# of samples while they are scaled: as they were made, as they will be, and what that takes
_COPIES = 4
_ASIDE = 128  # bytes of each sample's label, owner and place in the splits, and of what finds them


def ordinary(key: str, value: Any) -> None:
    """Refuse what, anywhere within ``value``, cannot be calculated with or written down: numbers
    that are not finite or beyond all measure, and text that no file can have (half a character of
    UTF-16, a zero byte)."""
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
        valid = f"must be 0 or, without its sign, a number from {SMALLEST:g} to {LARGEST:g}"
        raise ConfigError(key, value, valid)


def is_text(value: str) -> bool:
    """Whether UTF-8 can write it, and it has no zero byte, which ends a text in other languages."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def number(
    key: str, value: float, low: float, high: float = math.inf, *, open_low: bool = False
) -> None:
    """Refuse a value outside ``[low, high]`` (``(low, high]`` if ``open_low``), and any NaN or
    infinity.
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


def no_room(key: str, value: object, need: str, free: int, fits: str) -> ConfigError:
    """The one sentence for a run that needs more memory than there is.

    ``need`` says how much, and what for; ``fits`` what would fit into the ``free`` bytes."""
    return ConfigError(key, value, f"would need {need}, and {size_text(free)} are free; {fits}")


def size_text(size: int) -> str:
    """So many bytes, for people: ``57.3 GiB``, ``120 MiB``."""
    return f"{size / 2**30:,.1f} GiB" if size >= 1 << 30 else f"{size / 2**20:,.0f} MiB"


def room(
    key: str,
    value: object,
    rows: int,
    columns: int,
    each: int = 4,
    what: tuple[str, str] = ("samples", "features"),
) -> None:
    """Refuse to make so many ``rows`` of so many ``columns``, ``each`` bytes a number, that they
    take more than 8 GiB, or with the copies that are made on the way more than what is free; before
    anything is allocated."""
    free, row = available_bytes(), each * columns
    most = _MOST // row
    limit = "8 GiB"
    if free is not None and free // (_COPIES * row + _ASIDE) < most:
        most, limit = free // (_COPIES * row + _ASIDE), f"{free / 2**30:.1f} GiB are free"
    if rows > most:
        made = f"makes {rows} {what[0]} of {columns} {what[1]}"
        raise ConfigError(key, value, f"{made}; at most {most} {what[0]} ({limit}) would do")
