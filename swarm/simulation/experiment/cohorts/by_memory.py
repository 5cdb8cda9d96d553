"""Which device has which model, where the memory of its hardware says so (``devices: memory``)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from swarm.common.errors import ConfigError, with_article
from swarm.common.names import named, titled
from swarm.config.plug_in_lists import OWN
from swarm.config.settings import Settings
from swarm.config.settings.sections import MEMORY
from swarm.learning.update.policy import UpdatePolicy
from swarm.simulation.experiment.cohorts.model import model_of_cohort
from swarm.simulation.experiment.communication import Communication
from swarm.simulation.experiment.data import Data
from swarm.simulation.experiment.model import Model
from swarm.simulation.experiment.spec import RunSpec

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Room:
    """The memory of the devices of a fleet, and what each model takes of it.

    Attributes:
        memory_N: The bytes of memory of each device, ``[N]``.
        bytes_of: The bytes that a device with a model needs, by the name of the cohort: of the
            run's own model, and of those whose devices are ``memory``.
        who: What a message calls each device.
    """

    memory_N: Floats
    bytes_of: dict[str, int]
    who: tuple[str, ...]

    def cohort_of(self, device: int) -> str:
        """The cohort of a device: ``own`` if the run's own model fits into its memory, else that
        with the largest model which does.

        Raises :class:`ConfigError` for a device that no model fits."""
        fitting = [name for name, need in self.bytes_of.items() if need <= self.memory_N[device]]
        if OWN in fitting:
            return OWN
        if fitting:
            return max(fitting, key=lambda name: self.bytes_of[name])
        others = [name for name in self.bytes_of if name != OWN]
        least = min(others, key=lambda name: self.bytes_of[name])
        valid = (
            f"leaves {self.who[device]} without a model, as it has"
            f" {self.memory_N[device]:,.0f} bytes of memory, and the smallest model of these"
            f" cohorts needs {self.bytes_of[least]:,}; a smaller model or more memory would do"
        )
        raise ConfigError(f"cohorts.{least}.devices", MEMORY, valid)


def room_of(spec: RunSpec, policy: UpdatePolicy) -> Room:
    """Return how much memory devices have, and how much each model needs: what ``fleet`` holds
    against it (:func:`~swarm.simulation.experiment.cohorts.check.needed_numbers`).

    Raises :class:`ConfigError` without a fleet, and for models that cannot be built."""
    s, data = spec.settings, Data(spec, policy)
    by_memory = [name for name, cohort in s.cohorts.items() if cohort.devices == MEMORY]
    bytes_of, who = dict[str, int](), tuple[str, ...]()
    memory_N = np.zeros(0)
    for name in (None, *by_memory):
        dtype = torch.float64 if s.compute.dtype == "float64" else torch.float32
        model = model_of_cohort(s, name, s.devices, data, dtype, torch.device("cpu"))
        plain = {"cohorts": {}, "model": model.settings.model}
        c = Communication(s.model_copy(update=plain), data, model)
        hardware = c.fleet.hardware
        if hardware is None:
            valid = "needs a fleet, whose devices have some memory each; fleet=terminals would do"
            raise ConfigError(f"cohorts.{by_memory[0]}.devices", MEMORY, valid)
        bytes_of[name or OWN] = _bytes(s, data, model, c)
        memory_N, who = hardware.memory, tuple(_who(c, device) for device in range(s.devices))
    return Room(memory_N, bytes_of, who)


def _bytes(s: Settings, data: Data, model: Model, c: Communication) -> int:
    """What a device with a model keeps, parameters that stand still among it, and a gradient."""
    numbers, itemsize = model.numbers + c.kept_numbers + model.layout.width, model.dtype.itemsize
    if c.compressor is not None:  # packets for each cohort of receivers, of at most all numbers
        numbers += len(s.cohorts) * sum(math.prod(shape) for shape in c.in_flight.values())
    return numbers * itemsize + data.replay_bytes(itemsize) + model.frozen_bytes


def _who(c: Communication, device: int) -> str:
    kind = c.fleet.kind(device)
    return titled(device, named(c.names, device)) + (f" ({with_article(kind)})" if kind else "")


def take_by_memory(settings: Settings, room: Room, number_N: Ints) -> None:
    """Give the devices that are in no cohort yet, 0 in ``number_N`` ``[N]``, the number of the one
    that their memory chooses."""
    number_of = {name: number for number, name in enumerate(settings.cohorts, start=1)}
    for device in np.flatnonzero(number_N == 0).tolist():
        number_N[device] = number_of.get(room.cohort_of(device), 0)
