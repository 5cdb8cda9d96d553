"""The cost of a round on the fleet's hardware: virtual seconds, and joules of each device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from swarm.communication.network.base import Floats, Ints
from swarm.simulation.experiment import Experiment


@dataclass(frozen=True)
class Cost:
    """The virtual ``seconds`` that a round lasts, and the joules ``joules_N`` that each device
    spends in it."""

    seconds: float
    joules_N: Floats


def cost(e: Experiment, round: int, work_N: Floats, sent_N: Ints, received_N: Ints) -> Cost | None:
    """The cost of ``round``, in which the devices computed ``work_N`` local steps, and sent and
    received these numbers of bytes; None without a fleet.

    Device i computes for c_i = work_i · FLOP of a step / FLOP a second · its slowness. With a clock
    a round lasts ``network.round_seconds``. Without one it lasts until the slowest active device
    has computed and sent, max_i (c_i + t_i), where t_i adds up its transmission times
    (:class:`~swarm.communication.network.base.LinkRates`) over the phases; if no device is active,
    it lasts ``network.round_seconds``. A device that is online spends idle · seconds +
    (active − idle) · c_i joules, and the radio's joules for each byte.
    """
    hardware = e.communication.fleet.hardware
    if hardware is None:
        return None
    n, tick = e.settings.devices, e.settings.network.round_seconds
    compute_N = (
        work_N * e.model.step_flops / hardware.flops * e.communication.fleet.slower(round, n)
    )
    awake = e.communication.active(round)
    seconds = tick
    if e.communication.network.clock is None and (awake is None or awake.any()):
        phases = [phase for phase in e.communication.phases if phase.plays(round)]
        busy_N = compute_N + sum(phase.seconds_on_line(round) for phase in phases)
        seconds = float(busy_N[slice(None) if awake is None else awake].max())
    online = e.communication.network.online(round)
    there_N = np.ones(n) if online is None else online
    joules_N = there_N * hardware.idle * seconds + (hardware.active - hardware.idle) * compute_N
    return Cost(
        seconds, joules_N + sent_N * hardware.radio_send + received_N * hardware.radio_receive
    )


def work_beside_learning(e: Experiment, round: int) -> Floats:
    """What the devices compute in ``round`` in phases that do not learn from their samples, in
    local steps ``[N]``; to measure models on their own validation samples, they predict each sample
    for each model that arrives."""
    phases = [phase for phase in e.communication.phases if phase.plays(round)]
    work_N = sum((phase.work(round) for phase in phases), np.zeros(e.settings.devices))
    held = e.data.split.local_validation
    if held is None or not e.communication.own_validation:
        return work_N
    share_N = e.model.prediction_share_of(np.arange(e.settings.devices))
    models_N = sum(phase.measured(round) for phase in phases)
    return work_N + models_N * held.sizes_N * share_N / e.settings.train.batch


def rounded(joules: float) -> float:
    """``joules`` to nine digits, as the last digits of sums over devices depend on the order of
    adding."""
    return float(f"{joules:.9g}") if math.isfinite(joules) else joules
