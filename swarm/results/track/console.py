"""The run in the terminal: a line per arm while it goes, one table when it is over."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from swarm.common.errors import counted
from swarm.results.columns import DEFAULTS, Score, distance, heading, human, main, main_of, on
from swarm.results.presentation import UNDECLARED, UNIQUE, Presentation
from swarm.results.track.base import Tracker
from swarm.results.track.units import (
    headline,
    how_it_ended,
    human_bytes,
    human_energy,
    human_score,
    human_time,
    sparkline,
    stopped_early,
    virtual_time,
    where_diverged,
)
from swarm.simulation.metrics.base import Column
from swarm.simulation.metrics.formulas import gap_closed

# columns; below, what is drawn and what costs little to leave out makes room for the figures
_NARROW = 72
# without a terminal: a line per tenth of the rounds, and one after this long without any
_LINE_EVERY_S = 10.0


class ConsoleSink(Tracker):
    """In a terminal a line per arm (its scores as a sparkline, the last one, a bar), and below what
    goes on in the present one: the gap closed so far, devices awake, messages, local steps a
    second, time left. Plain lines anywhere else.

    The gap closed so far compares the leading arm with the lower and the upper one at the latest
    round that all three have been evaluated at; arms run one after the other, so it appears with
    the last of them.

    Args:
        console: Where to draw; by default standard output. ``console.is_terminal`` chooses live
            view or lines.
        past: Records of a run that is resumed: its sparklines and its gap begin with them.
        presentation: Of the run; it says which arms lie at the ends of the gap.
        columns: Of the run; they say which number is its main score.
    """

    is_tracker = False

    def __init__(
        self,
        console: Console | None = None,
        past: Iterable[dict[str, Any]] = (),
        presentation: Presentation = UNDECLARED,
        columns: Sequence[Column] = DEFAULTS,
    ) -> None:
        self._presentation, self._columns = presentation, columns
        self.console = console if console is not None else Console()
        self._live: Live | None = None
        self._bars: dict[str, _Bar] = {}
        self._arm, self._rounds, self._done, self._round, self._steps = "", 0, 0, 0, 0.0
        self._began = self._printed = 0.0
        self._shown = -1
        self._score: _Value | None = None
        self._record: dict[str, Any] = {}
        self._curves: dict[str, dict[int, float]] = {}
        for record in past:
            self._remember(record)

    def start(self, arm: str, rounds: int, done: int) -> None:
        """Opens the arm's line at ``done`` of ``rounds``."""
        self._arm, self._rounds, self._done, self._round, self._steps = arm, rounds, done, done, 0.0
        self._began = self._printed = time.perf_counter()
        self._score, self._shown, self._record = None, 10 * done // max(rounds, 1), {}
        if not self.console.is_terminal:
            return
        self._bars[arm] = _Bar(rounds, done)
        if self._live is None:
            self._live = Live(get_renderable=self._view, console=self.console, refresh_per_second=4)
            self._live.start()

    def record(self, record: dict[str, Any]) -> None:
        """Moves the bar, or prints a line when a tenth of the rounds or ten seconds have passed."""
        self._round = int(record["round"])
        self._steps += float(record.get("steps") or 0)
        self._record |= {key: value for key, value in record.items() if value is not None}
        self._score = self._main(record) or self._score
        self._remember({"arm": self._arm, **record})
        if self._live is not None:
            self._bars[self._arm].round, self._bars[self._arm].score = self._round, self._score
            return
        tenth, now = 10 * self._round // max(self._rounds, 1), time.perf_counter()
        if self._round > 0 and (tenth > self._shown or now - self._printed >= _LINE_EVERY_S):
            self._shown, self._printed = tenth, now
            self.console.print(self._line(), markup=False, highlight=False, soft_wrap=True)

    def finish(self, arm: str, summary: dict[str, Any]) -> None:
        """Completes the bar, or says where the arm diverged or which round was best."""
        note = how_it_ended(summary)
        if self._live is not None:
            self._bars[arm].note = note or human_time(summary.get("wall_s"))
            self._bars[arm].failed = bool(summary.get("diverged"))
            self._arm = ""
        elif note:
            self.console.print(f"{arm}  {note}", markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Ends the live display; it stays as it is last seen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, sentence: str) -> None:
        """A line of its own, above the live view."""
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    # --- what is known so far ---------------------------------------------------------------------

    def _main(self, record: dict[str, Any]) -> _Value | None:
        """The main score of a record, or while the arm has had none its distance."""
        score = main_of(record, self._columns)
        if score is None and (self._score is None or self._score.score.logarithmic):
            score = distance(self._columns, lambda key: record.get(key) is not None)
        if score is None or record.get(score.mean) is None:
            return None
        return _Value(score, float(record[score.mean]), int(record["round"]))

    def _remember(self, record: dict[str, Any]) -> None:
        score = main_of(record, self._columns)
        if score is not None:
            curve = self._curves.setdefault(str(record["arm"]), {})
            curve[int(record["round"])] = float(record[score.mean])

    def _gap(self) -> str:
        lead, lower, upper = (self._presentation.named(role) or "" for role in UNIQUE)
        names = lead, lower, upper
        curves = [self._curves.get(arm, {}) for arm in names]
        rounds = set.intersection(*(set(curve) for curve in curves))
        other = self._score is not None and self._score.score != main_of(self._record)
        if not rounds or other:  # at the end the gap is one of accuracy, or of R²
            return ""
        latest = max(rounds)
        scores = [curve[latest] for curve in curves]
        closed, _ = gap_closed(scores[0], scores[1], scores[2], names)
        return (
            "" if closed is None else f"gap closed so far {round(100 * closed)}% (round {latest})"
        )

    def _facts(self) -> list[str]:
        """What goes on in the present arm."""
        known = self._record
        left = self._left() if self._round < self._rounds else None
        facts = ["" if left is None else human_time(left) + " left", self._gap()]
        if self._live is not None and (at := self._measured_at()):
            facts.append(f"last evaluated{at}")
        if known.get("awake") is not None:
            facts.append(f"{int(known['awake']):,} awake")
        if known.get("concept") is not None:
            facts.append(f"concept {int(known['concept'])}")
        if known.get("messages_total"):
            facts.append(f"{counted(int(known['messages_total']), 'message')}")
        if self._steps:
            facts.append(f"{self._rate():,.0f} steps/s")
        return [fact for fact in facts if fact]

    def _rate(self) -> float:
        return self._steps / max(time.perf_counter() - self._began, 1e-9)

    def _left(self) -> float | None:
        fresh = self._round - self._done
        if fresh <= 0:
            return None
        return (time.perf_counter() - self._began) / fresh * max(self._rounds - self._round, 0)

    def _measured_at(self) -> str:
        """The round of the score shown, if that is an earlier one than the present round."""
        if self._score is None or self._score.round == self._round:
            return ""
        return f" (round {self._score.round})"

    # --- the two views ----------------------------------------------------------------------------

    def _line(self) -> str:
        score = [self._score.text + self._measured_at()] if self._score else []
        return f"{self._arm:<12} round {self._round}/{self._rounds}  " + "  ".join(
            [*score, *self._facts()]
        )

    def _view(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True, max_width=14, overflow="ellipsis")
        for _ in range(2 if self.console.width < _NARROW else 4):
            table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for arm, bar in self._bars.items():
            points = [value for _, value in sorted(self._curves.get(arm, {}).items())]
            spark = (
                sparkline(points) if (self.console.encoding or "").lower().startswith("utf") else ""
            )
            last = bar.score.text if bar.score else ""
            share = f"{100 * bar.round // max(bar.rounds, 1):>3.0f}%"
            note = Text(bar.note, style="red" if bar.failed else "")
            meter = ProgressBar(total=max(bar.rounds, 1), completed=bar.round, width=12)
            figures: list[RenderableType] = [Text(last), Text(share)]
            if self.console.width >= _NARROW:
                figures = [Text(spark, style="cyan"), Text(last), meter, Text(share)]
            table.add_row(Text(arm), *figures, note)
        return (
            Group(table, Text(" · ".join(self._facts()), style="dim"))
            if self._arm
            else Group(table)
        )


@dataclass(frozen=True)
class _Value:
    """What an arm has come to: a score, or a distance, its value, and when it was measured."""

    score: Score
    value: float
    round: int

    @property
    def text(self) -> str:
        """``accuracy 0.912``, or ``distance 1.3e-02``."""
        if self.score.logarithmic:
            return f"distance {self.value:.1e}"
        return f"{self.score.label} {self.value:.3f}"


@dataclass
class _Bar:
    """An arm's line."""

    rounds: int
    round: int
    note: str = ""
    failed: bool = False
    score: _Value | None = None


def print_summary(
    summary: dict[str, Any],
    console: Console | None = None,
    columns: Sequence[Column] = DEFAULTS,
    presentation: Presentation = UNDECLARED,
) -> None:
    """Prints the closing table of a run, the sentence that its scenario concludes with, and the
    arms that diverged or have a best round.

    Args:
        summary: The contents of ``summary.json``.
        console: Where to print; by default standard output. Fits 80 columns.
        columns: Of the run: the main score is in the table; further ones get one of their own.
        presentation: Of the run: its leading arm is in bold.
    """
    console = console if console is not None else Console()
    arms: dict[str, dict[str, Any]] = summary.get("arms", {})
    if any(main_of(arm, columns) for arm in arms.values()):
        console.print(summary_table(arms, console.width, presentation.lead(arms), columns))
    said = headline(summary, presentation)
    if said:
        console.print(said, markup=False, highlight=False)
    first = _main(arms, columns)
    further = [
        column
        for column in on(columns, "table")
        if _measured(arms, column.key) and (first is None or column.key != first.mean)
    ]
    if further:
        console.print(further_table(arms, further))
    for name, arm in arms.items():
        if arm.get("diverged"):
            where = where_diverged(arm["diverged"], joint=" in ")
            said = f"diverged:[/red] {escape(where)}; its row is the last evaluation before."
            console.print(f"[red]{escape(name)} {said}")
        elif best := stopped_early(arm):
            console.print(f"{name}: {best}.", markup=False, highlight=False)


def summary_table(
    arms: dict[str, dict[str, Any]],
    width: int = 80,
    lead: str = "",
    columns: Sequence[Column] = DEFAULTS,
) -> Table:
    """The closing table: one row per arm, scores first, then what they cost; fewer columns where
    ``width`` is small. The row of ``lead`` is in bold.
    """
    first = _main(arms, columns)
    label = "score" if first is None else first.label.replace(" ", "\n")
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 0 if width < _NARROW else 1),
        header_style="bold",
        pad_edge=False,
    )
    table.add_column("arm", no_wrap=True, overflow="ellipsis", max_width=16)
    fleet = any("joules_total" in arm for arm in arms.values())  # 80 columns have no room for both
    heads = (f"{label}\nmean", "worst\ndecile", "consen-\nsus", "bytes\nsent", "virtual\ntime")
    kept = (0, 1, 3) if width < _NARROW else range(6)
    for head in ((*heads, "energy" if fleet else "wall\ntime")[i] for i in kept):
        table.add_column(head, justify="right", no_wrap=True)
    for name, arm in arms.items():
        score = main_of(arm, columns) or first
        keys = (score.mean, score.worst_decile, score.consensus) if score else ("", "", "")
        values = [
            *(human_score(arm.get(key)) for key in keys),
            human_bytes(arm.get("bytes_total")),
            human_time(virtual_time(arm, arms.values())),
            human_energy(arm.get("joules_total")) if fleet else human_time(arm.get("wall_s")),
        ]
        style = "red" if arm.get("diverged") else "bold" if name == lead else ""
        table.add_row(escape(name), *(values[i] for i in kept), style=style)
    return table


def further_table(arms: dict[str, dict[str, Any]], columns: Sequence[Column]) -> Table:
    """The metrics that a run has beside the usual ones: a row for each, a column for each arm."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), header_style="bold", pad_edge=False)
    table.add_column("metric")
    for name in arms:
        table.add_column(escape(name), justify="right", no_wrap=True, overflow="ellipsis")
    for column in columns:
        values = [human(arm.get(column.key)) for arm in arms.values()]
        table.add_row(escape(heading(column)), *values)
    return table


def _main(arms: dict[str, dict[str, Any]], columns: Sequence[Column]) -> Score | None:
    """The main score of the arms together."""
    return main(columns, lambda key: _measured(arms, key))


def _measured(arms: dict[str, dict[str, Any]], key: str) -> bool:
    return any(arm.get(key) is not None for arm in arms.values())
