"""What a round costs on the fleet's hardware: virtual seconds, and joules of each device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from swarm.communication.network.base import Floats, Ints
from swarm.simulation.experiment import Experiment


@dataclass(frozen=True)
class Cost:
    """``seconds`` that the round lasts, and ``joules_N`` of each device in it."""

    seconds: float
    joules_N: Floats


def cost(e: Experiment, round: int, work_N: Floats, sent_N: Ints, received_N: Ints) -> Cost | None:
    """Of a round in which the devices did work of so many local steps, and sent and received these
    bytes; None without a fleet.

    A device computes for c = work · FLOP of a step / FLOP a second · its slowness. With a clock a
    round is a tick; otherwise it lasts until the slowest of those awake has computed and sent:
    max_i (c_i + t_i), t_i by :class:`~swarm.communication.network.base.LinkRates`, one exchange
    after the other. If nobody is awake it is a tick. Energy of who is there: idle · seconds +
    (active − idle) · c, and what the radio takes for each byte.
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
        phases = e.communication.phases
        busy_N = compute_N + sum(phase.seconds_on_line(round) for phase in phases)
        seconds = float(busy_N[slice(None) if awake is None else awake].max())
    online = e.communication.network.online(round)
    there_N = np.ones(n) if online is None else online
    joules_N = there_N * hardware.idle * seconds + (hardware.active - hardware.idle) * compute_N
    return Cost(
        seconds, joules_N + sent_N * hardware.radio_send + received_N * hardware.radio_receive
    )


def rounded(joules: float) -> float:
    """To nine digits: sums over devices differ in the last ones with the order of adding."""
    return float(f"{joules:.9g}") if math.isfinite(joules) else joules
