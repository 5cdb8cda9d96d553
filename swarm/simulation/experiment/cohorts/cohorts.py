"""The cohorts of a swarm: which device has which model, and what two devices have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.rows import Blocks
from swarm.communication.protocol.base import Protocol
from swarm.learning.cohorts.learner import Piece, pieces
from swarm.learning.cohorts.runs import Runs, zeros
from swarm.learning.cohorts.union import Union
from swarm.simulation.metrics.record import COHORT

if TYPE_CHECKING:
    from swarm.simulation.experiment.communication import Communication
    from swarm.simulation.experiment.model import Model
    from swarm.simulation.shard import Shard

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Change = Callable[..., Tensor]
"""From own rows and the ids of their devices to own rows"""


def replaces_state(c: Communication) -> bool:
    """Whether what devices receive may be written into the rows of their state: it becomes the
    state, nothing else may be kept in these rows, and local steps change them in every round."""
    default = type(c.protocol).receive is Protocol.receive
    return default and not c.slots and any(phase.learns for phase in c.phases)


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
        return rows_BP[..., self.place_in(cohort, rows_BP)]

    def place_in(self, cohort: int, rows_BP: Tensor) -> Tensor:
        """Where the numbers of a cohort's own row lie in union rows: in those of all P numbers, or
        of the first M that devices send."""
        return self.runs_in(cohort, rows_BP).place_c.to(rows_BP.device)

    def runs_in(self, cohort: int, rows_BP: Tensor) -> Runs:
        """The same places as windows of a row."""
        return self.union.places(rows_BP.shape[-1]).of_cohort[cohort]

    def changed(self, change: Change, devices_B: Ints, *rows: Tensor) -> Tensor:
        """What ``change`` makes of the union rows of devices, ``[B, P]`` each, where it is given
        the own rows of the devices of a cohort and their ids, and returns own rows."""
        out_BP = torch.zeros_like(rows[0])
        for piece in self.pieces(devices_B, out_BP.device):
            runs, at = self.runs_in(piece.cohort, out_BP), piece.place_m
            own = (runs.taken(each, at) for each in rows)
            runs.put_(out_BP, at, change(*own, devices_B[at.cpu().numpy()]))
        return out_BP

    # --- what each device has of the union --------------------------------------------------------

    @cached_property
    def holds_NG(self) -> Bools:
        """Which devices have the numbers of each group, ``[N, G]``."""
        return np.ascontiguousarray(self.union.held_GC.T[self.cohort_N])

    @property
    def most_of_group(self) -> int:
        """How many numbers of a group all devices send together, of the group with most."""
        groups = self.union.places(self.union.sent).of_group.items()
        return max(int(self.holds_NG[:, g].sum()) * runs.width for g, runs in groups)

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

    def received(
        self, shard: Shard, row_M: Tensor, shares_N: Floats, sent_G: Bools | None
    ) -> Tensor:
        """What each device of a shard takes of a sum over all with the weights ``shares_N``,
        ``[n, M]``: of each number that it has, the mean over those that have it, or its own where
        nobody with a share does. With ``sent_G`` the row is what a rule has made of these groups of
        numbers."""
        if sent_G is None:
            row_M, sent_G = self.mean_of_holders(row_M, shares_N), shares_N @ self.holds_NG > 0
        state, c = shard.state, shard.experiment.communication
        alone = not state.round_buffers and shard.listener is None and state.x.is_contiguous()
        into_nM = state.x if alone and replaces_state(c) else zeros(len(state.x), state.x)
        return self._handed(row_M, sent_G, state.x, shard.devices, into_nM)

    def _handed(
        self, row_W: Tensor, sent_G: Bools, own_nW: Tensor, devices_n: Ints, out_nW: Tensor
    ) -> Tensor:
        """Write what each device takes of a row for all to ``out_nW``, which may be ``own_nW``: of
        the groups of numbers ``sent_G`` those that it has, and its own numbers elsewhere."""
        row_W, silent_W = row_W.to(own_nW), None
        if not sent_G.all():
            silent_W = torch.as_tensor(~sent_G, device=own_nW.device)[self._group(own_nW)]
        for piece in self.pieces(devices_n, own_nW.device):
            runs, at = self.runs_in(piece.cohort, own_nW), piece.place_m
            place = runs.place_c.to(own_nW.device)
            own_mc = row_W[place].expand(len(at), -1)
            if silent_W is not None:
                own_mc = torch.where(silent_W[place], runs.taken(own_nW, at), own_mc)
            runs.put_(out_nW, at, own_mc)
        return out_nW

    def partial_means(
        self, shard: Shard, rows_nW: Tensor, shares_N: Floats
    ) -> Iterator[tuple[int, Tensor]]:
        """See :meth:`Shard.partial_means`; each group of numbers is added up over those who have
        them."""
        shares_n = torch.as_tensor(shares_N[shard.devices], device=rows_nW.device)
        wide = torch.float64 if rows_nW.device.type != "mps" else rows_nW.dtype
        hostile = shard.experiment.communication.hostile_N is not None
        for block, s in shard.experiment.blocks.slices(shard.blocks):
            out_W = torch.zeros(rows_nW.shape[1], dtype=wide, device=rows_nW.device)
            for group, runs in self.union.places(rows_nW.shape[1]).of_group.items():
                some_m = s.start + np.flatnonzero(self.holds_NG[shard.devices[s], group])
                at = torch.as_tensor(some_m, device=rows_nW.device)
                shares_m, rows_mg = shares_n[at].to(wide), runs.taken(rows_nW, at).to(wide)
                if hostile:  # whose rows need not be finite, also where they do not count
                    rows_mg[shares_m == 0] = 0.0
                out_W[runs.place_c.to(out_W.device)] = shares_m @ rows_mg
            yield block, out_W

    # --- how large messages are -------------------------------------------------------------------

    @cached_property
    def width_N(self) -> Ints:
        """How many numbers of what devices send each of them has, ``[N]``."""
        widths: Ints = np.diagonal(self.union.shared_CC)[self.cohort_N]
        return widths

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
