"""The table of devices that learn otherwise (``train.devices``): read, and refused where a part of
the run cannot follow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError, meant
from swarm.common.names import named, titled
from swarm.common.plugin import called
from swarm.config.choices import choice
from swarm.config.plug_in_lists import OWN
from swarm.config.settings import Settings
from swarm.config.settings.sections import TABLE
from swarm.data.dataset import DeviceSplit
from swarm.data.device_table import COHORT, KEY, read_device_table
from swarm.simulation.experiment import Experiment
from swarm.simulation.experiment.cohorts.members import OWN_MODEL


def with_table(split: DeviceSplit, path: str, names: Sequence[str | None] | None) -> DeviceSplit:
    """The split with the table at ``path``, whose devices have these names."""
    return replace(split, table=read_device_table(path, names, split.devices))


def take_by_table(
    settings: Settings, names: Sequence[str | None] | None, number_N: npt.NDArray[np.int64]
) -> None:
    """Give the devices that are in no cohort yet, 0 in ``number_N`` ``[N]``, the number of the one
    that the table of devices names, and those that it calls ``own`` the run's own model.

    Raises :class:`ConfigError` without a table or its column, and for names of no such cohort."""
    path = settings.train.devices
    number_of = {
        name: number
        for number, (name, cohort) in enumerate(settings.cohorts.items(), start=1)
        if cohort.devices == TABLE
    }
    first = f"cohorts.{next(iter(number_of))}.devices"
    number_of[OWN] = OWN_MODEL
    if path is None:
        valid = f"needs {KEY}=FILE, a table with a column {COHORT} beside device"
        raise ConfigError(first, TABLE, valid)
    table = read_device_table(path, names, settings.devices)
    if table.cohorts is None:
        raise ConfigError(KEY, path, f"has no column {COHORT}, which {first}={TABLE} needs")
    for device, name in enumerate(table.cohorts):
        if name is None:
            continue
        said = f"names the cohort {name} for {titled(device, named(names, device))}"
        if name not in number_of:
            known = list(number_of)
            valid = f"{said}; valid: {', '.join(known)}{meant(name, known)}, or nothing"
            raise ConfigError(KEY, path, valid)
        if number_N[device]:
            other = list(settings.cohorts)[number_N[device] - 1]
            raise ConfigError(KEY, path, f"{said}, which the cohort {other} lists")
        number_N[device] = number_of[name]


def require_what_a_table_can_do(e: Experiment, given: Settings) -> None:
    """Raises :class:`ConfigError` for a column that a part of the run cannot follow, or that no
    cohort of the ``given`` settings asks for."""
    table, s = e.data.table, e.settings
    assert table is not None
    asks = any(cohort.devices == TABLE for cohort in given.cohorts.values())
    if table.cohorts is not None and not asks:
        valid = f"has a column {COHORT}, which no cohort takes; +cohorts.NAME.devices=table would"
        raise ConfigError(KEY, s.train.devices, valid)
    refused: list[tuple[str, bool, str]] = [
        (
            "lr",
            e.communication.protocol.requirements.plain_sgd,
            f"protocol={choice('protocol', s.protocol)}, which divides steps by one rate for all",
        ),
        ("batch", e.data.policy.streams, _streams(s.update)),
        ("local_epochs", e.data.policy.streams, _streams(s.update)),
        (
            "batch",
            bool(e.model.layout.statistics),
            f"model={called(e.model.template)}, whose running statistics are of whole mini-batches",
        ),
        *(
            (name, s.compute.compile, "compute.compile=true, which needs one rate and one shape")
            for name in ("lr", "batch")
        ),
    ]
    for column, clashes, why in refused:
        if column in table.columns and clashes:
            raise ConfigError(KEY, s.train.devices, f"must have no column {column} with {why}")


def _streams(update: dict[str, object]) -> str:
    return f"update={choice('update', update)}, whose devices meet each sample once"
