"""The table of a page: one row for each arm, one column for each final number that any arm has."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any, NamedTuple

from swarm.results.columns import Score, heading, human, on
from swarm.results.load import Run
from swarm.results.presentation import SummaryEntry
from swarm.results.track.units import (
    how_it_ended,
    human_bytes,
    human_energy,
    human_entry,
    human_score,
    human_time,
    virtual_time,
)
from swarm.simulation.metrics.base import Column

Final = dict[str, Any]
NOTHING = "–"


class _Shown(NamedTuple):
    """A column: what stands over it, and its cell for the final numbers of an arm."""

    heading: str
    cell: Callable[[Final], str]


def table(run: Run) -> str:
    """The table as HTML, without the columns in which no arm has anything."""
    finals = {arm: run.final(arm) for arm in run.arms}
    columns = [
        *(_scores(run, run.main) if run.main else ()),
        *(_metric(column) for column in on(run.columns, "table") if not _is_main(column, run)),
        _Shown("state", lambda f: NOTHING if f.get("state") in (None, "finished") else f["state"]),
        *(_entry(entry) for entry in run.presentation.on("compare")),
        *_drift(),
        *_costs(finals),
        _Shown("folder", lambda f: str(f.get("folder", NOTHING))),
        _Shown("learning rate", lambda f: _rate(f) if run.learns else NOTHING),
    ]
    columns = [
        column for column in columns if any(column.cell(f) != NOTHING for f in finals.values())
    ]
    head = "".join(f"<th>{escape(column.heading)}</th>" for column in columns)
    body = "".join(_row(i, arm, f, columns) for i, (arm, f) in enumerate(finals.items()))
    return f"<table><thead><tr><th>arm</th>{head}</tr></thead><tbody>{body}</tbody></table>"


def _row(number: int, arm: str, final: Final, columns: list[_Shown]) -> str:
    where = how_it_ended(final)
    cells = "".join(f"<td>{escape(column.cell(final))}</td>" for column in columns)
    name = f'<i class="chip"></i>{escape(arm)} <small>{escape(where)}</small>'
    return f'<tr class="arm{number}"><th>{name}</th>{cells}</tr>'


def _is_main(column: Column, run: Run) -> bool:
    return run.main is not None and column.key == run.main.mean


def _scores(run: Run, score: Score) -> list[_Shown]:
    """The main score, and the metrics of which only this table has a column."""
    return [
        _score(f"{score.label} mean", score.mean),
        _score("worst decile", score.worst_decile),
        _score("worst device", score.worst),
        _score("consensus", score.consensus),
        *(_score(heading(column), column.key) for column in on(run.columns, "details")),
    ]


def _score(head: str, key: str) -> _Shown:
    return _Shown(head, lambda f: human_score(f.get(key)))


def _metric(column: Column) -> _Shown:
    return _Shown(heading(column), lambda f: human(f.get(column.key)))


def _entry(entry: SummaryEntry) -> _Shown:
    return _Shown(entry.label, lambda f: human_entry(entry, f.get(entry.key)))


def _drift() -> list[_Shown]:
    return [
        _score("forgetting", "forgetting"),
        _score("backward transfer", "backward_transfer"),
        _Shown("rounds to recover", lambda f: _recovered(f.get("recovery_rounds"))),
    ]


def _recovered(rounds: list[int | None] | None) -> str:
    """One number for each change of concept."""
    return ", ".join("never" if each is None else str(each) for each in rounds or ()) or NOTHING


def _costs(finals: dict[str, Final]) -> list[_Shown]:
    one_length = len({str(_rounds(final)) for final in finals.values()}) < 2
    return [
        _Shown("sent", lambda f: human_bytes(f.get("bytes_total"))),
        _Shown("energy", lambda f: human_energy(f.get("joules_total"))),
        _Shown("virtual time", lambda f: human_time(virtual_time(f, finals.values()))),
        _Shown("wall time", lambda f: human_time(f.get("wall_s"))),
        _Shown("steps/s", _speed),
        _Shown("rounds", lambda f: NOTHING if one_length else str(_rounds(f))),
    ]


def _rounds(final: Final) -> Any:
    return final.get("rounds", final.get("round", NOTHING))


def _speed(final: Final) -> str:
    return f"{final['steps_per_s']:,.0f}" if final.get("steps_per_s") else NOTHING


def _rate(final: Final) -> str:
    return NOTHING if final.get("lr") is None else f"{final['lr']:g}"
