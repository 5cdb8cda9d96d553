"""Completes a configuration of which only a part is given with the defaults of ``conf/``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.types import RunMode

from swarm.common.errors import ConfigError
from swarm.config.composing.compose import Composer
from swarm.config.composing.hydra_section import wants_many
from swarm.config.composing.overrides import giving_way, with_sweep_params
from swarm.config.settings import Settings, plain, sections


def complete(cfg: Any = None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the whole configuration: the defaults, changed by ``overrides``, then by ``cfg``.

    ``overrides`` are typed as on the command line: ``["devices=20", "topology=ring"]``. ``cfg`` is
    an OmegaConf or plain mapping, whole or not: ``{"devices": 20, "topology": "ring", "network":
    {"drop": 0.1}}``. For a plug-in, a text chooses an option of ``conf/``, a mapping with a
    ``_target_`` replaces the section, and any other mapping changes keys of the section.

    Raises :class:`ConfigError` for an override that cannot be applied, and for a section that is
    not a mapping. :meth:`Settings.parse` finds all other mistakes.
    """
    given = {} if cfg is None else plain(cfg)
    if not overrides and given.keys() >= Settings.model_fields.keys():
        return given
    groups = sections()
    chosen = {key: name for key, name in given.items() if key in groups and isinstance(name, str)}
    typed, params = with_sweep_params(overrides)
    words = [*typed, *(f"{key}={value}" for key, value in chosen.items())]
    with Composer() as composer:
        composed = composer.compose(words, RunMode.MULTIRUN if params else RunMode.RUN)
        if wants_many(composed, params):
            valid = "makes many runs, which the command line starts; hydra.mode=RUN makes one"
            raise ConfigError("hydra.mode", "MULTIRUN", valid)
        values = plain(composed)
    found = _merged(values, {key: item for key, item in given.items() if key not in chosen})
    section = given.get("scenario")
    inside = section if isinstance(section, dict) else {}
    for key in giving_way(
        found.get("scenario"), {*given, *(f"scenario.{name}" for name in inside)}
    ):
        found["scenario"] = {**found["scenario"], key: None}
    return found


def _merged(values: dict[str, Any], changes: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found = dict(values)
    for key, value in changes.items():
        there = found.get(key)
        if not isinstance(there, dict):
            found[key] = value
        elif not isinstance(value, Mapping):
            valid = "must be a mapping of keys to values, or where there are options, one's name"
            raise ConfigError(f"{prefix}{key}", value, valid)
        elif "_target_" in value:
            found[key] = dict(value)
        else:
            found[key] = _merged(there, value, f"{prefix}{key}.")
    return found
