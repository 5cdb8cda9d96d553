"""Turns Hydra's errors about a configuration into one sentence about one key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import yaml
from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from swarm.common.errors import ConfigError, SwarmError
from swarm.config import aliases
from swarm.config.composing.overrides import UsageError, key_of, value_of
from swarm.config.explain import first_line, leaves, shown, unknown, unresolved
from swarm.config.plug_in_lists import written_as_a_group

if TYPE_CHECKING:
    from swarm.config.composing.compose import Composer

# options that need an optional package, and the command that installs it
EXTRAS = {"hydra/launcher/joblib": "`pip install '.[sweep]'`"}


def explain(error: Exception, overrides: Sequence[Override], composer: Composer) -> SwarmError:
    """Turn Hydra's error into one about the key to blame, or a :class:`UsageError` without one."""
    if isinstance(error, SwarmError):
        return error
    in_lists = (written_as_a_group(key_of(o), value_of(o)) for o in overrides)
    if (about_list := next(filter(None, in_lists), None)) is not None:
        return about_list
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        place = f"{error.problem_mark.name}, line {error.problem_mark.line + 1}"
        return UsageError(f"{place}: is not valid YAML ({error.problem})")
    if isinstance(error, MissingConfigException):
        return _missing(error, overrides, composer)
    text = str(error)
    named = set(re.findall(r"'([^']+?)'", text)) | set(re.findall(r"values for (\S+)\.", text))
    mine = next(
        (
            o
            for o in overrides
            if (o.input_line or "?") in text or {o.key_or_group, key_of(o)} & named
        ),
        None,
    )
    if "Config group override must be" in text:
        mine = next(
            o
            for o in overrides
            if composer.options(o.key_or_group) and not isinstance(o.value(), str)
        )
        return unknown(
            mine.key_or_group, mine.value(), composer.options(mine.key_or_group), "option"
        )
    if (twice := re.match(r"(\S+) appears more than once", text)) is not None:
        mine = next((o for o in overrides if o.key_or_group == twice[1] and o.is_add()), mine)
    if isinstance(error, OmegaConfBaseException):
        return _omegaconf(error, overrides, composer)
    if mine is None:
        return _in_a_file(error)
    key, value = key_of(mine), value_of(mine)
    if "Ambiguous value" in text or "requires --multirun" in text:
        listed = f", {key}=[…] makes a list" if _takes_a_list(key, composer) else ""
        return ConfigError(key, value, f"is several values: -m makes one run of each{listed}")
    if twice or "already at" in text or "Multiple values for" in text:
        return ConfigError(f"+{key}", value, f"{key} is there already: write {key}={value}")
    if "does not exist" in text or "Could not override" in text:
        return _no_such(mine, overrides, composer)
    return ConfigError(key, value, _why_not(error))


def several_options(override: Override, composer: Composer) -> ConfigError | None:
    """The error for ``topology=[ring,torus]``, of which Hydra would merge both sections into one
    that has the class of the last; None for all other overrides.
    """
    group, names, given = override.key_or_group, override.value(), value_of(override)
    if not isinstance(names, list) or not composer.options(group):
        return None
    each = ",".join(shown(name) for name in names)
    hint = f"; -m {group}={each} makes one run of each" if len(names) > 1 else ""
    valid = f"must be the name of one option and no list{hint}"
    return written_as_a_group(group, given) or ConfigError(group, given, valid)


def _missing(
    error: MissingConfigException, overrides: Sequence[Override], composer: Composer
) -> SwarmError:
    wanted = error.missing_cfg_file or ""
    about = [o for o in overrides if wanted.startswith(o.key_or_group + "/")]
    # a group may be given twice: the override with exactly the missing name comes first
    exactly = (o for o in about if wanted == f"{o.key_or_group}/{value_of(o)}")
    mine = next(exactly, about[0] if about else None)
    if mine is not None and (extra := EXTRAS.get(wanted)):
        return ConfigError(
            mine.key_or_group, value_of(mine), f"needs a package that {extra} brings"
        )
    if mine is not None:
        return unknown(
            mine.key_or_group, value_of(mine), composer.options(mine.key_or_group), "option"
        )
    group, _, name = wanted.rpartition("/")
    if not group:
        return ConfigError(
            "--config-name", name, "no such file in conf or the folder given with --config-dir"
        )
    return unknown(group, name, error.options or composer.options(group), "option")


def _why_not(error: Exception) -> str:
    why = shown(first_line(error.__cause__ or error))
    if why.endswith("is not Optional"):
        return "must have a value; without this setting it has its default"
    return f"cannot be set: {why}"


def _takes_a_list(key: str, composer: Composer) -> bool:
    """Whether a key may have a list as its value, as far as what it has by default can tell."""
    default = OmegaConf.select(composer.raw([]), key, default=None)
    return not composer.options(key) and (default is None or OmegaConf.is_list(default))


def _omegaconf(
    error: OmegaConfBaseException, overrides: Sequence[Override], composer: Composer
) -> SwarmError:
    key = error.full_key or ""
    mine = next((o for o in overrides if key and key_of(o) == key), None)
    here = OmegaConf.to_container(composer.raw([]), resolve=False)
    line = unresolved(error, here)
    return ConfigError(key, value_of(mine), line) if mine else UsageError(f"{key}: {line}")


def _in_a_file(error: Exception) -> UsageError:
    """The error where no override is to blame: it names the yaml and the key, if Hydra says them,
    as where a yaml sets a key of Hydra's own section to what it cannot be.
    """
    text = str(error)
    found = re.match(r"In '([^']+)': \w+ raised while composing config:\n(.+)", text)
    key = re.search(r"full_key: (\S+)", text)
    if found is None or key is None:
        return UsageError(f"the configuration cannot be composed: {shown(first_line(error))}")
    return UsageError(f"{key[1]}: {shown(found[2])} (in {found[1]}.yaml)")


def _no_such(mine: Override, overrides: Sequence[Override], composer: Composer) -> SwarmError:
    """The error for an override whose key, or one in its braces, does not exist."""
    key, value, inner = key_of(mine), value_of(mine), mine.value()
    if isinstance(inner, dict) and "_target_" not in inner and key != "cohorts":
        return _unknown_inner(key, inner, overrides, composer)
    wrong = _unknown(key, value, overrides, composer)
    if mine.is_delete() and isinstance(wrong, ConfigError):
        return UsageError(f"~{key}: {wrong.valid}")
    return wrong


def _unknown(key: str, value: str, overrides: Sequence[Override], composer: Composer) -> SwarmError:
    """The error for an override of a key that does not exist: it lists the keys of the same
    section, or says in which section there is a key of that name.
    """
    if "/" in key or "@" in key:
        return unknown(key, value, composer.groups(), "group")
    if key in composer.groups():
        return ConfigError(key, value, f"is added to what is chosen: write +{key}={value}")
    if key.partition(".")[0] == "cohorts":
        return ConfigError(key, value, f"is added to what is there: write +{key}={value}")
    if aliases.key(key) != key:
        return unknown(key, value, ())
    chosen = [
        o.input_line
        for o in overrides
        if composer.options(o.key_or_group) and isinstance(o.value(), str)
    ]
    try:
        here: Any = OmegaConf.to_container(composer.raw([c for c in chosen if c]), resolve=False)
    except Exception as error:
        return explain(error, [o for o in overrides if key_of(o) != key], composer)
    path = key.split(".")
    if any(key_of(o) == f"{path[0]}._target_" for o in overrides) and len(path) == 2:
        added = f"is a parameter of a class of your own, and is added: write +{key}={value}"
        return ConfigError(key, value, added)
    elsewhere = [
        k for k in leaves(here) if k.endswith("." + path[-1]) and not k.startswith("hydra.")
    ]
    for i, part in enumerate(path):
        if not isinstance(here, dict):
            return ConfigError(
                key, value, f"{'.'.join(path[:i])} is a value and has no keys of its own"
            )
        if part not in here:
            valid = [name for name in here if name not in ("hydra", "_target_")]
            wrong = unknown(".".join(path[: i + 1]), value, valid)
            if elsewhere and "did you mean" not in wrong.valid:
                hint = wrong.valid.replace(
                    "no such key", f"no such key (did you mean {' or '.join(elsewhere[:2])}?)"
                )
                return ConfigError(key, value, hint)
            return ConfigError(key, value, wrong.valid)
        here = here[part]
    return ConfigError(key, value, "cannot be set")


def _unknown_inner(
    key: str, values: dict[Any, Any], overrides: Sequence[Override], composer: Composer
) -> SwarmError:
    """The error for ``train={btch: 8}``, about the first key in the braces that does not exist."""
    here: Any = OmegaConf.to_container(composer.raw([]), resolve=False)
    for part in key.split("."):
        here = here.get(part, {}) if isinstance(here, dict) else {}
    others = [name for name in values if not isinstance(here, dict) or name not in here]
    name = next(iter(others), next(iter(values)))
    return _unknown(f"{key}.{name}", shown(values[name]), overrides, composer)
