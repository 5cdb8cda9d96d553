"""The run folder: what is written when, so that a crash at any moment costs at most the rounds
since a checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from filelock import FileLock, Timeout

from swarm.common.errors import CheckpointError, ConfigError, StorageError
from swarm.common.names import Maybe
from swarm.common.system.files import own_folder, replacing
from swarm.common.system.storage import require_own_folders
from swarm.communication.topology.graph import Graph
from swarm.config.place import LOCK, require_unused
from swarm.config.schema import SEAL, read_json, require_seal, sealed
from swarm.config.settings import Settings
from swarm.learning.buffers import FILE as BUFFERS
from swarm.learning.buffers import Constants
from swarm.results import trust
from swarm.results.provenance import edited
from swarm.results.schemas import Progress, closing, read_config
from swarm.results.status import CONSOLE, FILE, PAGE, finished
from swarm.results.track.devices import read_devices
from swarm.results.track.jsonl import Ledger, read_jsonl, records_of, truncate
from swarm.simulation import checkpoint
from swarm.simulation.checkpoint.manifest import PART
from swarm.simulation.loop import MetricsRow, Simulation

MOST_EDGES = 20_000  # drawn in the report
DIR = "hydra.run.dir"  # the setting that says where a new run is
ANEW = "start a new run with what it says now"


class Folder:
    """One run's files below ``path``.

    ``progress.json`` holds what is decided and done; ``summary.json`` closes the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The run's name: the last two parts of its path, which hold date and time by default."""
        return "-".join(self.path.resolve().parts[-2:])

    @classmethod
    @contextmanager
    def create(cls, path: Path, settings: Settings) -> Iterator[Folder]:
        """A new run folder with its ``config.yaml``, locked for as long as the context lasts.

        Of several processes that want the same folder one gets it, and the others write nothing.

        Raises :class:`ConfigError` if there is anything in it already, or it cannot be.
        """
        require_new_run(path)
        folder = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise ConfigError(
                DIR, path, f"must be a folder that can be written ({error})"
            ) from None
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
        config = read_config(file, "resume")
        try:
            Settings.parse(config)
        except ConfigError as error:
            raise ConfigError("resume", file, f"cannot be used: {error}") from None
        return cls(path), config

    @contextmanager
    def lock(self, key: str = "resume") -> Iterator[None]:
        """Keep other processes from running into this folder; the operating system frees the lock
        of a killed one.
        """
        require_own_folders(self.path)
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(
                key, self.path, "is being run by another process right now; wait for it to end"
            ) from None
        except OSError as error:
            valid = (
                f"cannot be locked, so nothing is written to it: {LOCK} in it must be a file that"
                " can be written"
            )
            raise ConfigError(key, self.path, f"{valid} ({error.strerror or error})") from None
        try:
            yield
        finally:
            lock.release()

    def require_there(self) -> None:
        """Raises :class:`StorageError` if the folder is gone: hours of work would be for
        nothing.
        """
        if not (self.path / "config.yaml").exists():
            raise StorageError(
                f"the run folder {self.path} was removed or renamed while its run went on: the run"
                " ends here"
            )

    def write_config(self, settings: Settings) -> None:
        """``config.yaml``: every setting, resolved.

        Where it names code that is not ours, it is signed.
        """
        config = settings.model_dump()
        data = yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode()
        if trust.named(config):
            trust.sign(self.path, data, config)
        checkpoint.write_bytes(self.path / "config.yaml", data)

    def finished(self) -> bool:
        """Whether the run came to its end, and all that it promises is there; see
        :func:`swarm.results.status.finished`.
        """
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
            progress = read_json(file, Progress, "resume")
            if progress.keys() & {SEAL, "settings"}:  # not of an earlier version
                require_seal(progress, file, "resume")
        except ConfigError as error:
            way = (
                "remove it, and resume chooses the learning rates again and goes on from the"
                " checkpoints"
            )
            raise CheckpointError("resume", file, f"{error.valid}; {way}") from None
        return {key: value for key, value in progress.items() if key != SEAL}

    def write_progress(self, progress: dict[str, Any]) -> None:
        """Replace ``progress.json``."""
        checkpoint.write_json(self.path / "progress.json", sealed(progress))

    def require_settings(self, config: dict[str, Any]) -> None:
        """Raises :class:`ConfigError` where ``config``, that of the folder, was edited since the
        run was made: its rounds so far and those to come would be of two experiments."""
        made = [self.progress().get("settings", {})]
        for place in self._arms():
            with suppress(CheckpointError):  # named by verify, where it matters
                rounds = checkpoint.rounds_in(place)
                made += (
                    [checkpoint.read_manifest(place, rounds[-1])["facts"].get("settings", {})]
                    if rounds
                    else []
                )
        for then in filter(None, made):
            if (difference := edited(config, then)) is not None:
                valid = f"was edited: it has {difference}; put that back, or {ANEW}"
                raise ConfigError("resume", self.path / "config.yaml", valid)

    def verify(self) -> None:
        """Raises :class:`CheckpointError` if what an interrupted run would go on from cannot be
        trusted.
        """
        self.progress()
        read_jsonl(self.path / "metrics.jsonl", [])
        for place in self._arms():
            self.arm(place.name, 1).verify()

    def _arms(self) -> list[Path]:
        return sorted(place for place in (self.path / "checkpoints").glob("*") if place.is_dir())

    def arm(self, name: str, keep: int) -> ArmFiles:
        """The files of one arm."""
        return ArmFiles(self.path, name, keep)

    def write_graph(self, graph: Graph, names: Maybe | None = None) -> None:
        """``graph.json``: the first round's graph and what its devices are called, for the
        report.
        """
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
        """``devices.parquet`` from its parts, then ``summary.json``, after which all numbers are
        there.

        A page that is there was drawn before the end. Where a ``report`` is to follow, it goes
        first: as long as the new one is missing, the run is not finished.
        """
        tables = [t for arm in arms for t in self.arm(arm, 1).device_tables()]
        if tables:
            with replacing(self.path / "devices.parquet") as file:
                pq.write_table(pa.concat_tables(tables, promote_options="default"), file)
        if report:
            (self.path / PAGE).unlink(missing_ok=True)
        checkpoint.write_json(self.path / "summary.json", closing(summary))


def require_new_run(path: Path) -> None:
    """Raises :class:`ConfigError` unless a run may begin in ``path``: it is new, or empty but for
    what a run that is one of many has beside it."""
    require_unused(path, DIR, path, besides=(FILE, CONSOLE))


class ArmFiles:
    """One arm's checkpoints, its records in ``metrics.jsonl``, and its devices' results."""

    def __init__(self, run: Path, arm: str, keep: int) -> None:
        self.arm_name, self.keep = arm, keep
        self.records = run / "metrics.jsonl"
        self.checkpoints = run / "checkpoints" / arm
        self._pending: list[dict[str, npt.NDArray[Any]]] = []
        self._buffers_kept = False
        self._ledger = Ledger(self.records, arm)
        self._hashes: dict[str, str] = {}  # of the parts, by their names

    @property
    def newest(self) -> int | None:
        """The round of the newest checkpoint."""
        return max(checkpoint.rounds_in(self.checkpoints), default=None)

    def rewind(self) -> None:
        """Drop every record and per-device result after the newest checkpoint.

        Before ``metrics.jsonl`` is opened again.
        """
        self._own_folders()
        last = max(checkpoint.rounds_in(self.checkpoints), default=-1)
        truncate(self.records, lambda r: r["arm"] != self.arm_name or r["round"] <= last)
        for part in self._parts():
            if _round_of(part) > last:
                part.unlink()

    def verify(self) -> None:
        """Raises :class:`CheckpointError` if the newest checkpoint, or what was recorded up to it,
        cannot be trusted, with what to do to go on from an older one."""
        rounds = checkpoint.rounds_in(self.checkpoints)
        wrong: list[CheckpointError] = []
        while len(wrong) < len(rounds):
            try:
                self._verify(rounds[-1 - len(wrong)])
                break
            except CheckpointError as error:
                wrong.append(error)
        if wrong:
            first, bad, place = wrong[0], rounds[-len(wrong) :], self.checkpoints
            if len(bad) == len(rounds):
                way = f"remove the folder {place}, and resume runs the arm {self.arm_name} again"
            else:
                names = " and ".join(f"round_{round:09d}.json" for round in bad)
                way = (
                    f"remove {names} from {place}, and resume goes on from round"
                    f" {rounds[-len(wrong) - 1]}"
                )
            raise CheckpointError(first.key, first.value, f"{first.valid}; {way}")

    def _verify(self, round: int) -> None:
        facts = checkpoint.read(self.checkpoints, round, expect=None).facts
        there, digest = records_of(self.records, self.arm_name, round)
        if missing := set(range(round + 1)) - there:
            raise CheckpointError(
                "resume", self.records, f"lacks round {min(missing)} of the arm {self.arm_name}"
            )
        if facts.get("records", digest) != digest:
            valid = (
                f"is damaged: up to round {round} the lines of the arm {self.arm_name} are not"
                " those that were written"
            )
            raise CheckpointError("resume", self.records, valid)
        parts = facts.get("parts")
        names = [p.name for p in self._parts() if _round_of(p) <= round] if parts is None else parts
        for name in names:
            _verify_part(self.checkpoints / name, None if parts is None else parts[name])

    def restore(self, simulation: Simulation) -> None:
        """Put the simulation where the newest checkpoint left it, if there is one."""
        if self.newest is None:
            return
        found = checkpoint.read(self.checkpoints, self.newest, simulation.expected_arrays())
        then, now = found.facts.get("chosen"), _chosen(simulation)
        if then not in (None, now):  # progress.json was removed, and something else chosen since
            valid = f"was made with {_typed(then)}, and this run has chosen {_typed(now)}"
            raise CheckpointError(
                "resume",
                self.checkpoints,
                f"{valid}; remove that folder, and resume runs the arm again",
            )
        simulation.restore(found)

    def last_record(self) -> dict[str, Any]:
        """All this arm's records laid over one another: the latest value of every metric."""
        merged: dict[str, Any] = {}
        for record in read_jsonl(self.records):
            if record.get("arm") == self.arm_name:
                merged |= record
        return merged

    def keep_devices(self, record: MetricsRow) -> None:
        """Keep a record's per-device results for the next :meth:`save`."""
        if record.devices is not None:
            count = len(record.devices["device"])
            self._pending.append(
                {"round": np.full(count, record.values["round"]), **record.devices}
            )

    def save(self, simulation: Simulation, settings: dict[str, Any]) -> None:
        """Checkpoint, after the per-device results up to it. ``settings`` are those of the run
        (:func:`swarm.results.provenance.made_with`)."""
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
            made = simulation.checkpoint()
            facts = {
                **made.facts,
                "chosen": _chosen(simulation),
                "settings": settings,
                "records": self._ledger.so_far(),
                "parts": self._hashed(),
            }
            checkpoint.write(self.checkpoints, replace(made, facts=facts), self.keep)

    def _keep_buffers(self, constants: Constants) -> None:
        """The model's buffers, once a start: they never change."""
        if constants.data is not None and not self._buffers_kept:
            checkpoint.write_bytes(self.checkpoints / BUFFERS, constants.data)
        self._buffers_kept = True

    def _own_folders(self) -> None:
        """Raises :class:`ConfigError` where a link would have files written, and old ones removed,
        somewhere else.
        """
        own_folder(self.checkpoints.parent)
        own_folder(self.checkpoints)

    def device_tables(self) -> list[pa.Table]:
        """The per-device results saved so far, in the order of rounds."""
        return [read_devices(part, "resume") for part in self._parts()]

    def _hashed(self) -> dict[str, str]:
        for part in self._parts():
            if part.name not in self._hashes:
                self._hashes[part.name] = hashlib.sha256(part.read_bytes()).hexdigest()
        return dict(self._hashes)

    def _parts(self) -> list[Path]:
        return sorted(
            p
            for p in self.checkpoints.glob("devices_*.parquet")
            if re.fullmatch(PART, p.name) and p.is_file()
        )


def _chosen(simulation: Simulation) -> dict[str, Any]:
    """What an arm chooses for itself, beside the settings of the run."""
    settings = simulation.experiment.settings
    return {"optimizer.lr": settings.optimizer["lr"], "train.batch": settings.train.batch}


def _typed(values: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())


def _verify_part(part: Path, digest: str | None) -> None:
    """Raises :class:`CheckpointError` unless the per-device results have this hash, or, without
    one, can be read.
    """
    if not part.is_file():
        raise CheckpointError("resume", part, "is missing")
    try:
        if digest is not None and hashlib.sha256(part.read_bytes()).hexdigest() != digest:
            raise CheckpointError(
                "resume", part, "is damaged: its SHA-256 is not the one it was written with"
            )
        # a stranger's hash can be right, and the part too large for any memory
        read_devices(part, "resume")
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(
            "resume", part, f"cannot be read: {error.strerror or error}"
        ) from None
    except ConfigError as error:
        raise CheckpointError("resume", part, error.valid) from None


def _round_of(part: Path) -> int:
    return int(part.stem.removeprefix("devices_"))
