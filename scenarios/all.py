"""A suite of all claims that there is a scenario for, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from swarm.common.errors import ConfigError
from swarm.config.build import build, option, options
from swarm.experiments.claims.base import Claim, Suite
from swarm.experiments.runs.scenario import AnyScenario


class All(Suite):
    """The claims named in ``claims``, or all options of ``scenario`` that judge one."""

    def __init__(self, claims: list[str] | None = None) -> None:
        there = judging()
        unknown = [name for name in claims or () if name not in there]
        if unknown or claims == []:
            raise ConfigError("claims", claims, f"must be null or a list out of {', '.join(there)}")
        self.claims = claims or there

    def members(self) -> Sequence[str]:
        return self.claims


def judging() -> list[str]:
    """The options of ``scenario`` that judge claims, in the order of their first claim's number."""
    found = {}
    for name in options("scenario"):
        if name != "all":
            scenario = build(option("scenario", name), AnyScenario, "scenario")
            if isinstance(scenario, Claim):
                found[name] = scenario.hypotheses[0].number
    return sorted(found, key=lambda name: (found[name], name))
