"""What a run sent and what became of it, in total and by device, and what energy it took: a table
of the report.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from swarm.results.load import Run
from swarm.results.track.units import human_bytes, human_energy

PER_DEVICE: dict[str, Callable[[float], str]] = {
    "sent": "{:,.0f}".format,
    "received": "{:,.0f}".format,
    "lost": "{:,.0f}".format,
    "late": "{:,.0f}".format,
    "bytes": human_bytes,
    "joules": human_energy,
}
"""Columns of ``devices.parquet``, and how their numbers are written."""
_TOTAL = ("messages sent", "lost", "late", "bytes sent", "for masks", "sums lost", "energy")
_EACH = (
    "sent by a device",
    "received by it",
    "of its lost",
    "of its late",
    "its bytes",
    "its energy",
)
_MEANT = {
    _EACH: "A device: the median, and from the least to the most, over the evaluated devices.",
    ("lost",): "Lost: dropped, cut off, or to a device that was not there.",
    ("for masks",): "For masks: bytes of keys and shares in secure sums.",
    ("sums lost",): "Sums lost: too few devices were left to take off the masks.",
    ("late",): "Late: given up after network.max_delay ticks.",
}
"""What columns mean, said where one of them is shown."""
_NOTHING = ("–", "0", "0 <br><small>(0 – 0)</small>")


def message_table(run: Run) -> str:
    """A card with a row for each arm that sent anything or took energy; nothing without any."""
    heads = [*_TOTAL, *_EACH]
    found: dict[int, list[str]] = {}
    for number, arm in enumerate(run.arms):
        final = run.final(arm)
        if final.get("messages_total") or final.get("joules_total"):
            found[number] = [*map(escape, _totals(final)), *_by_device(run, arm)]
    if not found:
        return ""
    told = [
        i for i in range(len(heads)) if any(cells[i] not in _NOTHING for cells in found.values())
    ]
    head = "".join(f"<th>{heads[i]}</th>" for i in told)
    rows = [
        _row(number, run.arms[number], [cells[i] for i in told]) for number, cells in found.items()
    ]
    hint = " ".join(
        text for names, text in _MEANT.items() if not {heads[i] for i in told}.isdisjoint(names)
    )
    if any(
        cells[i] in _NOTHING[1:]
        for cells in found.values()
        for i in set(range(len(heads))) - set(told)
    ):
        hint += " Columns of zeros are left out."
    title = "Messages and energy" if "energy" in (heads[i] for i in told) else "Messages"
    table = (
        f"<table><thead><tr><th>arm</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    note = f'<p class="hint">{hint.strip()}</p>' if hint else ""
    return (
        f'<section class="card"><h2>{title}</h2><div class="scroll">{table}</div>{note}</section>'
    )


def _row(number: int, arm: str, cells: list[str]) -> str:
    body = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr class="arm{number}"><th><i class="chip"></i>{escape(arm)}</th>{body}</tr>'


def _totals(final: dict[str, Any]) -> list[str]:
    sent = int(final.get("messages_total") or 0)
    return [
        f"{sent:,}",
        *(_share(final.get(name), sent) for name in ("lost_total", "late_total")),
        human_bytes(final.get("bytes_total")),
        human_bytes(final.get("secure_bytes_total")),
        f"{int(final.get('sums_lost_total') or 0):,}",
        human_energy(final.get("joules_total")),
    ]


def _share(count: int | None, sent: int) -> str:
    return f"{int(count):,} ({count / sent:.1%})" if count and sent else "0"


def _by_device(run: Run, arm: str) -> list[str]:
    devices, cells = run.final_devices(arm), []
    for name, written in PER_DEVICE.items():
        values = devices[name].dropna() if name in devices else devices.iloc[:0, 0]
        spread = (
            [written(float(value)) for value in (values.median(), values.min(), values.max())]
            if len(values)
            else []
        )
        cells.append(
            f"{spread[0]} <br><small>({spread[1]} – {spread[2]})</small>" if spread else "–"
        )
    return cells
