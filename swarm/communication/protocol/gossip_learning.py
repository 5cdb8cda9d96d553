"""Gossip learning: models go from device to device, are merged where they meet, and are trained on
each device that they visit.

Ormándi, Hegedűs, Jelasity, *Gossip learning with linear models on fully distributed data*, 2013
(arXiv 1109.1396). Merging by age: Hegedűs, Danner, Jelasity, *Gossip learning as a decentralized
alternative to federated learning*, DAIS 2019.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from swarm.communication.protocol.base import Inbox, Links, Protocol, Requirements, Rows, State


class GossipLearning(Protocol):
    """Gossip learning: every device sends its model x and its age t, the number of local steps that
    the model has taken.

    The ``variant`` says how a device combines a message m with its own model p:

    * ``rw`` (random walk): update(m); of several messages in a round, the last one counts;
    * ``mu``: update(merge(m, p));
    * ``um``: merge(update(m), update(p)), where both updates use the same samples; this is twice
      the work, but its steps count once.

    Here merge(m, p) = (t_p·p + t_m·m)/(t_p + t_m), the plain mean if both ages are 0, and its age
    is max(t_p, t_m). Several messages are merged one after the other. If updates are linear in x,
    ``mu`` and ``um`` are the same. A device that hears nothing trains its own model, so that
    devices take as many steps as under other protocols.
    """

    # compression would round the age
    requirements = Requirements(no_compression=True)

    def __init__(self, variant: Literal["rw", "mu", "um"] = "mu") -> None:
        self.variant = variant
        self.phases = ("messages", "learn", "learn") if variant == "um" else ("messages", "learn")

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        return {"age": x_NP.new_zeros(len(x_NP), 1)}

    def width(self, phase: int, parameters: int) -> int:
        return parameters + 1

    def send(self, phase: int, state: State) -> Tensor:
        return torch.cat([state.x, state.slots["age"]], 1)

    def receive_messages(self, phase: int, state: State, inbox: Inbox) -> None:
        """Merge the messages into each device's model.

        However many messages there are, the result is ω·p + (1 − ω)·message; ``um`` needs both
        parts of it, which ``round_buffers`` keep.
        """
        age, rank_A = state.slots["age"].clone(), inbox.rank_A
        others, weight = torch.zeros_like(state.x), torch.ones_like(age)
        for rank in range(int(rank_A.max()) + 1):
            message = rank_A == rank
            at, (m, t) = (
                inbox.dst_A[message],
                inbox.rows_AM[message].tensor_split([state.x.shape[1]], 1),
            )
            keep = self._keeps(age[at], t)
            others[at] = keep * others[at] + (1 - keep) * m
            weight[at] = keep * weight[at]
            age[at] = t if self.variant == "rw" else torch.maximum(age[at], t)
        state.round_buffers |= {
            "own": state.x,
            "weight": weight,
            "message": torch.where(weight < 1, others / (1 - weight), state.x),
        }
        state.x, state.slots["age"] = weight * state.x + others, age

    def _keeps(self, own: Tensor, other: Tensor) -> Tensor:
        """The weight of a device's own model when a message is merged into it, t_p/(t_p + t_m)."""
        if self.variant == "rw":
            return torch.zeros_like(own)
        total = own + other
        return torch.where(total > 0, own / total, 0.5)

    def start(self, state: State) -> Tensor:
        if self.variant != "um":
            return state.x
        if state.round_buffers.pop("first", None) is not None:
            return state.round_buffers["own"]
        state.round_buffers["first"] = state.x
        if "own" not in state.round_buffers:  # no device of this shard got a message
            state.round_buffers |= {
                "own": state.x,
                "weight": torch.ones_like(state.slots["age"]),
                "message": state.x.clone(),
            }
        return state.round_buffers["message"]

    def after_local_steps(self, state: State, rows: Rows, start_BP: Tensor, end_BP: Tensor) -> None:
        if "first" in state.round_buffers:
            state.round_buffers["message"][rows] = end_BP
            return
        if self.variant == "um":
            weight = state.round_buffers["weight"][rows]
            end_BP = weight * end_BP + (1 - weight) * state.round_buffers["message"][rows]
        state.x[rows] = end_BP
        state.slots["age"][rows] += torch.as_tensor(state.now.steps_n, device=end_BP.device)[
            rows, None
        ]
