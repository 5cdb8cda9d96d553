"""Range checks that plug-ins share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from swarm.errors import ConfigError
from swarm.machine import available_bytes

LARGEST_WHOLE = 2**53
"""The largest whole number in a setting: up to here floats have all of them, and 64-bit arithmetic has room to spare."""
SMALLEST, LARGEST = 1e-30, 1e30
"""Between these lies the size of any other number: its square and its inverse are still ordinary numbers."""
_MOST = 8 << 30


def sizes(key: str, value: Any) -> None:
    """Refuse numbers, anywhere within ``value``, that cannot be calculated with: not finite, or beyond all measure."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            sizes(f"{key}.{name}", item)
    elif isinstance(value, list | tuple):
        for item in value:
            sizes(key, item)
    elif isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        raise ConfigError(key, value, f"must be a whole number of at most {LARGEST_WHOLE:,} in size")
    elif isinstance(value, float) and value and not SMALLEST <= abs(value) <= LARGEST:
        valid = f"must be 0 or, without its sign, a number from {SMALLEST:g} to {LARGEST:g}"
        raise ConfigError(key, value, valid)


def number(key: str, value: float, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
    """Refuse a value outside ``[low, high]`` (``(low, high]`` if ``open_low``), and any NaN or infinity."""
    inside = (value > low if open_low else value >= low) and value <= high and math.isfinite(value)
    if not inside:
        if (low, high, open_low) == (0, 1, False):
            raise ConfigError(key, value, "must be between 0 and 1")
        bound = "finite and " if math.isinf(value) and math.isinf(high) else ""
        bound += f"above {low:g}" if open_low else f"at least {low:g}"
        raise ConfigError(key, value, f"must be {bound}" + (f" and at most {high:g}" if math.isfinite(high) else ""))


def room(key: str, value: object, samples: int, features: int, each: int = 4) -> None:
    """Refuse to make so many rows of so many numbers of ``each`` bytes that they take more than 8 GiB, or more than is free,
    before anything is allocated."""
    free = available_bytes()
    there = _MOST if free is None else min(_MOST, free)
    most = there // (each * features)
    if samples > most:
        limit = "8 GiB" if there == _MOST else f"{there / 2**30:.1f} GiB are free"
        made = f"makes {samples} samples of {features} features"
        raise ConfigError(key, value, f"{made}; at most {most} samples ({limit}) would do")
