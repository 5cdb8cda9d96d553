"""The key figures of a run, as tiles above its curves."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from swarm.results.load import Run
from swarm.results.track.units import (
    entry_note,
    human_bytes,
    human_entry,
    human_score,
    human_time,
)


class _Tile(NamedTuple):
    label: str
    value: str
    note: str


def tiles(run: Run) -> str:
    """The numbers that the scenario declared, the first of them largest, then the scores of the
    leading arm and what it cost; nothing for several runs side by side.
    """
    if (run.summary or {}).get("compared"):
        return ""  # no run before the others
    found = [*_declared(run), *_scores(run), _sent(run), _wall(run)]
    return "".join(_html(tile, "" if i else "hero") for i, tile in enumerate(found))


def _declared(run: Run) -> list[_Tile]:
    """A tile for each entry of the page: with its number, or why there is none."""
    summary = run.summary or {}
    found = []
    for entry in run.presentation.on("page"):
        note = entry_note(entry, summary) if run.summary is not None else "run not finished"
        found.append(_Tile(entry.label, human_entry(entry, summary.get(entry.key)), note))
    return found


def _scores(run: Run) -> list[_Tile]:
    score, final = run.main, run.final(run.lead)
    if not score:
        return []
    mean, worst, p10, consensus = (
        human_score(final.get(key))
        for key in (score.mean, score.worst, score.worst_decile, score.consensus)
    )
    return [
        _Tile(f"{run.lead}: {score.label}", mean, "mean over devices"),
        _Tile("worst decile", p10, f"worst device {worst}"),
        _Tile("consensus model", consensus, "the mean of all parameters"),
    ]


def _sent(run: Run) -> _Tile:
    devices = (run.summary or {}).get("devices") or run.config.get("devices")
    sent = run.final(run.lead).get("bytes_total")
    each = "by all devices"
    if sent and isinstance(devices, int) and devices:
        each = f"{human_bytes(sent / devices)} a device"
    return _Tile("sent", human_bytes(sent), each)


def _wall(run: Run) -> _Tile:
    seconds = [run.final(arm).get("wall_s") for arm in run.arms]
    count = f"all {len(seconds)} arms" if len(seconds) > 1 else ""
    return _Tile("wall time", human_time(sum(s for s in seconds if s)), count)


def _html(tile: _Tile, kind: str) -> str:
    small = " small" if len(tile.value) > 8 else ""
    return (
        f'<div class="tile {kind}"><div class="key">{escape(tile.label)}</div>'
        f'<div class="value{small}">{escape(tile.value)}</div>'
        f'<div class="note">{escape(tile.note)}</div></div>'
    )
