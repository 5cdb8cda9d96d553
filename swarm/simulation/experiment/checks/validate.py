"""Checks that the parts of an arm go together; a combination that cannot work is refused before
anything of the swarm's size is allocated.

Every function raises a :class:`~swarm.common.errors.ConfigError` that names the key to change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swarm.common.errors import ConfigError, Refusals, refuse, with_article
from swarm.common.names import named, titled
from swarm.common.plugin import absent, called
from swarm.communication.aggregation.base import Aggregator
from swarm.communication.aggregation.robust import RobustRule
from swarm.communication.check_messages import rounds_foreseen
from swarm.communication.compression.base import Compressor
from swarm.communication.protocol.base import Protocol
from swarm.config.choices import choice
from swarm.config.explain import shown
from swarm.config.settings import Settings
from swarm.data.local_test import VALIDATION
from swarm.learning.goal.base import Goal
from swarm.simulation.experiment.cohorts.bounds import check_counts, check_server_counts
from swarm.simulation.experiment.cohorts.check import check_cohorts, frozen_bytes, needed_numbers
from swarm.simulation.experiment.communication import Communication
from swarm.simulation.experiment.private import check_privacy
from swarm.simulation.goals.check import check_goal
from swarm.simulation.hostile.check import check_attack
from swarm.simulation.secure.check import check_secure

if TYPE_CHECKING:
    from swarm.simulation.experiment.experiment import Experiment

_SUMS = {
    "row": "the row sums of the weights",
    "column": "the column sums of the weights",
    "both": "the row and the column sums of the weights",
}


def validate(experiment: Experiment) -> None:
    """Check that the parts of ``experiment`` go together.

    Raises :class:`~swarm.common.errors.ConfigError` for the first combination that cannot work."""
    settings, communication = experiment.settings, experiment.communication
    check_cohorts(experiment)
    _require_common_start(settings, communication)
    check_goal(experiment)
    _require_own_validation(experiment)
    phases = {type(phase): phase for phase in communication.phases}.values()
    # a server refuses more than links do, so its sentence comes first
    for phase in sorted(phases, key=lambda phase: not phase.through_server):
        phase.check()
    if communication.compressor is not None:
        _check_compressor(settings, communication, communication.compressor)
    if communication.transforms:
        _check_transforms(settings, communication)
    if not communication.aggregator.linear:
        _check_aggregator(settings, communication)
    check_attack(settings, communication)
    check_secure(settings, communication)
    experiment.data.check()
    check_privacy(experiment)
    _check_personal(experiment)
    _check_grid(experiment)
    _require_fit(experiment)


def _require_common_start(settings: Settings, communication: Communication) -> None:
    protocol = communication.protocol
    if protocol.requirements.common_init and settings.init == "independent":
        valid = (
            f"must be common (or a file) with {called(protocol)}, whose devices must all start with"
            " the same model"
        )
        raise ConfigError("init", settings.init, valid)


def _require_own_validation(experiment: Experiment) -> None:
    """Refuse a protocol or a rule that measures models on validation samples of each device's own
    where a device has none."""
    communication, split = experiment.communication, experiment.data.split
    if not communication.own_validation:
        return
    judge = called(_measurer(communication))
    key, held = f"data.{VALIDATION}", split.local_validation
    share = experiment.settings.data.get(VALIDATION, 0)
    if held is None:
        valid = (
            f"must be above 0 with {judge}, whose devices measure models on validation"
            " samples of their own; 0.2 would do"
        )
        raise ConfigError(key, share, valid)
    if held.sizes_N.all():
        return
    device, least = int(held.sizes_N.argmin()), experiment.settings.partition.get("min_samples")
    more = "another partition" if least is None else f"partition.min_samples={least + 1}"
    valid = (
        f"leaves {titled(device, named(experiment.names, device)).lower()} no validation sample, as"
        f" it has one sample only, and with {judge} every device measures models on its"
        f" own; fewer devices or {more} would do"
    )
    raise ConfigError(key, share, valid)


def _measurer(communication: Communication) -> Protocol | Aggregator | Goal:
    """Whoever measures models on validation samples of each device's own."""
    c = communication
    if c.protocol.requirements.own_validation:
        return c.protocol
    return c.aggregator if c.aggregator.own_validation or c.goals is None else c.goals.goal


def _check_compressor(
    settings: Settings, communication: Communication, compressor: Compressor
) -> None:
    """Refuse a compressor where no message goes to all neighbours, and one that the protocol cannot
    work with."""
    protocol = communication.protocol
    name = str(settings.compressor["_target_"]).rpartition(".")[2]
    _require_one_message(communication, "compressor", name, "none")
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
        _ = phase.bits  # refuses rows that the compressor cannot pack


def _require_one_message(
    communication: Communication, key: str, value: object, without: str
) -> None:
    """Refuse what changes messages in a protocol whose devices do not send the same message to all
    neighbours; ``without`` is the value of ``key`` that leaves messages alone."""
    for phase in communication.phases:
        if phase.delivery is not None:
            valid = (
                f"must be {without} with {called(communication.protocol)}, which sends"
                f" {phase.delivery}: only one message that goes to all neighbours can be changed"
            )
            raise ConfigError(key, value, valid)


def _check_transforms(settings: Settings, communication: Communication) -> None:
    """Refuse transforms where no message goes to all neighbours, and where the protocol needs the
    exact numbers."""
    protocol = communication.protocol
    names = shown([choice("transform", node) for node in settings.transforms])
    _require_one_message(communication, "transforms", names, "[]")
    if not any(phase.packets for phase in communication.phases):
        raise ConfigError(
            "transforms", names, f"must be [] with {called(protocol)}, which sends nothing"
        )
    if protocol.requirements.no_compression:
        valid = f"must be [] with {called(protocol)}, which needs the exact numbers of its messages"
        raise ConfigError("transforms", names, valid)


def _check_aggregator(settings: Settings, communication: Communication) -> None:
    """Refuse a rule other than the weighted mean where nothing is mixed, and where the protocol
    needs a property that only the mean has."""
    aggregator, protocol = communication.aggregator, communication.protocol
    name, messages = choice("aggregator", settings.aggregator), communication.messages
    at_server = not any(phase.mixes for phase in communication.phases)
    if at_server and not any(phase.through_server for phase in communication.phases):
        valid = f"must be mean with {called(protocol)}, which mixes nothing over the links"
        raise ConfigError("aggregator", name, valid)
    if protocol.requirements.linear_mixing:
        valid = (
            f"must be mean with {called(protocol)}, which remembers sums of what it mixed: they"
            " follow the messages of later rounds only if mixing is a weighted mean"
        )
        raise ConfigError("aggregator", name, valid)
    if at_server:
        _check_server_rule(communication, name)
        return
    aggregator.check(messages.graph(1))
    by_number = communication.cohorts is not None and aggregator.partial_rows == "by_number"
    if by_number and isinstance(aggregator, RobustRule):
        check_counts(aggregator, communication, messages.graph(1))
    else:
        aggregator.check_bound(messages.graph(1), communication.names)
    needed = protocol.requirements.conserves
    if needed == "row":  # every rule conserves these
        if aggregator.own_validation and not protocol.sends_models():
            valid = (
                f"must be a rule that measures no models with {called(protocol)}, whose messages"
                " are more or something else than models"
            )
            raise ConfigError("aggregator", name, valid)
        return
    for round in rounds_foreseen(messages):
        kept = aggregator.conserves(messages.mixing(round))
        if kept not in ("both", needed):
            valid = (
                f"must be mean with {called(protocol)}, which needs a rule that conserves"
                f" {_SUMS[needed]}; this one conserves {_SUMS[kept]} only"
            )
            raise ConfigError("aggregator", name, valid)


def _check_server_rule(communication: Communication, name: str) -> None:
    """Refuse a rule by which a server cannot combine the rows of its devices."""
    rule, protocol = communication.aggregator, called(communication.protocol)
    if not rule.symmetric:
        valid = (
            f"must be a rule that treats all rows alike with {protocol}, whose server has no row of"
            " its own; coordinate_median or multi_krum would do"
        )
        raise ConfigError("aggregator", name, valid)
    if isinstance(rule, RobustRule):
        heard = [communication.active(round) for round in rounds_foreseen(communication.messages)]
        devices = communication.settings.devices
        counts = [devices if each is None else int(each.sum()) for each in heard]
        if any(counts):
            rule.check_server(min(count for count in counts if count))
        if communication.cohorts is not None:
            check_server_counts(rule, communication, heard)


def _check_personal(experiment: Experiment) -> None:
    """Refuse what a device cannot learn for itself beside the model that it shares."""
    personal = experiment.model.personal
    if absent(personal):
        return
    name = f"personal={choice('personal', experiment.settings.personal)}"
    refuse(_personal_refusals(experiment), name)
    try:
        steps_N = experiment.data.local_steps_N
        personal.check(experiment.model.layout, steps_N, experiment.names)
    except ConfigError as error:
        raise error.under("personal") from None


def _personal_refusals(e: Experiment) -> Refusals:
    """What does not go together with that."""
    s, personal, protocol = e.settings, e.model.personal, e.communication.protocol
    learns = sum(phase.learns for phase in e.communication.phases)
    if learns != 1:
        yield "protocol", called(protocol), "must be one that learns once a round with {}"
    corrects = type(protocol).gradient_correction is not Protocol.gradient_correction
    if personal.replaces and (corrects or protocol.requirements.plain_sgd):
        valid = "must be one that leaves the local steps as they are with {}, which replaces them"
        yield "protocol", called(protocol), valid
    if personal.plain_sgd and not e.model.optimizer.plain:
        valid = "must be sgd without momentum and decay with {}"
        yield "optimizer", choice("optimizer", s.optimizer), valid
    if personal.no_statistics and e.model.layout.statistics:
        valid = "must have no running statistic with {}, which mixes parameters; such as "
        named_one = e.model.layout.statistics[0].name
        yield "model", choice("model", s.model), f"{valid}{named_one}"
    if e.data.privacy.unit is not None:
        valid = "must be none with {}, whose steps would be noised as if they were sent"
        yield "privacy", choice("privacy", s.privacy), valid
    if s.compute.compile:
        yield "compute.compile", "true", "must be false with {}, which takes steps one by one"


def _check_grid(experiment: Experiment) -> None:
    """Refuse what does not go together with parameters of few bits."""
    if experiment.model.grid is None:
        return
    name = f"optimizer={choice('optimizer', experiment.settings.optimizer)}"
    refuse(_grid_refusals(experiment), name)


def _grid_refusals(e: Experiment) -> Refusals:
    """What does not go together with parameters of few bits."""
    s, protocol = e.settings, e.communication.protocol
    if e.communication.slots or protocol.requirements.conserves != "row":
        valid = (
            "must be one that remembers nothing of what devices hold with {}, which rounds that;"
            " dpsgd or none would do"
        )
        yield "protocol", called(protocol), valid
    if protocol.distillation is not None:
        valid = "must be one that exchanges parameters with {}, which rounds their steps"
        yield "protocol", called(protocol), valid
    if not absent(e.model.personal):
        valid = "must be none with {}, which rounds the shared model alone"
        yield "personal", choice("personal", s.personal), valid
    if e.data.privacy.unit == "sample":
        valid = "must be none or device_level with {}, whose steps are not those of DP-SGD"
        yield "privacy", choice("privacy", s.privacy), valid
    if e.model.cohorts is not None:
        yield "cohorts", shown(list(s.cohorts)), "must be {} with {}, whose grid is of one model"
    if e.model.layout.statistics:
        valid = "must have no running statistics with {}, which would round them, too"
        yield "model", choice("model", s.model), valid
    if s.compute.compile:
        yield "compute.compile", "true", "must be false with {}, whose steps are not compiled"


def _require_fit(experiment: Experiment) -> None:
    """Refuse a fleet with a device whose memory is too small for what the device keeps and one
    gradient."""
    hardware = experiment.communication.fleet.hardware
    if hardware is None:
        return
    itemsize = experiment.dtype.itemsize
    needed_N = needed_numbers(experiment) * itemsize + experiment.data.replay_bytes(itemsize)
    needed_N = needed_N + frozen_bytes(experiment)
    if (needed_N <= hardware.memory).all():
        return
    small = int((hardware.memory - needed_N).argmin())
    who = titled(small, named(experiment.names, small))
    if (kind := experiment.communication.fleet.kind(small)) is not None:
        who += f" ({with_article(kind)})"
    valid = (
        f"{who} has {hardware.memory[small]:.3g} bytes of memory; model, optimiser and replay need"
        f" {needed_N[small]:.3g}; take a smaller model, or give such"
        " devices one by a cohort with devices=memory"
    )
    name = experiment.settings.fleet["_target_"].rpartition(".")[2]
    raise ConfigError("fleet", name, valid)
