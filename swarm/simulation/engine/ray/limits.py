"""What so many actors take of this machine: stated before any of them is started."""

from __future__ import annotations

import resource
from typing import Literal

import torch

from swarm.common.errors import ConfigError
from swarm.common.system.machine import available_bytes
from swarm.simulation.engine.base import Block
from swarm.simulation.experiment import Experiment
from swarm.simulation.footprint import Footprint, Part

# Measured with ray 2.60 and torch 2.13 on Linux, without rows and data. A forked worker has 39 MiB
# of its own, as it works and as it ends; with its part in Ray's processes and in what it shares,
# 256 of them took 9.4 GiB of the machine's memory.
FIXED_BYTES = 700 << 20  # Ray's own processes, and the one that workers are forked from
FORKED_BYTES, ORDINARY_BYTES = 42 << 20, 200 << 20
FILES_FIXED, FILES_EACH = 512, 8
LEAST_STORE, STORE_SHARE = 128 << 20, 0.3


def require_files(actors: int) -> None:
    """Refuse more actors than there may be open files for: Ray's processes keep several for
    each.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and FILES_FIXED + FILES_EACH * actors > hard:
        fits = max(0, (hard - FILES_FIXED) // FILES_EACH)
        text = (
            f"would need {FILES_FIXED + FILES_EACH * actors:,} open files a process, and {hard:,}"
            " are allowed (ulimit -Hn)"
        )
        raise ConfigError("/engine.actors", actors, f"{text}; at most {fits:,} actors fit")


def parts(experiment: Experiment, swarm: Footprint, actors: int, prefork: bool) -> list[Part]:
    """What so many actors take beside the ``swarm`` itself: Ray, a worker each with what every
    process has of its own, and the driver's copy of the last checkpoint."""
    worker = (FORKED_BYTES if prefork else ORDINARY_BYTES) + swarm.each
    less = "fewer engine.actors" if prefork else "fewer engine.actors or engine.prefork=true"
    return [
        Part("Ray", FIXED_BYTES, grows=False),
        Part("actors", actors * worker - swarm.each, less, key="/engine.actors", count=actors),
        Part("the last checkpoint", _kept_bytes(experiment)),
    ]


def store_bytes(experiment: Experiment) -> int:
    """For Ray's object store: the data, and every row four times (sent, kept, and on the way to and
    from a checkpoint).

    It is taken up as it fills.
    """
    needed = LEAST_STORE + 2 * experiment.data.dataset.x.nbytes + 4 * _kept_bytes(experiment)
    there = available_bytes()
    return needed if there is None else max(LEAST_STORE, min(needed, int(STORE_SHARE * there)))


def _kept_bytes(experiment: Experiment) -> int:
    """What a checkpoint holds, of which the driver keeps the last one."""
    item = torch.empty(0, dtype=experiment.dtype).element_size()
    return experiment.kept_numbers * experiment.settings.devices * item


def require_options(
    actors: int | Literal["auto", "per_device"],
    block: Block,
    address: str | None,
    dashboard: bool,
    restarts: int,
) -> None:
    """Raises :class:`ConfigError` for a number out of range, an address that is none, and options
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
