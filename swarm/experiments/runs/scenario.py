"""A scenario says which arms are compared and what is concluded from them."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from swarm.common.plugin import returned, shape_of
from swarm.config.old_members import OldMembers
from swarm.config.settings import Settings
from swarm.results.load import Run

NAME = re.compile(r"\w[\w.=,+-]*")  # of an arm: it names a folder


@dataclass(frozen=True)
class Arm:
    """One thing to run.

    Of several ``variants`` the one that does best on the validation split is run in full.

    ``pooled`` gives every device the union of all devices' samples instead of its own.
    """

    name: str
    variants: tuple[Settings, ...]
    pooled: bool = False


class AnyScenario(OldMembers):
    """What ``scenario`` may name: a :class:`Scenario`, which is one run; a claim, which is many;
    several claims.
    """


class Scenario(AnyScenario, ABC):
    """``arms`` before the run, ``conclude`` after it.

    Arms are settings with some keys changed, never code of their own.

    A scenario none of whose arms learns says so by ``learns = False``: its devices get no samples,
    so any number of them will do, and the data only give the model its shape.
    """

    learns: ClassVar[bool] = True

    @abstractmethod
    def arms(self, settings: Settings, steps_a_round: int) -> list[Arm]:
        """The arms in the order in which they run.

        ``steps_a_round`` counts the local steps of all devices together.
        """

    def conclude(self, run: Run, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Further keys of ``summary.json``, from the records and what the summary holds already."""
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


def conclusion_of(scenario: Scenario, run: Run, summary: Mapping[str, Any]) -> dict[str, Any]:
    """``scenario.conclude(…)``.

    Raises :class:`~swarm.common.errors.ConfigError` unless ``summary.json`` can hold it.
    """
    found = scenario.conclude(run, summary)
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise returned(
            "scenario",
            scenario,
            "conclude",
            f"returns {shape_of(found)}",
            "a dict of names is needed",
        )
    for key, value in found.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            needed = f"summary.json holds finite numbers, texts, lists and mappings ({error})"
            raise returned(
                "scenario", scenario, "conclude", f"returns {shape_of(value)} as {key}", needed
            ) from None
    return found
