"""A scenario of a user's own, with arms of other names than those of this repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from scenarios.compare import centralised
from swarm.config.build import option
from swarm.config.settings import Settings
from swarm.experiments.runs.scenario import Arm, Scenario
from swarm.results.load import Run
from swarm.results.presentation import ArmStyle, SummaryEntry
from swarm.results.presentation.gap import gap_entry, gap_facts


class Village(Scenario):
    """Neighbours against hermits and against one library of everything."""

    entries = (
        gap_entry("hermits", "library"),
        SummaryEntry("walk", "way walked", unit="km", digits=2, shown=("page", "compare", "sweep")),
        SummaryEntry("secret", "secret", shown=()),
    )

    def __init__(self, how: str = "right") -> None:
        self.how = how

    def arms(self, settings: Settings, steps_a_round: int) -> list[Arm]:
        none = {group: option(group, "none") for group in ("topology", "protocol")}
        alone = settings.model_copy(update=none)
        pooled = centralised(settings, steps_a_round)
        control = ArmStyle("control", ("#123456", "#abcdef"), muted="#777777", dash="dotted")
        role = {"two leads": ArmStyle("lead"), "no style": "lead"}.get(self.how, control)
        return [
            Arm("hermits", (alone,), style=ArmStyle("lower")),
            Arm("travellers", (settings,), style=role),  # type: ignore[arg-type]
            Arm("neighbours", (settings,), style=ArmStyle("lead")),
            replace(pooled, name="library", style=ArmStyle("upper")),
        ]

    def conclude(self, run: Run, summary: Mapping[str, Any]) -> dict[str, Any]:
        gap = gap_facts(summary, "neighbours", "hermits", "library")
        walk = {"none": None, "text": "far"}.get(self.how, 1.5)
        return {**gap, "walk": walk, "walk_reason": "nobody walked", "secret": 7}


class Unlabelled(Scenario):
    """What a scenario of an earlier version said: names of arms, and nothing of what they are."""

    def arms(self, settings: Settings, steps_a_round: int) -> list[Arm]:
        lower, _, lead, upper = Village().arms(settings, steps_a_round)
        return [
            Arm("swarm", lead.variants),
            Arm("isolated", lower.variants),
            Arm("centralised", upper.variants, pooled=True),
        ]


class Bare(Scenario):
    """Two arms of which nothing is said."""

    def arms(self, settings: Settings, steps_a_round: int) -> list[Arm]:
        return [Arm("first", (settings,)), Arm("second", (settings,))]
