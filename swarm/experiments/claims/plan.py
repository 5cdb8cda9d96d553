"""The plan of a claim: the runs that it consists of, checked before anything is written."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from swarm.common.errors import ConfigError, counted, typed
from swarm.common.plugin import returned, shape_of
from swarm.common.system import yaml_text
from swarm.common.system.garbage import only_new_garbage
from swarm.config.build import build, option, options
from swarm.config.choices import choice
from swarm.config.composing import conf_files
from swarm.config.explain import shown
from swarm.config.settings import Settings, sections
from swarm.experiments.claims.base import Claim, Condition
from swarm.experiments.resolved import Resolved, resolve
from swarm.experiments.runs.describe import option_name, require_tracker
from swarm.experiments.runs.prepared import PreparedRun
from swarm.experiments.runs.scenario import KindName
from swarm.results.provenance import WITHOUT_NUMBERS
from swarm.results.status import LONGEST, RUNS, slug

# settings of every trial, whatever the claim's own run has
OWN = {"tracker": "none", "report": False, "preset": None, "checkpoint.keep": 1, "resume": None}


@dataclass(frozen=True)
class Trial:
    """One condition with one seed: an ordinary run.

    ``resolved`` is None in a plan that is not going to run, as no plug-in is loaded for it.
    """

    condition: Condition
    seed: int
    settings: Settings
    resolved: Resolved | None = None

    @property
    def name(self) -> str:
        """The name of the trial and of its folder."""
        return f"{slug(self.condition.title)},seed={self.seed}"


@dataclass(frozen=True)
class ClaimPlan:
    """A claim that has passed every check: the trials that run first, and those of the holdout,
    which run after the prediction."""

    kind: ClassVar[KindName] = "claim"

    settings: Settings
    claim: Claim
    first: tuple[Trial, ...]
    holdout: tuple[Trial, ...]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials."""
        return self.first + self.holdout

    @property
    def first_seed(self) -> int:
        """The first seed that every condition is run with."""
        return self.settings.seed + int(self.claim.budget.first_seed)

    @property
    def outline(self) -> str:
        """What the claim would run, in a few words."""
        runs, seeds = len(self.trials), self.claim.budget.seeds
        return (
            f"{counted(runs, 'run')}: {counted(runs // seeds, 'condition')},"
            f" {counted(seeds, 'seed')}"
        )

    @property
    def name(self) -> str:
        """The name of the scenario, as it is typed."""
        name = choice("scenario", self.settings.scenario)
        return name if name in options("scenario") else option_name(self.settings.scenario)

    @property
    def command(self) -> str:
        """The command that judges the claim again."""
        scenario = self.settings.scenario
        usual = {
            **defaults(),
            "scenario": option("scenario", self.name)
            if self.name in options("scenario")
            else scenario,
        }
        without = {"scenario", "engine", *WITHOUT_NUMBERS}  # scenario is always part of the command
        given = {
            key: value for key, value in self.settings.model_dump().items() if key not in without
        }
        words = [word for key, value in given.items() for word in _words(key, value, usual[key])]
        words = [
            f"preset={self.claim.preset}",
            *_words("scenario", scenario, usual["scenario"]),
            *words,
        ]
        return " ".join(
            ["python run_swarm.py", *map(shlex.quote, [f"scenario={self.name}", *words])]
        )

    @classmethod
    def make(cls, resolved: Resolved) -> ClaimPlan:
        """The plan of a claim, with the settings of every run resolved; nothing is written.

        Raises :class:`ConfigError` for whatever cannot work, and for a setting of the command line
        that the claim replaces.
        """
        claim = resolved.scenario
        assert isinstance(claim, Claim)
        return cls._planned(resolved.settings, claim, to_run=True)

    @classmethod
    def to_look_at(cls, settings: Settings) -> ClaimPlan:
        """The plan of a claim that is not going to run. No plug-in is loaded for it, so the claim's
        class must be one of ours, while its runs may use any classes.

        Raises the same errors as :meth:`make`.
        """
        claim = build(settings.scenario, Claim, "scenario", preset=settings.preset)
        return cls._planned(settings, claim, to_run=False)

    @classmethod
    def _planned(cls, settings: Settings, claim: Claim, to_run: bool) -> ClaimPlan:
        try:
            first, later = conditions_of(claim)
        except ConfigError as error:
            raise error.under("scenario") from None
        _require_apart(settings, [*first, *later])
        _require_free(settings, claim, [*first, *later])
        _require_starts(settings, first, later)
        start = settings.seed + claim.budget.first_seed
        seeds = range(start, start + claim.budget.seeds)
        made = [
            tuple(
                _trial(settings, claim, condition, seed, to_run)
                for seed in seeds
                for condition in conditions
            )
            for conditions in (first, later)
        ]
        return cls(settings, claim, *made)

    @classmethod
    def checked(cls, resolved: Resolved) -> ClaimPlan:
        """The plan of a claim after :meth:`make` and :meth:`check`; raises the same errors."""
        plan = cls.make(resolved)
        plan.check()
        return plan

    def check(self) -> None:
        """Prepare one run of each condition, as the run itself will, and build the claim's tracker.

        Raises :class:`ConfigError` for the first that cannot work.
        """
        require_tracker(self.settings)
        with only_new_garbage():
            for trial in self.trials:
                if trial.seed == self.first_seed:
                    self._check(trial)

    def _check(self, trial: Trial) -> None:
        try:
            PreparedRun.prepare(trial.resolved or trial.settings)
        except ConfigError as error:
            place = f"{error.valid} (in the run {trial.name} of scenario={self.name})"
            raise ConfigError(error.key, error.value, place) from error


def conditions_of(claim: Claim) -> tuple[list[Condition], list[Condition]]:
    """The results of ``claim.conditions()`` and ``claim.holdout()``, checked.

    Raises :class:`ConfigError` for anything but lists of conditions.
    """
    found = {"conditions": claim.conditions(), "holdout": claim.holdout()}
    for call, each in found.items():
        if not isinstance(each, list | tuple) or not all(
            isinstance(one, Condition) for one in each
        ):
            raise returned(
                "scenario",
                claim,
                call,
                f"returns {shape_of(each)}",
                "a list of Condition is needed",
            )
    return list(found["conditions"]), list(found["holdout"])


def varied(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """``settings`` with the keys of ``changes`` replaced; a group's option is replaced before the
    keys below it.

    Raises :class:`ConfigError` for whatever the command line would refuse.
    """
    values: dict[str, Any] = settings.model_dump()
    groups = set(sections())
    for key in sorted(changes, key=lambda key: key not in groups):
        value = changes[key]
        if key in groups and isinstance(value, str):
            values[key] = option(key, value)
            continue
        *path, last = key.split(".")
        section = values
        for part in path:
            section = section.get(part) if isinstance(section, dict) else None  # type: ignore[assignment]
        if not isinstance(section, dict):
            raise ConfigError(key, value, f"there is no {'.'.join(path)} to set it in")
        section[last] = value
    return Settings.parse(values)


def _trial(
    settings: Settings, claim: Claim, condition: Condition, seed: int, to_run: bool
) -> Trial:
    changes = {**OWN, **claim.settings, **condition.changes, "seed": seed}
    if "scenario" not in changes:
        changes["scenario"] = "compare"
    own = varied(settings, changes)
    if not to_run:
        return Trial(condition, seed, own)
    resolved = resolve(own)
    return Trial(condition, seed, resolved.settings, resolved)


def _require_apart(settings: Settings, conditions: Sequence[Condition]) -> None:
    """Refuse two conditions with the same folders, and values too long to name a folder."""
    titles = [slug(condition.title) for condition in conditions]
    name = choice("scenario", settings.scenario)
    if not titles:
        raise ConfigError("scenario", name, "has no conditions, so there is nothing to run")
    for title in titles:
        if titles.count(title) > 1:
            raise ConfigError(
                "scenario",
                name,
                f"has two conditions of the values {title}: nothing tells their runs apart",
            )
        if len(title.encode()) > LONGEST:
            raise ConfigError(
                "scenario",
                name,
                f"has a condition whose values, {title}, are too long to name a folder",
            )


def _require_starts(
    settings: Settings, first: Sequence[Condition], later: Sequence[Condition]
) -> None:
    """Refuse a start from a condition that there is not, that starts from another one itself, or
    that is not finished by then, and one beside an ``init`` of the condition's own."""
    name = choice("scenario", settings.scenario)
    alone = [dict(condition.values) for condition in first if condition.start is None]
    for condition in (each for each in [*first, *later] if each.start is not None):
        assert condition.start is not None
        if dict(condition.start.values) not in alone:
            wrong = f"which no condition without a start has: {dict(condition.start.values)}"
            valid = f"lets the condition {condition.title} start from one with values {wrong}"
            raise ConfigError("scenario", name, valid)
        if "init" in condition.changes:
            valid = f"gives the condition {condition.title} both an init and a start"
            raise ConfigError("scenario", name, valid)


def _require_free(settings: Settings, claim: Claim, conditions: Sequence[Condition]) -> None:
    """Refuse a setting of the command line that the claim replaces, which would have no effect."""
    varied_keys = {key for condition in conditions for key in condition.changes}
    given, usual = settings.model_dump(), defaults()
    for key in sorted({*varied_keys, *claim.settings} - {"seed", "scenario", *OWN}):
        words = [] if key.startswith("scenario.") else _words(key, _at(given, key), _at(usual, key))
        if words:
            name, _, value = words[0].partition("=")
            budget = f"scenario.{claim.preset}.KEY, where its sizes are,"
            there = (
                budget if key in varied_keys else "scenario.settings=[…], the whole list of them,"
            )
            valid = f"is set by scenario={choice('scenario', settings.scenario)} for its own runs"
            raise ConfigError(name, shown(value), f"{valid}; {there} changes them")


def _words(key: str, value: Any, usual: Any) -> list[str]:
    """The words of the command line that set ``key`` to ``value`` instead of the usual one."""
    if value == usual:
        return []
    if not isinstance(value, dict):
        return [f"{key}={json.dumps(value) if isinstance(value, list) else typed(value)}"]
    first = []
    if not isinstance(usual, dict) or value.get("_target_") != usual.get("_target_"):
        name = choice(key, value)
        first, usual = [f"{key}={name}"], option(key, name) if name in options(key) else value
    return first + [
        word for name in value for word in _words(f"{key}.{name}", value[name], usual.get(name))
    ]


def _at(values: Mapping[str, Any], key: str) -> Any:
    found: Any = values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def defaults() -> dict[str, Any]:
    """Every setting with its default of ``conf/config.yaml``."""
    values: dict[str, Any] = yaml_text.load(conf_files.config_file().read_text(encoding="utf-8"))
    del values["hydra"], values["defaults"]
    placed = {
        group: yaml_text.load(file.read_text(encoding="utf-8"))
        for group, file in conf_files.placed().items()
    }
    chosen = {
        group: {**placed.get(group, {}), **option(group, name)}
        for group, name in conf_files.default_options().items()
    }
    return {**values, **chosen}


def folder_of(home: Path, trial: Trial) -> Path:
    """The folder of a trial's run in the claim's folder ``home``."""
    return home / RUNS / trial.name
