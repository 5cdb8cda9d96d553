"""The cohorts of a swarm: which device has which model, and what two devices have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.communication.network.base import UNSENT
from swarm.communication.round_messages import MessageSizes
from swarm.communication.routing import Route
from swarm.learning.cohorts.learner import Piece, pieces
from swarm.learning.cohorts.union import Union
from swarm.simulation.metrics.record import COHORT

if TYPE_CHECKING:
    from swarm.communication.network.base import MessageOutcomes
    from swarm.communication.topology.graph import Graph
    from swarm.simulation.experiment.model import Model

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
AT_ONCE = 1 << 20  # numbers that are scaled at a time


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
        heard_G = torch.as_tensor(shares_N @ self.holds_NG > 0, device=own_nW.device)
        out_nW = own_nW.clone()
        for piece in self.pieces(devices_n, own_nW.device):
            place = self.union.place_Cc[piece.cohort].to(own_nW.device)
            place = place[place < own_nW.shape[1]]
            place = place[heard_G[self._group(own_nW)[place]]]
            out_nW[piece.place_m[:, None], place] = mean_W[place]
        return out_nW

    def mixed(self, route: Route, mixed_RW: Tensor, devices_R: Ints) -> Tensor:
        """Σ_j W_ij · m_j · x_j over Σ_j W_ij · m_j where device i has the number, and 0 elsewhere,
        given the sums ``[R, W]``; m_j is 1 where device j has the number. ``mixed_RW`` changes in
        place.

        The weights are scaled by their own sum, so that a number which all neighbours have is
        left as it is, bit for bit.
        """
        dtype = route.matrix.dtype
        holds_mG = self.holds_NG[route.sender_m].astype(dtype)
        heard_RG = route.matrix @ holds_mG
        whole_R1 = route.matrix @ np.ones((route.matrix.shape[1], 1), dtype)
        mine_RG = self.holds_NG[devices_R] & (heard_RG != 0)
        factor_RG = np.where(mine_RG, whole_R1 / np.where(mine_RG, heard_RG, 1), 0)
        if (factor_RG == 1).all():
            return mixed_RW
        factor = torch.as_tensor(factor_RG.astype(dtype), device=mixed_RW.device)
        group_W, width = self._group(mixed_RW), mixed_RW.shape[1]
        step = max(1, AT_ONCE // max(width, 1))
        for start in range(0, len(mixed_RW), step):
            rows = slice(start, start + step)
            mixed_RW[rows] *= factor[rows].index_select(1, group_W)
        return mixed_RW

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

    @cached_property
    def devices_of_each(self) -> dict[str, int]:
        """How many devices each cohort has, by name."""
        counts = np.bincount(self.cohort_N, minlength=len(self.names))
        return dict(zip(self.names, counts.tolist(), strict=True))
