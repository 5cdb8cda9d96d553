"""Parses the words ``KEY=VALUE`` of a command line into Hydra's override objects."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from swarm.common.errors import ConfigError, SwarmError
from swarm.common.ranges import is_text
from swarm.config.explain import shown


class UsageError(SwarmError):
    """A command line or config file that cannot be read at all, so that no key is to blame."""

    exit_code = 2


def parse(overrides: Sequence[str]) -> list[Override]:
    """Parse ``KEY=VALUE`` texts into Hydra's override objects. Raises as :func:`parse_one` does."""
    return [parse_one(text, OverridesParser.create()) for text in overrides]


def parse_one(text: str, parser: OverridesParser) -> Override:
    """Parse one ``KEY=VALUE`` into an override object.

    Raises :class:`ConfigError` for a value that cannot be read, and :class:`UsageError` for a word
    that is not of the form ``KEY=VALUE``.
    """
    key, equal, value = text.partition("=")
    if not is_text(text):
        raise ConfigError(ascii(key)[1:-1], ascii(value)[1:-1], "must be text that UTF-8 can write")
    if not equal and not text.startswith("~"):
        raise UsageError(f"{text}: settings are written KEY=VALUE, such as devices=100")
    if equal and not key.strip("+~ "):
        raise UsageError(f"{text}: a setting needs a key before the =, such as devices=100")
    try:
        return parser.parse_overrides([text])[0]
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        hint = (
            "check brackets, quotes and spaces; a value with special characters is written"
            " KEY='\"VALUE\"'"
        )
        raise ConfigError(key, value, f"cannot be read: {hint}") from error


def key_of(override: Override) -> str:
    """Return the dotted key, or the group, that an override sets."""
    return override.key_or_group + (f"@{override.package}" if override.package else "")


def value_of(override: Override) -> str:
    """Return the value that an override sets, as the user typed it."""
    return shown((override.input_line or "").partition("=")[2])
