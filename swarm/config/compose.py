"""Composes a configuration from ``conf/`` and overrides as Hydra does, with errors a user can act
on.

The command line composes here first: every mistake is found and said in one sentence before Hydra
creates a folder or starts a job. The same function serves Python: ``compose(["devices=10",
"topology=ring"])``.
"""

from __future__ import annotations

import itertools
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from swarm.common.errors import ConfigError, SwarmError
from swarm.common.ranges import is_text
from swarm.common.system import paths
from swarm.config import aliases
from swarm.config.explain import first_line, shown, unknown

VERSION_BASE = "1.3"
CONFIG = "config"
# options that come with an optional package
EXTRAS = {"hydra/launcher/joblib": "`pip install '.[sweep]'`"}
MOST_JOBS = 10_000  # of a sweep: to compose so many already takes minutes


class UsageError(SwarmError):
    """A command line or config file that cannot be read at all, so that no key is to blame."""

    exit_code = 2


def compose(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> DictConfig:
    """The configuration of one run, unresolved, without Hydra's own section; raises
    :class:`ConfigError`.
    """
    with Composer(config_dir) as composer:
        cfg = composer.compose(overrides)
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg


def parse(overrides: Sequence[str]) -> list[Override]:
    """``KEY=VALUE`` texts as Hydra's own override objects; raises one error for the first that is
    not one.
    """
    return [_parse_one(text, OverridesParser.create()) for text in overrides]


def _parse_one(text: str, parser: OverridesParser) -> Override:
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


class Composer:
    """Hydra set up on ``conf/`` (and ``--config-dir``), as a context: leaves no global state
    behind.
    """

    def __init__(
        self, config_dir: str | Path | None = None, config_name: str | None = None
    ) -> None:
        version.setbase(VERSION_BASE)
        self.config_name = config_name or CONFIG
        search = create_config_search_path(str(paths.conf()))
        if config_dir is not None:
            folder = paths.usable(config_dir, "--config-dir").absolute()
            if not folder.is_dir():
                raise ConfigError(
                    "--config-dir",
                    config_dir,
                    "must be a folder of config groups; there is no such folder",
                )
            search.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
        GlobalHydra.instance().clear()
        self.hydra = Hydra.create_main_hydra2("swarm", search)
        self.loader = self.hydra.config_loader

    def __enter__(self) -> Composer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None

    def compose(self, overrides: Sequence[str], mode: RunMode = RunMode.RUN) -> DictConfig:
        """The configuration, with Hydra's own section; raises :class:`ConfigError` or
        :class:`UsageError`.
        """
        parsed = parse(overrides) if mode is RunMode.RUN else self.parse_sweep(overrides)
        for override in parsed:
            name = override.value()
            if (
                isinstance(name, str)
                and (name.startswith("/") or ".." in name)
                and self.options(override.key_or_group)
            ):
                raise unknown(
                    override.key_or_group, name, self.options(override.key_or_group), "option"
                )
        try:
            # a search path that is not there: said by the error that follows
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cfg = self._compose(overrides, mode)
        except (
            Exception
        ) as error:  # whatever it is, it is about the config: nothing else has run yet
            raise self._explain(error, parsed) from error
        HydraConfig.instance().set_config(cfg)
        return cfg

    def _compose(self, overrides: Sequence[str], mode: RunMode = RunMode.RUN) -> DictConfig:
        return self.hydra.compose_config(
            self.config_name,
            list(overrides),
            run_mode=mode,
            with_log_configuration=False,
            from_shell=True,
        )

    # --- sweeps -----------------------------------------------------------------------------------

    def parse_sweep(self, overrides: Sequence[str]) -> list[Override]:
        """Like :func:`parse`, able to expand ``glob`` over the options of a group."""
        return [
            _parse_one(text, OverridesParser.create(config_loader=self.loader))
            for text in overrides
        ]

    def jobs(self, overrides: Sequence[str]) -> Iterator[tuple[list[str], dict[str, str]]]:
        """Each job of a sweep: its overrides, and those of them that vary, as ``KEY=VALUE`` by
        key.
        """
        fixed: dict[str, list[str]] = {}
        varying: set[str] = set()
        for override in self.parse_sweep(overrides):
            key = override.get_key_element()
            if not override.is_sweep_override():
                fixed[key] = [f"{key}={override.get_value_element_as_str()}"]
            elif not override.is_discrete_sweep():
                raise ConfigError(
                    key,
                    value_of(override),
                    "is an interval; give values: KEY=1,2,3 or KEY=range(1,4)",
                )
            else:
                fixed[key] = [f"{key}={value}" for value in self._values(override)]
                varying.add(key)
                if not fixed[key]:
                    raise ConfigError(
                        key,
                        value_of(override),
                        "stands for no value at all, so there is nothing to run",
                    )
        count = math.prod(map(len, fixed.values()))
        if count > MOST_JOBS:
            keys = ", ".join(sorted(varying))
            raise UsageError(
                f"the values of {keys} make {count:,} runs together; at most {MOST_JOBS:,} would do"
            )
        for job in itertools.product(*fixed.values()):
            named = zip(fixed, job, strict=True)
            yield list(job), {key: text for key, text in named if key in varying}

    def _values(self, override: Override) -> list[str]:
        """What it stands for, one by one; a range is counted first, and never further than to what
        is too much.
        """
        key, sweep = override.get_key_element(), override.value()
        try:
            counted = itertools.islice(
                sweep.range() if isinstance(sweep, RangeSweep) else (), MOST_JOBS + 1
            )
            if sum(1 for _ in counted) > MOST_JOBS:
                valid = (
                    f"stands for more than {MOST_JOBS:,} values, and a sweep has at most"
                    f" {MOST_JOBS:,} runs"
                )
                raise ConfigError(key, value_of(override), valid)
            return list(override.sweep_string_iterator())
        except (HydraException, ValueError, ArithmeticError) as error:
            why = (
                "not all of its numbers are finite"
                if isinstance(error, ArithmeticError)
                else first_line(error)
            )
            raise ConfigError(
                key, value_of(override), f"cannot be expanded: {shown(why)}"
            ) from error

    # --- errors -----------------------------------------------------------------------------------

    def _explain(self, error: Exception, overrides: Sequence[Override]) -> SwarmError:
        """Hydra's error as one sentence about the key to blame."""
        if isinstance(error, SwarmError):
            return error
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
            place = f"{error.problem_mark.name}, line {error.problem_mark.line + 1}"
            return UsageError(f"{place}: is not valid YAML ({error.problem})")
        if isinstance(error, MissingConfigException):
            return self._missing(error, overrides)
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
                if self.options(o.key_or_group) and not isinstance(o.value(), str)
            )
            return unknown(
                mine.key_or_group, mine.value(), self.options(mine.key_or_group), "option"
            )
        if isinstance(error, OmegaConfBaseException):
            return self._omegaconf(error, overrides)
        if mine is None:
            return UsageError(f"the configuration cannot be composed: {shown(first_line(error))}")
        key, value = key_of(mine), value_of(mine)
        if "Ambiguous value" in text or "requires --multirun" in text:
            return ConfigError(
                key, value, f"is several values: -m makes one run of each, {key}=[…] makes a list"
            )
        if "already at" in text or "Multiple values for" in text:
            return ConfigError(f"+{key}", value, f"{key} is there already: write {key}={value}")
        if "does not exist" in text or "Could not override" in text:
            wrong = self._unknown(key, value, overrides)
            return (
                UsageError(f"~{key}: {wrong.valid}")
                if mine.is_delete() and isinstance(wrong, ConfigError)
                else wrong
            )
        return ConfigError(
            key, value, f"cannot be set: {shown(first_line(error.__cause__ or error))}"
        )

    def _missing(self, error: MissingConfigException, overrides: Sequence[Override]) -> SwarmError:
        wanted = error.missing_cfg_file or ""
        about = [o for o in overrides if wanted.startswith(o.key_or_group + "/")]
        # a group may be given twice
        exactly = (o for o in about if wanted == f"{o.key_or_group}/{value_of(o)}")
        mine = next(exactly, about[0] if about else None)
        if mine is not None and (extra := EXTRAS.get(wanted)):
            return ConfigError(
                mine.key_or_group, value_of(mine), f"needs a package that {extra} brings"
            )
        if mine is not None:
            return unknown(
                mine.key_or_group, value_of(mine), self.options(mine.key_or_group), "option"
            )
        group, _, name = wanted.rpartition("/")
        if not group:
            return ConfigError(
                "--config-name", name, "no such file in conf or the folder given with --config-dir"
            )
        return unknown(group, name, error.options or self.options(group), "option")

    def _omegaconf(
        self, error: OmegaConfBaseException, overrides: Sequence[Override]
    ) -> SwarmError:
        key = error.full_key or ""
        mine = next((o for o in overrides if key and key_of(o) == key), None)
        line = shown(first_line(error))
        return (
            ConfigError(key, value_of(mine), f"cannot be resolved: {line}")
            if mine
            else UsageError(f"{key}: {line}")
        )

    def _unknown(self, key: str, value: str, overrides: Sequence[Override]) -> SwarmError:
        """An override of a key that is not there: lists what stands beside it, or where a key of
        that name is.
        """
        if "/" in key or "@" in key:
            return unknown(key, value, self.groups(), "group")
        if aliases.key(key) != key:
            return unknown(key, value, ())
        chosen = [
            o.input_line
            for o in overrides
            if self.options(o.key_or_group) and isinstance(o.value(), str)
        ]
        try:
            here: Any = OmegaConf.to_container(
                self._compose([c for c in chosen if c]), resolve=False
            )
        except Exception as error:
            return self._explain(error, [o for o in overrides if key_of(o) != key])
        path = key.split(".")
        elsewhere = [
            k for k in _leaves(here) if k.endswith("." + path[-1]) and not k.startswith("hydra.")
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

    def options(self, group: str) -> list[str]:
        """The names a config group offers; empty if there is no such group."""
        return list(self.loader.get_group_options(group.split("@")[0]))

    def groups(self) -> list[str]:
        """The config groups a user chooses from."""
        return [name for name in self.loader.list_groups("") if name != "hydra"]


def _leaves(values: Any, prefix: str = "") -> Iterator[str]:
    if not isinstance(values, dict):
        yield prefix
        return
    for key, value in values.items():
        yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))


def key_of(override: Override) -> str:
    """The dotted key, or group, that an override sets."""
    return override.key_or_group + (f"@{override.package}" if override.package else "")


def value_of(override: Override) -> str:
    """The value an override sets, as it was typed."""
    return shown((override.input_line or "").partition("=")[2])
