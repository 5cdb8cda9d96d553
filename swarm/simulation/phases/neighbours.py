"""The base classes of phases whose messages go along the links of the topology."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.communication.check_messages import check_both_ways, check_every_round, check_links
from swarm.communication.compression.base import Draw, bits_of, packed
from swarm.communication.compression.row_blocks import NUMBERS
from swarm.communication.network.network import UNSENT
from swarm.communication.round_messages import Traffic
from swarm.communication.transform.base import transformed
from swarm.simulation.hostile.sending import Draft, sent_rows
from swarm.simulation.phases.base import Bools, Floats, Ints, Phase
from swarm.simulation.phases.transport import Payload

if TYPE_CHECKING:
    from swarm.simulation.shard import Shard


class ToNeighbours(Phase):
    """A phase whose messages go along the links of a round's graph."""

    def traffic(self, round: int) -> Traffic:
        """One message for each directed edge whose sender is active."""
        c = self.communication
        found = c.messages.traffic_on_links(round, self.bits)
        if self.mixed is not None:
            sizes = self.mixed.sizes_on_links(*c.messages.sent(round), c.messages.copies_N)
            return replace(found, sizes=sizes)
        return replace(found, overhead=c.sums.overhead(self, round))

    def seconds_on_line(self, round: int) -> Floats:
        """See :meth:`Phase.seconds_on_line`; a device sends over all its links at once."""
        longest_N, hardware = super().seconds_on_line(round), self.communication.fleet.hardware
        lines = self.communication.lines
        if hardware is None or lines is None:
            return longest_N
        graph, outcomes = self.communication.messages.sent(round)
        leaves = outcomes.ticks_E != UNSENT
        src, dst = graph.src_E[leaves], graph.dst_E[leaves]
        bits: int | Ints = self.bits
        if self.mixed is not None:
            bits = self.mixed.bits_on(src, dst)
        np.maximum.at(longest_N, src, lines.seconds(src, dst, bits))
        copies_N = self.communication.messages.copies_N
        if copies_N is not None:
            longest_N = longest_N * copies_N
        more = self.communication.sums.overhead(self, round)
        longest_N += more.sent_N / hardware.uplink + more.received_N / hardware.downlink
        return longest_N

    def check(self) -> None:
        """See :meth:`Phase.check`."""
        check_links(self.communication.messages, self.per_edge)
        self._check_weights()
        check_both_ways(self.communication.messages)
        check_every_round(self.communication.messages)

    def _check_weights(self) -> None:
        """Refuse mixing weights that the phase cannot work with."""
        return


class Packets(ToNeighbours):
    """A phase in which a device sends the same row to all its neighbours, so that the row may be
    compressed, and be under way for several rounds."""

    packets = True

    @property
    def bits(self) -> int:
        """The number of bits of one message, compressed if there is a compressor; of the largest
        one where devices have several models.

        Raises :class:`~swarm.common.errors.ConfigError` where the compressor cannot pack such
        rows."""
        compressor = self.communication.compressor
        if compressor is None:
            return super().bits
        if self.mixed is not None:
            return int(self.mixed.bits_CC.max())
        try:
            return bits_of(compressor, self.width)
        except ConfigError as error:
            raise error.under("compressor") from None

    @property
    def row_width(self) -> int:
        """The number of numbers of a payload row: M, or more where a device compresses what it
        sends for each cohort of receivers."""
        return self.width if self.mixed is None else self.mixed.width

    def in_flight(self) -> dict[str, tuple[int, ...]]:
        """The shapes, for one device, of messages under way and of the compression error that is
        fed back."""
        shapes = super().in_flight()
        depth, compressor = self.communication.messages.depth, self.communication.compressor
        if depth:
            shapes[self._history] = (depth, self.row_width)
        if compressor is not None and compressor.feedback:
            shapes[self._error] = (self.row_width,)
        return shapes

    def held_numbers(self) -> float:
        """See :meth:`Phase.held_numbers`: the received rows, and the copies that the protocol, the
        compressor, transforms and the network make."""
        c = self.communication
        n = c.settings.devices
        found: float = (1 + self._made_by_protocol()) * n * self.width
        if c.compressor is not None:
            found += n * self.row_width + NUMBERS
        if self.row_width > self.width:  # the rows before, with their errors, and what is left
            found += 4 * n * self.row_width
        if c.transforms or c.message_attack is not None:
            found += 2 * n * self.width + NUMBERS
        if c.messages.rows_per_device > 1:
            found += self.row_width * self._payload_rows()
        if c.network.churn is not None:
            found += n * c.layout.width
        return found

    def _payload_rows(self) -> int:
        """The number of payload rows that arrive in a round: each device's own, and those of each
        sender and age."""
        messages = self.communication.messages
        graph, outcomes = messages.sent(1)
        arrives, ages = outcomes.ticks_E >= 0, messages.depth + 1
        found = np.unique(graph.src_E[arrives] * ages + outcomes.ticks_E[arrives])
        return self.communication.settings.devices + len(found)

    def collect(self, shard: Shard, round: int) -> Payload:
        """The rows that the protocol sends, after the transforms, the attack and the compressor."""
        messages, draft = self.communication.messages, sent_rows(self, shard, round)
        packets = self._compressed(shard, round, self._addressed(draft.changed))
        self._show_packets(shard, round, packets)
        own = self._addressed(draft.rows) if messages.exact else packets
        past = shard.in_flight.get(self._history)
        return Payload(packets, own, past, messages.rows_per_device, round)

    def _addressed(self, rows: Tensor) -> Tensor:
        return rows if self.mixed is None else self.mixed.addressed(rows)

    def draft(self, shard: Shard, round: int) -> Draft:
        """See :meth:`Phase.draft`."""
        c, rows = self.communication, self.rows(shard, round)
        change = transformed if self.mixed is None else self.mixed.transformed
        changed = change(c.transforms, rows, shard.devices, round, c.settings.seed, self.number)
        return Draft(rows, changed)

    def _compressed(self, shard: Shard, round: int, rows: Tensor) -> Tensor:
        compressor = self.communication.compressor
        if compressor is None:
            return rows
        keys = Keys(self.communication.settings.seed, f"compressor.{self.number}")
        draw = Draw(keys, shard.devices, round)
        pack = partial(packed, compressor) if self.mixed is None else self.mixed.packed
        if not compressor.feedback:
            return pack(rows, draw)
        before = shard.in_flight[self._error]
        wanted = rows + before
        packets = pack(wanted, draw)
        left = wanted - packets
        for part, silent_N in self._silent(round):  # what sends nothing keeps its error
            silent = torch.as_tensor(silent_N[shard.devices], device=rows.device)
            left[silent, part] = before[silent, part]
        shard.in_flight[self._error] = left
        return packets

    def _silent(self, round: int) -> list[tuple[slice, Bools]]:
        """Of each packet that a device makes, where it lies in a payload row, and which devices
        send it to nobody, ``[N]``."""
        messages = self.communication.messages
        if self.mixed is None:
            return [(slice(None), messages.silent(round))]
        return self.mixed.silent(*messages.sent(round))

    def _remember(self, shard: Shard, payload: Payload) -> None:
        """Keep the packets of the active devices, for messages that take longer than a round."""
        active = self.communication.network.active(payload.round)
        payload.remember(None if active is None else np.flatnonzero(active[shard.devices]))

    @property
    def _history(self) -> str:
        return f"history.{self.number}"

    @property
    def _error(self) -> str:
        return f"error.{self.number}"
