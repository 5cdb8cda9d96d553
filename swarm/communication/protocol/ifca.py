"""IFCA over a graph: groups of devices find one another, and each group learns a model of its own.

Ghosh, Chung, Yin, Ramchandran, *An efficient framework for clustered federated learning*, NeurIPS
2020 (arXiv 2006.04088). There a server averages the models of each group; here neighbours do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.common.rows import Layout
from swarm.communication.protocol.base import (
    Inbox,
    Ints,
    Links,
    Protocol,
    Requirements,
    Rows,
    State,
)


class IFCA(Protocol):
    """Every device keeps the models θ_1 … θ_K of K groups. In a round it measures all of them on
    validation samples of its own, joins the group k whose model does best,

        k_i = argmin_k L_i(θ_k),

    learns that model, and sends it with the number of its group. A device takes the mean of the
    models that it has of a group, which are those that arrive, and its own if it is a member:

        θ_k ← mean{x_j : k_j = k, j ∈ N_i ∪ {i}}.

    What it knows of a group of which it hears nothing stays as it was.

    The first model of group 1 is the run's own. Those of the others are drawn from ``seed``, with
    the mean and spread that each parameter of the first has, so all devices start with the same K
    models. Which group learns what follows from these draws, and it can happen that all devices
    join one.
    """

    phases = ("learn", "messages")
    # compression would round the number of the group
    requirements = Requirements(own_validation=True, common_init=True, no_compression=True)

    def __init__(self, groups: int = 2, seed: int = 0) -> None:
        """Set the number of groups K; raises :class:`ConfigError` if it is below 2."""
        if groups < 2:
            raise ConfigError("groups", groups, "must be a whole number of at least 2")
        self.groups, self.keys = groups, Keys(seed, "ifca")

    def bind(self, layout: Layout) -> None:
        self.entries = layout.slots

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        """Return the slots ``models`` ``[N, K, P]`` and ``group`` ``[N, 1]``, counted from 0."""
        models_NKP = x_NP.unsqueeze(1).repeat(1, self.groups, 1)
        if len(x_NP):
            models_NKP[:, 1:] = self._starts(x_NP[0])
        return {"models": models_NKP, "group": x_NP.new_zeros(len(x_NP), 1)}

    def _starts(self, row_P: Tensor) -> Tensor:
        """The first models of all groups but one, ``[K − 1, P]``."""
        drawn = self.keys.normal(range(1, self.groups), 0, len(row_P))
        found_KP = torch.as_tensor(drawn).to(row_P)
        for entry in self.entries:
            place = slice(entry.start, entry.stop)
            known = row_P[place]
            if entry.statistic:
                found_KP[:, place] = known
            else:
                spread = known.std(correction=0)
                found_KP[:, place] = known.mean() + spread * found_KP[:, place]
        return found_KP

    def width(self, phase: int, parameters: int) -> int:
        return parameters + 1

    def measures(self, arrived_N: Ints) -> Ints:
        """A device measures the models of all groups, and none that arrives."""
        measured_N: Ints = 0 * arrived_N + self.groups
        return measured_N

    def start(self, state: State) -> Tensor:
        models_NKP = state.slots["models"]
        devices, groups = models_NKP.shape[:2]
        at_A = torch.arange(devices, device=models_NKP.device).repeat_interleave(groups)
        found_NK = state.local.loss(models_NKP.flatten(0, 1), at_A).view(devices, groups)
        loss_NK = torch.where(found_NK.isnan(), torch.inf, found_NK)
        # the first of equal ones, whatever hardware computes it
        least_N1 = loss_NK.min(1, keepdim=True).values
        at_K = torch.arange(groups, device=loss_NK.device)
        group_N1 = torch.where(loss_NK <= least_N1, at_K, groups).min(1, keepdim=True).values
        state.round_buffers["group"] = group_N1
        return self._of(models_NKP, state.round_buffers["group"])

    def after_local_steps(self, state: State, rows: Rows, start_BP: Tensor, end_BP: Tensor) -> None:
        group_B1 = state.round_buffers["group"][rows]
        state.x[rows] = end_BP
        state.slots["group"][rows] = group_B1.to(state.x)
        at_B = torch.arange(len(state.x), device=end_BP.device)[rows]
        state.slots["models"][at_B, group_B1[:, 0]] = end_BP

    def send(self, phase: int, state: State) -> Tensor:
        return torch.cat([state.x, state.slots["group"]], 1)

    def receive_messages(self, phase: int, state: State, inbox: Inbox) -> None:
        """Take the mean of each group's models, added up in the order of the messages; a number
        that no group has, which only a hostile device sends, is dropped.
        """
        rows_AP, group_A = inbox.rows_AM[:, :-1], inbox.rows_AM[:, -1]
        own_N, rank_A = state.slots["group"].squeeze(1), inbox.rank_A
        for group in range(self.groups):
            total_NP = torch.where((own_N == group)[:, None], state.x, 0.0)
            many_N = (own_N == group).long()
            for rank in range(int(rank_A.max()) + 1):
                here_A = (rank_A == rank) & (group_A == group)
                total_NP[inbox.dst_A[here_A]] += rows_AP[here_A]
                many_N[inbox.dst_A[here_A]] += 1
            some = many_N > 0
            state.slots["models"][some, group] = total_NP[some] / many_N[some, None]
        state.x = self._of(state.slots["models"], own_N.long()[:, None])

    def _of(self, models_NKP: Tensor, group_N1: Tensor) -> Tensor:
        """The model of each device's group, ``[N, P]``."""
        place_N1P = group_N1.unsqueeze(2).expand(-1, -1, models_NKP.shape[2])
        return models_NKP.gather(1, place_N1P).squeeze(1)
