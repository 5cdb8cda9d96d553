"""The run in the terminal: one progress line per arm while it goes, one table when it is over."""

from __future__ import annotations

import time
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from swarm.track.base import Tracker
from swarm.track.units import (
    contraction_sentence,
    gap_sentence,
    human_bytes,
    human_energy,
    human_score,
    human_time,
    score_name,
    virtual_time,
)

_LABEL = {"accuracy": "accuracy", "r2": "R²"}
_LINE_EVERY_S = 10.0  # without a terminal: a line per tenth of the rounds, and one after this long without any


class ConsoleSink(Tracker):
    """A live bar per arm in a terminal (score so far, local steps a second, time left); plain lines anywhere else.

    Args:
        console: Where to draw; by default standard output. ``console.is_terminal`` chooses bar or lines.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console if console is not None else Console()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._arm, self._rounds, self._done, self._round, self._steps = "", 0, 0, 0, 0.0
        self._began = self._printed = 0.0
        self._shown = -1
        self._score: tuple[str, float] | None = None

    def start(self, arm: str, rounds: int, done: int) -> None:
        """Opens the arm's bar at ``done`` of ``rounds``."""
        self._arm, self._rounds, self._done, self._round, self._steps = arm, rounds, done, done, 0.0
        self._began = self._printed = time.perf_counter()
        self._score, self._shown = None, 10 * done // max(rounds, 1)
        if not self.console.is_terminal:
            return
        if self._progress is None:
            self._progress = _bars(self.console)
            self._progress.start()
        self._task = self._progress.add_task(escape(arm), total=rounds, completed=done, note="starting")

    def record(self, record: dict[str, Any]) -> None:
        """Moves the bar, or prints a line when a tenth of the rounds or ten seconds have passed."""
        self._round, self._steps = int(record["round"]), self._steps + float(record.get("steps") or 0)
        name = score_name(record)
        if name is not None:
            self._score = (_LABEL[name], float(record[f"{name}_mean"]))
        elif (self._score or ("distance",))[0] == "distance" and record.get("consensus_distance") is not None:
            self._score = ("distance", float(record["consensus_distance"]))
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=self._round, note=self._note())
            return
        tenth, now = 10 * self._round // max(self._rounds, 1), time.perf_counter()
        if self._round > 0 and (tenth > self._shown or now - self._printed >= _LINE_EVERY_S):
            self._shown, self._printed = tenth, now
            self.console.print(self._line(), markup=False, highlight=False, soft_wrap=True)

    def finish(self, arm: str, summary: dict[str, Any]) -> None:
        """Completes the bar, or says at which device and round the arm diverged."""
        diverged = summary.get("diverged")
        note = f"diverged: device {diverged['device']}, round {diverged['round']}" if diverged else ""
        if self._progress is not None and self._task is not None:
            style = f"[red]{note}[/red]" if diverged else f"{self._score_text()} {human_time(summary.get('wall_s'))}"
            self._progress.update(self._task, completed=None if diverged else self._rounds, note=style)
            self._progress.stop_task(self._task)
        elif diverged:
            self.console.print(f"{arm}  {note}", markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Ends the live display."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def say(self, sentence: str) -> None:
        """A line of its own, above the bars."""
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def _rate(self) -> float:
        return self._steps / max(time.perf_counter() - self._began, 1e-9)

    def _left(self) -> float | None:
        fresh = self._round - self._done
        if fresh <= 0:
            return None
        return (time.perf_counter() - self._began) / fresh * max(self._rounds - self._round, 0)

    def _score_text(self) -> str:
        return f"{self._score[0]} {_number(*self._score)} " if self._score else ""

    def _note(self) -> str:
        left = human_time(self._left()) + " left" if self._round < self._rounds else ""
        rate = f" {self._rate():,.0f} steps/s" if self._steps else ""
        return f"{self._score_text()}{rate}  {left}"

    def _line(self) -> str:
        return f"{self._arm:<12} round {self._round}/{self._rounds}  {self._note()}".rstrip()


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """Prints the closing table of a run, the share of the gap that the swarm closed, and the arms that diverged.

    Args:
        summary: The contents of ``summary.json``.
        console: Where to print; by default standard output. Fits 80 columns.
    """
    console = console if console is not None else Console()
    arms: dict[str, dict[str, Any]] = summary.get("arms", {})
    if any(score_name(arm) for arm in arms.values()):
        console.print(summary_table(arms))
        console.print(gap_sentence(summary), markup=False, highlight=False)
    contraction = contraction_sentence(summary)
    if contraction is not None:
        console.print(contraction, markup=False, highlight=False)
    for name, arm in arms.items():
        if arm.get("diverged"):
            where = f"device {arm['diverged']['device']} in round {arm['diverged']['round']}"
            console.print(f"[red]{escape(name)} diverged:[/red] {where}; its row is the last evaluation before.")


def summary_table(arms: dict[str, dict[str, Any]]) -> Table:
    """The closing table: one row per arm, scores first, then what they cost."""
    names = {score_name(arm) for arm in arms.values()} - {None}
    label = "R²" if names == {"r2"} else "accuracy"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), header_style="bold", pad_edge=False)
    table.add_column("arm", no_wrap=True, overflow="ellipsis", max_width=16)
    fleet = any("joules_total" in arm for arm in arms.values())  # 80 columns have no room for both
    heads = (f"{label}\nmean", "worst\ndecile", "consen-\nsus", "bytes\nsent", "virtual\ntime")
    for head in (*heads, "energy" if fleet else "wall\ntime"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, arm in arms.items():
        score = score_name(arm) or "accuracy"
        values = [human_score(arm.get(f"{score}_mean")), human_score(arm.get(f"{score}_p10")),
                  human_score(arm.get(f"consensus_{score}")), human_bytes(arm.get("bytes_total")),
                  human_time(virtual_time(arm, arms.values()))]  # fmt: skip
        values.append(human_energy(arm.get("joules_total")) if fleet else human_time(arm.get("wall_s")))
        style = "red" if arm.get("diverged") else "bold" if name == "swarm" else ""
        table.add_row(escape(name), *values, style=style)
    return table


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<11}"), BarColumn(bar_width=12), TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[note]}"), console=console, refresh_per_second=4,
    )  # fmt: skip


def _number(label: str, value: float) -> str:
    return f"{value:.1e}" if label == "distance" else f"{value:.3f}"
