"""A scenario says which arms are compared and what is concluded from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from swarm.config.settings import Settings
from swarm.report.load import Run


@dataclass(frozen=True)
class Arm:
    """One thing to run. Of several ``variants`` the one that does best on the validation split is run in full.

    ``pooled`` gives every device the union of all devices' samples instead of its own.
    """

    name: str
    variants: tuple[Settings, ...]
    pooled: bool = False


class AnyScenario:
    """What ``scenario`` may name: a :class:`Scenario`, which is one run; a claim, which is many; several claims."""


class Scenario(AnyScenario, ABC):
    """``arms`` before the run, ``judge`` after it. Arms are settings with some keys changed, never code of their own.

    A scenario none of whose arms learns says so by ``learns = False``: its devices get no samples, so any number of them
    will do, and the data only give the model its shape.
    """

    learns: ClassVar[bool] = True

    @abstractmethod
    def arms(self, settings: Settings, steps_a_round: int) -> list[Arm]:
        """The arms in the order in which they run. ``steps_a_round`` counts the local steps of all devices together."""

    def judge(self, run: Run, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Further keys of ``summary.json``, from the records and what the summary holds already."""
        return {}
