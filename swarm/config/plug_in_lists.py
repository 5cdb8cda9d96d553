"""Keys that hold plug-ins and are no groups: the lists ``metrics``, ``pre_aggregators``,
``transforms`` and ``augment``, the key ``train.loss`` of a section, and the models of ``cohorts``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from swarm.common.errors import ConfigError
from swarm.config.build import option, options
from swarm.config.explain import shown, unknown

GROUPS = {
    "metrics": "metric",
    "pre_aggregators": "pre_aggregator",
    "transforms": "transform",
    "augment": "augmentation",
}
"""The keys that hold a list of plug-ins, and the groups of conf/ with their options."""
LOSS = "loss"
"""The group of conf/ with the options of ``train.loss``."""
LISTED = {group: key for key, group in GROUPS.items()}
"""The key that holds the list of each of these groups."""
KEYED = {LOSS: "train.loss"}
"""The groups whose option is the value of a key of a section, and that key."""
LOSSES = ("auto", "cross_entropy", "mse", "mae")
"""The values of ``train.loss`` that are no plug-ins."""


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
        meant = ",".join(dict.fromkeys([*words, str(listed)]))
        hint = f"; {key}=[{meant}]" if listed in names else ""
        raise ConfigError(key, shown(listed), f"must be a list of {group}s{hint}")
    return {**values, key: [_section(entry, key, group, names, words) for entry in listed]}


def with_loss(values: dict[str, Any]) -> dict[str, Any]:
    """Return ``values`` with the option that ``train.loss`` names replaced by its section; it is
    written as an entry of a list is (:func:`with_options`).

    Raises :class:`ConfigError` for another value."""
    train = values.get("train")
    if not isinstance(train, dict) or "loss" not in train:
        return values
    names = [*LOSSES, *options(LOSS)]
    found = _section(train["loss"], "train.loss", LOSS, names, LOSSES)
    return {**values, "train": {**train, "loss": found}}


COHORT = re.compile(r"[A-Za-z][\w-]*")
OWN = "own"
"""What devices are called that belong to no cohort, and have the run's own model."""


def with_cohorts(values: dict[str, Any]) -> dict[str, Any]:
    """Return ``values`` with the model of each of ``cohorts`` as a whole section.

    It may be the keys in which it differs from the run's own model, the name of an option of
    ``conf/model``, ``{NAME: {KEY: VALUE, …}}``, or a section with a ``_target_``.

    Raises :class:`ConfigError` for anything else, and for a name that a cohort cannot have.
    """
    cohorts, own = values.get("cohorts", {}), values.get("model")
    if not isinstance(cohorts, dict):
        raise not_cohorts(cohorts)
    if not cohorts or not isinstance(own, dict):
        return values
    found = {}
    for name, entry in cohorts.items():
        if not isinstance(name, str) or not COHORT.fullmatch(name) or name == OWN:
            valid = f"must be letters, digits, _ and -, with a letter first, and not {OWN}"
            raise ConfigError("cohorts", shown(name), valid)
        if not isinstance(entry, dict) or not {"devices", "model"} <= entry.keys():
            needed = "needs devices (a share, a number, a list, memory or table) and a model"
            raise ConfigError(f"cohorts.{name}", shown(entry), needed)
        found[name] = {**entry, "model": _cohort_model(entry["model"], name, own)}
    return {**values, "cohorts": found}


def not_cohorts(value: object) -> ConfigError:
    """The error for a value of ``cohorts`` that has no names."""
    valid = "must be sections by name, such as +cohorts={small:{devices:0.5,model:{hidden:[8]}}}"
    return ConfigError("cohorts", shown(value), valid)


def _cohort_model(entry: Any, cohort: str, own: dict[str, Any]) -> Any:
    key, names = f"cohorts.{cohort}.model", options("model")
    if isinstance(entry, dict) and "_target_" not in entry:
        changed = list(entry.values())
        if len(entry) == 1 and next(iter(entry)) in names and isinstance(changed[0], dict):
            return _section(entry, key, "model", names, ())
        return {**own, **entry}
    if isinstance(entry, str) and entry not in names:
        raise unknown(key, entry, names, "option")
    return option("model", entry) if isinstance(entry, str) else entry


def with_bases(values: dict[str, Any]) -> dict[str, Any]:
    """Return ``values`` with the option that ``base`` names in the run's own model, and in those of
    ``cohorts``, replaced by its section, as ``train.loss`` is (:func:`with_loss`).

    Raises :class:`ConfigError` for another value."""
    if not isinstance(values.get("model"), dict):
        return values
    found = {**values, "model": _with_base(values["model"], "model")}
    if isinstance(cohorts := values.get("cohorts"), dict):
        found["cohorts"] = {
            name: {**entry, "model": _with_base(entry["model"], f"cohorts.{name}.model")}
            for name, entry in cohorts.items()
        }
    return found


def _with_base(model: Any, key: str) -> Any:
    if not isinstance(model, dict) or model.get("base") is None:
        return model
    names = [name for name in options("model") if "base" not in option("model", name)]
    return {**model, "base": _section(model["base"], f"{key}.base", "model", names, ())}


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
    ``metrics.NAME.KEY=VALUE``, which shows how an entry of the list is written, and for a value of
    ``cohorts`` without names; None for other keys."""
    if key == "cohorts" and value and not value.startswith("{"):
        return not_cohorts(value)
    if (key.startswith("train.loss.") or key.split(".")[0] == LOSS) and key != "train.loss":
        return _loss_written_as_a_group(key, value)
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


def _loss_written_as_a_group(key: str, value: str) -> ConfigError:
    """The error for ``loss=NAME``, ``loss.KEY=VALUE`` and ``train.loss.KEY=VALUE``."""
    names, last = options(LOSS), key.rpartition(".")[2]
    if key == LOSS:
        written = f"train.loss={value}"
    elif last == "_target_":
        written = f"'train.loss={{_target_: {value}}}', with its options in the same braces"
    else:
        written = f"'train.loss={{NAME: {{{last}: {value}}}}}'"
    valid = f"train.loss is one value: write {written}; valid names: {', '.join(names)}"
    return ConfigError(key, value, valid)
