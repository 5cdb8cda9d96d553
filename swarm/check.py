"""Range checks that plug-ins share."""

from __future__ import annotations

import math

from swarm.errors import ConfigError

_LARGEST = 8 << 30


def number(key: str, value: float, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
    """Refuse a value outside ``[low, high]`` (``(low, high]`` if ``open_low``), and any NaN or infinity."""
    inside = (value > low if open_low else value >= low) and value <= high and math.isfinite(value)
    if not inside:
        if (low, high, open_low) == (0, 1, False):
            raise ConfigError(key, value, "must be between 0 and 1")
        bound = "finite and " if math.isinf(value) and math.isinf(high) else ""
        bound += f"above {low:g}" if open_low else f"at least {low:g}"
        raise ConfigError(key, value, f"must be {bound}" + (f" and at most {high:g}" if math.isfinite(high) else ""))


def room(key: str, value: object, samples: int, features: int) -> None:
    """Refuse to generate more than 8 GiB of float32 features, before anything is allocated."""
    most = _LARGEST // (4 * features)
    if samples > most:
        valid = f"makes {samples} samples of {features} features; at most {most} samples (8 GiB) would do"
        raise ConfigError(key, value, valid)
