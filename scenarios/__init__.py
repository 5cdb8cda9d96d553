"""Scenarios: one file and one yaml each."""

ARMS = ("swarm", "isolated", "centralised")
CONTROLS = ARMS[1:]


def arms(controls: bool) -> tuple[str, ...]:
    """The arms of a condition of a claim: the swarm, alone or beside both controls."""
    return ARMS if controls else ARMS[:1]
