"""What all pictures and pages share: colours and lines of the arms, names of the metrics, and the
sentence on top."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import pandas as pd

from swarm.common.errors import counted
from swarm.common.names import name_or_number
from swarm.results.columns import by_concept, on
from swarm.results.load import Run
from swarm.results.presentation import Dash, Presentation, Role
from swarm.results.track.units import headline, where_diverged

# Okabe & Ito's colour-blind-safe palette; the second of a pair is the lighter variant for a dark
# page.
_ROLES: dict[Role, tuple[str, str]] = {
    "lead": ("#0072b2", "#4db8ff"),
    "lower": ("#d55e00", "#ff9247"),
    "upper": ("#222222", "#e6e6e6"),
}
# of the controls in the picture of a sweep, where the combinations have the colours
_MUTED: dict[Role, str] = {"lower": "#999999", "upper": "#222222"}
_OTHERS = (
    ("#cc79a7", "#f0a3cc"),
    ("#b8860b", "#f0c040"),
    ("#7a5195", "#b79bea"),
    ("#56b4e9", "#58e0f0"),
    ("#8c564b", "#d09a8c"),
    ("#6b7280", "#aab2c0"),
    ("#009e73", "#34d3a2"),
)
_DASHES: dict[Role, Dash] = {"upper": "dashed"}
SOFT = "#666666"  # of what stays in the background
_MUTED_OTHERS = (SOFT, "#8a6a52", "#6f6796", "#8a5a74", "#7d8450")


def named_label(run: Run, metric: str) -> str | None:
    """What a number is called on the page of ``run``, with the name of the one class that
    ``evaluate.label`` looks at; None for one that is not shown."""
    own = {column.key: column for column in on(run.columns, "page")}
    text, section = by_concept(metric, run.columns), run.config.get("evaluate")
    if metric in own:
        unit = own[metric].unit
        text = f"{own[metric].label}, {unit}" if unit else own[metric].label
    wanted = section.get("label") if isinstance(section, dict) else None
    if text is None or wanted is None:
        return text
    names = ((run.summary or {}).get("data") or {}).get("class_names")
    known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return text.replace("one label", f"label {name_or_number(names if known else None, wanted)}")


def colours(run: Run) -> dict[str, tuple[str, str]]:
    """A (light page, dark page) pair of colours for each arm: the one that its scenario gave it, or
    that of its role; the arm in front has the lead's, others take turns.
    """
    return {arm: pair for arm, (pair, _) in _looks(run).items()}


def dashes(arm: str, run: Run) -> Dash:
    """The line style of an arm, so that curves differ without colour too, and where the colours
    begin again.
    """
    style = run.presentation.style(arm)
    if style.dash or style.role in _DASHES:
        return style.dash or _DASHES[style.role]
    turn = _looks(run)[arm][1] if arm in run.arms else 0
    lines: tuple[Dash, ...] = ("solid", "dashed", "dashdot", "dotted")
    return lines[turn % 4]


def _looks(run: Run) -> dict[str, tuple[tuple[str, str], int]]:
    """The colours of each arm, and how often they were given to another arm that takes turns. No
    colour is, as long as there is one that no arm has.
    """
    styles = {arm: run.presentation.style(arm) for arm in run.arms}
    found = {arm: style.colour or _ROLES.get(style.role) for arm, style in styles.items()}
    if found and found[run.lead] is None:
        found[run.lead] = _ROLES["lead"]
    given = [pair for pair in found.values() if pair is not None]
    light = {pair[0].lower() for pair in given}
    turns = [pair for pair in (*_OTHERS, *_ROLES.values()) if pair[0] not in light] or [*_OTHERS]
    others = {arm: turn for turn, arm in enumerate(arm for arm in found if found[arm] is None)}
    return {
        arm: (turns[others[arm] % len(turns)], others[arm] // len(turns))
        if pair is None
        else (pair, 0)
        for arm, pair in found.items()
    }


def muted(arm: str, presentation: Presentation) -> str:
    """The colour of a control in the picture of a sweep."""
    style = presentation.style(arm)
    given = style.muted or _MUTED.get(style.role)
    return given or _MUTED_OTHERS[_muted_turn(arm, presentation) % len(_MUTED_OTHERS)]


def muted_line(arm: str, presentation: Presentation) -> Dash:
    """The line of a control in the picture of a sweep; solid lines are the combinations'."""
    style = presentation.style(arm)
    lines: tuple[Dash, ...] = ("dotted", "dashdot", "dashed")
    turn = _muted_turn(arm, presentation) // len(_MUTED_OTHERS)
    found = style.dash or _DASHES.get(style.role, lines[turn % 3])
    return "dotted" if found == "solid" else found


def _muted_turn(arm: str, presentation: Presentation) -> int:
    """The place of an arm among those to whose muted colour no scenario and no role says
    anything, the leading one, which is no control, left out."""
    lead = presentation.lead(presentation.arms)
    others = [
        name
        for name, style in presentation.arms.items()
        if not style.muted and style.role not in _MUTED and name != lead
    ]
    return others.index(arm) if arm in others else 0


@contextmanager
def missing_signs(picture: str) -> Iterator[None]:
    """Say in one sentence which signs of names the font of ``picture`` lacks, in the place of
    Matplotlib's own warning for each; pages have the browser's fonts.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield
    signs: list[str] = []
    for one in said:
        if (glyph := re.match(r"Glyph (\d+) .*missing from", str(one.message))) is not None:
            signs.append(chr(int(glyph[1])))
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    if signs:
        which = " ".join(dict.fromkeys(signs))
        valid = f"its font lacks {which}, in whose place are boxes; report.html shows all names"
        warnings.warn(f"{picture}: {valid}", stacklevel=3)


def literal(text: str) -> str:
    """``text`` for a picture: to Matplotlib ``$`` starts a formula, ``_`` in front hides a legend's
    entry.
    """
    text = text.encode("utf-8", "replace").decode("utf-8").replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def changes(run: Run, arm: str) -> pd.DataFrame:
    """The records of an arm's rounds with which most devices came to live in another ``concept``;
    none without drift.
    """
    rows = run.arm(arm)
    if "concept" not in rows:
        return rows.iloc[:0]
    lived = rows.dropna(subset=["concept"])
    return lived[lived["concept"].diff().fillna(0) != 0]


def subject(run: Run) -> str:
    """``growth · 100 devices · small_world · digits``: what was run, from the summary or else the
    config.
    """
    summary, config = run.summary or {}, run.config
    if "subject" in summary:
        return str(summary["subject"])
    devices = summary.get("devices", config.get("devices"))
    parts = [
        _name(summary.get("scenario"), config.get("scenario")),
        counted(devices, "device") if isinstance(devices, int) else "",
        _name((summary.get("topology") or {}).get("name"), config.get("topology")),
        data_name(summary, config) if run.score else "",
        hostile(run),
    ]
    return " · ".join(part for part in parts if part)


def data_name(summary: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """What the data are called: the file's or folder's name where a user has given one, not its
    path; else the option's name."""
    section = config.get("data")
    path = section.get("path") if isinstance(section, Mapping) else None
    own = isinstance(path, str) and not path.startswith("fetched:")
    if own and (name := PurePath(str(path)).name):  # "." has none
        return name
    return _name((summary.get("data") or {}).get("name"), section)


def hostile(run: Run) -> str:
    """``10 hostile, sign_flip``: how many devices attack, and how; empty if nobody does."""
    found = (run.summary or {}).get("attack") or {}
    count, name = found.get("hostile"), found.get("name")
    if not count:
        return ""
    return f"{count} not measured" if name == "none" else f"{count} hostile, {name}"


def verdict(run: Run) -> str:
    """What the run concludes with, and which arms diverged or stopped early; or how far an
    unfinished one has come."""
    if run.summary is None:
        rounds = run.config.get("rounds", "?")
        come = [
            f"{arm} at round {int(run.arm(arm)['round'].max())} of {rounds}" for arm in run.arms
        ]
        return f"Unfinished run: {', '.join(come) or 'no record yet'}."
    said = headline(run.summary, run.presentation)
    if run.summary.get("compared"):
        return said  # the arms are runs, each of which has its state
    finals = {arm: run.final(arm) for arm in run.arms}
    ended = [
        f"Diverged: {arm} ({where_diverged(final['diverged'])})."
        for arm, final in finals.items()
        if final.get("diverged")
    ]
    early = [
        f"{arm} (after round {final['rounds']})"
        for arm, final in finals.items()
        if (final.get("early_stopping") or {}).get("stopped")
    ]
    ended += [f"Stopped early: {', '.join(early)}."] if early else []
    return " ".join(filter(None, (said, *ended))) or "Finished."


def _name(given: Any, section: Any) -> str:
    if given:
        return str(given)
    if isinstance(section, dict):
        return str(section.get("name") or str(section.get("_target_", "")).rpartition(".")[2])
    return str(section or "")
