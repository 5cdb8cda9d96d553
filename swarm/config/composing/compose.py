"""Composes a configuration from ``conf/`` and overrides as Hydra does, with errors a user can act
on.

The command line composes here first, so that every mistake is reported in one sentence before Hydra
creates a folder or starts a job. Python code calls the same function: ``compose(["devices=10",
"topology=ring"])``.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from swarm.common.errors import ConfigError
from swarm.common.system import paths
from swarm.config.composing.compose_errors import explain, several_options
from swarm.config.composing.overrides import UsageError, giving_way, parse, parse_one, value_of
from swarm.config.explain import first_line, shown, unknown

VERSION_BASE = "1.3"
CONFIG = "config"
MOST_JOBS = 10_000  # of a sweep; composing this many configurations already takes minutes


def compose(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> DictConfig:
    """Compose the configuration of one run, without Hydra's own section; interpolations are left
    unresolved.

    ``config_dir`` is a folder with further config groups, as ``--config-dir`` names it. Raises
    :class:`ConfigError` or :class:`UsageError`.
    """
    with Composer(config_dir) as composer:
        cfg = composer.compose(overrides)
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg


class Composer:
    """A context in which Hydra is set up on ``conf/`` and ``--config-dir``; at its end no global
    state is left behind.

    Raises :class:`ConfigError` for a ``config_dir`` that is not a folder.
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
        """Compose the configuration, with Hydra's own section. That of a sweep has no swept value.

        Raises :class:`ConfigError` for a key or value that is wrong, and :class:`UsageError` for
        what cannot be read at all.
        """
        parsed = parse(overrides) if mode is RunMode.RUN else self.parse_sweep(overrides)
        for override in parsed:
            name = override.value()
            if (several := several_options(override, self)) is not None:
                raise several
            if (
                isinstance(name, str)
                and (name.startswith("/") or ".." in name)
                and self.options(override.key_or_group)
            ):
                raise unknown(
                    override.key_or_group, name, self.options(override.key_or_group), "option"
                )
        try:
            # Hydra warns of a search path that does not exist, of which the error speaks as well
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cfg = self.raw(_without_keys_of_swept(overrides, parsed), mode)
        except Exception as error:  # any error is about the config, since nothing else has run yet
            raise explain(error, parsed, self) from error
        scenario = cfg.get("scenario")
        if isinstance(scenario, DictConfig):
            section = OmegaConf.to_container(scenario, resolve=False)
            with open_dict(cfg):
                for key in giving_way(section, {one.key_or_group for one in parsed}):
                    scenario[key] = None
        HydraConfig.instance().set_config(cfg)
        return cfg

    def raw(self, overrides: Sequence[str], mode: RunMode = RunMode.RUN) -> DictConfig:
        """Compose as :meth:`compose` does, but raise Hydra's own errors."""
        return self.hydra.compose_config(
            self.config_name,
            list(overrides),
            run_mode=mode,
            with_log_configuration=False,
            from_shell=True,
        )

    # --- sweeps -----------------------------------------------------------------------------------

    def parse_sweep(self, overrides: Sequence[str]) -> list[Override]:
        """Parse overrides as :func:`parse` does, also those with ``glob`` over the options of a
        group.
        """
        return [
            parse_one(text, OverridesParser.create(config_loader=self.loader)) for text in overrides
        ]

    def jobs(self, overrides: Sequence[str]) -> Iterator[tuple[list[str], dict[str, str]]]:
        """Yield each job of a sweep: its overrides, and by key those that vary between jobs, as
        ``KEY=VALUE``.

        Raises :class:`ConfigError` for values that cannot be listed, and :class:`UsageError` for
        more than ``MOST_JOBS`` jobs.
        """
        fixed: dict[str, list[str]] = {}
        varying: set[str] = set()
        for override in self.parse_sweep(overrides):
            key = override.get_key_element()
            if not override.is_sweep_override():
                typed = override.input_line or f"{key}={override.get_value_element_as_str()}"
                fixed[key] = [typed]
            elif not override.is_discrete_sweep():
                raise ConfigError(
                    key,
                    value_of(override),
                    "is an interval; give values: KEY=1,2,3 or KEY=range(1,4)",
                )
            else:
                values = self._values(override)
                fixed[key] = [f"{key}={value}" for value in values]
                varying.add(key)
                if len(set(values)) < len(values):
                    twice = next(value for at, value in enumerate(values) if value in values[:at])
                    valid = f"names {shown(twice)} twice, and each value makes runs of its own"
                    raise ConfigError(key, value_of(override), valid)
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
        """The values that an override of a sweep stands for.

        A range is counted before it is listed, and only as far as ``MOST_JOBS`` + 1.
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

    def options(self, group: str) -> list[str]:
        """Return the options of a config group; an empty list if there is no such group."""
        return list(self.loader.get_group_options(group.split("@")[0]))

    def groups(self) -> list[str]:
        """Return the config groups, without Hydra's own."""
        return [name for name in self.loader.list_groups("") if name != "hydra"]


def _without_keys_of_swept(overrides: Sequence[str], parsed: Sequence[Override]) -> list[str]:
    """The overrides without the keys of a group that is swept (``compressor.fraction=0.1`` beside
    ``compressor=top_k,random_k``): its options have them, the one of the default config may not.
    """
    swept = tuple(f"{one.key_or_group}." for one in parsed if one.is_sweep_override())
    return [
        text
        for text, one in zip(overrides, parsed, strict=True)
        if not one.key_or_group.startswith(swept)
    ]
