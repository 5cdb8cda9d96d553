"""The interface of a scenario: which arms are compared, and what is concluded from them."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from swarm.common.plugin import PluginError, returned, shape_of
from swarm.config.aliases.old_members import OldMembers
from swarm.config.settings import Settings
from swarm.results.presentation import UNIQUE, ArmStyle, Presentation, SummaryEntry
from swarm.results.presentation.gap import gap_facts
from swarm.results.presentation.stored import fault, of_before

if TYPE_CHECKING:
    from swarm.results.load import Run

NAME = re.compile(r"\w[\w.=,+-]*")  # an arm's name, which is also the name of a folder


@dataclass(frozen=True)
class Arm:
    """One curve of a run: a name, and the settings that are run for it.

    Of several ``variants`` the one that does best on the validation split is run in full;
    ``differ_in`` says in the singular what they differ in, for messages: ``batch size``.

    ``pooled`` gives the arm's one device the samples of all devices. ``style`` is the role of the
    arm in the scenario, and so how it is shown; an arm without one has no special role.
    """

    name: str
    variants: tuple[Settings, ...]
    pooled: bool = False
    style: ArmStyle | None = None
    differ_in: str = "variant"


KindName = Literal["run", "claim", "suite"]


class AnyScenario(OldMembers):
    """The base of everything that ``scenario`` may name: a :class:`Scenario`, which is one run, a
    claim, which is many runs, or a suite of claims.

    ``kind`` says which: it is set by the three base classes.
    """

    kind: ClassVar[KindName] = "run"


class Scenario(AnyScenario, ABC):
    """One run of several arms: ``arms`` says before the run what is compared, ``conclude`` sums it
    up afterwards.

    Arms are settings with some keys changed, never code of their own.

    A scenario none of whose arms learns says so by ``learns = False``. Its devices get no samples,
    so there may be more devices than samples, and the data only give the model its shape.

    ``entries`` declare the numbers of ``summary.json`` that the page, the trackers, comparisons and
    sweeps show. A text that :meth:`conclude` returns as ``headline`` stands at the top of the page
    and at the end of the run in the terminal; without one, a sentence is made of the entries.
    """

    learns: ClassVar[bool] = True
    entries: tuple[SummaryEntry, ...] = ()

    def decided(self, settings: Settings) -> Settings:
        """``settings`` with what this scenario decides of them, which the run folder records.

        It is called before anything is built. What it has decided once it must leave as it is.
        """
        return settings

    @abstractmethod
    def arms(self, settings: Settings, steps_a_round: int) -> list[Arm]:
        """The arms in the order in which they run.

        ``steps_a_round`` is the number of local steps of all devices together in a round.
        """

    def conclude(self, run: Run, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Further keys of ``summary.json``: the numbers of ``entries``, the ``headline``, and
        anything else to keep. ``run`` has the records, ``summary`` the keys so far."""
        return {}


def arms_of(scenario: Scenario, settings: Settings, steps_a_round: int) -> list[Arm]:
    """The result of ``scenario.arms(…)``, checked.

    Raises :class:`~swarm.common.errors.ConfigError` unless it is a list of arms with different
    names and at least one variant each.
    """
    found = scenario.arms(settings, steps_a_round)
    if not isinstance(found, list | tuple) or not found:
        raise _wrong_arms(scenario, f"returns {shape_of(found)}", _ARMS)
    for i, arm in enumerate(found):
        if not isinstance(arm, Arm):
            raise _wrong_arms(scenario, f"returns {shape_of(arm)} among the arms", _ARMS)
        if not isinstance(arm.name, str) or not NAME.fullmatch(arm.name):
            needed = "letters, digits and _ . = , + - make the name of an arm"
            raise _wrong_arms(scenario, f"names an arm {arm.name!r}", needed)
        if arm.name in [other.name for other in found[:i]]:
            needed = "each needs a name of its own"
            raise _wrong_arms(scenario, f"names two arms {arm.name}", needed)
        if not arm.variants or not all(isinstance(each, Settings) for each in arm.variants):
            raise _wrong_arms(scenario, f"gives {arm.name} no Settings", "one variant is needed")
        if not isinstance(arm.differ_in, str) or not arm.differ_in.strip():
            needed = "a noun is needed, such as batch size"
            raise _wrong_arms(scenario, f"has differ_in={arm.differ_in!r} in {arm.name}", needed)
        if arm.pooled and (many := max(each.devices for each in arm.variants)) > 1:
            needed = "one device has the samples of all"
            raise _wrong_arms(scenario, f"pools {arm.name} on {many} devices", needed)
    return list(found)


_ARMS = "a list of at least one Arm is needed"


def _wrong_arms(scenario: Scenario, found: str, needed: str) -> PluginError:
    return returned("scenario", scenario, "arms", found, needed)


def presentation_of(scenario: Scenario, arms: Sequence[Arm]) -> Presentation:
    """The presentation of a run: the roles of its arms and the entries of its scenario.

    Raises :class:`~swarm.common.errors.ConfigError` if two arms have a role that only one can have,
    or arms or entries cannot be shown for another reason.
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
    """Whether the scenario was written for a version in which the names of arms gave their
    roles."""
    known = of_before().arms
    return not scenario.entries and any(not arm.style and arm.name in known for arm in arms)


def conclusion_of(
    scenario: Scenario, arms: Sequence[Arm], run: Run, summary: Mapping[str, Any]
) -> dict[str, Any]:
    """The result of ``scenario.conclude(…)``, checked.

    Raises :class:`~swarm.common.errors.ConfigError` unless ``summary.json`` can hold the result,
    and its entries are numbers.
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
