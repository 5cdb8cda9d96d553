"""Swarms of which it is known which samples they have learnt from, and what they give away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.errors import ConfigError, DivergedError
from swarm.common.rng import Keys
from swarm.config.settings import Settings
from swarm.data.dataset import DeviceSplit
from swarm.experiments.runs.prepared import PreparedArm, PreparedRun
from swarm.simulation.engine.local import LocalEngine
from swarm.simulation.evaluation import OwnSamples
from swarm.simulation.experiment import Experiment
from swarm.simulation.phases.transport import Payload
from swarm.simulation.shard import Shard

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MESSAGE, FINAL = "message", "final"
Collect = Callable[[Shard, int], Payload]


class Tapped(LocalEngine):
    """The local engine, which keeps the rows of the latest messages, as their receivers read them:
    after transforms, attack and compressor.

    Attributes:
        sent_NM: The rows; None before the first message.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent_NM: Tensor | None = None
        self._of = 0

    def start(self, experiment: Experiment) -> None:
        """See :meth:`Engine.start`; the phases of this experiment are listened to from here on."""
        super().start(experiment)
        for phase in experiment.communication.phases:
            heard = self._heard(phase.collect)
            phase.collect = heard  # type: ignore[method-assign, assignment]

    def _heard(self, collect: Collect) -> Collect:
        def collected(shard: Shard, round: int) -> Payload:
            payload = collect(shard, round)
            if round > self._of:  # of several messages in a round the first is kept
                self.sent_NM, self._of = payload.packets.clone(), round
            return payload

        return collected


@dataclass(frozen=True)
class Played:
    """What a swarm gives away of A samples.

    Attributes:
        inside_A: Whether the swarm has learnt from each.
        loss_A: By what is seen (``message``, ``final``), the loss of each sample under the model of
            its own device.
        epsilon: The ε that the device which has spent most has spent; None where none is counted.
    """

    inside_A: Bools
    loss_A: dict[str, Floats]
    epsilon: float | None


def halves(split: DeviceSplit, seed: int, pair: int) -> Bools:
    """A half of each device's samples, drawn by (seed, pair), ``[A]`` in the order of
    ``split.sample``. The other half is for the other swarm of the pair."""
    drawn = Keys(seed, "audit.halves").generator(pair).permutation(len(split.sample))
    order = np.lexsort((drawn, split.device_S))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - split.ptr_N1[split.device_S[order]]
    return np.asarray(rank < (split.sizes_N[split.device_S] + 1) // 2)


def restricted(split: DeviceSplit, inside_A: Bools) -> DeviceSplit:
    """The split with some of the devices' samples only.

    Raises :class:`ConfigError` where a device would have none."""
    sizes_N = np.bincount(split.device_S[inside_A], minlength=split.devices)
    if not sizes_N.all():
        device = int(sizes_N.argmin())
        held = int(split.sizes_N[device])
        valid = f"device {device} has {held}, of which half the swarms have none; two are needed"
        raise ConfigError("samples of a device", held, valid)
    ends = np.concatenate([[0], np.cumsum(sizes_N)]).astype(np.int64)
    return replace(split, sample=split.sample[inside_A], ptr_N1=ends)


def play(prepared: PreparedRun, arm: PreparedArm, settings: Settings, number: int) -> Played:
    """Play the swarm ``number`` of an audit to its end: it has the settings and data of the run,
    half of the samples of each device, and draws of its own (initial parameters, graph,
    mini-batches, noise). Swarms 2k and 2k + 1 share the samples between them.

    Raises :class:`DivergedError` for a swarm whose parameters are no longer finite.
    """
    seed = prepared.settings.seed
    held = prepared.experiment(arm, settings).data.split
    inside_A = halves(held, seed, number // 2) ^ bool(number % 2)
    own = int(Keys(seed, "audit.seed").words(0, number, 1)[0]) >> 1
    it = replace(prepared, settings=prepared.settings.model_copy(update={"seed": own}))
    keep_S = np.zeros(len(prepared.dataset.x), bool)
    keep_S[held.sample[inside_A]] = True
    it = replace(it, split=restricted(prepared.split, keep_S[prepared.split.sample]))
    experiment = it.experiment(arm, settings.model_copy(update={"seed": own}))
    engine, accountant = Tapped(), experiment.accountant
    every_N = np.arange(experiment.settings.devices)
    releases_N = np.zeros_like(every_N)
    engine.start(experiment)
    try:
        for happened in engine.advance(experiment.settings.rounds):
            if not happened.finite_N.all():
                raise DivergedError(int(happened.finite_N.argmin()), happened.round)
            if accountant is not None:
                releases_N = accountant.after(every_N, releases_N, happened.steps_N, happened.round)
        loss_A = {FINAL: _losses(engine.shards[0], None, held)}
        if (rows_NP := _readable(experiment, engine.sent_NM)) is not None:
            loss_A[MESSAGE] = _losses(engine.shards[0], rows_NP, held)
    finally:
        engine.stop()
    spent = None if accountant is None else float(accountant.epsilon_N(releases_N).max())
    return Played(inside_A, loss_A, spent)


def _readable(experiment: Experiment, sent_NM: Tensor | None) -> Tensor | None:
    """The messages, if each is its sender's whole model and not masked; None otherwise."""
    c = experiment.communication
    if sent_NM is None or c.secure is not None or not c.protocol.sends_models():
        return None
    return sent_NM if sent_NM.shape[1] == experiment.model.layout.width else None


def _losses(shard: Shard, rows_NP: Tensor | None, held: DeviceSplit) -> Floats:
    """The loss of each of the ``held`` samples under its own device's row, ``[A]``; None takes the
    devices' models as they stand."""
    loader, found = shard.batch_loader, []
    with torch.inference_mode():
        for _, rows in shard.experiment.blocks.slices(shard.blocks):
            own = OwnSamples.of(held, shard.devices[rows])
            x_BP = shard.whole(rows) if rows_NP is None else rows_NP[rows]
            loss_BT = shard.evaluator.own_losses(x_BP, own, loader.x_S, loader.y_S)
            there_BT = torch.arange(own.id_BT.shape[1]) < own.count_B[:, None]
            found.append(loss_BT.cpu()[there_BT].double().numpy())
    return np.concatenate(found)


def first_messages(experiment: Experiment) -> tuple[Tensor, Tensor]:
    """The rows ``[N, P]`` of all devices before the first round, and the rows that they send in
    it."""
    engine = Tapped()
    engine.start(experiment)
    try:
        start_NP = engine.shards[0].state.x.clone()
        list(engine.advance(1))
        assert engine.sent_NM is not None, "a protocol with messages is needed"
        return start_NP, engine.sent_NM
    finally:
        engine.stop()
