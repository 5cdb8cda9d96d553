"""Whether the parts of an arm go together; what cannot work is refused before anything of the
swarm's size is allocated.

Every function raises :class:`~swarm.common.errors.ConfigError` that names the key to change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swarm.common.errors import ConfigError
from swarm.common.names import named, titled
from swarm.common.plugin import called
from swarm.communication.compression.base import Compressor, bits_of
from swarm.config.settings import Settings
from swarm.simulation.experiment.communication import Communication

if TYPE_CHECKING:
    from swarm.simulation.experiment.experiment import Experiment


def validate(experiment: Experiment) -> None:
    """All checks of the combination."""
    settings, communication = experiment.settings, experiment.communication
    _require_common_start(settings, communication)
    for phase in {type(phase): phase for phase in communication.phases}.values():
        phase.check()
    if communication.compressor is not None:
        _check_compressor(settings, communication, communication.compressor)
    experiment.data.check()
    _require_fit(experiment)


def _require_common_start(settings: Settings, communication: Communication) -> None:
    protocol = communication.protocol
    if protocol.requirements.common_init and settings.init == "independent":
        valid = (
            f"must be common (or a file) with {called(protocol)}, whose server has one model from"
            " the start"
        )
        raise ConfigError("init", settings.init, valid)


def _check_compressor(
    settings: Settings, communication: Communication, compressor: Compressor
) -> None:
    """Refuse a compressor that has nothing to work on, or that a protocol cannot work with."""
    protocol = communication.protocol
    name = str(settings.compressor["_target_"]).rpartition(".")[2]
    for phase in communication.phases:
        if phase.way is not None:
            valid = (
                f"must be none with {called(protocol)}, which sends {phase.way}: compressors work"
                " on one message that goes to all neighbours"
            )
            raise ConfigError("compressor", name, valid)
    if protocol.requirements.own_error_feedback and compressor.feedback:
        valid = (
            f"must be false with {called(protocol)}, which sends what was left out later by itself;"
            " doing so twice diverges"
        )
        raise ConfigError("compressor.feedback", True, valid)
    if protocol.requirements.no_compression:
        valid = (
            f"must be none with {called(protocol)}, which needs the exact numbers of its messages:"
            " what compression leaves out would add up, or be taken for something else"
        )
        raise ConfigError("compressor", name, valid)
    for phase in communication.phases:
        if phase.packets:
            try:
                bits_of(compressor, phase.width)
            except ConfigError as error:
                raise error.under("compressor") from None


def _require_fit(experiment: Experiment) -> None:
    """Refuse a fleet with a device that what it keeps, and a gradient, do not fit into."""
    hardware = experiment.communication.fleet.hardware
    if hardware is None:
        return
    itemsize = experiment.dtype.itemsize
    needed = (experiment.kept_numbers + experiment.model.layout.width) * itemsize
    needed += experiment.data.replay_bytes(itemsize)
    if needed <= hardware.memory.min():
        return
    small = int(hardware.memory.argmin())
    who = titled(small, named(experiment.names, small))
    valid = (
        f"{who} has {hardware.memory[small]:.3g} bytes of memory; model, optimiser and replay need"
        f" {needed:.3g}; take a smaller model"
    )
    name = experiment.settings.fleet["_target_"].rpartition(".")[2]
    raise ConfigError("fleet", name, valid)
