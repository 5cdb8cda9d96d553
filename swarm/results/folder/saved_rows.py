"""Where the parameters of an arm's devices lie in a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swarm.common.errors import ConfigError
from swarm.simulation import checkpoint


def saved_rows(
    run: Path, arm: str, arms: Sequence[str], best: bool = False
) -> checkpoint.Checkpoint:
    """The newest checkpoint of the arm ``arm``, or with ``best`` the checkpoint of its best round;
    ``arms`` are all arms of the run.

    Raises :class:`ConfigError` where there is none, and for one that is damaged.
    """
    folder = run / "checkpoints" / arm / (checkpoint.BEST if best else "")
    if arm not in arms or not (rounds := checkpoint.rounds_in(folder)):
        what, why = "no checkpoint", ""
        if best and arm in arms:
            what, why = "no best round", "early_stopping.metric keeps one; "
        valid = f"has {what} in {run}; {why}the run has the arms {', '.join(arms)}"
        raise ConfigError("/arm", arm, valid)
    return checkpoint.read(folder, rounds[-1], expect=None)
