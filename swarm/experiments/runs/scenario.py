"""A scenario says which arms are compared and what is concluded from them."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from swarm.common.plugin import returned, shape_of
from swarm.config.aliases.old_members import OldMembers
from swarm.config.settings import Settings
from swarm.results.load import Run
from swarm.results.presentation import UNIQUE, ArmStyle, Presentation, SummaryEntry
from swarm.results.presentation.gap import gap_facts
from swarm.results.presentation.stored import fault, of_before

NAME = re.compile(r"\w[\w.=,+-]*")  # of an arm: it names a folder


@dataclass(frozen=True)
class Arm:
    """One thing to run.

    Of several ``variants`` the one that does best on the validation split is run in full.

    ``pooled`` gives every device the union of all devices' samples instead of its own. ``style``
    says what the arm is to the scenario, and so how it is shown; an arm without one is like any
    other.
    """

    name: str
    variants: tuple[Settings, ...]
    pooled: bool = False
    style: ArmStyle | None = None


class AnyScenario(OldMembers):
    """What ``scenario`` may name: a :class:`Scenario`, which is one run; a claim, which is many;
    several claims.
    """


class Scenario(AnyScenario, ABC):
    """``arms`` before the run, ``conclude`` after it.

    Arms are settings with some keys changed, never code of their own.

    A scenario none of whose arms learns says so by ``learns = False``: its devices get no samples,
    so any number of them will do, and the data only give the model its shape.

    ``entries`` are those of its numbers in ``summary.json`` that the page, the trackers,
    comparisons and sweeps show. A text that :meth:`conclude` returns as ``headline`` stands above
    the page and closes the run in the terminal; without one the entries make a sentence.
    """

    learns: ClassVar[bool] = True
    entries: tuple[SummaryEntry, ...] = ()

    @abstractmethod
    def arms(self, settings: Settings, steps_a_round: int) -> list[Arm]:
        """The arms in the order in which they run.

        ``steps_a_round`` counts the local steps of all devices together.
        """

    def conclude(self, run: Run, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Further keys of ``summary.json``, from the records and what the summary holds already:
        the numbers of ``entries``, the ``headline``, and whatever else is to be kept."""
        return {}


def arms_of(scenario: Scenario, settings: Settings, steps_a_round: int) -> list[Arm]:
    """``scenario.arms(…)``.

    Raises :class:`~swarm.common.errors.ConfigError` unless that is a list of arms with names of
    their own.
    """
    found = scenario.arms(settings, steps_a_round)
    needed = "a list of at least one Arm is needed"
    if not isinstance(found, list | tuple) or not found:
        raise returned("scenario", scenario, "arms", f"returns {shape_of(found)}", needed)
    names: set[str] = set()
    for arm in found:
        if not isinstance(arm, Arm):
            raise returned(
                "scenario", scenario, "arms", f"returns {shape_of(arm)} among the arms", needed
            )
        if not isinstance(arm.name, str) or not NAME.fullmatch(arm.name):
            wrong = "letters, digits and _ . = , + - make the name of an arm"
            raise returned("scenario", scenario, "arms", f"names an arm {arm.name!r}", wrong)
        if arm.name in names:
            raise returned(
                "scenario",
                scenario,
                "arms",
                f"names two arms {arm.name}",
                "each needs a name of its own",
            )
        if not arm.variants or not all(isinstance(variant, Settings) for variant in arm.variants):
            raise returned(
                "scenario",
                scenario,
                "arms",
                f"gives {arm.name} no Settings",
                "one variant is needed",
            )
        names.add(arm.name)
    return list(found)


def presentation_of(scenario: Scenario, arms: Sequence[Arm]) -> Presentation:
    """The roles of the arms and the entries of the scenario.

    Raises :class:`~swarm.common.errors.ConfigError` where two arms have a role that only one can
    have, or something else of them cannot be shown.
    """
    before = of_before()
    for arm in arms:
        if not isinstance(arm.style, ArmStyle | None):
            found = f"gives {arm.name} {shape_of(arm.style)} as its style"
            raise returned("scenario", scenario, "arms", found, "an ArmStyle is needed")
    entries = before.entries if _of_before(scenario, arms) else tuple(scenario.entries)
    for entry in entries:
        if not isinstance(entry, SummaryEntry):
            found = f"has {shape_of(entry)} among its entries"
            raise returned("scenario", scenario, "class", found, "each is a SummaryEntry")
    styles = {arm.name: arm.style or before.style(arm.name) for arm in arms}
    made = Presentation(styles, entries)
    if (said := fault(made)) is not None:
        raise returned("scenario", scenario, "arms", "or its entries cannot be shown", said)
    return made


def _of_before(scenario: Scenario, arms: Sequence[Arm]) -> bool:
    """Whether it is written for a version in which the names of its arms said what they are."""
    known = of_before().arms
    return not scenario.entries and any(not arm.style and arm.name in known for arm in arms)


def conclusion_of(
    scenario: Scenario, arms: Sequence[Arm], run: Run, summary: Mapping[str, Any]
) -> dict[str, Any]:
    """``scenario.conclude(…)``.

    Raises :class:`~swarm.common.errors.ConfigError` unless ``summary.json`` can hold it, and its
    entries are numbers.
    """
    gap: dict[str, Any] = {}
    if _of_before(scenario, arms):
        lead, lower, upper = (of_before().named(role) or "" for role in UNIQUE)
        gap = gap_facts(summary, lead, lower, upper)
    found = scenario.conclude(run, {**summary, **gap})
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise returned(
            "scenario",
            scenario,
            "conclude",
            f"returns {shape_of(found)}",
            "a dict of names is needed",
        )
    numbers = {entry.key for entry in scenario.entries}
    for key, value in found.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            needed = f"summary.json holds finite numbers, texts, lists and mappings ({error})"
            raise returned(
                "scenario", scenario, "conclude", f"returns {shape_of(value)} as {key}", needed
            ) from None
        if key in numbers and (
            isinstance(value, bool) or not isinstance(value, int | float | None)
        ):
            needed = "its entries declare a number"
            raise returned(
                "scenario", scenario, "conclude", f"returns {shape_of(value)} as {key}", needed
            )
    return {**gap, **found}
