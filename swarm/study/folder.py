"""The run folder: what is written when, so that a crash at any moment costs at most the rounds since a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from filelock import FileLock, Timeout

from swarm import checkpoint
from swarm.config.place import LOCK, require_unused
from swarm.config.settings import Settings
from swarm.constants import FILE as BUFFERS
from swarm.constants import Constants
from swarm.errors import CheckpointError, ConfigError
from swarm.files import own_folder, replacing
from swarm.names import Maybe
from swarm.simulation import Record, Simulation
from swarm.study import trust
from swarm.study.many import CONSOLE, FILE, PAGE, finished
from swarm.topology.graph import Graph
from swarm.track.jsonl import read_jsonl, truncate

MOST_EDGES = 20_000  # drawn in the report
DIR = "hydra.run.dir"  # the setting that says where a new run is


class Folder:
    """One run's files below ``path``. ``progress.json`` holds what is decided and done; ``summary.json`` closes the run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The run's name: the last two parts of its path, which hold date and time by default."""
        return "-".join(self.path.resolve().parts[-2:])

    @classmethod
    @contextmanager
    def create(cls, path: Path, settings: Settings) -> Iterator[Folder]:
        """A new run folder with its ``config.yaml``, locked for as long as the context lasts. Of several processes that want
        the same folder one gets it, and the others write nothing.

        Raises :class:`ConfigError` if there is anything in it already, or it cannot be.
        """
        require_new_run(path)
        folder = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise ConfigError(DIR, path, f"must be a folder that can be written ({error})") from None
        with folder.lock(DIR):
            require_new_run(path)  # another process may have had it, and be done
            folder.write_config(settings)
            yield folder

    @classmethod
    def open(cls, path: Path) -> tuple[Folder, dict[str, Any]]:
        """An existing run folder and its config."""
        file = path / "config.yaml"
        if not file.is_file():
            raise ConfigError("resume", path, "is no run folder: it has no config.yaml")
        try:
            config = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            config = None
        if not isinstance(config, dict):
            raise ConfigError("resume", path, "has a damaged config.yaml: not a YAML mapping")
        return cls(path), config

    @contextmanager
    def lock(self, key: str = "resume") -> Iterator[None]:
        """Keep other processes from running into this folder; the operating system frees the lock of a killed one."""
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(key, self.path, "is being run by another process right now; wait for it to end") from None
        except OSError as error:
            valid = f"cannot be locked, so nothing is written to it: {LOCK} in it must be a file that can be written"
            raise ConfigError(key, self.path, f"{valid} ({error.strerror or error})") from None
        try:
            yield
        finally:
            lock.release()

    def write_config(self, settings: Settings) -> None:
        """``config.yaml``: every setting, resolved. Where it names code that is not ours, it is signed."""
        config = settings.model_dump()
        data = yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode()
        if trust.named(config):
            trust.sign(self.path, data, config)
        checkpoint.write_bytes(self.path / "config.yaml", data)

    def finished(self) -> bool:
        """Whether the run came to its end, and all that it promises is there; see :func:`swarm.study.many.finished`."""
        return finished(self.path)

    def closed(self) -> bool:
        """Whether all numbers of the run are there, if perhaps not its pictures."""
        return (self.path / "summary.json").exists()

    def progress(self) -> dict[str, Any]:
        """``tuning`` and ``arms``: what is settled so far."""
        file = self.path / "progress.json"
        if not file.exists():
            return {"tuning": {}, "arms": {}}
        try:
            progress = json.loads(file.read_bytes())
            if not {"tuning", "arms"} <= progress.keys():
                raise ValueError
        except (OSError, ValueError, AttributeError):
            raise CheckpointError("resume", file, "is damaged: not the JSON that was written") from None
        return dict(progress)

    def write_progress(self, progress: dict[str, Any]) -> None:
        """Replace ``progress.json``."""
        checkpoint.write_json(self.path / "progress.json", progress)

    def verify(self) -> None:
        """Raises :class:`CheckpointError` if what an interrupted run would go on from cannot be trusted."""
        self.progress()
        for place in sorted((self.path / "checkpoints").glob("*/")):
            self.arm(place.name, 1).verify()

    def arm(self, name: str, keep: int) -> ArmFiles:
        """The files of one arm."""
        return ArmFiles(self.path, name, keep)

    def write_graph(self, graph: Graph, names: Maybe | None = None) -> None:
        """``graph.json``: the first round's graph and what its devices are called, for the report."""
        links = graph.links_E2
        value = {
            "n": graph.n,
            "directed": graph.directed,
            "edges": links[:MOST_EDGES].tolist(),
            "truncated": len(links) > MOST_EDGES,
            "pos": None if graph.pos_N2 is None else graph.pos_N2.round(5).tolist(),
            "names": names,
        }
        checkpoint.write_bytes(self.path / "graph.json", json.dumps(value).encode())

    def finish(self, summary: dict[str, Any], arms: Iterable[str], report: bool) -> None:
        """``devices.parquet`` from its parts, then ``summary.json``, after which all numbers are there.

        A page that is there was drawn before the end. Where a ``report`` is to follow, it goes first: as long as the new one
        is missing, the run is not finished.
        """
        tables = [t for arm in arms for t in self.arm(arm, 1).device_tables()]
        if tables:
            with replacing(self.path / "devices.parquet") as file:
                pq.write_table(pa.concat_tables(tables, promote_options="default"), file)
        if report:
            (self.path / PAGE).unlink(missing_ok=True)
        checkpoint.write_json(self.path / "summary.json", summary)


def require_new_run(path: Path) -> None:
    """Raises :class:`ConfigError` unless a run may begin in ``path``: it is new, or empty but for what a run that is one of
    many has beside it."""
    require_unused(path, DIR, path, besides=(FILE, CONSOLE))


class ArmFiles:
    """One arm's checkpoints, its records in ``metrics.jsonl``, and its devices' results."""

    def __init__(self, run: Path, arm: str, keep: int) -> None:
        self.arm_name, self.keep = arm, keep
        self.records = run / "metrics.jsonl"
        self.checkpoints = run / "checkpoints" / arm
        self._pending: list[dict[str, npt.NDArray[Any]]] = []
        self._buffers_kept = False

    def rewind(self) -> None:
        """Drop every record and per-device result after the newest checkpoint. Before ``metrics.jsonl`` is opened again."""
        self._own_folders()
        last = max(checkpoint.rounds_in(self.checkpoints), default=-1)
        truncate(self.records, lambda r: r["arm"] != self.arm_name or r["round"] <= last)
        for part in self._parts():
            if _round_of(part) > last:
                part.unlink()

    def verify(self) -> None:
        """Raises :class:`CheckpointError` if the newest checkpoint, or the records up to it, cannot be trusted."""
        rounds = checkpoint.rounds_in(self.checkpoints)
        if not rounds:
            return
        checkpoint.read(self.checkpoints, rounds[-1], expect=None)
        there = {r.get("round") for r in read_jsonl(self.records) if r.get("arm") == self.arm_name}
        if missing := set(range(rounds[-1] + 1)) - there:
            raise CheckpointError("resume", self.records, f"lacks round {min(missing)} of the arm {self.arm_name}")

    def restore(self, simulation: Simulation) -> None:
        """Put the simulation where the newest checkpoint left it, if there is one."""
        rounds = checkpoint.rounds_in(self.checkpoints)
        if rounds:
            simulation.restore(checkpoint.read(self.checkpoints, rounds[-1], simulation.expected_arrays()))

    def last_record(self) -> dict[str, Any]:
        """All this arm's records laid over one another: the latest value of every metric."""
        merged: dict[str, Any] = {}
        for record in read_jsonl(self.records):
            if record.get("arm") == self.arm_name:
                merged |= record
        return merged

    def keep_devices(self, record: Record) -> None:
        """Keep a record's per-device results for the next :meth:`save`."""
        if record.devices is not None:
            count = len(record.devices["device"])
            self._pending.append({"round": np.full(count, record.values["round"]), **record.devices})

    def save(self, simulation: Simulation) -> None:
        """Checkpoint, after the per-device results up to it."""
        self._own_folders()
        self._keep_buffers(simulation.experiment.constants)
        if self._pending:
            columns = {k: np.concatenate([p[k] for p in self._pending]) for k in self._pending[0]}
            table = pa.table({"arm": pa.array([self.arm_name] * len(columns["round"])), **columns})
            if (names := simulation.experiment.names) is not None:
                column = pa.array([names[device] for device in columns["device"]], pa.string())
                table = table.add_column(table.column_names.index("device") + 1, "name", column)
            with replacing(self.checkpoints / f"devices_{simulation.round:09d}.parquet") as file:
                pq.write_table(table, file)
            self._pending = []
        if simulation.round not in checkpoint.rounds_in(self.checkpoints):
            checkpoint.write(self.checkpoints, simulation.checkpoint(), self.keep)

    def _keep_buffers(self, constants: Constants) -> None:
        """The model's buffers, once a start: they never change."""
        if constants.data is not None and not self._buffers_kept:
            checkpoint.write_bytes(self.checkpoints / BUFFERS, constants.data)
        self._buffers_kept = True

    def _own_folders(self) -> None:
        """Raises :class:`ConfigError` where a link would have files written, and old ones removed, somewhere else."""
        own_folder(self.checkpoints.parent)
        own_folder(self.checkpoints)

    def device_tables(self) -> list[pa.Table]:
        """The per-device results saved so far, in the order of rounds."""
        return [pq.read_table(part) for part in self._parts()]

    def _parts(self) -> list[Path]:
        return sorted(self.checkpoints.glob("devices_*.parquet"))


def _round_of(part: Path) -> int:
    return int(part.stem.removeprefix("devices_"))
