"""What all actors of a live run have done since the record before."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from swarm.communication.round_messages import Traffic
from swarm.simulation.engine.base import Floats, Ints, RoundResult
from swarm.simulation.engine.live.actor import LiveReport


@dataclass
class News:
    """The sums of what actors report, for the N devices of the swarm; the names are those of
    :class:`LiveReport`. ``unread`` has the messages in each mailbox, by its actor's first device.
    """

    loss_N: Floats
    sums_4N: Floats
    finite_N: npt.NDArray[np.bool_]
    kept_finite_N: npt.NDArray[np.bool_]
    sent_N: Ints
    received_N: Ints
    lost_N: Ints
    mailed: int = 0
    behind: int = 0
    seconds: float = 0.0
    unread: dict[int, int] = field(default_factory=dict)

    @classmethod
    def none(cls, devices: int) -> News:
        """No news of so many ``devices``."""
        sent_N, received_N, lost_N = np.zeros((3, devices), np.int64)
        return cls(
            np.zeros(devices),
            np.zeros((4, devices)),
            np.ones(devices, bool),
            np.ones(devices, bool),
            sent_N,
            received_N,
            lost_N,
        )

    def emptied(self) -> News:
        """No news yet, after these: the losses and the unread messages stay."""
        found = News.none(len(self.loss_N))
        found.loss_N, found.unread = self.loss_N.copy(), dict(self.unread)
        return found

    def take(self, found: LiveReport, devices: Ints) -> None:
        """Add the report of the actor that holds ``devices``."""
        self.loss_N[devices] = found.loss_n
        self.sums_4N[:, devices] += found.sums_4n
        self.finite_N[devices] &= found.finite_n
        self.kept_finite_N[devices] &= found.kept_finite_n
        self.sent_N[devices] += found.sent_n
        self.received_N[devices] += found.received_n
        self.lost_N += found.lost_N
        self.mailed += found.mailed
        self.behind += found.behind
        self.seconds += found.seconds
        self.unread[int(devices[0])] = found.waiting

    @property
    def waiting(self) -> int:
        """The messages that lie in mailboxes."""
        return sum(self.unread.values())

    def result(self, round: int, at_N: Ints, bits: int, took: float) -> RoundResult:
        """These news, of ``took`` seconds, as the result of ``round``, when each device has played
        ``at_N`` rounds, and messages have so many ``bits``."""
        scored_N, score_N, steps_N, work_N = self.sums_4N
        late_N = np.zeros_like(self.lost_N)
        sent = Traffic(self.sent_N, self.received_N, self.lost_N, late_N, self.behind, bits)
        measured = {
            "local_round_mean": float(at_N.mean()),
            "local_round_min": int(at_N.min()),
            "local_round_max": int(at_N.max()),
            "unread": self.waiting,
            "steps_per_s": float(steps_N.sum()) / took,
        }
        if self.mailed:
            measured["staleness"] = self.behind / self.mailed
            measured["staleness_s"] = self.seconds / self.mailed
        return RoundResult(
            round,
            self.loss_N,
            scored_N,
            score_N,
            steps_N.astype(np.int64),
            work_N,
            self.finite_N,
            self.kept_finite_N,
            [sent] if bits else [],
            measured=measured,
        )
