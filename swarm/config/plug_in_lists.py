"""Keys that hold a list of plug-ins: ``metrics``, ``transforms`` and ``augment``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swarm.common.errors import ConfigError
from swarm.config.build import option, options
from swarm.config.explain import shown, unknown

GROUPS = {"metrics": "metric", "transforms": "transform", "augment": "augmentation"}
"""The keys that hold a list of plug-ins, and the groups of conf/ with their options."""


def with_options(values: dict[str, Any], key: str, *words: str) -> dict[str, Any]:
    """Return ``values`` with the names listed under ``key`` replaced by the sections that they
    stand for.

    An entry is the name of an option of the key's group, ``{NAME: {KEY: VALUE, …}}`` for an option
    with other values than its file has, a section with a ``_target_``, or one of ``words``, which
    stays as it is.

    Raises :class:`ConfigError` for any other entry.
    """
    listed = values.get(key, list(words))
    group = GROUPS[key]
    names = [*words, *options(group)]
    if not isinstance(listed, list):
        hint = f"; {key}=[{','.join([*words, str(listed)])}]" if listed in names else ""
        raise ConfigError(key, shown(listed), f"must be a list of {group}s{hint}")
    return {**values, key: [_section(entry, key, group, names, words) for entry in listed]}


def _section(entry: Any, key: str, group: str, names: Sequence[str], words: Sequence[str]) -> Any:
    """One entry of a list of plug-ins."""
    if isinstance(entry, dict) and "_target_" in entry:
        return entry
    changed: Any = {}
    if isinstance(entry, dict) and len(entry) == 1:
        ((entry, changed),) = entry.items()
    if not isinstance(entry, str) or not isinstance(changed, dict):
        valid = f"must be a name ({', '.join(names)}) or a section with a _target_"
        raise ConfigError(key, shown(entry), valid)
    if entry not in names:
        raise unknown(key, entry, names, "option")
    return entry if entry in words else option(group, entry) | changed


def written_as_a_group(key: str, value: str) -> ConfigError | None:
    """The error for ``metric=NAME``, ``metric.KEY=VALUE``, ``metrics.NAME=…`` and
    ``metrics.NAME.KEY=VALUE``, which shows how an entry of the list is written; None for other
    keys."""
    first, *rest = key.split(".")
    listed = next((each for each, group in GROUPS.items() if first == group), first)
    if listed not in GROUPS or key == listed:
        return None
    names = options(GROUPS[listed])
    name = next((each for each in [value, *rest] if each in names), "NAME")
    settings = [each for each in rest if each != name]
    entry = f"{{{name}:{{{settings[0]}: {value}}}}}" if settings else name
    before = "standard," if listed == "metrics" else ""
    valid = f"{listed} is a list: write {listed}=[{before}{entry}]"
    return ConfigError(key, value, f"{valid}; valid names: {', '.join(names)}")
