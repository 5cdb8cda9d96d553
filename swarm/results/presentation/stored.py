"""``presentation.json`` of a run folder: the roles of its arms and the entries of its summary.

A folder that has none was written before scenarios said so; what its arms and numbers are is then
taken from their names, by the table of earlier names (:mod:`swarm.config.aliases`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from swarm.common.errors import ConfigError
from swarm.config import aliases
from swarm.config.explain import shown
from swarm.config.schema import Closed, Schema, complaint, read_json
from swarm.results.presentation import UNIQUE, ArmStyle, Form, Presentation, Role, SummaryEntry
from swarm.simulation import checkpoint

FILE = "presentation.json"
Text = Annotated[str, Field(max_length=200)]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]  # it enters a style sheet


class _Arm(Closed):
    role: Role = "other"
    colour: tuple[Colour, Colour] | None = None
    muted: Colour | None = None
    dash: Literal["solid", "dashed", "dashdot", "dotted"] | None = None


class _Entry(Closed):
    key: Annotated[str, Field(min_length=1, max_length=200)]
    label: Text
    unit: Text = ""
    better: Literal["higher", "lower"] | None = None
    form: Form = "number"
    digits: Annotated[int, Field(ge=0, le=15)] = 3
    note: Text = ""
    shown: list[Literal["page", "compare", "sweep", "tracker"]]


class _Presentation(Schema):
    arms: dict[str, _Arm]
    entries: list[_Entry]

    @model_validator(mode="after")
    def _one_of_each(self) -> _Presentation:
        for role in UNIQUE:
            who = [name for name, arm in self.arms.items() if arm.role == role]
            if len(who) > 1:
                raise ValueError(f"`role` {role} can be that of one arm, and is of {who}")
        keys = [entry.key for entry in self.entries]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise ValueError(f"`key` {twice[0]} must be that of one entry")
        return self


def fault(presentation: Presentation) -> str | None:
    """What is wrong with a presentation, as a sentence: it could not be written or shown; None if
    nothing is."""
    return complaint(_plain(presentation), _Presentation)


def write(folder: Path, presentation: Presentation) -> None:
    """Write the presentation into the folder of its run."""
    checkpoint.write_json(folder / FILE, _plain(presentation))


def read(
    folder: Path, summary: Mapping[str, Any] | None = None, key: str = f"/{FILE}"
) -> Presentation:
    """Read the presentation of the run in ``folder``. ``summary``, its ``summary.json`` if there is
    one, tells the entries of a folder of an earlier version.

    Raises :class:`ConfigError` on ``key`` where the file is damaged.
    """
    if not (folder / FILE).exists():
        return of_before(summary)
    return _typed(read_json(folder / FILE, _Presentation, key))


def of_before(summary: Mapping[str, Any] | None = None) -> Presentation:
    """The presentation of a run of an earlier version: the names of its arms, and the keys of its
    ``summary``, say what they are."""
    found = aliases.presentation()
    known = found["entries"]
    which = next((key for key in known if key in (summary or {})), [*known][-1])
    return _typed({"arms": found["arms"], "entries": known[which]})


def with_numbers(
    presentation: Presentation, summary: dict[str, Any] | None, file: Path
) -> dict[str, Any] | None:
    """``summary``, as ``file`` has it.

    Raises :class:`ConfigError` on ``summary.json`` where something else than a number stands under
    the key of an entry.
    """
    for entry in presentation.entries:
        value = (summary or {}).get(entry.key)
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            valid = f"damaged; `{entry.key}` must be a number, and is {shown(value)}"
            raise ConfigError("/summary.json", file, valid)
    return summary


def _plain(presentation: Presentation) -> dict[str, Any]:
    return {
        "arms": {name: asdict(style) for name, style in presentation.arms.items()},
        "entries": [asdict(entry) for entry in presentation.entries],
    }


def _typed(found: Mapping[str, Any]) -> Presentation:
    arms = {
        name: ArmStyle(**{**style, "colour": tuple(style["colour"])})
        if style.get("colour")
        else ArmStyle(**style)
        for name, style in found["arms"].items()
    }
    entries = (SummaryEntry(**{**each, "shown": tuple(each["shown"])}) for each in found["entries"])
    return Presentation(arms, tuple(entries))
