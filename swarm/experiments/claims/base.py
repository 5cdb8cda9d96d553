"""The interface of a claim: its hypotheses, the conditions that it is tried under, its verdicts.

A claim is a scenario of many runs: every condition is run with every seed. Statement, metric,
threshold and rule are constants of its class, and the budgets of its two presets are in its yaml,
so all of them are on record before the first full run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pandas as pd
from pydantic import Field

from swarm.common.errors import ConfigError, SwarmError
from swarm.common.plugin import returned, shape_of
from swarm.common.statistics import Bound, holds_if_all
from swarm.config.build import option
from swarm.config.choices import choice
from swarm.config.composing.overrides import key_of, parse
from swarm.config.settings import validated
from swarm.config.settings.sections import Section
from swarm.experiments.claims.charts import Chart
from swarm.experiments.claims.results import Results
from swarm.experiments.runs.scenario import AnyScenario, KindName

if TYPE_CHECKING:
    from torch import Tensor

Preset = Literal["quick", "full"]
Count = Annotated[int, Field(ge=1)]
"""A number of a budget of which there must be one at least: devices, rounds, samples."""


class Budget(Section):
    """The budget of a preset: how many seeds, and settings of every run under this preset, which
    come after those of the claim. The seeds are ``seed + first_seed`` and those that follow it: a
    claim that is judged anew is judged by seeds that nobody has seen the results of. A claim adds
    the sizes that it varies."""

    seeds: Annotated[int, Field(ge=1, le=1000)]
    first_seed: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    settings: list[str] = Field(default_factory=list)


class SizedBudget(Budget):
    """A budget with the number of devices and rounds, which are the same for every condition."""

    devices: Count
    rounds: Count

    def size(self, looks: int = 10) -> dict[str, Any]:
        """The settings of a run of this size, which is evaluated about ``looks`` times."""
        every = max(1, self.rounds // looks)
        return {"devices": self.devices, "rounds": self.rounds, "evaluate.every": every}


@dataclass(frozen=True)
class Start:
    """The finished run whose model a condition starts from: the one of the same seed under the
    condition with these ``values``, which starts from no other run itself.

    The model is that of a ``device`` of an ``arm`` after the last round. ``made`` turns its
    ``state_dict`` into the first parameters (None: they are its own), as :func:`prune_neurons
    <swarm.learning.model_compression.prune_neurons>` does; it has to be the same function of the
    ``state_dict`` whenever it is called.
    """

    values: Mapping[str, Any]
    arm: str
    device: int = 0
    made: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] | None = None


@dataclass(frozen=True)
class Condition:
    """The settings of a run besides its seed: ``values`` name the condition, ``changes`` are the
    settings that it changes.

    ``changes`` are written as on the command line: an option's name for a group, ``"topology":
    "ring"``, or a dotted key, ``"optimizer.lr": 0.3``. With ``start`` the run waits for another one
    and begins with its model, as with ``init=FILE``.
    """

    values: Mapping[str, Any]
    changes: Mapping[str, Any]
    start: Start | None = None

    @classmethod
    def of(
        cls, values: Mapping[str, Any], *changes: Mapping[str, Any], arms: Sequence[str]
    ) -> Condition:
        """The condition with all these changes, of which a later one wins, and these ``arms``."""
        each = (*changes, {"scenario.arms": [*arms]})
        return cls(values, {key: value for some in each for key, value in some.items()})

    @property
    def title(self) -> str:
        """The values as text, ``devices=64,topology=ring``: the name in lists and of folders."""
        return ",".join(f"{key}={value}" for key, value in self.values.items())


@dataclass(frozen=True)
class Hypothesis:
    """One line of the table of claims, fixed before the runs.

    Attributes:
        number: The number of the claim in that table.
        statement: What is claimed.
        metric: What is measured.
        rule: When the claim is confirmed and when refuted; otherwise it is undecided.
        chart: Which of the claim's charts shows it, counted from 1.
    """

    number: int
    statement: str
    metric: str
    rule: str
    chart: int = 1

    def judged(
        self,
        bounds: Mapping[str, Bound],
        because: str,
        missing: str = "",
        only_if: bool | None = True,
        **figures: Any,
    ) -> Verdict:
        """The verdict where the rule asks that every one of ``bounds``, by name, holds, and refutes
        by any one that does not. What it asks besides, ``only_if``, confirms but never refutes."""
        holds = holds_if_all(bound.holds for bound in bounds.values())
        holds = None if holds and not only_if else holds
        return self.verdict(holds, because, bounds, missing, **figures)

    def verdict(
        self,
        holds: bool | None,
        because: str,
        bounds: Mapping[str, Bound] = MappingProxyType({}),
        missing: str = "",
        **figures: Any,
    ) -> Verdict:
        """The verdict on this hypothesis; ``holds`` None means undecided, ``because`` is the reason
        in one sentence, and ``figures`` are the numbers behind it.

        An undecided verdict says what would decide it: what is ``missing``, or how many seeds would
        be enough, by the ``bounds`` that the rule asks about, whose intervals are figures too.

        The first clause of the reason, up to the first semicolon, stands alone where there is room
        for one line: in the table of all claims, and in a talk."""
        found = {name: bound.value for name, bound in bounds.items()} | figures
        return Verdict(self, holds, because, found, dict(bounds), missing)


@dataclass(frozen=True)
class Verdict:
    """The verdict on a hypothesis: whether it ``holds`` (None: undecided), ``because`` in one
    sentence with the figure and its interval, the ``figures`` for programs, and, for what stays
    undecided, the ``bounds`` of the rule and what is ``missing``.
    """

    hypothesis: Hypothesis
    holds: bool | None
    because: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    bounds: Mapping[str, Bound] = field(default_factory=dict)
    missing: str = ""

    def word(self, preset: Preset) -> str:
        """The verdict in a word: ``confirmed``, ``refuted`` or ``undecided``; with a quick preset
        ``indicates yes`` or ``indicates no``."""
        if self.holds is None:
            return "undecided"
        if preset == "quick":
            return "indicates yes" if self.holds else "indicates no"
        return "confirmed" if self.holds else "refuted"


class Claim(AnyScenario, ABC):
    """A scenario of many runs with verdicts: ``conditions`` says what is run, ``conclude`` judges
    the results. Where a prediction is to be tested, ``predict`` is called after those runs and
    before those of ``holdout``. A subclass is one file and one yaml.

    Attributes:
        hypotheses: What is judged.
        diverged: What a page says before its list of arms that diverged.
        untested: What a reader could take for judged, and is not: whole sentences for the page.

    Args:
        settings: The settings of all runs, as they would be typed: ``[topology=ring, rounds=50]``.
        quick: The :class:`Budget` of ``preset=quick``, whose verdicts only indicate.
        full: The :class:`Budget` of ``preset=full``, which judges.
        jobs: How many runs at a time; ``auto`` for one on each core.
        preset: Which of the two budgets is used; None means quick.
    """

    kind: ClassVar[KindName] = "claim"
    hypotheses: ClassVar[tuple[Hypothesis, ...]]
    diverged: ClassVar[str] = "Left out of all figures, as they diverged"
    untested: ClassVar[str] = ""
    Budget: ClassVar[type[Budget]] = Budget

    def __init__(
        self,
        settings: list[str],
        quick: dict[str, Any],
        full: dict[str, Any],
        jobs: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto",
        preset: Preset | None = None,
    ) -> None:
        both = {
            name: validated(self.Budget, given, f"{name}.")
            for name, given in (("quick", quick), ("full", full))
        }
        if both["full"].seeds < 5:
            raise ConfigError(
                "full.seeds", both["full"].seeds, "must be at least 5, which a verdict needs"
            )
        self.preset: Preset = preset or "quick"
        self.budget: Any = both[self.preset]
        self.settings = {
            **_read(settings, "settings"),
            **_read(self.budget.settings, f"{self.preset}.settings"),
        }
        self.jobs = jobs

    @abstractmethod
    def conditions(self) -> list[Condition]:
        """The conditions that are run with every seed."""

    @abstractmethod
    def conclude(self, results: Results) -> list[Verdict]:
        """The verdicts, one on each hypothesis."""

    @abstractmethod
    def charts(self, results: Results) -> list[Chart]:
        """The charts of the claim's page, the most important first."""

    @abstractmethod
    def table(self, results: Results) -> pd.DataFrame:
        """The table of the claim's page; its cells are texts or numbers."""

    def rows(self, controls_last: bool = False) -> list[dict[str, Any]]:
        """One row for each condition and arm, as :meth:`Results.table` wants them: the values of
        the condition, and its ``arm``. They are in the order of the conditions, or, with
        ``controls_last``, first those of the first arm of each."""
        found = [
            (number, {**condition.values, "arm": arm})
            for condition in [*self.conditions(), *self.holdout()]
            for number, arm in enumerate(self._arms(condition))
        ]
        if controls_last:
            found.sort(key=lambda each: each[0] > 0)
        return [row for _, row in found]

    def _arms(self, condition: Condition) -> list[str]:
        given = {**self.settings, **condition.changes}
        scenario = given.get("scenario", "compare")
        usual = option("scenario", scenario) if isinstance(scenario, str) else scenario
        arms = given.get("scenario.arms", usual.get("arms", ()))
        if not arms:
            valid = f"has no list of arms, and {condition.title} no arms=… of which rows are made"
            raise ConfigError("scenario", choice("scenario", usual), valid)
        return list(arms)

    def require(self, holds: object, key: str, valid: str) -> None:
        """Raise a :class:`ConfigError` that names ``key`` of the chosen budget and its value, and
        says what would be ``valid``, unless ``holds``."""
        if not holds:
            raise ConfigError(f"{self.preset}.{key}", getattr(self.budget, key), valid)

    def require_ascending(self, key: str, least: int = 1, what: str = "numbers") -> None:
        """Raise the same error unless ``key`` of the budget has ``least`` different numbers, in
        ascending order; ``what`` they are stands in the message."""
        given = list(getattr(self.budget, key))
        many = f"{least} or more " if least > 1 else ""
        valid = f"must be {many}different {what}, in ascending order"
        self.require(len(given) >= least and given == sorted(set(given)), key, valid)

    def holdout(self) -> list[Condition]:
        """The conditions that are run after the prediction has been written down."""
        return []

    def predict(self, results: Results) -> dict[str, Any]:
        """The prediction from the results so far; it is written to ``prediction.json`` before the
        conditions of :meth:`holdout` are run.
        """
        return {}


class Suite(AnyScenario, ABC):
    """Several claims, one after the other, with a table of their verdicts at the end."""

    kind: ClassVar[KindName] = "suite"

    @abstractmethod
    def members(self) -> Sequence[str]:
        """The options of ``scenario`` that the suite runs."""


def verdicts_of(claim: Claim, results: Results) -> list[Verdict]:
    """The result of ``claim.conclude(results)``, checked.

    Raises :class:`ConfigError` for anything but a verdict on each hypothesis.
    """
    found = claim.conclude(results)
    if not isinstance(found, list | tuple) or not all(
        isinstance(verdict, Verdict) for verdict in found
    ):
        raise returned(
            "scenario",
            claim,
            "conclude",
            f"returns {shape_of(found)}",
            "a list of Verdict is needed",
        )
    missing = [
        each.number for each in claim.hypotheses if each not in [v.hypothesis for v in found]
    ]
    if missing:
        raise returned(
            "scenario",
            claim,
            "conclude",
            f"gives no verdict on hypothesis {missing[0]}",
            "each needs one",
        )
    return list(found)


def _read(words: Sequence[str], key: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in words:
        try:
            (override,) = parse([word])
        except SwarmError as error:
            raise ConfigError(
                key, word, "must be a list of settings as they are typed, such as rounds=50"
            ) from error
        if override.is_delete() or override.is_add() or override.is_sweep_override():
            raise ConfigError(
                key, word, "must be a list of plain settings KEY=VALUE, one value each"
            )
        found[key_of(override)] = override.value()
    return found
