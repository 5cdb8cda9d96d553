"""The sums over the rounds of an arm: an immutable value, from which each round makes the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.arrays import fixed
from swarm.communication.round_messages import Traffic
from swarm.simulation.cost import Cost
from swarm.simulation.engine.base import RoundResult
from swarm.simulation.metrics.base import TrafficCounts

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

PER_DEVICE = {
    "seen": torch.float64,
    "score": torch.float64,
    "sent": torch.int64,
    "received": torch.int64,
    "lost": torch.int64,
    "late": torch.int64,
    "bits": torch.int64,
    "joules": torch.float64,
}
"""The arrays in which checkpoints hold the counters of each device, and their dtypes."""
_ATTRIBUTE = {name: f"{name}_N" for name in PER_DEVICE} | {"seen": "scored_N"}


@dataclass(frozen=True)
class MessageTotals:
    """How many messages and bytes were sent, how many messages were lost or late, and what secure
    sums add: bytes, round trips, and sums that could not be recovered."""

    messages: int = 0
    bytes: int = 0
    lost: int = 0
    late: int = 0
    secure_bytes: int = 0
    secure_round_trips: int = 0
    sums_lost: int = 0

    @classmethod
    def of(cls, traffic: Sequence[Traffic]) -> MessageTotals:
        """The totals of a round, given the traffic of each of its phases."""
        names = [field.name for field in fields(cls)]
        return cls(*(sum(getattr(sent, name) for sent in traffic) for name in names))

    def named(self, ending: str, secure: bool) -> dict[str, int]:
        """The numbers by the keys that records have for them; those of secure sums if there are
        any."""
        names = [field.name for field in fields(self)][: None if secure else 4]
        return {f"{name}{ending}": getattr(self, name) for name in names}

    def plus(self, other: MessageTotals) -> MessageTotals:
        """The sum of these totals and ``other``."""
        names = [field.name for field in fields(self)]
        return MessageTotals(*(getattr(self, name) + getattr(other, name) for name in names))


@dataclass(frozen=True)
class Counters:
    """The sums since the start of the arm.

    Attributes:
        scored_N: Samples that each device has met for the first time, ``[N]``.
        score_N: The sum of their scores before learning from them.
        sent_N: Messages that each device has sent.
        received_N: Messages that have reached each device, or will.
        lost_N: Sent messages of each device that were lost.
        late_N: Sent messages of each device that came too late.
        bits_N: Bits that each device has sent.
        joules_N: The energy that each device has spent, in joules.
        totals: The messages of the whole swarm, those of a server included.
        steps: Local steps of all devices.
        work: The computation of all devices, in local steps on a plain mini-batch.
        virtual: Virtual seconds.
        fading_scored: Samples met, with weights that fade over the rounds.
        fading_score: The sum of their scores, with the same weights.
    """

    scored_N: Floats
    score_N: Floats
    sent_N: Ints
    received_N: Ints
    lost_N: Ints
    late_N: Ints
    bits_N: Ints
    joules_N: Floats
    totals: MessageTotals = MessageTotals()
    steps: int = 0
    work: float = 0.0
    virtual: float = 0.0
    fading_scored: float = 0.0
    fading_score: float = 0.0

    @classmethod
    def zero(cls, devices: int) -> Counters:
        """The counters before the first round."""
        per_device: dict[str, Any] = {
            _ATTRIBUTE[name]: torch.zeros(devices, dtype=dtype).numpy()
            for name, dtype in PER_DEVICE.items()
        }
        return cls(**per_device)

    def after(
        self,
        happened: RoundResult,
        spent: Cost | None,
        fading: float,
        round_seconds: float,
        hostile_N: npt.NDArray[np.bool_] | None = None,
    ) -> Counters:
        """The counters after one more round.

        Args:
            happened: The result of that round.
            spent: The cost of that round; None without a fleet.
            fading: The factor by which the fading sums of earlier rounds are multiplied.
            round_seconds: The virtual seconds of every round without a fleet.
            hostile_N: The devices whose predictions do not count; None: nobody.
        """
        scored_N = of_honest(happened.scored_N, hostile_N)
        score_N = of_honest(happened.score_N, hostile_N)
        traffic = happened.traffic
        joules_N, virtual = self.joules_N, happened.round * round_seconds
        if spent is not None:
            joules_N, virtual = joules_N + spent.joules_N, self.virtual + spent.seconds
        return Counters(
            self.scored_N + happened.scored_N,
            self.score_N + score_N,
            _added(self.sent_N, [sent.sent_N for sent in traffic]),
            _added(self.received_N, [sent.received_N for sent in traffic]),
            _added(self.lost_N, [sent.lost_N for sent in traffic]),
            _added(self.late_N, [sent.late_N for sent in traffic]),
            _added(self.bits_N, [sent.sent_bits_N for sent in traffic]),
            joules_N,
            self.totals.plus(MessageTotals.of(traffic)),
            self.steps + int(happened.steps_N.sum()),
            self.work + float(happened.work_N.sum()),
            virtual,
            fading * self.fading_scored + float(scored_N.sum()),
            fading * self.fading_score + float(score_N.sum()),
        )

    # --- checkpoints ------------------------------------------------------------------------------

    def arrays(self) -> dict[str, Tensor]:
        """The counters of each device, as a checkpoint holds them."""
        return {name: torch.as_tensor(getattr(self, _ATTRIBUTE[name])) for name in PER_DEVICE}

    def messages(self) -> TrafficCounts:
        """The messages counted, as metrics get them: arrays of their own."""
        return TrafficCounts(
            self.sent_N.copy(),
            self.received_N.copy(),
            self.lost_N.copy(),
            self.late_N.copy(),
            self.bits_N // 8,
        )

    def read_only(self) -> Counters:
        """These counters, whose arrays cannot be written to."""
        views: dict[str, Any] = {name: fixed(getattr(self, name)) for name in _ATTRIBUTE.values()}
        return replace(self, **views)

    def facts(self) -> dict[str, Any]:
        """The counters of the whole swarm, as a checkpoint holds them."""
        return {
            "totals": {f.name: getattr(self.totals, f.name) for f in fields(self.totals)},
            "steps": self.steps,
            "work": self.work,
            "virtual": self.virtual,
            "faded": [self.fading_scored, self.fading_score],
        }

    @classmethod
    def restored(cls, arrays: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Counters:
        """The counters that :meth:`arrays` and :meth:`facts` were made from."""
        per_device: dict[str, Any] = {
            _ATTRIBUTE[name]: arrays[name].numpy().copy() for name in PER_DEVICE
        }
        fading_scored, fading_score = facts["faded"]
        return cls(
            **per_device,
            totals=MessageTotals(**facts["totals"]),
            steps=facts["steps"],
            work=facts["work"],
            virtual=facts["virtual"],
            fading_scored=fading_scored,
            fading_score=fading_score,
        )


def of_honest(values_N: Floats, hostile_N: npt.NDArray[np.bool_] | None) -> Floats:
    """The values, with zeros for hostile devices."""
    return values_N if hostile_N is None else np.where(hostile_N, 0.0, values_N)


def _added(so_far_N: Ints, more: Sequence[Ints]) -> Ints:
    return sum(more, so_far_N)
