"""Swarms whose training samples are known, and what their messages and models give away of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.errors import ConfigError, DivergedError
from swarm.common.names import named
from swarm.common.rng import Keys
from swarm.config.settings import Settings
from swarm.data.dataset import DeviceSplit
from swarm.experiments.runs.prepared import PreparedArm, PreparedRun
from swarm.simulation.engine.local import LocalEngine
from swarm.simulation.evaluation import OwnSamples
from swarm.simulation.experiment import Experiment
from swarm.simulation.phases.base import Phase
from swarm.simulation.shard import Shard

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MESSAGE, FINAL = "message", "final"


class Tapped(LocalEngine):
    """The local engine, which keeps the row that each device was heard with last, as its receivers
    read it: after transforms, attack and compressor.

    A device that is away or not drawn, or whose messages are all lost, is not heard. Of several
    messages in a round the first is kept. Rows that differ for each neighbour, or that are not as
    wide as what devices have to send, are not kept.

    Attributes:
        sent_NM: The rows; NaN of devices that nobody has heard.
        heard_N: The round in which each was heard last; 0 of devices that nobody has heard.
    """

    def start(self, experiment: Experiment) -> None:
        """See :meth:`Engine.start`."""
        super().start(experiment)
        self.sent_NM = torch.full_like(self.shards[0].state.x, torch.nan)
        self.heard_N = np.zeros(len(self.sent_NM), np.int64)
        self.shards[0].listener = self._hear

    def _hear(self, phase: Phase, round: int, packets_NM: Tensor) -> None:
        if packets_NM.shape != self.sent_NM.shape:
            return
        traffic = phase.traffic(round)
        arrives_N = traffic.sent_N > traffic.lost_N + traffic.late_N
        new = np.flatnonzero(arrives_N & (self.heard_N < round))
        self.sent_NM[new] = packets_NM[new]
        self.heard_N[new] = round


@dataclass(frozen=True)
class Played:
    """What a swarm gives away of A samples: those of its honest devices.

    Attributes:
        inside_A: Whether the swarm has learnt from each.
        loss_A: By what is seen (``message``, ``final``), the loss of each sample under the model of
            its own device; NaN for messages of a device that nobody has heard.
        epsilon: The ε that the honest device which has spent most has spent; None where none is
            counted.
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

    Raises:
        ConfigError: Half of a device's samples are too few for these settings.
        DivergedError: An honest device's parameters are no longer finite, or its loss of a sample.
    """
    seed = prepared.settings.seed
    held = prepared.experiment(arm, settings).data.split
    inside_A = halves(held, seed, number // 2) ^ bool(number % 2)
    own = int(Keys(seed, "audit.seed").words(0, number, 1)[0]) >> 1
    it = replace(prepared, settings=prepared.settings.model_copy(update={"seed": own}))
    keep_S = np.zeros(len(prepared.dataset.x), bool)
    keep_S[held.sample[inside_A]] = True
    it = replace(it, split=restricted(prepared.split, keep_S[prepared.split.sample]))
    experiment = _built(it, arm, settings.model_copy(update={"seed": own}))
    honest_N, accountant = experiment.communication.honest_N, experiment.accountant
    engine = Tapped()
    every_N = np.arange(experiment.settings.devices)
    releases_N = np.zeros_like(every_N)
    engine.start(experiment)
    try:
        for happened in engine.advance(experiment.settings.rounds):
            _require_finite(experiment, happened.finite_N | ~honest_N, happened.round)
            if accountant is not None:
                releases_N = accountant.after(every_N, releases_N, happened.steps_N, happened.round)
        loss_A = _given_away(engine, held)
    finally:
        engine.stop()
    spent = None
    if accountant is not None:
        spent = float(accountant.epsilon_N(releases_N)[honest_N].max())
    at_A = honest_N[held.device_S]
    return Played(inside_A[at_A], {seen: each[at_A] for seen, each in loss_A.items()}, spent)


def _given_away(engine: Tapped, held: DeviceSplit) -> dict[str, Floats]:
    """:attr:`Played.loss_A` of all ``held`` samples, also of those of hostile devices."""
    e, shard = engine.experiment, engine.shards[0]
    honest_N = e.communication.honest_N
    seen = {FINAL: (_losses(shard, None, held), honest_N)}
    heard_N = honest_N & (engine.heard_N > 0)
    if _readable(e) and heard_N.any():
        seen[MESSAGE] = (_losses(shard, engine.sent_NM, held), heard_N)
    for loss_A, known_N in seen.values():
        wrong_N = np.bincount(held.device_S[~np.isfinite(loss_A)], minlength=len(known_N)) > 0
        _require_finite(e, ~(wrong_N & known_N), engine.round)
    return {name: loss_A for name, (loss_A, _) in seen.items()}


def _built(prepared: PreparedRun, arm: PreparedArm, settings: Settings) -> Experiment:
    """The experiment of a swarm that has half of the samples of each device."""
    try:
        return prepared.experiment(arm, settings)
    except ConfigError as error:
        valid = "; the swarms of an audit learn from half of each device's samples, which are meant"
        raise ConfigError(error.key, error.value, error.valid + valid) from error


def _require_finite(experiment: Experiment, finite_N: Bools, round: int) -> None:
    if not finite_N.all():
        device = int(finite_N.argmin())
        raise DivergedError(device, round, named(experiment.names, device))


def _readable(experiment: Experiment) -> bool:
    """Whether each message is its sender's whole model, and not masked."""
    c = experiment.communication
    whole = c.layout.width == experiment.model.layout.width
    return whole and not c.sums.secure and c.protocol.sends_models()


def _losses(shard: Shard, rows_NP: Tensor | None, held: DeviceSplit) -> Floats:
    """The loss of each of the ``held`` samples under its own device's row, ``[A]``; None takes the
    devices' models as they stand."""
    loader, found = shard.batch_loader, []
    with torch.inference_mode():
        for _, rows in shard.experiment.blocks.slices(shard.blocks):
            own = OwnSamples.of(held, shard.devices[rows])
            x_BP = shard.whole(rows) if rows_NP is None else rows_NP[rows]
            evaluator = shard.evaluator.of(shard.devices[rows])
            loss_BT = evaluator.own_losses(x_BP, own, loader.x_S, loader.y_S)
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
        assert (engine.heard_N == 1).all(), "a protocol is needed in which all devices are heard"
        return start_NP, engine.sent_NM
    finally:
        engine.stop()
