"""Messages between devices that have models of several shapes: which numbers they hold, how they
are packed, and how a device combines those that it hears.

Axes in names: W numbers of a payload row, of which C cohorts of receivers read a part each; c
numbers of one cohort; G groups of numbers that the same cohorts have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.at_server import combined
from swarm.communication.aggregation.base import Aggregator, Draws, Neighbourhoods
from swarm.communication.compression.base import Compressor, Draw, bits_of, packed
from swarm.communication.network.network import UNSENT
from swarm.communication.round_messages import MessageSizes
from swarm.communication.routing import Route
from swarm.communication.transform.base import MessageTransform, transformed
from swarm.learning.cohorts.runs import Runs, put_, taken, zeros

if TYPE_CHECKING:
    from swarm.communication.network.network import MessageOutcomes
    from swarm.communication.topology.graph import Graph
    from swarm.simulation.experiment.cohorts.cohorts import Cohorts

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class MixedMessages:
    """The messages between the devices of ``cohorts``.

    A message has the numbers that both ends have. Without a ``compressor`` a device's payload row
    is its union row, in which each receiver reads the numbers that it has itself. A compressor
    packs exactly the numbers of a message, so a device makes a packet for each cohort of receivers.
    Its payload row then is one part for each cohort, of that cohort's own width, one behind the
    other, with 0 where the sender has no number.
    """

    def __init__(self, cohorts: Cohorts, number_bits: int, compressor: Compressor | None) -> None:
        self.cohorts, self.number_bits, self.compressor = cohorts, number_bits, compressor
        sent = [model.layout.sent.width for model in cohorts.models]
        self.place_Cc = [
            place[:own] for place, own in zip(cohorts.union.place_Cc, sent, strict=True)
        ]
        self.start_C = np.cumsum([0, *sent])

    @property
    def width(self) -> int:
        """W, the number of numbers of a payload row."""
        if self.compressor is None:
            return self.cohorts.union.sent
        return int(self.start_C[-1])

    @property
    def kept_N(self) -> Ints:
        """How many numbers of a payload row each device has, ``[N]``."""
        shared_CC = self.cohorts.union.shared_CC
        each_C = np.diagonal(shared_CC) if self.compressor is None else shared_CC.sum(1)
        found: Ints = each_C[self.cohorts.cohort_N]
        return found

    @cached_property
    def holds_Cc(self) -> list[Bools]:
        """For each cohort of receivers, which cohorts have each of its numbers, ``[c, C]``."""
        union = self.cohorts.union
        return [union.held_GC[union.group_P[place].numpy()] for place in self.place_Cc]

    def _among(self, receiver: int, sender: int, has: bool = True) -> Tensor:
        """The places, among the numbers of a cohort of receivers, of those that a cohort of senders
        has, or else of those that it lacks."""
        return torch.as_tensor(np.flatnonzero(self.holds_Cc[receiver][:, sender] == has))

    # --- how large messages are -------------------------------------------------------------------

    @cached_property
    def bits_CC(self) -> Ints:
        """The bits of a message from one cohort to another: of the numbers that both have.

        Raises :class:`ConfigError` where the compressor cannot pack so many."""
        shared_CC = self.cohorts.union.shared_CC
        if self.compressor is None:
            return shared_CC * self.number_bits
        try:
            bits = {int(w): bits_of(self.compressor, int(w)) for w in np.unique(shared_CC) if w}
        except ConfigError as error:
            raise error.under("compressor") from None
        of = np.vectorize(lambda width: bits.get(int(width), 0), otypes=[np.int64])
        found: Ints = of(shared_CC)
        return found

    def bits_on(self, src_E: Ints, dst_E: Ints) -> Ints:
        """The bits of a message on each of these links."""
        cohort_N = self.cohorts.cohort_N
        found: Ints = self.bits_CC[cohort_N[src_E], cohort_N[dst_E]]
        return found

    def sizes_on_links(
        self, graph: Graph, outcomes: MessageOutcomes, copies_N: Ints | None
    ) -> MessageSizes:
        """The bits of the messages of a round along links, each sent ``copies_N`` times (None:
        once)."""
        bits_E, n = self.bits_on(graph.src_E, graph.dst_E), graph.n
        bits_E = bits_E if copies_N is None else bits_E * copies_N[graph.src_E]
        leaves, arrives = outcomes.ticks_E != UNSENT, outcomes.ticks_E >= 0

        def count(end_E: Ints, which: Bools) -> Ints:
            return np.bincount(end_E[which], bits_E[which], n).astype(np.int64)

        return MessageSizes(count(graph.src_E, leaves), count(graph.dst_E, arrives))

    # --- what is sent -----------------------------------------------------------------------------

    def transformed(
        self,
        transforms: Sequence[MessageTransform],
        rows_nM: Tensor,
        devices_n: Ints,
        round: int,
        seed: int,
        phase: int,
    ) -> Tensor:
        """Apply transforms to the union rows of devices, to each device's own numbers; see
        :func:`~swarm.communication.transform.base.transformed`."""
        if not transforms:
            return rows_nM

        def change(own_mc: Tensor, devices_m: Ints) -> Tensor:
            return transformed(transforms, own_mc, devices_m, round, seed, phase)

        return self.cohorts.changed(change, devices_n, rows_nM)

    def addressed(self, rows_nM: Tensor) -> Tensor:
        """Payload rows ``[n, W]`` of the union rows of devices, before they are compressed."""
        if self.compressor is None:
            return rows_nM
        return torch.cat([rows_nM.index_select(1, p.to(rows_nM.device)) for p in self.place_Cc], 1)

    def packed(self, rows_nW: Tensor, draw: Draw) -> Tensor:
        """The packets that receivers decode, ``[n, W]``: one for each cohort of receivers, of the
        numbers that this has in common with the sender."""
        assert self.compressor is not None
        out_nW = torch.zeros_like(rows_nW)
        for piece in self.cohorts.pieces(draw.device_n, rows_nW.device):
            own = replace(draw, device_n=draw.device_n[piece.place_m.cpu().numpy()])
            for receiver, start in enumerate(self.start_C[:-1].tolist()):
                place = (start + self._among(receiver, piece.cohort)).to(rows_nW.device)
                if len(place):
                    some = taken(rows_nW, piece.place_m, place)
                    put_(out_nW, piece.place_m, place, packed(self.compressor, some, own))
        return out_nW

    def silent(self, graph: Graph, outcomes: MessageOutcomes) -> list[tuple[slice, Bools]]:
        """Where the packet for each cohort lies in a payload row, and which devices send nothing to
        that cohort, ``[N]``."""
        leaves, cohort_N = outcomes.ticks_E != UNSENT, self.cohorts.cohort_N
        silent_CN = np.ones((len(self.place_Cc), graph.n), bool)
        silent_CN[cohort_N[graph.dst_E[leaves]], graph.src_E[leaves]] = False
        ends = zip(self.start_C[:-1].tolist(), self.start_C[1:].tolist(), strict=True)
        return [(slice(*pair), silent_N) for pair, silent_N in zip(ends, silent_CN, strict=True)]

    def own_rows(self, rows_nW: Tensor, devices_n: Ints) -> Tensor:
        """The union rows of devices, given what they have addressed to their own cohorts."""
        if self.compressor is None:
            return rows_nW
        out_nM = rows_nW.new_zeros(len(rows_nW), self.cohorts.union.sent)
        for piece in self.cohorts.pieces(devices_n, rows_nW.device):
            place = self.place_Cc[piece.cohort].to(rows_nW.device)
            own = self.read_by(piece.cohort, rows_nW)
            put_(out_nM, piece.place_m, place, own.index_select(0, piece.place_m))
        return out_nM

    def read_by(self, cohort: int, rows_mW: Tensor) -> Tensor:
        """The numbers ``[m, c]`` that the devices of a cohort read in payload rows."""
        place = self.place_Cc[cohort]
        if self.compressor is not None:
            start = int(self.start_C[cohort])
            return rows_mW[:, start : start + len(place)].contiguous()
        whole = len(place) == rows_mW.shape[1]
        return rows_mW if whole else rows_mW.index_select(1, place.to(rows_mW.device))

    # --- what is made of it -----------------------------------------------------------------------

    def mean(
        self, route: Route, rows_mW: Tensor, devices_R: Ints, into_nM: Tensor | None = None
    ) -> Tensor:
        """Σ_j W_ij · m_j · x_j over Σ_j W_ij · m_j where device i has the number, and 0 elsewhere,
        ``[R, M]``, given the rows that ``route`` combines; m_j is 1 where device j has the number.

        The weights are scaled by their own sum, so that a number which all neighbours have is
        left as it is, bit for bit. The numbers of a group are one product over those who have them;
        where they do not lie in large windows, those of a cohort are one over everybody. With
        ``into_nM``, union rows of a shard, the result is written into those of the receivers, and
        all are returned; they may be the rows that are combined.
        """
        holds_NG, dtype = self.cohorts.holds_NG, route.matrix.dtype
        heard_RG = route.matrix @ holds_NG[route.sender_m].astype(dtype)
        whole_R1 = route.matrix @ np.ones((route.matrix.shape[1], 1), dtype)
        mine_RG = holds_NG[devices_R] & (heard_RG != 0)
        factor_RG = np.where(mine_RG, whole_R1 / np.where(mine_RG, heard_RG, 1), 0).astype(dtype)
        if self.by_group:
            return self._mean_by_group(route, rows_mW, devices_R, factor_RG, into_nM)
        factor = torch.as_tensor(factor_RG, device=rows_mW.device)
        group_P = self.cohorts.union.group_P.to(rows_mW.device)
        out_RM = rows_mW.new_zeros(len(devices_R), self.cohorts.union.sent)
        for piece in self.cohorts.pieces(devices_R, rows_mW.device):
            place = self.place_Cc[piece.cohort].to(rows_mW.device)
            part = replace(route, matrix=route.matrix[piece.place_m.cpu().numpy()])
            mixed = part.product(self.read_by(piece.cohort, rows_mW))
            scale = factor.index_select(0, piece.place_m)
            put_(out_RM, piece.place_m, place, mixed.mul_(scale.index_select(1, group_P[place])))
        if into_nM is None:
            return out_RM
        return into_nM.index_copy_(0, torch.as_tensor(route.dst_R, device=out_RM.device), out_RM)

    @cached_property
    def by_group(self) -> bool:
        """Whether means over links go by group: payload rows are union rows, in which the numbers
        of each group lie in large windows."""
        return self.compressor is None and all(runs.long for runs in self._runs.values())

    @property
    def _runs(self) -> dict[int, Runs]:
        return self.cohorts.union.places(self.cohorts.union.sent).of_group

    def _mean_by_group(
        self,
        route: Route,
        rows_mM: Tensor,
        devices_R: Ints,
        factor_RG: npt.NDArray[np.generic],
        into_nM: Tensor | None,
    ) -> Tensor:
        """See :meth:`mean`; no group's numbers are read after they are written."""
        device, row_R = rows_mM.device, route.dst_R
        if into_nM is None:
            into_nM, row_R = zeros(len(devices_R), rows_mM), np.arange(len(devices_R))
        for group, runs in self._runs.items():
            has_N = self.cohorts.holds_NG[:, group]
            at_r, at_s = np.flatnonzero(has_N[devices_R]), np.flatnonzero(has_N[route.sender_m])
            if not len(at_r):
                continue
            part = replace(route, matrix=route.matrix[at_r][:, at_s])
            mixed = part.product(runs.taken(rows_mM, torch.as_tensor(at_s, device=device)))
            factor_r = factor_RG[at_r, group]
            if (factor_r != 1).any():
                mixed.mul_(torch.as_tensor(factor_r, device=device)[:, None])
            runs.put_(into_nM, torch.as_tensor(row_R[at_r], device=device), mixed)
        return into_nM

    def combined(self, rule: Aggregator, found: Neighbourhoods) -> Tensor:
        """What another rule makes of the rows that devices hear, ``[R, M]``, as its
        ``partial_rows`` says; the own rows of ``found`` are union rows."""
        out_RM, combine = torch.zeros_like(found.own_RM), self._completed
        if rule.partial_rows == "by_number":
            combine = self._by_number
        for piece in self.cohorts.pieces(found.device_R, out_RM.device):
            at = piece.place_m.cpu().numpy()
            place = self.place_Cc[piece.cohort].to(out_RM.device)
            route = found.route
            route = replace(route, matrix=route.matrix[at], dst_R=route.dst_R[at])
            part = replace(
                found,
                route=route,
                payload_mM=self.read_by(piece.cohort, found.payload_mM),
                own_RM=taken(found.own_RM, piece.place_m, place),
                device_R=found.device_R[at],
            )
            put_(out_RM, piece.place_m, place, combine(rule, part, piece.cohort))
        return out_RM

    def _completed(self, rule: Aggregator, found: Neighbourhoods, cohort: int) -> Tensor:
        return rule.combine_all(replace(found, complete=partial(self._complete, cohort)))

    def _complete(self, cohort: int, rows_KGc: Tensor, own_Gc: Tensor, sender_KG: Ints) -> None:
        """Write the own numbers of devices of a cohort to where the senders of rows have none."""
        flat_Ac = rows_KGc.view(-1, rows_KGc.shape[2])
        sender_A = self.cohorts.cohort_N[sender_KG].ravel()
        for sender in np.unique(sender_A).tolist():
            lacks = self._among(cohort, sender, has=False).to(own_Gc.device)
            if len(lacks):
                at = torch.as_tensor(np.flatnonzero(sender_A == sender), device=own_Gc.device)
                put_(flat_Ac, at, lacks, taken(own_Gc, at % len(own_Gc), lacks))

    def _by_number(self, rule: Aggregator, found: Neighbourhoods, cohort: int) -> Tensor:
        """Combine the numbers of each group among the rows that have them. A message with a number
        that is not finite is left out of all."""
        group_c = self.cohorts.union.group_P[self.place_Cc[cohort]].to(found.own_RM.device)
        spoilt_m = ~torch.isfinite(found.payload_mM).all(1)
        route, out_Rc = found.route, found.own_RM.clone()
        sender_E = route.sender_m[route.matrix.indices]
        for group in torch.unique(group_c).tolist():
            columns = torch.nonzero(group_c == group).squeeze(1)
            rows_mg = found.payload_mM.index_select(1, columns)
            rows_mg[spoilt_m] = torch.nan
            part = replace(
                found,
                route=replace(
                    route, matrix=_only(route.matrix, self.cohorts.holds_NG[sender_E, group])
                ),
                payload_mM=rows_mg,
                own_RM=found.own_RM.index_select(1, columns),
            )
            out_Rc.index_copy_(1, columns, rule.combine_all(part))
        own_R1 = torch.isfinite(found.own_RM).all(1, keepdim=True)
        return torch.where(own_R1, out_Rc, found.own_RM)

    def at_server(
        self, rule: Aggregator, rows_nM: Tensor, sender_n: Ints, draws: Draws
    ) -> tuple[Tensor, Bools]:
        """What a rule that goes number by number makes of the union rows of devices at a server,
        ``[M]``, and the groups of numbers that anybody has sent, ``[G]``."""
        holds_NG, group_M = self.cohorts.holds_NG, self.cohorts.union.group_P[: rows_nM.shape[1]]
        spoilt_n = ~torch.isfinite(rows_nM).all(1)
        out_M, sent_G = rows_nM.new_zeros(rows_nM.shape[1]), np.zeros(holds_NG.shape[1], bool)
        for group in np.flatnonzero(holds_NG[sender_n].any(0)).tolist():
            columns = torch.nonzero(group_M == group).squeeze(1).to(rows_nM.device)
            some_m = np.flatnonzero(holds_NG[sender_n, group])
            at = torch.as_tensor(some_m, device=rows_nM.device)
            rows_mg = taken(rows_nM, at, columns)
            rows_mg[spoilt_n[at]] = torch.nan
            made = combined(rule, rows_mg, sender_n[some_m], draws) if len(columns) else None
            if made is not None:
                out_M[columns], sent_G[group] = made, True
        return out_M, sent_G


def mixed_messages(
    cohorts: Cohorts | None, number_bits: int, compressor: Compressor | None
) -> MixedMessages | None:
    """Return the messages between ``cohorts``; None without."""
    return None if cohorts is None else MixedMessages(cohorts, number_bits, compressor)


def _only(matrix: csr_array, kept_E: Bools) -> csr_array:
    """The same matrix with some of its entries only."""
    before = np.concatenate([[0], np.cumsum(kept_E)])
    entries = matrix.data[kept_E], matrix.indices[kept_E], before[matrix.indptr]
    return csr_array(entries, shape=matrix.shape)
