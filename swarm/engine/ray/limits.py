"""Whether so many actors fit this machine: stated before any of them is started."""

from __future__ import annotations

import resource

import torch

from swarm.errors import ConfigError
from swarm.experiment import Experiment
from swarm.machine import available_bytes

# Measured with ray 2.60 and torch 2.13 on Linux, without rows and data. A forked worker has 39 MiB of its own, as it works and
# as it ends; with its part in Ray's processes and in what it shares, 256 of them took 9.4 GiB of the machine's memory.
FIXED_BYTES = 700 << 20  # Ray's own processes, and the one that workers are forked from
FORKED_BYTES, ORDINARY_BYTES = 42 << 20, 200 << 20
FILES_FIXED, FILES_EACH = 512, 8
LEAST_STORE, STORE_SHARE = 128 << 20, 0.3


def require_files(actors: int) -> None:
    """Refuse more actors than there may be open files for: Ray's processes keep several for each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and FILES_FIXED + FILES_EACH * actors > hard:
        fits = max(0, (hard - FILES_FIXED) // FILES_EACH)
        text = f"would need {FILES_FIXED + FILES_EACH * actors:,} open files a process, and {hard:,} are allowed (ulimit -Hn)"
        raise ConfigError("/engine.actors", actors, f"{text}; at most {fits:,} actors fit")


def require_room(experiment: Experiment, actors: int, prefork: bool) -> None:
    """Refuse more actors than there is memory for."""
    there = available_bytes()
    if there is None:
        return
    each = FORKED_BYTES if prefork else ORDINARY_BYTES
    fixed = FIXED_BYTES + experiment.resident_bytes() + _kept_bytes(experiment)
    if fixed + actors * each > there:
        fits = max(0, int((there - fixed) // each))
        raise ConfigError(
            "/engine.actors",
            actors,
            f"would need at least {(fixed + actors * each) / 2**30:.1f} GiB ({each >> 20} MiB each"
            f"{'' if prefork else ' without prefork'}), and {there / 2**30:.1f} GiB are free; at most {fits:,} actors fit",
        )


def store_bytes(experiment: Experiment) -> int:
    """For Ray's object store: the data, and every row four times (sent, kept, and on the way to and from a checkpoint).

    It is taken up as it fills.
    """
    needed = LEAST_STORE + 2 * experiment.plan.dataset.x.nbytes + 4 * _kept_bytes(experiment)
    there = available_bytes()
    return needed if there is None else max(LEAST_STORE, min(needed, int(STORE_SHARE * there)))


def _kept_bytes(experiment: Experiment) -> int:
    """What a checkpoint holds, of which the driver keeps the last one."""
    item = torch.empty(0, dtype=experiment.dtype).element_size()
    return experiment.kept_numbers * experiment.settings.devices * item
