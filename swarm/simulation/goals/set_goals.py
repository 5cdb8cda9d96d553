"""The phase in which devices set their goals, at the start of every round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from swarm.common.rng import Keys
from swarm.learning.goal.base import Goal, Outlook, practised
from swarm.simulation.evaluation import OwnSamples
from swarm.simulation.phases.base import Ints, TrainResult
from swarm.simulation.phases.neighbours import ToNeighbours
from swarm.simulation.phases.transport import (
    AlongLinks,
    Arrived,
    NoTransport,
    Payload,
    Transport,
)

if TYPE_CHECKING:
    from swarm.simulation.experiment.communication import Communication
    from swarm.simulation.shard import Shard


NO_SCORE = -1.0  # in a message: a checkpoint, which keeps those under way, holds finite numbers


class SetGoals(ToNeighbours):
    """Every device measures its shared model on its own validation samples, class by class; with a
    goal that listens it tells its neighbours these C scores, in one message to each. By what has
    arrived in this round it sets its goal, which its next mini-batches follow.

    The messages are those of the topology and the network: they are counted, may be lost, and may
    come rounds later, with the scores of the round in which they were sent. Transforms,
    compressors and attacks leave them alone.
    """

    name = "set_goals"
    of_parameters = False
    _history = "history.goal"

    def __init__(self, number: int, communication: Communication, goal: Goal, classes: int) -> None:
        super().__init__(number, communication)
        self.goal, self.classes = goal, classes

    @property
    def sends(self) -> bool:
        """Whether devices tell their neighbours anything."""
        return self.goal.listens

    @property
    def width(self) -> int:
        """C, the number of classes."""
        return self.classes

    @property
    def bits(self) -> int:
        """The number of bits of one message."""
        return self.classes * self.communication.number_bits

    def plays(self, round: int) -> bool:
        """True, whether or not the protocol communicates in ``round``."""
        return True

    def check(self) -> None:
        """Nothing: :func:`~swarm.simulation.goals.check.check_goal` has checked the links."""

    def transport(self, round: int) -> Transport:
        """:class:`AlongLinks`, with every message apart; :class:`NoTransport` where nobody is
        told anything."""
        if not self.goal.listens:
            return NoTransport()
        return AlongLinks(self.communication.messages.single(round))

    def measured(self, round: int) -> Ints:
        """See :meth:`Phase.measured`: an active device measures its own model."""
        active = self.communication.active(round)
        devices = self.communication.settings.devices
        if not self.goal.measures:
            return super().measured(round)
        return np.ones(devices, np.int64) if active is None else active.astype(np.int64)

    def in_flight(self) -> dict[str, tuple[int, ...]]:
        """The shape, for one device, of the scores that are under way."""
        depth = self.communication.messages.depth
        return {self._history: (depth, self.classes)} if depth and self.sends else {}

    def held_numbers(self) -> float:
        """See :meth:`Phase.held_numbers`: the scores that are sent, those that arrive, and copies
        of both in float64."""
        told = len(self.communication.messages.graph(1).src_E) if self.sends else 0
        return 6.0 * (self.communication.settings.devices + told) * self.classes

    def collect(self, shard: Shard, round: int) -> Payload:
        """The scores ``[n, C]`` that devices tell, with :data:`NO_SCORE` for a class of which they
        have no sample."""
        own_nC, messages = self._scores(shard), self.communication.messages
        told_nC, past = own_nC.nan_to_num(NO_SCORE), shard.in_flight.get(self._history)
        return Payload(told_nC, own_nC, past, messages.rows_per_device, round)

    def apply(self, shard: Shard, round: int, arrived: Arrived) -> TrainResult | None:
        """Set the goals of the devices of a shard."""
        payload, route = shard.payload, arrived.route
        shard.payload = None
        own_nC = self._scores(shard) if payload is None else payload.own
        scores_AC, dst_A = own_nC[:0], np.zeros(0, np.int64)
        if payload is not None and route is not None and len(route.dst_R):
            assert route.src_R is not None
            rows = payload.joined(route, arrived.from_shards)
            # sorted by receiver, sender and age: the first of each pair is the latest
            latest = np.ones(len(route.dst_R), bool)
            pair = np.stack([route.dst_R, route.src_R])
            latest[1:] = (pair[:, 1:] != pair[:, :-1]).any(0)
            order = route.matrix.indices.astype(np.int64)[latest]
            told_AC = rows[torch.as_tensor(order, device=rows.device)]
            scores_AC = told_AC.where(told_AC != NO_SCORE, torch.nan)
            dst_A = route.dst_R[latest]
        practising = shard.batch_loader.practising
        assert practising is not None
        keys = Keys(self.communication.settings.seed, "goal")
        held_nC = practising.practice.held_NC[shard.devices]
        own, told = (each.double().cpu().numpy() for each in (own_nC, scores_AC))
        seen = Outlook(shard.devices, round, keys, held_nC, own, told, dst_A)
        practising.share_nC = practised(self.goal, seen)
        if payload is not None and payload.past is not None:
            active = self.communication.network.active(round)
            payload.remember(None if active is None else np.flatnonzero(active[shard.devices]))
        return None

    def _scores(self, shard: Shard) -> Tensor:
        """The accuracy of each device on each class of its own validation samples, ``[n, C]``; NaN
        for a class of which it has none."""
        e, loader = shard.experiment, shard.batch_loader
        found_nC = shard.state.x.new_full((len(shard.devices), self.classes), torch.nan)
        held = e.data.split.local_validation
        if not self.goal.measures or held is None:
            return found_nC
        for _, rows in e.blocks.slices(shard.blocks):
            own = OwnSamples.of(held, shard.devices[rows])
            evaluator = shard.evaluator.of(shard.devices[rows])
            part = evaluator.examine_local(shard.whole(rows), own, loader.x_S, loader.y_S)
            count_BC = torch.as_tensor(e.data.validation_NC[shard.devices[rows]]).to(part.hits_BC)
            found_nC[rows] = (part.hits_BC / count_BC).to(found_nC)  # 0 / 0 is NaN
        return found_nC
