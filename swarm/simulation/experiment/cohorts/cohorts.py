"""The cohorts of a swarm: which device has which model, and what two devices have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.rows import Blocks
from swarm.communication.network.base import UNSENT
from swarm.communication.round_messages import MessageSizes
from swarm.communication.routing import Route
from swarm.learning.cohorts.learner import Piece, pieces, put_
from swarm.learning.cohorts.union import Union
from swarm.simulation.metrics.record import COHORT

if TYPE_CHECKING:
    from swarm.communication.network.base import MessageOutcomes
    from swarm.communication.topology.graph import Graph
    from swarm.simulation.experiment.model import Model

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cohorts:
    """The C cohorts of N devices; the run's own model is the first one, if a device has it.

    Attributes:
        names: What they are called.
        models: The model of each.
        union: How their rows lie in one row.
        cohort_N: The number of each device's cohort, ``[N]``.
    """

    names: tuple[str, ...]
    models: tuple[Model, ...]
    union: Union
    cohort_N: Ints

    @property
    def lead(self) -> int:
        """The cohort with the most parameters, whose model the mean model is looked at in."""
        return int(np.argmax([model.layout.width for model in self.models]))

    def pieces(self, devices_B: Ints, device: torch.device) -> Iterator[Piece]:
        """The devices of each cohort among ``devices_B``."""
        return pieces(self.cohort_N[devices_B], device)

    def own(self, cohort: int, rows_BP: Tensor) -> Tensor:
        """The numbers of a cohort's own row, cut out of union rows: of all P numbers, or of the
        first M that devices send."""
        place = self.union.place_Cc[cohort]
        if rows_BP.shape[-1] < self.union.layout.width:
            place = place[: self.models[cohort].layout.sent.width]
        return rows_BP[..., place.to(rows_BP.device)]

    # --- what each device has of the union --------------------------------------------------------

    @cached_property
    def holds_NG(self) -> Bools:
        """Which devices have the numbers of each group, ``[N, G]``."""
        return np.ascontiguousarray(self.union.held_GC.T[self.cohort_N])

    def has(self, devices_B: Ints, like: Tensor) -> Tensor:
        """``[B, W]``: 1 where a device has the number, for rows of the width W of ``like``."""
        has_BG = torch.as_tensor(self.holds_NG[devices_B], device=like.device).to(like.dtype)
        return has_BG[:, self._group(like)]

    def _group(self, like: Tensor) -> Tensor:
        return self.union.group_P[: like.shape[-1]].to(like.device)

    # --- the mean over those who have a number ----------------------------------------------------

    def mean_of_holders(self, sum_W: Tensor, shares_N: Floats) -> Tensor:
        """Σ_i share_i · x_i over the share of those who have each number, given the sum ``[W]``; 0
        where nobody with a share has it."""
        held_G = torch.as_tensor(shares_N @ self.holds_NG, device=sum_W.device).to(sum_W.dtype)
        held_W = held_G[self._group(sum_W)]
        return torch.where(held_W > 0, sum_W / held_W, torch.zeros_like(sum_W))

    def from_mean(self, sum_W: Tensor, shares_N: Floats, own_nW: Tensor, devices_n: Ints) -> Tensor:
        """What each device takes of a mean over all, ``[n, W]``: of each number that it has, the
        mean over those that have it, or its own where nobody with a share does."""
        mean_W = self.mean_of_holders(sum_W, shares_N).to(own_nW)
        group_W, out_nW = self._group(own_nW), torch.empty_like(own_nW)
        for piece in self.pieces(devices_n, own_nW.device):
            held_G = torch.as_tensor(self.union.held_GC[:, piece.cohort], device=own_nW.device)
            row_W = torch.where(held_G[group_W], mean_W, 0)
            out_nW.index_copy_(0, piece.place_m, row_W.expand(len(piece.place_m), -1))
        silent_G = torch.as_tensor(shares_N @ self.holds_NG <= 0, device=own_nW.device)
        if silent_G.any():  # a number that a device does not have is 0 in its own row, too
            silent_W = silent_G[group_W]
            out_nW[:, silent_W] = own_nW[:, silent_W]
        return out_nW

    def mixed(self, route: Route, rows_mW: Tensor, devices_R: Ints) -> Tensor:
        """Σ_j W_ij · m_j · x_j over Σ_j W_ij · m_j where device i has the number, and 0 elsewhere,
        ``[R, W]``, given the rows that ``route`` combines; m_j is 1 where device j has the number.

        The weights are scaled by their own sum, so that a number which all neighbours have is
        left as it is, bit for bit. The receivers of each cohort are one product over the numbers
        that these have.
        """
        dtype = route.matrix.dtype
        heard_RG = route.matrix @ self.holds_NG[route.sender_m].astype(dtype)
        whole_R1 = route.matrix @ np.ones((route.matrix.shape[1], 1), dtype)
        mine_RG = self.holds_NG[devices_R] & (heard_RG != 0)
        factor_RG = np.where(mine_RG, whole_R1 / np.where(mine_RG, heard_RG, 1), 0).astype(dtype)
        factor, group_W = torch.as_tensor(factor_RG, device=rows_mW.device), self._group(rows_mW)
        out_RW = rows_mW.new_zeros(len(devices_R), rows_mW.shape[1])
        for piece in self.pieces(devices_R, rows_mW.device):
            place = self._sent_place(piece.cohort, rows_mW)
            whole = len(place) == rows_mW.shape[1]
            own = rows_mW if whole else rows_mW.index_select(1, place)
            part = replace(route, matrix=route.matrix[piece.place_m.cpu().numpy()])
            mixed = part.product(own)
            scale = factor.index_select(0, piece.place_m)
            put_(out_RW, piece.place_m, place, mixed.mul_(scale.index_select(1, group_W[place])))
        return out_RW

    def _sent_place(self, cohort: int, rows: Tensor) -> Tensor:
        """Where the numbers that a cohort sends lie in union rows."""
        own = self.models[cohort].layout.sent.width
        return self.union.place_Cc[cohort][:own].to(rows.device)

    # --- how large messages are -------------------------------------------------------------------

    @cached_property
    def width_N(self) -> Ints:
        """How many numbers of what devices send each of them has, ``[N]``."""
        widths: Ints = np.diagonal(self.union.shared_CC)[self.cohort_N]
        return widths

    def bits_on(self, number_bits: int, src_E: Ints, dst_E: Ints) -> Ints:
        """The bits of a message on each of these links: of the numbers that both ends have."""
        found: Ints = self.union.shared_CC[self.cohort_N[src_E], self.cohort_N[dst_E]]
        return found * number_bits

    def sizes_on_links(
        self, graph: Graph, outcomes: MessageOutcomes, number_bits: int
    ) -> MessageSizes:
        """The bits of the messages of a round along links."""
        bits_E, n = self.bits_on(number_bits, graph.src_E, graph.dst_E), graph.n
        leaves, arrives = outcomes.ticks_E != UNSENT, outcomes.ticks_E >= 0

        def count(end_E: Ints, which: Bools) -> Ints:
            return np.bincount(end_E[which], bits_E[which], n).astype(np.int64)

        return MessageSizes(count(graph.src_E, leaves), count(graph.dst_E, arrives))

    # --- what it costs ----------------------------------------------------------------------------

    @cached_property
    def step_flops_N(self) -> Floats:
        """FLOP of a local step of each device, ``[N]``."""
        return np.array([model.step_flops for model in self.models])[self.cohort_N]

    @cached_property
    def prediction_flops_N(self) -> Floats:
        """FLOP of predicting a mini-batch of each device, ``[N]``."""
        flops = [model.step_flops * model.prediction_share for model in self.models]
        return np.array(flops)[self.cohort_N]

    @cached_property
    def numbers_N(self) -> Ints:
        """The numbers that each device keeps for its model and optimizer, and a gradient, ``[N]``;
        see :attr:`Model.numbers`."""
        numbers = [model.numbers + model.layout.width for model in self.models]
        return np.array(numbers, np.int64)[self.cohort_N]

    def means_of(self, key: str, values_M: Floats, devices_M: Ints) -> dict[str, float]:
        """The mean of the values of the devices ``devices_M`` over those of each cohort that have
        one, by the keys of records."""
        found: dict[str, float] = {}
        for number, name in enumerate(self.names):
            own = values_M[(self.cohort_N[devices_M] == number) & ~np.isnan(values_M)]
            if len(own):
                found[f"{key}{COHORT}{name}"] = float(own.mean())
        return found

    def numbers_at_once(self, blocks: Blocks) -> int:
        """The parameters of the devices of a block, each cohort at its largest."""
        first = np.array([blocks.first(block) for block in range(len(blocks))])
        one_NC = self.cohort_N[:, None] == np.arange(len(self.names))
        most_C = np.add.reduceat(one_NC.astype(np.int64), first).max(0)
        widths = [model.layout.width for model in self.models]
        return int((most_C * np.array(widths)).sum())

    @cached_property
    def devices_of_each(self) -> dict[str, int]:
        """How many devices each cohort has, by name."""
        counts = np.bincount(self.cohort_N, minlength=len(self.names))
        return dict(zip(self.names, counts.tolist(), strict=True))
