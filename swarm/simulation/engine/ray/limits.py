"""The memory and open files that actors take of this machine, known before any of them starts, and
the checks of the engine's options.
"""

from __future__ import annotations

import resource
from typing import Literal

import torch

from swarm.common.errors import ConfigError
from swarm.common.system.machine import available_bytes
from swarm.simulation.engine.base import Block
from swarm.simulation.experiment import Experiment
from swarm.simulation.footprint import Footprint, Part

# Measured with ray 2.60 and torch 2.13 on Linux, without rows and data. A forked worker has 31 MiB
# of its own, one of 256, and 35 MiB as one of 48. With Ray's processes and shared pages, 256
# workers took 8.4 GiB.
FIXED_BYTES = 700 << 20  # Ray's own processes, and the one that workers are forked from
FORKED_BYTES, ORDINARY_BYTES = 38 << 20, 200 << 20
FILES_FIXED, FILES_EACH = 512, 8
LEAST_STORE, STORE_SHARE = 128 << 20, 0.3


def require_files(actors: int) -> None:
    """Raises :class:`ConfigError` for more actors than the limit of open files allows, as Ray's
    processes keep several files open for each actor.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and FILES_FIXED + FILES_EACH * actors > hard:
        fits = max(0, (hard - FILES_FIXED) // FILES_EACH)
        text = (
            f"would need {FILES_FIXED + FILES_EACH * actors:,} open files a process, and {hard:,}"
            " are allowed (ulimit -Hn)"
        )
        raise ConfigError("/engine.actors", actors, f"{text}; at most {fits:,} actors would fit")


def parts(experiment: Experiment, swarm: Footprint, actors: int, prefork: bool) -> list[Part]:
    """The memory of ``actors`` actors beside that of the ``swarm``: Ray's own processes, a worker
    for each actor with what every process has for itself, and the driver's copy of the last
    checkpoint."""
    worker = (FORKED_BYTES if prefork else ORDINARY_BYTES) + swarm.each
    less = "fewer engine.actors" if prefork else "fewer engine.actors or engine.prefork=true"
    return [
        Part("Ray", FIXED_BYTES, grows=False),
        Part("actors", actors * worker - swarm.each, less, key="/engine.actors", count=actors),
        Part("the last checkpoint", _kept_bytes(experiment)),
    ]


def store_bytes(experiment: Experiment) -> int:
    """The size of Ray's object store in bytes: the data, and every row four times (sent, kept, and
    on the way to and from a checkpoint).

    The store takes memory only as it fills.
    """
    needed = LEAST_STORE + 2 * experiment.data.dataset.x.nbytes + 4 * _kept_bytes(experiment)
    there = available_bytes()
    return needed if there is None else max(LEAST_STORE, min(needed, int(STORE_SHARE * there)))


def _kept_bytes(experiment: Experiment) -> int:
    """The bytes of a checkpoint; the driver keeps the last one in memory."""
    item = torch.empty(0, dtype=experiment.dtype).element_size()
    return experiment.kept_numbers * experiment.settings.devices * item


def require_options(
    actors: int | Literal["auto", "per_device"],
    block: Block,
    address: str | None,
    dashboard: bool,
    restarts: int,
) -> None:
    """Raises :class:`ConfigError` for a number out of range, a text that is no address, and options
    that contradict one another."""
    if not isinstance(actors, str) and actors < 1:
        raise ConfigError("actors", actors, "must be auto, per_device or a number ≥ 1")
    if block != "auto" and block < 1:
        raise ConfigError("block", block, "must be auto or a number of devices ≥ 1")
    if actors == "per_device" and block not in ("auto", 1):
        raise ConfigError(
            "block",
            block,
            "must be 1 (or auto) with actors=per_device: an actor owns whole blocks",
        )
    if restarts < 0:
        raise ConfigError("restarts", restarts, "must be ≥ 0")
    if address not in (None, "auto") and not _is_address(str(address)):
        raise ConfigError(
            "address", address, "must be null (a Ray of the run's own), auto, or HOST:PORT"
        )
    if dashboard and address is not None:
        valid = (
            f"must be false with engine.address={address}: that cluster has a dashboard if it"
            " was started with one"
        )
        raise ConfigError("dashboard", True, f"{valid} (ray start --head --include-dashboard=true)")


def _is_address(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return bool(host and colon) and "/" not in host and port.isdigit() and 0 < int(port) < 65536
