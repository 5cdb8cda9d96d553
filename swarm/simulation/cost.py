"""The cost of a round on the fleet's hardware: virtual seconds, and joules of each device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from swarm.common.errors import ConfigError
from swarm.communication.network.base import Floats, Ints
from swarm.config.choices import choice

if TYPE_CHECKING:
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
    (:class:`~swarm.communication.network.sharing.LinkRates`) over the phases; if no device is
    active, it lasts ``network.round_seconds``. A device that is online spends idle · seconds +
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


class Deadline:
    """How many local steps a device has time for in a round: semi-synchronous learning, in which
    slow devices do less instead of holding back fast ones (Stripelis, Thompson & Ambite,
    *Semi-synchronous federated learning*, 2022, arXiv 2102.02849; partial work by a deadline as
    in Li et al., *Federated optimization in heterogeneous networks*, 2020, arXiv 1812.06127).

    With T = ``train.deadline`` seconds, device i has time for ⌊(T − t_i) / c_i⌋ local steps, where
    c_i is the time of one step on its hardware, with its slowness in this round, and t_i that of
    its messages; with a clock messages take their time on their own, and t_i is 0. It takes at
    least ``train.least_steps``, and at most what ``train.local_steps`` or ``train.local_epochs``
    say. A function of the round alone.
    """

    def __init__(self, experiment: Experiment, seconds: float) -> None:
        self.experiment, self.seconds = experiment, seconds
        self.least = experiment.settings.train.least_steps

    def steps(
        self, round: int, devices_n: Ints, work_n: float | Floats, slowed: bool = True
    ) -> Ints:
        """Return how many steps these devices have time for in ``round``, ``[n]``; ``work_n`` is
        the computation of a step, in steps on a plain mini-batch. Without ``slowed`` nobody is a
        straggler."""
        e = self.experiment
        plain_N = self._plain_N
        if slowed:
            plain_N = plain_N * e.communication.fleet.slower(round, e.settings.devices)
        step_n = work_n * self._times(round) * plain_N[devices_n]
        left_N = self.seconds - self._on_line(round) - work_beside_learning(e, round) * plain_N
        # a step that ends with the deadline is in time, however the quotient is rounded
        fits_n = np.floor(left_N[devices_n] / step_n * (1 + 1e-9)).clip(0, 1e9)
        return np.maximum(fits_n.astype(np.int64), self.least)

    def usual(self) -> Ints:
        """Return how many steps each device has time for in a round without stragglers, ``[N]``."""
        return self.of_round(1, slowed=False)

    def of_round(self, round: int, slowed: bool = True) -> Ints:
        """Return how many steps each device has time for in ``round``, ``[N]``."""
        relative_N = self.experiment.data.relative_batch_N
        everybody = np.arange(self.experiment.settings.devices)
        work_N = (1.0 if relative_N is None else relative_N) * self._relative_work
        return self.steps(round, everybody, work_N, slowed)

    def batches(self) -> Ints:
        """Return the size of each device's mini-batches with which all its local steps fit into a
        round without stragglers, ``[N]``: at least 1, and at most the size that it has without a
        deadline."""
        data, train = self.experiment.data, self.experiment.settings.train
        step_N = self._times(1) * self._plain_N * self._relative_work
        sample_N = data.local_steps_N * step_N / train.batch
        fits_N = np.floor((self.seconds - self._on_line(1)) / sample_N * (1 + 1e-9))
        return fits_N.clip(1, self.most_batch_N).astype(np.int64)

    @property
    def most_batch_N(self) -> Ints:
        """The size of each device's mini-batches without a deadline, ``[N]``."""
        data = self.experiment.data
        own_N = data.stream.batch_N
        return np.full_like(data.local_steps_N, data.stream.batch) if own_N is None else own_N

    def needed(self) -> Floats:
        """Return the seconds of one step and the messages of the first round, ``[N]``."""
        return self._times(1) * self._plain_N * self._relative_work + self._on_line(1)

    @property
    def _relative_work(self) -> float | Floats:
        """The computation of a step of each device's own model, in steps of the run's model."""
        e = self.experiment
        return e.model.relative_work_of(np.arange(e.settings.devices))

    @property
    def _plain_N(self) -> Floats:
        """The seconds of a step of the shared model on a plain mini-batch, ``[N]``."""
        hardware = self.experiment.communication.fleet.hardware
        assert hardware is not None
        return np.asarray(self.experiment.model.step_flops / hardware.flops)

    def _times(self, round: int) -> float:
        """How many such steps a local step of ``round`` takes, with all that is learnt in it."""
        e = self.experiment
        learning = sum(phase.learns for phase in e.communication.phases)
        return learning * e.model.personal.work(round, e.settings.rounds)

    def _on_line(self, round: int) -> Floats:
        """The seconds that a device is busy with its messages, ``[N]``."""
        c, nothing_N = self.experiment.communication, np.zeros(self.experiment.settings.devices)
        if c.network.clock is not None:
            return nothing_N
        playing = [phase for phase in c.phases if phase.plays(round)]
        return sum((phase.seconds_on_line(round) for phase in playing), nothing_N)


def deadline_of(e: Experiment) -> Deadline | None:
    """Return the deadline of a round, if there is one, and give devices the mini-batches for it if
    it cuts these.

    Raises :class:`ConfigError` for what does not go with it, and where no device has time for a
    step."""
    train, c = e.settings.train, e.communication
    if train.deadline is None:
        if train.least_steps:
            raise ConfigError("train.least_steps", train.least_steps, "needs a train.deadline")
        if train.deadline_cuts != "steps":
            raise ConfigError("train.deadline_cuts", train.deadline_cuts, "needs a train.deadline")
        return None
    if c.fleet.hardware is None:
        valid = "needs a fleet, which says how long a local step takes, such as fleet=terminals"
        raise ConfigError("train.deadline", train.deadline, valid)
    if e.data.policy.keeps:
        valid = "must be null with update={}, whose devices learn by night from what they kept"
        update = choice("update", e.settings.update)
        raise ConfigError("train.deadline", train.deadline, valid.format(update))
    if c.network.clock is not None and c.network.clock.by_speed:
        valid = "must be null with clock=speed, whose devices wake as often as their steps take"
        raise ConfigError("train.deadline", train.deadline, valid)
    found = Deadline(e, train.deadline)
    if train.deadline_cuts == "batch":
        _require_batches_to_cut(e)
        batch_N = found.batches()
        if (batch_N < found.most_batch_N).any():
            e.data.take_batches(batch_N)
    e.data.within_deadline_N = found.usual()
    if not e.data.within_deadline_N.any():
        quickest = found.needed().min()
        valid = (
            f"leaves no device time for a single local step; the quickest needs {quickest:.3g}"
            " virtual seconds for a step and its messages"
        )
        raise ConfigError("train.deadline", train.deadline, valid)
    return found


def _require_batches_to_cut(e: Experiment) -> None:
    """Raises :class:`ConfigError` where devices cannot have mini-batches of their own size."""
    s = e.settings
    refused = {
        "train.local_epochs, whose steps follow from the batch": s.train.local_steps is None,
        f"privacy={choice('privacy', s.privacy)}, which draws mini-batches of a random size": (
            e.data.privacy.unit == "sample"
        ),
        f"update={choice('update', s.update)}, whose devices meet each sample once": (
            e.data.policy.streams
        ),
        f"model={choice('model', s.model)}, whose running statistics are of whole mini-batches": (
            bool(e.model.layout.statistics)
        ),
        "compute.compile=true, which needs one shape": s.compute.compile,
    }
    for why, clashes in refused.items():
        if clashes:
            raise ConfigError("train.deadline_cuts", "batch", f"must be steps with {why}")


def rounded(joules: float) -> float:
    """``joules`` to nine digits, as the last digits of sums over devices depend on the order of
    adding."""
    return float(f"{joules:.9g}") if math.isfinite(joules) else joules
