"""A run folder as data frames: what ``swarm.load`` returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.names import choices, finder
from swarm.config.schema import read_json
from swarm.learning import buffers as constants
from swarm.learning.cohorts.saved import COHORT, own_state, saved_layout
from swarm.results import columns
from swarm.results.columns import DEFAULTS, Score
from swarm.results.folder import typed_words
from swarm.results.folder.run_tables import devices_in, metrics_in, no_devices
from swarm.results.folder.saved_rows import saved_rows
from swarm.results.presentation import UNDECLARED, Presentation, stored
from swarm.results.schemas import Graph, Summary, read_config, read_summary
from swarm.simulation.metrics.base import Column

T = TypeVar("T")
# what many runs by one command leave beside their folders; the layer that writes it lies above
SWEEP = "sweep.json"


@dataclass(frozen=True)
class Run:
    """A run, finished or not, as it lies in its folder.

    Attributes:
        folder: Where it was read from.
        config: The resolved config.
        metrics: One row per arm and round, the keys of ``metrics.jsonl`` as columns (NaN where a
            round has no value).
        devices: One row per arm, evaluated round and device; no rows where the run wrote none yet.
        summary: ``summary.json``, or ``None`` while the run is unfinished.
        graph: ``graph.json``, or ``None``.
        notes: What of it could not be read, a sentence each; only :func:`load_partial` leaves any.
        columns: What the run's numbers are called, where they are shown, and which is its main
            score.
        presentation: What the run's scenario says of its arms and of its numbers.
        overrides: Its settings as they were typed, ``topology=ring``; None if it is not known.
    """

    folder: Path
    config: dict[str, Any]
    metrics: pd.DataFrame
    devices: pd.DataFrame
    summary: dict[str, Any] | None
    graph: dict[str, Any] | None
    notes: tuple[str, ...] = ()
    columns: tuple[Column, ...] = DEFAULTS
    presentation: Presentation = UNDECLARED
    overrides: tuple[str, ...] | None = None

    @property
    def lead(self) -> str:
        """The arm that pictures and tables put in front; empty while no arm has records."""
        return self.presentation.lead(self.arms)

    @property
    def arms(self) -> list[str]:
        """The arms that have records, in the order in which they ran."""
        return [str(arm) for arm in self.metrics["arm"].unique()]

    @property
    def score(self) -> str | None:
        """The name of the main score: ``accuracy``, ``r2``, or a metric of the user's own; ``None``
        in a run without learning."""
        return None if self.main is None else self.main.name

    @property
    def main(self) -> Score | None:
        """The main score: the first metric of the run that can be it and has a value."""
        return columns.main(self.columns, self._has)

    @property
    def distance(self) -> Score:
        """What stands in the place of a score in a run without one."""
        return columns.distance(self.columns, self._has)

    def _has(self, key: str) -> bool:
        return key in self.metrics and bool(self.metrics[key].notna().any())

    @property
    def learns(self) -> bool:
        """Whether any arm has taken a local step, or has a score."""
        return self.score is not None or (
            "steps" in self.metrics and bool((self.metrics["steps"] > 0).any())
        )

    def arm(self, name: str) -> pd.DataFrame:
        """The records of one arm by round."""
        rows: pd.DataFrame = self.metrics[self.metrics["arm"] == name].sort_values(
            "round", ignore_index=True
        )
        return rows

    def rows(self, arm: str, best: bool = False) -> NDArray[np.generic]:
        """The parameters of an arm's devices at its newest checkpoint, ``[N, P]`` in device order:
        what ``params_sha256`` is the hash of, in a run with ``personal`` together with what devices
        keep beside them (:func:`swarm.common.rows.params_sha256`). With ``best`` those of its best
        round, as ``early_stopping.metric`` finds it.
        """
        return np.asarray(saved_rows(self.folder, arm, self.arms, best).arrays["x"].numpy())

    @property
    def names(self) -> list[str | None] | None:
        """What the devices are called, in their order; None where they have numbers only."""
        names: list[str | None] | None = (self.graph or {}).get("names")
        return names

    def device(self, name: str) -> int:
        """The number of the device of this name: of the owner of its data, or of its node of the
        graph.

        Raises:
            ConfigError: no device is called so.
        """
        count = int((self.graph or {}).get("n") or 0)
        found = finder(self.names, count)(name)
        if found is None:
            raise ConfigError(
                "/device",
                name,
                f"no device is called so; they are {choices(self.names, max(count, 1), name)}",
            )
        return found

    def state_dict(self, arm: str, device: int | str, best: bool = False) -> dict[str, Tensor]:
        """One device's parameters at the newest checkpoint, or at the ``best`` round, as
        ``module.load_state_dict`` takes them: under all their names where they are tied, and with
        the module's buffers.

        ``device`` is its number, or as text its name. An arm with one pooled model has device 0
        only. :func:`swarm.save_start` writes them to a file that ``init=FILE`` starts another run
        from.
        """
        saved = saved_rows(self.folder, arm, self.arms, best)
        x_NP = saved.arrays["x"]
        number = self.device(device) if isinstance(device, str) and len(x_NP) > 1 else device
        known = isinstance(number, int | np.integer) and 0 <= number < len(x_NP)
        if isinstance(number, str | bool) or not known:
            raise ConfigError(
                "/device", device, f"the arm {arm} has the devices 0 to {len(x_NP) - 1}"
            )
        facts, layout = saved.facts, saved_layout(saved.facts)
        buffers = constants.read(self.folder / "checkpoints" / arm, facts.get("buffers"))
        if not facts.get("cohorts"):
            return layout.state_dict(x_NP[number]) | buffers
        cohort = facts["cohorts"][int(saved.arrays[COHORT][number])]
        state, prefix = own_state(cohort, layout, x_NP[number])
        own = {k.removeprefix(prefix): v for k, v in buffers.items() if k.startswith(prefix)}
        return state | own

    def final(self, name: str) -> dict[str, Any]:
        """The arm's entry of ``summary.json``; in an unfinished run, its latest value of every
        metric.
        """
        if self.summary is not None and name in self.summary.get("arms", {}):
            return dict(self.summary["arms"][name])
        latest = self.arm(name).drop(columns="arm").ffill().tail(1).to_dict("records")
        return {str(k): v for k, v in latest[0].items() if pd.notna(v)} if latest else {}

    def final_devices(self, name: str) -> pd.DataFrame:
        """The rows of ``devices`` at the arm's last evaluated round, by device."""
        rows = self.devices[self.devices["arm"] == name]
        last: pd.DataFrame = rows[rows["round"] == rows["round"].max()].sort_values(
            "device", ignore_index=True
        )
        return last


def load(folder: str | Path) -> Run:
    """Reads a run folder.

    An unfinished run loads too: without a summary, and without a torn last record.

    Raises:
        ConfigError: the folder is not a run folder, or one of its files is damaged.
    """
    path = Path(folder)
    _require_run(path, ("config.yaml",))
    return _read(path, None)


def load_numbers(folder: Path) -> Run:
    """Reads the records and the summary of a run, and what they are called: all that a table of
    many runs needs. The run has no config, no graph and no results of single devices.

    Raises as :func:`load`.
    """
    _require_run(folder, ("config.yaml",))
    found = _summary(folder / "summary.json")
    presentation, known = stored.read(folder, found), columns.read(folder)
    summary = stored.with_numbers(presentation, found, folder / "summary.json")
    keys = tuple(column.key for column in known)
    metrics = metrics_in(folder / "metrics.jsonl", None, keys)
    devices = no_devices().copy()
    return Run(
        folder, {}, metrics, devices, summary, None, columns=known, presentation=presentation
    )


def load_partial(folder: str | Path) -> Run:
    """What can be read of a run folder, damaged or not; ``notes`` says what cannot.

    Raises:
        ConfigError: there is no such folder, or nothing of a run in it, or it is that of a sweep.
    """
    path = Path(folder)
    _require_run(path, ("config.yaml", "metrics.jsonl"))
    notes: list[str] = []
    run = _read(path, notes)
    if not (run.config or run.arms):
        raise ConfigError("/run folder", folder, f"nothing of it can be read ({'; '.join(notes)})")
    said = any("metrics.jsonl" in note for note in notes)
    if (run.summary or {}).get("arms") and not run.arms and not said:
        notes.append(f"{path / 'metrics.jsonl'}: has no record, though the run is finished")
    return replace(run, notes=tuple(notes))


def _require_run(path: Path, files: tuple[str, ...]) -> None:
    """Raises ConfigError where none of ``files`` is in ``path``, with what to do where many runs
    are below it.
    """
    if any((path / name).is_file() for name in files):
        return
    if (path / SWEEP).is_file():
        # ring,seed=0/, but not wandb/
        named = any("=" in run.parent.name for run in path.glob("*/config.yaml"))
        valid = (
            f"is a sweep, many runs; python run_swarm.py report {path}/{'*=*' if named else '*'}/"
            " compares them, "
        )
        valid += (
            "and its own table.md and sweep.png are drawn again by the command that made it, with"
            f" hydra.sweep.dir={path}"
        )
    else:
        valid = "must be a folder that a run has written (with a config.yaml in it)"
    raise ConfigError("/run folder", path, valid)


def _read(path: Path, notes: list[str] | None) -> Run:
    """The run in ``path``. Damage goes to ``notes``, or where there are none ends the reading."""

    def attempt(read: Callable[[Path], T], name: str, otherwise: T) -> T:
        try:
            return read(path / name)
        except ConfigError as error:
            if notes is None:
                raise
            notes.append(str(error))
            return otherwise

    found = attempt(_summary, "summary.json", None)
    presentation = attempt(lambda file: stored.read(file.parent, found), stored.FILE, UNDECLARED)
    summary = attempt(
        lambda file: stored.with_numbers(presentation, found, file), "summary.json", None
    )
    known = attempt(lambda file: columns.read(file.parent), columns.FILE, DEFAULTS)
    return Run(
        path,
        attempt(lambda file: read_config(file, "/config.yaml"), "config.yaml", {}),
        metrics_in(path / "metrics.jsonl", notes, tuple(column.key for column in known)),
        devices_in(path / "devices.parquet", notes),
        summary,
        attempt(_graph, "graph.json", None),
        columns=known,
        presentation=presentation,
        overrides=attempt(lambda file: typed_words.read(file.parent), typed_words.FILE, None),
    )


def _summary(path: Path) -> dict[str, Any] | None:
    return read_summary(path, Summary, "/summary.json") if path.exists() else None


def _graph(path: Path) -> dict[str, Any] | None:
    return read_json(path, Graph, "/graph.json") if path.exists() else None
