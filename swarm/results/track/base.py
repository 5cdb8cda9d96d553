"""The interface of everything that receives a run's records, and the fan-out that keeps mirrors
from failing a run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from swarm.common.plugin import called, fault_of
from swarm.results.columns import for_trackers
from swarm.simulation.metrics.base import Column

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

SLOW_S = 20.0  # a mirror that takes this long, and half of the time, is named
DEVICES = "_device_"
"""How the key begins under which a record brings each device's value of the main score."""


def device_scores(record: Mapping[str, Any]) -> dict[str, Floats]:
    """What a record brings of each device, under the name of its histogram (``device_accuracy``);
    nothing where it evaluated nobody."""
    found = {
        key.removeprefix("_"): np.asarray(values, dtype=np.float64)
        for key, values in record.items()
        if key.startswith(DEVICES) and values is not None
    }
    return {key: values for key, values in found.items() if len(values)}


@runtime_checkable
class Sink(Protocol):
    """Receives the records of a run, one arm after another.

    A *record* is one flat ``metrics.jsonl`` line as a dict: ``arm``, ``round``, then scalars. Keys
    that begin with an underscore (``_device_accuracy``, or by what the run's main score is called:
    one value per device) are extras for mirrors and are not part of the file.
    """

    def configure(self, arm: str, config: dict[str, Any]) -> None:
        """What an arm runs with: its own resolved config, not the run's, with ``arm`` and the
        chosen learning rate in it. Of every arm before its :meth:`start`, also of one that was over
        before the run was resumed."""

    def start(self, arm: str, rounds: int, done: int) -> None:
        """An arm of ``rounds`` rounds begins, or goes on after ``done`` rounds that are already on
        disk.
        """

    def record(self, record: dict[str, Any]) -> None:
        """One round of the arm that was started last."""

    def finish(self, arm: str, summary: dict[str, Any]) -> None:
        """The arm is over; ``summary`` is its entry of ``summary.json``."""

    def conclude(self, summary: dict[str, Any]) -> None:
        """All arms are over; ``summary`` is ``summary.json``."""

    def attach(self, files: Sequence[Path]) -> None:
        """All arms are over and the run's pictures drawn: ``curves.png``, ``report.html``,
        ``graph.png``.
        """

    def close(self) -> None:
        """The run is over (also after an error or Ctrl-C). May be called twice."""


@dataclass(frozen=True)
class SweepRecord:
    """What a sweep has found.

    Attributes:
        score: The name of the main score.
        lines: The title and the curve of each combination of the swept values, and of each control:
            a table with the column ``score``, and those of ``round``, ``bytes_total`` and
            ``virtual_s`` that the runs have.
        table: A row for each combination.
        image: The file of the sweep's picture.
    """

    score: str
    lines: Sequence[tuple[str, pd.DataFrame]]
    table: pd.DataFrame
    image: Path


class Tracker:
    """A sink that ignores everything: the base class of trackers, and the tracker of
    ``tracker=none``.

    A tracker whose ``deadline_s`` is a number is called on a thread of its own, in the same order,
    while the run goes on; one that takes longer over a call counts as failed. A call that does many
    things, such as writing all earlier records again, adds to ``steps`` after each.
    """

    deadline_s: float | None = None
    steps: int = 0

    @classmethod
    def options_of_job(
        cls, sweep: str, config: Mapping[str, Any], swept: Mapping[str, str]
    ) -> dict[str, str]:
        """Return options of this tracker for one job of a sweep, for those that the user leaves
        open: the name of the sweep, the job's config and its swept values may go into them."""
        return {}

    def missing(self, arms: Sequence[str], files: Sequence[Path] = ()) -> list[str]:
        """What this tracker has not got in full of a finished run, as the process was killed before
        it was told: some of the ``arms``, and a name for ``files``, which belong to :meth:`attach`.
        If there is anything, a resume calls :meth:`configure` for all arms, :meth:`conclude`, which
        is to make up for those arms, and :meth:`attach`. A tracker that does not override this
        method is not built for a run that is finished."""
        return []

    def record_sweep(self, found: SweepRecord) -> None:
        """A sweep is over. The tracker was built for it alone, with the folder and the name of the
        sweep. One that does not override this method is not built."""

    def configure(self, arm: str, config: dict[str, Any]) -> None:
        """See :meth:`Sink.configure`."""

    def start(self, arm: str, rounds: int, done: int) -> None:
        """See :meth:`Sink.start`."""

    def record(self, record: dict[str, Any]) -> None:
        """See :meth:`Sink.record`."""

    def finish(self, arm: str, summary: dict[str, Any]) -> None:
        """See :meth:`Sink.finish`."""

    def conclude(self, summary: dict[str, Any]) -> None:
        """See :meth:`Sink.conclude`."""

    def attach(self, files: Sequence[Path]) -> None:
        """See :meth:`Sink.attach`."""

    def close(self) -> None:
        """See :meth:`Sink.close`."""


class Fanout:
    """Hands each call to ``primary`` first, then to every mirror.

    An error of ``primary`` (``metrics.jsonl``: a full disk) ends the run. An error of a mirror
    never does: the mirror is closed, named in one warning, and left out from then on.

    Args:
        primary: The sink whose errors count.
        mirrors: Sinks that may fail.
        warn: Receives the one-sentence warning; by default the module's logger.
        columns: Of the run's metrics; mirrors do not get those that are not for trackers.
    """

    def __init__(
        self,
        primary: Sink,
        mirrors: Sequence[Sink] = (),
        warn: Callable[[str], None] | None = None,
        columns: Sequence[Column] = (),
    ) -> None:
        self._columns = columns
        self._primary = primary
        self._mirrors = list(mirrors)
        self._warn = warn if warn is not None else logging.getLogger(__name__).warning
        self._began = time.perf_counter()
        self._took: dict[str, float] = {}  # seconds, by what a mirror is called
        self._slow: set[str] = set()
        self._runs = False

    def configure(self, arm: str, config: dict[str, Any]) -> None:
        """See :meth:`Sink.configure`."""
        self._primary.configure(arm, config)
        self._mirror(lambda sink: sink.configure(arm, dict(config)))

    def start(self, arm: str, rounds: int, done: int) -> None:
        """See :meth:`Sink.start`."""
        self._runs = True
        self._primary.start(arm, rounds, done)
        self._mirror(lambda sink: sink.start(arm, rounds, done))

    def record(self, record: dict[str, Any]) -> None:
        """See :meth:`Sink.record`.

        Each mirror gets its own copy: none can change what another sees.
        """
        self._primary.record(record)
        self._mirror(lambda sink: sink.record(self._meant_for(sink, record)))

    def finish(self, arm: str, summary: dict[str, Any]) -> None:
        """See :meth:`Sink.finish`."""
        self._primary.finish(arm, summary)
        self._mirror(lambda sink: sink.finish(arm, self._meant_for(sink, summary)))

    def conclude(self, summary: dict[str, Any]) -> None:
        """See :meth:`Sink.conclude`."""
        self._primary.conclude(summary)
        self._mirror(lambda sink: sink.conclude(dict(summary)))

    def attach(self, files: Sequence[Path]) -> None:
        """See :meth:`Sink.attach`."""
        self._primary.attach(files)
        self._mirror(lambda sink: sink.attach(list(files)))

    def close(self) -> None:
        """Closes every sink, the mirrors too when closing ``primary`` fails."""
        try:
            self._primary.close()
        finally:
            self._mirror(lambda sink: sink.close())

    def _mirror(self, call: Callable[[Sink], None]) -> None:
        for sink in list(self._mirrors):
            # SystemExit: a library that gives up by sys.exit. Ctrl-C stays the user's and goes
            # through.
            try:
                began = time.perf_counter()
                call(sink)
                self._say_if_slow(sink, time.perf_counter() - began)
            except (Exception, SystemExit) as error:
                self._mirrors = [other for other in self._mirrors if other is not sink]
                self.drop(sink, error)

    def _meant_for(self, sink: Sink, record: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of the record, less what trackers are not to get; the terminal is none."""
        is_tracker = getattr(sink, "is_tracker", True)
        return for_trackers(record, self._columns) if is_tracker else dict(record)

    def _say_if_slow(self, sink: Sink, seconds: float) -> None:
        """Say once that a mirror takes most of the time of a run, if one goes on."""
        if not self._runs:
            return
        name = getattr(sink, "called", None) or called(sink)
        took = self._took[name] = self._took.get(name, 0.0) + seconds
        since = time.perf_counter() - self._began
        if took > SLOW_S and 2 * took > since and name not in self._slow:
            self._slow.add(name)
            text = f"{name} has taken {took:.0f} of the {since:.0f} s since the start, in which the"
            self._warn(f"warning: {text} run waited for it.")

    def drop(self, sink: Sink, error: BaseException) -> None:
        """Close a mirror that has failed, and say so."""
        fault = fault_of(error)  # of a plug-in: which call, what it raises, and the line
        said = str(error) if fault is None else fault.valid
        reason = " ".join(said.split()) or type(error).__name__
        name = getattr(sink, "called", None) or called(sink)
        self._warn(f"{name} stopped: {reason}. The run goes on; metrics.jsonl is complete.")
        _close(sink)


class Strict(Fanout):
    """A fan-out whose mirrors may not fail: an error of one is raised."""

    def drop(self, sink: Sink, error: BaseException) -> None:
        """Close the mirror, and raise its error."""
        _close(sink)
        raise error


def _close(sink: Sink) -> None:
    """Close a mirror that has failed, which was said; one that cannot even close has nothing left
    to report."""
    try:
        sink.close()
    except (Exception, SystemExit) as second:
        logging.getLogger(__name__).debug("%s did not close: %s", type(sink).__name__, second)
