"""The files of one arm of a run: its checkpoints, and the per-device results beside them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from swarm.common.errors import CheckpointError, ConfigError
from swarm.common.system.files import own_folder, replacing
from swarm.learning.buffers import FILE as BUFFERS
from swarm.learning.buffers import Constants
from swarm.results.track.devices import read_devices
from swarm.results.track.jsonl import Ledger, read_jsonl, records_of, truncate
from swarm.simulation import checkpoint
from swarm.simulation.checkpoint.manifest import PART
from swarm.simulation.loop import MetricsRow, Simulation


class ArmFiles:
    """One arm's checkpoints, its records in ``metrics.jsonl``, and its devices' results."""

    def __init__(self, run: Path, arm: str, keep: int) -> None:
        self.arm_name, self.keep = arm, keep
        self.records = run / "metrics.jsonl"
        self.checkpoints = run / "checkpoints" / arm
        self.best = self.checkpoints / checkpoint.BEST
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
        kept = facts.get("records")
        # a live run has no record of some rounds; that none was removed is what the hash says
        if kept != digest and (missing := set(range(round + 1)) - there):
            raise CheckpointError(
                "resume", self.records, f"lacks round {min(missing)} of the arm {self.arm_name}"
            )
        if kept not in (None, digest):
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
        self._keep_buffers(simulation.experiment.model.constants)
        if self._pending:
            columns = {k: np.concatenate([p[k] for p in self._pending]) for k in self._pending[0]}
            table = pa.table({"arm": pa.array([self.arm_name] * len(columns["round"])), **columns})
            for title, texts in _texts(simulation, columns["device"]).items():
                column = pa.array(texts, pa.string())
                table = table.add_column(table.column_names.index("device") + 1, title, column)
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

    def save_best(self, simulation: Simulation, settings: dict[str, Any]) -> None:
        """Checkpoint the best round so far in the place of the best one before."""
        self._own_folders()
        own_folder(self.best)
        self._keep_buffers(simulation.experiment.model.constants)
        made = simulation.checkpoint()
        facts = {**made.facts, "chosen": _chosen(simulation), "settings": settings}
        checkpoint.write(self.best, replace(made, facts=facts), keep=None)

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


def _texts(simulation: Simulation, devices: npt.NDArray[np.int64]) -> dict[str, list[str | None]]:
    """What else the table says of devices: their cohorts and their names, if they have any."""
    found: dict[str, list[str | None]] = {}
    cohorts, names = simulation.experiment.model.cohorts, simulation.experiment.names
    if cohorts is not None:
        found["cohort"] = [cohorts.names[cohort] for cohort in cohorts.cohort_N[devices].tolist()]
    if names is not None:
        found["name"] = [names[device] for device in devices.tolist()]
    return found


def _chosen(simulation: Simulation) -> dict[str, Any]:
    """What an arm chooses for itself, beside the settings of the run."""
    settings = simulation.experiment.settings
    found = {"optimizer.lr": settings.optimizer["lr"], "train.batch": settings.train.batch}
    table = simulation.experiment.data.table
    return found if table is None else {**found, "train.devices": f"a file with {table.sha256}"}


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
