"""Parses the words ``KEY=VALUE`` of a command line into Hydra's override objects."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from swarm.common.errors import ConfigError, SwarmError, typed
from swarm.common.ranges import is_text
from swarm.config.explain import shown

PARAMS = "hydra.sweeper.params"
PARAM = 'must be a text with the values as they are typed after -m, such as "0,1,2" or range(0,3)'


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
        valid = "such as devices=100; a value with blanks is written 'KEY=\"VALUE\"'"
        raise UsageError(f"{text}: settings are written KEY=VALUE, {valid}")
    if equal and not key.strip("+~ "):
        raise UsageError(f"{text}: a setting needs a key before the =, such as devices=100")
    try:
        return parser.parse_overrides([text])[0]
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(key, value, f"cannot be read: {_readable(key, value, parser)}") from error


def _readable(key: str, value: str, parser: OverridesParser) -> str:
    """How a value that cannot be read is written: in quotes, if they are all that it lacks."""
    quoted = f'{key}="{value}"'
    if value and not set(value) & set("[](){}$\"'\\"):
        with suppress(HydraException, OmegaConfBaseException, ValueError):
            parser.parse_overrides([quoted])
            return f"a value with such characters needs quotes; write '{quoted}'"
    return (
        "check brackets, quotes and spaces; a value with special characters is written"
        " KEY='\"VALUE\"'"
    )


def with_sweep_params(overrides: Sequence[str]) -> tuple[list[str], bool]:
    """Write ``hydra.sweeper.params.KEY=VALUES`` and ``hydra.sweeper.params={KEY: VALUES}`` as the
    words ``KEY=VALUES`` that they stand for, in front of all others; say whether there was any.

    Raises :class:`ConfigError` for values that are no text.
    """
    params: list[str] = []
    others: list[str] = []
    for word in overrides:
        key, equal, value = word.partition("=")
        name = key.lstrip("+")
        if equal and name.startswith(f"{PARAMS}."):
            params.append(f"{name.removeprefix(PARAMS)[1:]}={unquoted(value)}")
        elif equal and name == PARAMS and value.strip() not in ("", "null"):
            params += _listed(parse_one(word, OverridesParser.create()))
        else:
            others.append(word)
    return [*params, *others], bool(params)


def _listed(override: Override) -> list[str]:
    values = override.value()
    if not isinstance(values, dict):
        valid = "must be keys with their values, such as '{seed: \"0,1\", topology: ring}'"
        raise ConfigError(PARAMS, value_of(override), valid)
    return words_of_params(values)


def words_of_params(params: Mapping[str, Any]) -> list[str]:
    """The words ``KEY=VALUES`` that ``hydra.sweeper.params`` stands for.

    Raises :class:`ConfigError` for values that are no text.
    """
    for key, value in params.items():
        if isinstance(value, dict | list):
            raise ConfigError(f"{PARAMS}.{key}", typed(value), PARAM)
    return [f"{key}={typed(value)}" for key, value in params.items()]


def unquoted(text: str) -> str:
    """The text without the quotes around the whole of it, as in ``"ring,torus"``."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted and text[0] not in text[1:-1] else text


def key_of(override: Override) -> str:
    """Return the dotted key, or the group, that an override sets."""
    return override.key_or_group + (f"@{override.package}" if override.package else "")


def value_of(override: Override) -> str:
    """Return the value that an override sets, as the user typed it."""
    return shown((override.input_line or "").partition("=")[2])


def refuse_other_folder(overrides: Sequence[Override], many: bool) -> None:
    """Refuse the folder of one run, ``hydra.run.dir``, for a command that makes ``many``, and the
    other way round: what was typed would be ignored.

    Raises :class:`ConfigError`, unless the right key was typed, too.
    """
    typed = {key_of(override): value_of(override) for override in overrides}
    keys = ("hydra.run.dir", "hydra.sweep.dir")
    wrong, right = keys if many else keys[::-1]
    if wrong in typed and right not in typed:
        what = (
            f"is the folder of one run, and this command makes many: write {right}={typed[wrong]}"
            if many
            else "is the folder of a sweep, and this command makes one run: write"
            f" {right}={typed[wrong]}, or -m in front for a sweep"
        )
        raise ConfigError(wrong, typed[wrong], what)


def giving_way(section: Any, typed: Collection[str]) -> list[str]:
    """The keys of the scenario's section that are ``auto`` and give way to a key of the run of the
    same name, as that was typed: with ``rounds=50``, consensus takes 50 rounds.

    Raises :class:`ConfigError` where both were typed.
    """
    values = section if isinstance(section, Mapping) else {}
    found = [str(key) for key, value in values.items() if value == "auto" and key in typed]
    for key in found:
        if f"scenario.{key}" in typed:
            valid = f"would choose {key}, which was typed beside it; leave one of them out"
            raise ConfigError(f"scenario.{key}", "auto", valid)
    return found
