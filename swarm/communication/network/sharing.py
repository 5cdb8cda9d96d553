"""How fast messages travel that share the lines of their senders and receivers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LinkRates:
    """The devices' link rates, in bits a second.

    A message takes bits / min(uplink_i / m_i, downlink_j) seconds from i to j, where m_i is the
    number of messages that i sends in the same round: a sender divides its uplink among them. With
    ``fair`` messages share the receiver's downlink as well, and the rates are max-min fair
    (:func:`max_min_rates`); they stay until the last message is through.
    """

    uplink_N: Floats
    downlink_N: Floats
    fair: bool = False

    def seconds(self, src_S: Ints, dst_S: Ints, bits: float | Ints) -> Floats:
        """Return the seconds of each message of ``bits`` bits (one number, or ``[S]``), ``[S]``;
        all are sent in one round.
        """
        if self.fair:
            return bits / max_min_rates(src_S, dst_S, self.uplink_N, self.downlink_N)
        sent_N = np.bincount(src_S, minlength=len(self.uplink_N))
        return bits / np.minimum(self.uplink_N[src_S] / sent_N[src_S], self.downlink_N[dst_S])


def max_min_rates(src_S: Ints, dst_S: Ints, uplink_N: Floats, downlink_N: Floats) -> Floats:
    """Return the max-min fair rate of each message, ``[S]``, in the unit of the lines.

    No rate can be raised without lowering one that is no larger: every message crosses a line that
    is used up, and on which no message is faster (Bertsekas & Gallager, *Data Networks*, 1992,
    section 6.5.2). Progressive filling raises all rates together until a line is used up, whose
    messages then keep theirs. Here all lines that are the tightest one of each of their messages
    are settled in the same step, which gives the same rates: what is left for a message of a line,
    (capacity − settled rates) / (messages left), never falls. There are as many steps as such
    lines depend on one another in a chain, few on graphs of equal degrees.
    """
    n = len(uplink_N)
    line_2S = np.stack([src_S, n + dst_S])
    capacity_L = np.concatenate([uplink_N, downlink_N]).astype(np.float64)
    rate_S, open_S = np.zeros(len(src_S)), np.ones(len(src_S), bool)
    share_L = np.zeros(2 * n)
    while open_S.any():
        line_2A = line_2S[:, open_S]
        load_L = np.bincount(line_2A.ravel(), minlength=2 * n)
        used = load_L > 0
        # a share never falls but for rounding
        share_L[used] = np.maximum(capacity_L[used] / load_L[used], share_L[used])
        least_A = share_L[line_2A].min(0)
        # a line is settled if it is the tightest one of each of its messages
        tight_L = used.copy()
        for line_A in line_2A:
            tight_L[line_A[share_L[line_A] > least_A]] = False
        settled_A = tight_L[line_2A].any(0)
        settled_S = np.flatnonzero(open_S)[settled_A]
        rate_S[settled_S] = least_A[settled_A]
        spent_2A = np.broadcast_to(least_A[settled_A], (2, len(settled_S)))
        capacity_L -= np.bincount(line_2S[:, settled_S].ravel(), spent_2A.ravel(), minlength=2 * n)
        open_S[settled_S] = False
    return rate_S
