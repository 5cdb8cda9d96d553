"""Scenarios: one file and one yaml each."""

from collections.abc import Mapping
from typing import Any

ARMS = ("swarm", "isolated", "centralised")
CONTROLS = ARMS[1:]


def arms(controls: bool) -> tuple[str, ...]:
    """The arms of a condition of a claim: the swarm, alone or beside both controls."""
    return ARMS if controls else ARMS[:1]


def by_arm(row: Mapping[str, Any]) -> int:
    """What rows of a table are sorted by for those of the swarm to come first, then each
    control's."""
    return ARMS.index(row["arm"])
