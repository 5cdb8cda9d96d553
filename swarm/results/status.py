"""A run that is one of many: what its folder is called, and ``job.json`` in it, which says how far
it is and what made it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from swarm.common.errors import ConfigError
from swarm.common.system import yaml_text
from swarm.config.schema import Schema, read_json
from swarm.results.schemas import Job, read_summary

FILE = "job.json"
SUMMARY = "summary.json"  # of a run or a claim: all numbers are there
PAGE = "report.html"  # the last thing that a run writes, if it has been told to draw a report
PICTURE = "curves.png"  # of a run that has records of its own
CONSOLE = "console.txt"  # in the run's folder: what it printed
RUNS = "runs"  # in the folder of a claim: the folders of its runs
SUPERSEDED = "superseded"
KILLED = "its process ended without a word: killed, perhaps for want of memory"
LONGEST = 120  # bytes of a folder's name


def slug(title: str) -> str:
    """``topology=ring,seed=0`` as a folder can be called; two titles can come to the same."""
    return re.sub(r"[^\w.=,+-]+", "-", title)


def finished(folder: Path) -> bool:
    """Whether a run, or a claim, came to its end and all that it promises is there: its summary,
    and the page and the picture unless its config has ``report: false``. The files alone say it,
    for a single run, a run of many and a claim alike: ``job.json`` knows nothing of a run that was
    resumed by hand, or of a file that was removed."""
    if not (folder / SUMMARY).exists():
        return False
    drawn = [PAGE, PICTURE] if (folder / "metrics.jsonl").exists() else [PAGE]
    return all((folder / name).exists() for name in drawn) or not _promises_report(folder)


def summary_of(folder: Path, schema: type[Schema]) -> dict[str, Any] | None:
    """The ``summary.json`` of a run or a claim that is to go on; None while there is none.

    Raises :class:`ConfigError` where it is damaged or was changed, with what to do.
    """
    file = folder / SUMMARY
    if not file.exists():
        return None
    try:
        return read_summary(file, schema, "resume")
    except ConfigError as error:
        way = (
            f"remove it, and resume={folder} makes it again from the checkpoints and the runs that"
            " are there"
        )
        raise ConfigError("resume", file, f"{error.valid}; {way}") from None


def _promises_report(folder: Path) -> bool:
    """What a config says that cannot be read, others find out."""
    try:
        config = yaml_text.load((folder / "config.yaml").read_bytes())
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return False
    return isinstance(config, dict) and config.get("report") is True


@dataclass(frozen=True)
class RunStatus:
    """What ``job.json`` says.

    ``status``: ``waiting``, ``running``, ``interrupted``, ``failed`` (with its cause) or
    ``finished``; None where the run has not begun."""

    status: str | None = None
    cause: str | None = None
    code: Mapping[str, Any] = field(default_factory=dict)


def note(
    folder: Path, title: str, code: Mapping[str, Any], status: str, cause: str | None = None
) -> None:
    """Write down how far a run is."""
    # brings torch, which a sweep that is refused need not wait for
    from swarm.simulation import checkpoint

    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.write_json(
        folder / FILE, {"title": title, "code": code, "status": status, "cause": cause}
    )


def noted(folder: Path) -> RunStatus:
    """What was written down last; nothing where that is damaged."""
    return read_note(folder) or RunStatus()


def read_note(folder: Path) -> RunStatus | None:
    """What was written down last; None where ``job.json`` is missing or damaged."""
    try:
        facts = read_json(folder / FILE, Job, "job")
    except ConfigError:
        return None
    return RunStatus(facts.get("status"), facts.get("cause"), facts.get("code", {}))


def archive(folder: Path, place: Path) -> None:
    """Move a run that other code has made to ``place/superseded``: it is not mixed with the new,
    and not thrown away.
    """
    home = place / SUPERSEDED / f"{folder.name}-{noted(folder).code.get('source', 'unknown')}"
    while home.exists():
        home = home.with_name(home.name + "+")
    home.parent.mkdir(exist_ok=True)
    folder.rename(home)
