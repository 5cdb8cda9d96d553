"""The table of devices that learn otherwise (``train.devices``): read, and refused where a part of
the run cannot follow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from swarm.common.errors import ConfigError
from swarm.common.plugin import called
from swarm.config.build import choice
from swarm.data.dataset import DeviceSplit
from swarm.data.device_table import KEY, read_device_table
from swarm.simulation.experiment import Experiment


def with_table(split: DeviceSplit, path: str, names: Sequence[str | None] | None) -> DeviceSplit:
    """The split with the table at ``path``, whose devices have these names."""
    return replace(split, table=read_device_table(path, names, split.devices))


def require_what_a_table_can_do(e: Experiment) -> None:
    """Raises :class:`ConfigError` for a column that a part of the run cannot follow."""
    table, s = e.data.table, e.settings
    assert table is not None
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
