"""The run folder: what is written when, so that a crash at any moment costs at most the rounds
since a checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from swarm.common.errors import CheckpointError, ConfigError, StorageError
from swarm.common.names import Maybe
from swarm.common.system import yaml_text
from swarm.common.system.files import replacing
from swarm.common.system.storage import require_own_folders
from swarm.communication.topology.graph import Graph
from swarm.config.composing.place import LOCK, require_unused
from swarm.config.schema import SEAL, read_json, require_seal, sealed
from swarm.config.settings import Settings
from swarm.results import trust
from swarm.results.folder import typed_words
from swarm.results.folder.arm_files import ArmFiles
from swarm.results.provenance import edited
from swarm.results.schemas import Progress, closing, read_config
from swarm.results.status import CONSOLE, FILE, PAGE, finished
from swarm.results.track.jsonl import read_jsonl
from swarm.simulation import checkpoint

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
    def create(
        cls, path: Path, settings: Settings, words: Sequence[str] | None = None
    ) -> Iterator[Folder]:
        """A new run folder with its ``config.yaml``, and the ``words`` that its settings were typed
        as; locked for as long as the context lasts.

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
            typed_words.write(path, words)
            yield folder

    @classmethod
    def open(cls, path: Path) -> tuple[Folder, Settings]:
        """An existing run folder and the settings in its ``config.yaml``.

        Raises :class:`ConfigError` where there is none, or none that can be used.
        """
        file = path / "config.yaml"
        if not file.is_file():
            raise ConfigError("resume", path, "is no run folder: it has no config.yaml")
        config = read_config(file, "resume")
        try:
            return cls(path), Settings.parse(config)
        except ConfigError as error:
            raise ConfigError("resume", file, f"cannot be used: {error}") from None

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
        data = yaml_text.dump(config).encode()
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

    def write_graph(
        self, graph: Graph, names: Maybe | None = None, hostile: Sequence[int] = ()
    ) -> None:
        """``graph.json``: the first round's graph, what its devices are called, and which of them
        are ``hostile``, for the report.
        """
        links = graph.links_E2
        value = {
            "n": graph.n,
            "directed": graph.directed,
            "edges": links[:MOST_EDGES].tolist(),
            "truncated": len(links) > MOST_EDGES,
            "pos": None if graph.pos_N2 is None else graph.pos_N2.round(5).tolist(),
            "names": names,
            **({"hostile": list(hostile)} if hostile else {}),
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
