"""Numbers as people read them; shared by the console and the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from swarm.common.names import titled
from swarm.results.presentation import Presentation, SummaryEntry

_BLOCKS = "▁▂▃▄▅▆▇█"


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


def where_diverged(diverged: dict[str, Any], joint: str = ", ") -> str:
    """``device 7 (zoe), round 12``."""
    return f"{titled(diverged['device'], diverged.get('name'))}{joint}round {diverged['round']}"


def stopped_early(final: Mapping[str, Any]) -> str:
    """``stopped early after round 40; best: round 30, local_accuracy_mean 0.931`` of an arm's final
    figures; only the best round for one that had all its rounds, nothing for others."""
    facts = final.get("early_stopping") or {}
    if facts.get("best_round") is None:
        return f"stopped early after round {final['rounds']}" if facts.get("stopped") else ""
    best = f"best: round {facts['best_round']}, {facts['metric']} {human_score(facts['best'])}"
    early = f"stopped early after round {final['rounds']}; " if facts.get("stopped") else ""
    return f"{early}{best}"


def how_it_ended(final: Mapping[str, Any]) -> str:
    """``diverged: device 7, round 12``, or what :func:`stopped_early` says."""
    diverged = final.get("diverged")
    return f"diverged: {where_diverged(diverged)}" if diverged else stopped_early(final)


def rho_of(summary: dict[str, Any]) -> float | None:
    """ρ, the second-largest absolute eigenvalue, of the run's mixing matrix; ``None`` where the
    summary has none.
    """
    rho: float | None = (summary.get("topology") or {}).get("rho")
    return rho


def human_entry(entry: SummaryEntry, value: float | None) -> str:
    """A number that a scenario declared, in the form that it declared; ``–`` where there is
    none.
    """
    if value is None or not math.isfinite(value):
        return "–"
    if entry.form == "bytes":
        return human_bytes(value)
    if entry.form == "seconds":
        return human_time(value)
    if entry.form == "percent":
        return f"{100 * value:.{entry.digits}f}%"
    text = human_score(value, entry.digits)
    return f"{text} {entry.unit}" if entry.unit else text


def entry_note(entry: SummaryEntry, summary: Mapping[str, Any]) -> str:
    """What stands below an entry in small print: why it has no number, or else its note."""
    if summary.get(entry.key) is None:
        return str(summary.get(f"{entry.key}_reason") or "")
    return str(summary.get(f"{entry.key}_note") or entry.note)


def headline(summary: Mapping[str, Any], presentation: Presentation) -> str:
    """The sentence that a run concludes with: the scenario's own, or else what it has of each
    entry of the page; empty where there is neither.
    """
    if "headline" in summary:
        return str(summary["headline"])
    found = []
    for entry in presentation.on("page"):
        value, note = summary.get(entry.key), entry_note(entry, summary)
        first = entry.label[:1]
        name = (first.upper() if first.isascii() else first) + entry.label[1:]  # ρ stays ρ
        if value is not None:
            said = f" ({note})" if note else ""
            found.append(f"{name}: {human_entry(entry, value)}{said}.")
        elif note:
            found.append(f"{name}: not defined ({note}).")
    return " ".join(found)


def sparkline(values: Sequence[float], width: int = 16) -> str:
    """The values as blocks from the lowest to the highest, the last of each of ``width`` equal
    stretches.
    """
    if not values:
        return ""
    count = min(width, len(values))
    picked = [values[(i + 1) * len(values) // count - 1] for i in range(count)]
    low, high = min(picked), max(picked)
    return "".join(
        _BLOCKS[round((v - low) / (high - low) * (len(_BLOCKS) - 1)) if high > low else 0]
        for v in picked
    )
