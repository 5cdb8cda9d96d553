"""Runs made at different times side by side: one table, and their curves as if they were the arms
of one run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from swarm.common.errors import ConfigError, typed
from swarm.config.choices import choice
from swarm.data.local_test import learnt_from
from swarm.results.columns import heading, human, measured, on
from swarm.results.load import Run, load_partial
from swarm.results.presentation import Presentation
from swarm.results.track.jsonl import plain
from swarm.results.track.units import (
    human_bytes,
    human_entry,
    human_score,
    human_time,
    virtual_time,
)

UNIMPORTANT = ("metrics", "engine", "tracker", "report", "checkpoint", "resume", "hydra", "plugins")
"""Sections of a config that change no number of a run, or only where its files are."""
_DATA = ("name", "test", "classes", "features")
# of data: scores and errors are in the same unit all the same
_LEARNT_DIFFERENTLY = ("target_scale",)
_NAMED = 4  # differing keys that fit into a label, unless it takes more to tell the runs apart
_UNNAMED = ("scenario.arms",)  # a list of names, in a label that stands for one of them


@dataclass(frozen=True)
class Comparison:
    """Runs of the same data.

    Attributes:
        runs: As they lie in their folders, finished or not, those with records only.
        labels: What each is called: the values of what differs between their configs.
        differing: Key of the config → its value in each run.
        notes: What could not be read or is not finished, a sentence each.
    """

    runs: list[Run]
    labels: list[str]
    differing: dict[str, list[str]]
    notes: list[str]

    @classmethod
    def of(cls, folders: list[Path]) -> Comparison:
        """Reads the folders.

        Raises:
            ConfigError: a folder is none of a run, or the runs are not of the same data, or none
                has a record.
        """
        everything = [load_partial(folder) for folder in folders]
        _require_all_learn_or_none(everything)
        _require_same_data(everything)
        notes = [note for run in everything for note in run.notes]
        notes += [f"{run.folder}: no record yet, left out" for run in everything if not run.arms]
        runs = [run for run in everything if run.arms]
        if not runs:
            raise ConfigError(
                "/run folder",
                " ".join(map(str, folders)),
                "nothing to compare: no run has a record yet",
            )
        differing = _differing([run.config for run in runs])
        return cls(runs, _labels(runs, differing), differing, notes)

    def states(self) -> list[str]:
        """``finished``, or how far each run has come."""
        return [_state(run) for run in self.runs]

    @property
    def presentation(self) -> Presentation:
        """The numbers that the scenarios declared; the runs are arms of no scenario."""
        return Presentation({}, Presentation.of_many(run.presentation for run in self.runs).entries)

    def rows(self) -> pd.DataFrame:
        """One row for each run and arm: what differs, and every final number as it is in
        ``summary.json``.
        """
        rows = []
        for i, (run, label, state) in enumerate(
            zip(self.runs, self.labels, self.states(), strict=True)
        ):
            for arm in run.arms:
                final = {key: plain(v) for key, v in run.final(arm).items() if np.isscalar(v)}
                known = {"run": label, "folder": str(run.folder), "state": state, "arm": arm}
                rows.append(
                    {
                        **known,
                        **{key: values[i] for key, values in self.differing.items()},
                        **(_declared(run) if arm == run.lead else {}),
                        **final,
                    }
                )
        return pd.DataFrame(rows)

    def table(self) -> Table:
        """The table for the terminal: a row for the leading arm of each run."""
        score = next((run.main for run in self.runs if run.main), None)
        away = self.runs[0].distance
        finals = [run.final(run.lead) for run in self.runs]
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), header_style="bold", pad_edge=False)
        table.add_column("run", min_width=18)
        heads = [away.label.replace(" ", "\n")]
        if score:
            heads = [score.label.replace(" ", "\n") + "\nmean", "worst\ndecile"]
        # elsewhere virtual time counts rounds
        timed = any("joules_total" in final for final in finals)
        states = self.states()
        # then it takes the place of the wall time: 80 columns
        unusual = any(state != "finished" for state in states)
        walls = [] if unusual else ["wall\ntime"]
        declared = self.presentation.on("compare")
        heads += [entry.title.replace(" ", "\n") for entry in declared]
        known = on((column for run in self.runs for column in run.columns), "compare")
        further = [
            column
            for column in measured(known, finals)
            if score is None or column.key != score.mean
        ]
        heads += [heading(column).replace(" ", "\n") for column in further]
        for head in [*heads, "bytes\nsent", *(["virtual\ntime"] if timed else []), *walls]:
            table.add_column(head, justify="right", no_wrap=True)
        if unusual:
            table.add_column("state", min_width=10)
        for run, label, final, state in zip(self.runs, self.labels, finals, states, strict=True):
            distance = final.get(away.mean)
            cells = ["–" if distance is None else f"{distance:.2e}"]
            if score:
                cells = [human_score(final.get(key)) for key in (score.mean, score.worst_decile)]
            figures = _declared(run)
            cells += [human_entry(entry, figures.get(entry.key)) for entry in declared]
            cells += [human(final.get(column.key)) for column in further]
            cells += [
                human_bytes(final.get("bytes_total")),
                *([human_time(virtual_time(final, finals))] if timed else []),
                *([] if unusual else [human_time(final.get("wall_s"))]),
            ]
            table.add_row(escape(label), *cells, *([escape(state)] if unusual else []))
        return table

    def print(self, console: Console | None = None) -> None:
        """Prints the table."""
        (console or Console()).print(self.table())

    def merged(self) -> Run:
        """One run whose arms are the leading arms of all: what the pictures and the page are drawn
        from.
        """
        metrics, devices, arms = [], [], {}
        for run, label, state in zip(self.runs, self.labels, self.states(), strict=True):
            metrics.append(run.arm(run.lead).assign(arm=label))
            devices.append(run.devices[run.devices["arm"] == run.lead].assign(arm=label))
            place = {"state": state, "folder": str(run.folder)}
            arms[label] = {**run.final(run.lead), **_declared(run), **place}
        rows = [part for part in devices if len(part)]
        first = self.runs[0].config
        shared = [
            key for key in first if all(run.config.get(key) == first[key] for run in self.runs)
        ]
        return Run(
            Path("comparison"),
            {key: first[key] for key in shared},
            pd.concat(metrics, ignore_index=True),
            pd.concat(rows, ignore_index=True) if rows else devices[0],
            self._summary(arms),
            None,
            tuple(self.notes),
            tuple(dict.fromkeys(column for run in self.runs for column in run.columns)),
            self.presentation,
        )

    def _summary(self, arms: dict[str, Any]) -> dict[str, Any]:
        """The summary of the merged run: what the runs have in common, and in what they differ."""
        first = self.runs[0]
        data = ((first.summary or {}).get("data") or {}) if first.learns else {}
        subject = [
            f"{len(self.runs)} runs compared" if len(self.runs) > 1 else "1 run",
            str(data.get("name", "")),
        ]
        what = ", ".join(self.differing) or "nothing in their configs"
        shown = ", ".join(sorted({run.lead for run in self.runs}))
        several = f"They differ in {what}. Shown of each: {shown}."
        return {
            "run": "comparison",
            "subject": " · ".join(part for part in subject if part),
            "headline": several if len(self.runs) > 1 else f"Shown: {shown}.",
            "compared": True,
            "arms": arms,
            "data": {key: data[key] for key in _DATA if key in data},
        }


def _declared(run: Run) -> dict[str, Any]:
    """The numbers of the run's summary that its scenario declared for comparisons."""
    return run.presentation.figures("compare", run.summary or {})


def _state(run: Run) -> str:
    diverged = run.final(run.lead).get("diverged")
    if diverged:
        return f"diverged in round {diverged['round']}"
    if run.summary is not None:
        return "finished"
    last = int(run.arm(run.lead)["round"].max())
    return f"unfinished (round {last} of {run.config.get('rounds', '?')})"


# --- what differs ---------------------------------------------------------------------------------


def _require_all_learn_or_none(runs: list[Run]) -> None:
    begun = [run for run in runs if run.arms]
    for run in begun[1:]:
        if run.learns != begun[0].learns:
            said = ("learns", "does not") if run.learns else ("does not learn", "does")
            valid = (
                f"{said[0]}, and {begun[0].folder} {said[1]}; only runs that share what they"
                " measure can be compared"
            )
            raise ConfigError("/run folder", run.folder, valid)


def _require_same_data(runs: list[Run]) -> None:
    """What a run found in its data counts as well, where it came so far: a file may have changed
    under the same name. Runs that do not learn have none."""
    known = [run for run in runs if run.config.get("data") and (run.learns or not run.arms)]
    for run in known[1:]:
        both = [_flat(learnt_from(one.config["data"])) for one in (known[0], run)]
        found = [(one.summary or {}).get("data") or {} for one in (known[0], run)]
        if all(found):
            both = [
                {**flat, **{f"{key} found": facts.get(key) for key in _DATA}}
                for flat, facts in zip(both, found, strict=True)
            ]
        keys = (
            key for key in dict.fromkeys([*both[0], *both[1]]) if key not in _LEARNT_DIFFERENTLY
        )
        differs = [key for key in keys if both[0].get(key) != both[1].get(key)]
        if differs:
            key = differs[0]
            theirs, ours = (flat.get(key) for flat in both)
            if key == "_target_":
                theirs, ours = (choice("data", one.config["data"]) for one in (known[0], run))
            where = "data" if key == "_target_" else f"data.{key}"
            valid = (
                f"{known[0].folder} has {typed(theirs)}; only runs of the same data can be compared"
            )
            raise ConfigError(f"/{run.folder}: {where}", ours, valid)


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    if not isinstance(node, dict):
        return {prefix: node}
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def _differing(configs: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Keys whose values are not the same everywhere.

    Of a section of which different options were chosen, only which.
    """
    chosen: dict[str, list[str]] = {}
    found: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for config in configs for key in config if key not in UNIMPORTANT):
        nodes = [config.get(key) for config in configs]
        targets = [node.get("_target_") if isinstance(node, dict) else None for node in nodes]
        if len(set(targets)) > 1:
            chosen[key] = [_named(key, node) for node in nodes]
            continue
        flats = [_flat(node, key) for node in nodes]
        for inner in dict.fromkeys(inner for flat in flats for inner in flat):
            values = [typed(flat.get(inner, "–")) for flat in flats]
            if len(set(values)) > 1:
                found[inner] = values
    return chosen | found


def _named(group: str, node: Any) -> str:
    return choice(group, node) if isinstance(node, dict) and "_target_" in node else typed(node)


def _telling(differing: dict[str, list[str]]) -> list[str]:
    """Keys for a label: those that tell runs apart which those before leave alike; then others,
    while there is room.
    """
    keys = [key for key in differing if key not in _UNNAMED]
    needed: list[str] = []
    groups = 1
    for key in keys:
        if (
            split := len(set(zip(*(differing[name] for name in [*needed, key]), strict=True)))
        ) > groups:
            needed, groups = [*needed, key], split
    others = [key for key in keys if key not in needed][: max(0, _NAMED - len(needed))]
    return [key for key in keys if key in needed or key in others]


def _labels(runs: list[Run], differing: dict[str, list[str]]) -> list[str]:
    named = {key: differing[key] for key in _telling(differing)}
    labels = [
        ", ".join(
            values[i] if isinstance(run.config.get(key), dict) else f"{key}={values[i]}"
            for key, values in named.items()
        )
        for i, run in enumerate(runs)
    ]
    for name in (lambda run: run.folder.resolve().name, lambda run: str(run.folder)):
        if len(set(labels)) < len(labels) or not all(labels):
            labels = [
                ", ".join(filter(None, (label, name(run))))
                for label, run in zip(labels, runs, strict=True)
            ]
    return [
        f"{label} ({i + 1})" if labels.count(label) > 1 else label for i, label in enumerate(labels)
    ]
