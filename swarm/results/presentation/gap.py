"""The share of the gap between two reference arms that the leading arm closes: an entry and its
numbers, for every scenario that has such arms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swarm.results.columns import main_of
from swarm.results.presentation import SummaryEntry
from swarm.results.track.units import human_score, where_diverged
from swarm.simulation.metrics.formulas import gap_closed

KEY = "gap_closed"


def gap_entry(lower: str, upper: str) -> SummaryEntry:
    """The entry of the gap between the arms ``lower`` and ``upper``; :func:`gap_facts` has its
    numbers."""
    return SummaryEntry(
        key=KEY,
        label="gap closed",
        better="higher",
        form="percent",
        digits=1,
        note=f"of the {lower}-to-{upper} gap",
    )


def gap_facts(summary: Mapping[str, Any], lead: str, lower: str, upper: str) -> dict[str, Any]:
    """What ``conclude`` returns of the gap: ``gap_closed``, by the mean final scores of the three
    arms (accuracy, or R²), ``gap_closed_reason`` where it is None, and the ``headline``, unless one
    of the arms did not run: then nobody asked for a gap.

    Args:
        summary: The ``summary.json`` so far.
        lead: The arm that closes the gap; it need not be among those that ran.
        lower: The arm whose score is the lower end of the gap.
        upper: The arm whose score is the upper end.
    """
    names = (lead, lower, upper)
    finals = [summary["arms"].get(name, {}) for name in names]
    share, reason = _share(names, finals)
    found = {KEY: share, f"{KEY}_reason": reason}
    if not summary["arms"].keys() >= set(names):
        return found
    if share is None:
        headline = f"Gap closed: not defined ({reason})."
    else:
        low, high = (human_score(_score(final)) for final in finals[1:])
        headline = (
            f"The {lead} closed {100 * share:.1f}% of the gap between {lower} ({low}) and {upper}"
            f" ({high})."
        )
    return {**found, "headline": headline}


def _share(
    names: tuple[str, str, str], finals: list[dict[str, Any]]
) -> tuple[float | None, str | None]:
    ended = [
        f"{name} ({where_diverged(final['diverged'])})"
        for name, final in zip(names, finals, strict=True)
        if final.get("diverged")
    ]
    if ended:
        return None, f"these arms diverged and have no final score: {', '.join(ended)}"
    lead, lower, upper = map(_score, finals)
    return gap_closed(lead, lower, upper, names)


def _score(final: Mapping[str, Any]) -> float | None:
    score = main_of(final)
    return None if score is None else float(final[score.mean])
