"""What a scenario concluded, as a card of the page."""

from __future__ import annotations

from html import escape
from typing import Any

from swarm.results.load import Run

KINDS = ("confirmed", "refuted", "indicates", "undecided")
_SAID = ("verdict", "claim", "name", "claims", "title")


def verdicts(run: Run) -> str:
    """A row for each verdict of the summary; nothing without any.

    ``summary["verdicts"]`` is a list of mappings, or ``summary["verdict"]`` one: ``verdict``
    (confirmed, refuted, indicates …, undecided), ``claim``, and whatever figures and sentences it
    rests on. A bare text is a verdict too.
    """
    summary = run.summary or {}
    found = summary.get("verdicts", summary.get("verdict"))
    entries = found if isinstance(found, list) else [found] if found else []
    rows = [
        _row(entry if isinstance(entry, dict) else {"verdict": entry}, summary) for entry in entries
    ]
    if not rows:
        return ""
    head = "<thead><tr><th>claim</th><th>verdict</th><th>because</th></tr></thead>"
    table = f'<table class="verdicts">{head}<tbody>{"".join(rows)}</tbody></table>'
    return f'<section class="card"><h2>Verdicts</h2><div class="scroll">{table}</div></section>'


def _row(entry: dict[str, Any], summary: dict[str, Any]) -> str:
    said = str(entry.get("verdict", "undecided"))
    kind = next((kind for kind in KINDS if said.lower().startswith(kind)), "undecided")
    claim = next(
        (entry[key] for key in ("claim", "claims", "title", "name") if entry.get(key)),
        summary.get("scenario"),
    )
    rest = "; ".join(
        f"{key.replace('_', ' ')}: {_short(value)}"
        for key, value in entry.items()
        if key not in _SAID
    )
    badge = f'<span class="badge {kind}">{escape(said)}</span>'
    return f"<tr><th>{escape(_short(claim))}</th><td>{badge}</td><td>{escape(rest)}</td></tr>"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_short, value)) + "]"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    return "–" if value is None else str(value)
