"""Numbers as people read them; shared by the console and the report."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from swarm.common.names import titled


def human_bytes(count: float | None) -> str:
    """``1536`` → ``1.5 KiB``; ``None`` or a non-finite number → ``–``."""
    if count is None or not math.isfinite(count):
        return "–"
    value, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while abs(value) >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}".removesuffix(".0")
    return f"{text} {units[0]}"


def human_time(seconds: float | None) -> str:
    """``0.25`` → ``0.25 s``, ``75`` → ``1 min 15 s``, ``4000`` → ``1 h 06 min``; ``None`` →
    ``–``.
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def virtual_time(arm: dict[str, Any], arms: Iterable[dict[str, Any]]) -> float | None:
    """An arm's virtual seconds; ``None`` for one without hardware beside others that have some: its
    rounds count ticks, which are not comparable with the time that theirs took."""
    counted = "joules_total" in arm or not any("joules_total" in other for other in arms)
    return arm.get("virtual_s") if counted else None


def human_energy(joules: float | None) -> str:
    """``1536`` → ``1.54 kJ``; ``None`` or a non-finite number → ``–``."""
    if joules is None or not math.isfinite(joules):
        return "–"
    value, units = float(joules), ["mJ", "J", "kJ", "MJ", "GJ", "TJ"]
    value *= 1000
    while abs(value) >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g} {units[0]}"


def human_score(value: float | None, digits: int = 3) -> str:
    """An accuracy or R² with ``digits`` decimals; ``–`` when there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def score_name(record: dict[str, Any]) -> str | None:
    """``accuracy`` or ``r2``, whichever the record (or an arm's summary) has a mean of; ``None``
    without either.
    """
    for name in ("accuracy", "r2"):
        if record.get(f"{name}_mean") is not None:
            return name
    return None


def where_diverged(diverged: dict[str, Any], joint: str = ", ") -> str:
    """``device 7 (zoe), round 12``."""
    return f"{titled(diverged['device'], diverged.get('name'))}{joint}round {diverged['round']}"


def rho_of(summary: dict[str, Any]) -> float | None:
    """ρ, the second-largest absolute eigenvalue, of the run's mixing matrix; ``None`` where the
    summary has none.
    """
    rho = summary.get("rho")
    return (summary.get("topology") or {}).get("rho") if rho is None else rho


def rho_name(summary: dict[str, Any]) -> str:
    """``ρ``, with the number of rounds it was estimated from where the topology never repeats."""
    rounds = (summary.get("topology") or {}).get("estimated_from")
    return f"ρ, estimated from {rounds} rounds" if rounds else "ρ"


def contraction_sentence(summary: dict[str, Any]) -> str | None:
    """One sentence on the measured contraction beside ρ; ``None`` for a run that did not measure
    it.
    """
    if "rate_measured" not in summary:
        return None
    theory = f"theory ({rho_name(summary)}) {human_score(rho_of(summary), 6)}"
    drift = summary.get("mean_drift_share") or 0.0
    if drift > 1e-9:  # not rounding
        theory += f"; the mean drifted by {drift:.2g} of the starting distance"
    if summary["rate_measured"] is None:
        reason = summary.get("rate_measured_reason") or "no reason given"
        return f"Contraction per round: not measured ({reason}); {theory}."
    return f"Contraction per round: measured {human_score(summary['rate_measured'], 6)}, {theory}."


def gap_sentence(summary: dict[str, Any]) -> str:
    """One sentence on the share of the isolated-to-centralised gap that the swarm closed, or why
    there is none.
    """
    gap = summary.get("gap_closed")
    if gap is None:
        return f"Gap closed: not defined ({summary.get('gap_closed_reason') or 'no reason given'})."
    arms = summary.get("arms", {})
    means = [arms.get(arm, {}) for arm in ("isolated", "centralised")]
    name = score_name(means[0]) or "accuracy"
    low, high = (human_score(arm.get(f"{name}_mean")) for arm in means)
    return (
        f"The swarm closed {100 * gap:.1f}% of the gap between isolated ({low}) and centralised"
        f" ({high})."
    )
