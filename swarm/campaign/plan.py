"""What a claim is going to run, decided and checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from swarm import paths
from swarm.build import build, option
from swarm.claim.base import Claim, Condition, varied
from swarm.describe import option_name
from swarm.errors import ConfigError
from swarm.explain import shown
from swarm.settings import Settings
from swarm.study import Study, settled

RUNS = "runs"
OWN = {"tracker": "none", "report": False, "preset": None, "checkpoint.keep": 1, "resume": None}  # of every trial


@dataclass(frozen=True)
class Trial:
    """One condition under one seed: an ordinary run."""

    condition: Condition
    seed: int
    settings: Settings

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.condition.title},seed={self.seed}"


@dataclass(frozen=True)
class Plan:
    """A claim that has passed every check: its runs, those that wait for the prediction apart."""

    settings: Settings
    claim: Claim
    first: tuple[Trial, ...]
    later: tuple[Trial, ...]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All of them."""
        return self.first + self.later

    @property
    def outline(self) -> str:
        """What it would run, in a few words."""
        runs, seeds = len(self.trials), self.claim.budget.seeds
        return f"{runs} runs: {runs // seeds} conditions, {seeds} seeds"

    @property
    def name(self) -> str:
        """The scenario as it is chosen."""
        return str(option_name(self.settings.scenario))

    @classmethod
    def make(cls, settings: Settings) -> Plan:
        """Build the claim, and check the settings of every run. Writes nothing.

        Raises :class:`ConfigError` for whatever cannot work, and for a setting of the command line that the claim replaces.
        """
        claim = build(settings.scenario, Claim, "scenario", settings.plugins, preset=settings.preset)
        first, later = claim.conditions(), claim.later()
        _require_free(settings, claim, [*first, *later])
        seeds = range(settings.seed, settings.seed + claim.budget.seeds)
        made = [
            tuple(_trial(settings, claim, condition, seed) for seed in seeds for condition in conditions)
            for conditions in (first, later)
        ]
        return cls(settings, claim, *made)

    @classmethod
    def checked(cls, settings: Settings) -> Plan:
        """:meth:`make` and :meth:`check`."""
        plan = cls.make(settings)
        plan.check()
        return plan

    def check(self) -> None:
        """Load data and build plug-ins of one run of each condition, as the run itself will."""
        for trial in self.trials:
            if trial.seed == self.settings.seed:
                try:
                    Study.prepare(trial.settings)
                except ConfigError as error:
                    place = f"{error.valid} (in the run {trial.name} of scenario={self.name})"
                    raise ConfigError(error.key, error.value, place) from error


def _trial(settings: Settings, claim: Claim, condition: Condition, seed: int) -> Trial:
    changes = {**OWN, **claim.settings, **condition.changes, "seed": seed}
    if "scenario" not in changes:
        changes["scenario"] = "compare"
    return Trial(condition, seed, settled(varied(settings, changes)))


def _require_free(settings: Settings, claim: Claim, conditions: Sequence[Condition]) -> None:
    """A setting of the user's that the claim replaces would be passed over in silence: it is refused."""
    own = {key for condition in conditions for key in condition.changes} | set(claim.settings)
    given, usual = settings.model_dump(), defaults()
    for key in sorted(own - {"seed", "scenario", *OWN} - {k for k in own if k.startswith("scenario.")}):
        value, before = _at(given, key), _at(usual, key)
        if value != before and before is not None:
            name = option_name(settings.scenario)
            typed = option_name(value) if isinstance(value, dict) and "_target_" in value else value
            there = f"'scenario.{claim.preset}.settings=[\"{key}=…\"]'"
            valid = f"is set by scenario={name} for its own runs; {there} changes it for all of them"
            raise ConfigError(key, shown(typed), valid)


def _at(values: Mapping[str, Any], key: str) -> Any:
    found: Any = values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def defaults() -> dict[str, Any]:
    """Every setting as ``conf/config.yaml`` has it."""
    values: dict[str, Any] = yaml.safe_load((paths.conf() / "config.yaml").read_text(encoding="utf-8"))
    values.pop("hydra", None)
    for entry in values.pop("defaults"):
        if isinstance(entry, dict):
            ((group, name),) = entry.items()
            values |= {} if group.startswith("override") else {group: option(group, name)}
    return values


def folder_of(home: Path, trial: Trial) -> Path:
    """Where a trial's run is."""
    return home / RUNS / trial.name
