"""The final scores of all arms on one scale, one rung for each."""

from __future__ import annotations

from html import escape

from swarm.results.columns import Score
from swarm.results.load import Run
from swarm.results.track.units import human_score
from swarm.simulation.metrics.formulas import gap_closed

# the least that the scale of final scores spans: a smaller difference is to look small
FINEST = 0.01
LONG = 14  # characters of an arm's name that no longer stands beside its rung


def ladder(run: Run) -> str:
    """One line for each arm: its mean, and the range from the worst to the best decile. Where the
    scenario has a lower and an upper arm, the gap between them is shaded behind all lines.
    """
    score = run.main
    points = _points(run, score) if score else {}
    if not score or not points:
        return ""
    low, high = min(min(p) for p in points.values()), max(max(p) for p in points.values())
    wide = max(high - low, FINEST)
    start, span = (low + high - 1.1 * wide) / 2, 1.1 * wide
    places = {arm: [100 * (value - start) / span for value in p] for arm, p in points.items()}
    ends = _gap(run, points)
    gap = ""
    if ends:
        a, b = (places[arm][1] for arm in ends)
        gap = f'<i class="gap" style="left:{a:.2f}%;width:{b - a:.2f}%"></i>'
    rungs = "".join(
        _rung(number, arm, places[arm], points[arm][1], gap)
        for number, arm in enumerate(run.arms)
        if arm in points
    )
    long = " long" if max(map(len, points)) > LONG else ""
    caption = (
        f"Final {score.label}: the dot is the mean over devices, the bar runs from the worst to"
        " the best decile"
    )
    caption += f"; the gap between {ends[0]} and {ends[1]} is shaded." if ends else "."
    return (
        f'<section class="card ladder{long}">{rungs}<p class="hint">{escape(caption)}</p></section>'
    )


def _points(run: Run, score: Score) -> dict[str, list[float]]:
    """The worst decile, the mean and the best decile of each arm that has a mean."""
    found = {}
    for arm in run.arms:
        final = run.final(arm)
        three = [final.get(key) for key in (score.band[0], score.mean, score.band[1])]
        if three[1] is not None:
            found[arm] = [three[1] if value is None else value for value in three]
    return found


def _gap(run: Run, points: dict[str, list[float]]) -> tuple[str, str] | None:
    """The lower and the upper arm, where both came to their end and lie far enough apart."""
    lower, upper = (run.presentation.named(role) for role in ("lower", "upper"))
    if lower not in points or upper not in points:
        return None
    if any(run.final(arm).get("diverged") for arm in (lower, upper)):
        return None
    low, high = points[lower][1], points[upper][1]
    _, reason = gap_closed(low, low, high, (lower, lower, upper))
    return (lower, upper) if reason is None else None


def _rung(number: int, arm: str, place: list[float], mean: float, gap: str) -> str:
    p10, at, p90 = place
    return (
        f'<div class="rung arm{number}"><b>{escape(arm)}</b><span class="rail">{gap}<i'
        f' class="range" style="left:{p10:.2f}%;width:{max(p90 - p10, 0):.2f}%"></i><i'
        f' class="dot" style="left:{at:.2f}%"></i></span><em>{human_score(mean)}</em></div>'
    )
