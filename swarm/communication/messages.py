"""The messages of each round, which follow from the graph, the mixing weights and the network.

The messages of a round are a sparse matrix over *payload rows*. Device j has r =
``rows_per_device`` of them, numbered j · r + d: row d is what it sent d rounds ago (d = 0 is this
round). With a compressor, the last one is its own row before compression.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import TypeVar

import numpy as np
from scipy.sparse import coo_array, csr_array

from swarm.common.errors import ConfigError
from swarm.common.plugin import called
from swarm.communication.mixing import Mixing, weights
from swarm.communication.mixing.advice import advice
from swarm.communication.mixing.matrix import ADVICE
from swarm.communication.network.base import Bools, Floats, Ints
from swarm.communication.network.network import UNSENT, MessageOutcomes, Network
from swarm.communication.protocol.base import Protocol
from swarm.communication.returned import chosen, graph_used, plays
from swarm.communication.round_messages import (
    RoundMessages,
    Traffic,
    at_most_one,
    reverse,
    traffic_of,
    weight_of,
)
from swarm.communication.topology.base import RECENT, Topology, graph_of
from swarm.communication.topology.graph import Graph

T = TypeVar("T")


class MessageSchedule:
    """The messages of every round of an experiment; rounds count from 1.

    All results are functions of the round, and those of the latest rounds are cached. ``rule`` is
    the mixing rule, ``compressed`` says whether messages are compressed, and ``server_phases``
    are the numbers of the phases in which a server takes part.
    """

    def __init__(
        self,
        topology: Topology,
        rule: str,
        protocol: Protocol,
        network: Network,
        compressed: bool,
        devices: int,
        server_phases: tuple[int, ...] = (),
    ) -> None:
        self.topology, self.rule, self.protocol, self.network = topology, rule, protocol, network
        self.devices = devices
        self.compressed = compressed
        # whether a device mixes its own row without compressing it
        self.exact = compressed and not protocol.requirements.own_packet
        self.server_phases = server_phases
        # how many times each device sends a message; None: once
        self.copies_N: Ints | None = None
        self._kept: OrderedDict[Hashable, object] = OrderedDict()

    @property
    def depth(self) -> int:
        """The number of earlier rounds whose payloads may still be under way."""
        return self.network.reach

    @property
    def rows_per_device(self) -> int:
        """The number of payload rows of a device."""
        return self.depth + 1 + self.exact

    def require_sums(self, round: int) -> None:
        """Check that the mixing weights of ``round`` conserve the sums that the protocol needs.

        Raises :class:`ConfigError` if they do not.
        """
        found, needed = self.mixing(round).conserves, self.protocol.requirements.conserves
        if found not in ("both", needed):
            where = "here" if round == 1 else f"in round {round}"
            valid = f"conserves the {found} sums {where}, but the protocol needs {needed}"
            raise ConfigError("mixing", self.rule, valid + self._advice(round))

    def _advice(self, round: int) -> str:
        needed = self.protocol.requirements.conserves
        return advice(self.graph(round), needed, self.protocol.check)

    @property
    def topology_name(self) -> str:
        """The topology as messages call it."""
        return called(self.topology)

    # --- the graph without the network ------------------------------------------------------------

    def graph(self, round: int) -> Graph:
        """Return the graph of ``round``, as the protocol uses it."""
        phase = self.topology.phase(round)

        def make() -> Graph:
            return graph_used(self.protocol, graph_of(self.topology, phase, self.devices))

        return self._keep(("graph", phase), make)

    def mixing(self, round: int) -> Mixing:
        """Return the mixing weights of ``round`` for a network that loses nothing."""
        return self._keep(("mixing", self.topology.phase(round)), lambda: self._weights(round))

    def _weights(self, round: int) -> Mixing:
        try:
            return weights(self.graph(round), self.rule)
        except ConfigError as error:
            why, advised, _ = error.valid.partition(ADVICE)
            if not advised:
                raise
            raise ConfigError(error.key, error.value, why + self._advice(round)) from None

    @property
    def most_links(self) -> int:
        """The largest number of neighbours of a device on the graph of round 1."""
        return int(self.graph(1).degree_in.max(initial=0))

    def _weight_E(self, round: int) -> Floats:
        return self._keep(
            ("weights", self.topology.phase(round)), lambda: weight_of(self.mixing(round).matrix)
        )

    def _reverse(self, round: int) -> Ints:
        return self._keep(
            ("reverse", self.topology.phase(round)), lambda: reverse(self.graph(round))
        )

    def links(self) -> tuple[Ints, Floats]:
        """Return each device's neighbours on the graph of round 1, ids ``[N, d]``, and their mixing
        weights ``[N, d]``; unused places have the id −1 and the weight 0."""
        graph, matrix = self.graph(1), self.mixing(1).matrix
        rank_E = np.arange(len(graph.dst_E)) - np.searchsorted(graph.dst_E, graph.dst_E)
        most = self.most_links
        ids_Nd, weight_Nd = np.full((graph.n, most), -1), np.zeros((graph.n, most))
        ids_Nd[graph.dst_E, rank_E] = graph.src_E
        weight_Nd[graph.dst_E, rank_E] = weight_of(matrix)
        return ids_Nd, weight_Nd

    # --- the messages of a round ------------------------------------------------------------------

    def mix(self, round: int) -> RoundMessages:
        """Return the messages of a ``mix`` phase: all that arrives in ``round``, with its mixing
        weights."""
        return self._of_round("mix", round, self._mix)

    def single(self, round: int) -> RoundMessages:
        """Return the messages of a ``messages`` phase: all that arrive in ``round``, one by one."""
        return self._of_round("messages", round, self._single)

    def per_edge(self, round: int) -> RoundMessages:
        """Return the messages of a ``per_edge`` phase, in which each device sends a different row
        to each neighbour."""
        return self._of_round("per_edge", round, self._per_edge)

    def _of_round(
        self, kind: str, round: int, make: Callable[[Hashable, bool, int], RoundMessages]
    ) -> RoundMessages:
        same = self.network.ideal
        key = (kind, self.topology.phase(round) if same else round)
        return self._keep(key, lambda: make(key, same and self.topology.recurs, round))

    def _mix(self, key: Hashable, reusable: bool, round: int) -> RoundMessages:
        n, parts = self.devices, self.rows_per_device
        own_part = self.depth + 1 if self.exact else 0
        self.require_sums(round)  # a new graph may have weights that conserve other sums
        mixing = self.mixing(round)
        if self.network.ideal and parts == 1:
            # compressed messages need the product, even if no device hears another or W is the mean
            short = not self.compressed
            silent, is_mean = short and not len(self.graph(round).src_E), short and mixing.is_mean
            return RoundMessages(
                key, reusable, mixing.matrix, 1, np.arange(n), silent=silent, is_mean=is_mean
            )
        dst, src, part, weight, own_N = self._arrived(round)
        touched = np.flatnonzero((np.bincount(dst, minlength=n) > 0) | (own_N != 1.0))
        row = np.concatenate([np.searchsorted(touched, dst), np.arange(len(touched))])
        column = np.concatenate([src * parts + part, touched * parts + own_part])
        value = np.concatenate([weight, own_N[touched]])
        matrix = coo_array((value, (row, column)), shape=(len(touched), n * parts)).tocsr()
        matrix.sort_indices()
        return RoundMessages(key, reusable, matrix, parts, touched)

    def _arrived(self, round: int) -> tuple[Ints, Ints, Ints, Floats, Floats]:
        """Receiver, sender, age and weight of each message that arrives in ``round``, and the
        weight of each device on its own row, ``[N]``."""
        found = []
        for age, (graph, outcomes) in self._sent(round):
            here = np.flatnonzero(outcomes.ticks_E == age)
            weight_E = self._weight_E(round - age)
            if self.protocol.requirements.conserves == "both":
                here = here[outcomes.ticks_E[self._reverse(round - age)[here]] == age]
            found.append(
                (graph.dst_E[here], graph.src_E[here], np.full(len(here), age), weight_E[here])
            )
        dst, src, age_A, weight = (np.concatenate(each) for each in zip(*found, strict=True))
        # the weight of messages that are not delivered stays with the sender
        if self.protocol.requirements.conserves == "column":
            graph, outcomes = next(pair for _, pair in self._sent(round))
            left = outcomes.ticks_E >= 0
            own_N = 1.0 - np.bincount(graph.src_E[left], self._weight_E(round)[left], self.devices)
        else:
            # if two messages of one sender arrive, the later one counts
            newest = np.lexsort((age_A, src, dst))
            dst, src, age_A, weight = dst[newest], src[newest], age_A[newest], weight[newest]
            first = np.ones(len(dst), bool)
            first[1:] = (dst[1:] != dst[:-1]) | (src[1:] != src[:-1])
            dst, src, age_A, weight = dst[first], src[first], age_A[first], weight[first]
            weight = at_most_one(dst, weight, self.devices)
            # the weight of lost messages returns to the receiver
            own_N = 1.0 - np.bincount(dst, weight, self.devices)
        return dst, src, age_A, weight, np.asarray(own_N, np.float64)

    def _sent(self, round: int) -> Iterator[tuple[int, tuple[Graph, MessageOutcomes]]]:
        """Yield (age, messages) for this round and the earlier ones whose messages may still be
        under way, the newest first."""
        for age in range(min(self.depth, round - 1) + 1):
            yield age, self.sent(round - age)

    def sent(self, round: int) -> tuple[Graph, MessageOutcomes]:
        """Return the graph of ``round`` and the outcome of the message on each of its edges."""
        graph = self.graph(round)
        if self.network.ideal:
            return graph, MessageOutcomes.ideal(graph)
        asleep = self.protocol.requirements.pairs
        return self._keep(
            ("sent", round), lambda: (graph, self.network.outcomes(round, graph, asleep))
        )

    def silent(self, round: int) -> Bools:
        """Return which devices send nothing in ``round``, ``[N]``: they are not active or have no
        link."""
        graph, outcomes = self.sent(round)
        silent = np.ones(self.devices, bool)
        silent[graph.src_E[outcomes.ticks_E != UNSENT]] = False
        return silent

    def _single(self, key: Hashable, reusable: bool, round: int) -> RoundMessages:
        found = []
        for age, (graph, outcomes) in self._sent(round):
            here = np.flatnonzero(outcomes.ticks_E == age)
            found.append((graph.dst_E[here], graph.src_E[here], np.full(len(here), age)))
        dst, src, age_A = (np.concatenate(each) for each in zip(*found, strict=True))
        order = np.lexsort((age_A, src, dst))
        if self.copies_N is not None:
            order = np.repeat(order, self.copies_N[src[order]])
        dst, src, age_A = dst[order], src[order], age_A[order]
        column, count = src * self.rows_per_device + age_A, len(dst)
        matrix = csr_array(
            (np.ones(count), column, np.arange(count + 1)),
            shape=(count, self.devices * self.rows_per_device),
        )
        return RoundMessages(key, reusable, matrix, self.rows_per_device, dst, src, age_A)

    def _per_edge(self, key: Hashable, reusable: bool, round: int) -> RoundMessages:
        ids_Nd, _ = self.links()
        n, d = ids_Nd.shape
        dst, rank = np.nonzero(ids_Nd >= 0)
        src = ids_Nd[dst, rank]
        back = np.empty_like(rank)
        # the graph is undirected: sorted by sender, its edges are in the order of their opposites
        back[np.lexsort((dst, src))] = rank
        row = dst * d + rank
        matrix = coo_array((np.ones(len(row)), (row, src * d + back)), shape=(n * d, n * d)).tocsr()
        return RoundMessages(key, reusable, matrix, d, np.repeat(np.arange(n), d), silent=not d)

    # --- who is there, and what it costs ----------------------------------------------------------

    def participants(self, round: int, seed: int) -> Bools | None:
        """Return which devices learn, send and are heard in ``round``, ``[N]``; None: all.

        ``seed`` is the run's, by which a protocol may draw participants.
        """
        invited = self._invited(round, seed)
        served = any(plays(self.protocol, phase, round) for phase in self.server_phases)
        hears = self.network.server_hears(round) if served else None
        if hears is None:
            return invited
        heard = hears[0] & hears[1]
        return heard if invited is None else invited & heard

    def _invited(self, round: int, seed: int) -> Bools | None:
        """Which devices would take part if no message to or from a server were lost; None: all."""
        asked, awake = chosen(self.protocol, round, self.devices, seed), self.network.active(round)
        if asked is None or awake is None:
            return awake if asked is None else asked
        return asked & awake

    def to_server(self, round: int, seed: int) -> RoundMessages | None:
        """Return the rows that a server hears in ``round`` as messages for everybody, in one
        received row whose weights are equal; None if it hears nobody. ``seed`` is the run's."""
        active = self.participants(round, seed)
        heard = np.arange(self.devices) if active is None else np.flatnonzero(active)
        if not len(heard):
            return None
        weight, start = np.full(len(heard), 1 / len(heard)), np.array([0, len(heard)])
        matrix = csr_array((weight, heard, start), shape=(1, self.devices))
        key = "server" if active is None else ("server", round)
        return RoundMessages(key, active is None, matrix, 1, np.zeros(1, np.int64), for_all=True)

    def asked_by_server(self, round: int, seed: int) -> Bools:
        """Return which devices a server sends its model to in ``round``, ``[N]``."""
        invited = self._invited(round, seed)
        return np.ones(self.devices, bool) if invited is None else invited

    def traffic_through_server(self, round: int, bits: int, seed: int) -> Traffic:
        """Count the messages of a ``server`` phase, of ``bits`` each: the server sends one to each
        device that is to take part, and each device that it reaches sends one back."""
        asked = self.asked_by_server(round, seed)
        down_N, up_N = self.network.server_hears(round) or (asked, asked)
        each = (asked & down_N).astype(np.int64)
        lost_N = (asked & ~(down_N & up_N)).astype(np.int64)
        sent_N = each if self.copies_N is None else each * self.copies_N
        return Traffic(sent_N, each, lost_N, np.zeros_like(lost_N), 0, bits, int(asked.sum()))

    def traffic_on_links(self, round: int, bits: int) -> Traffic:
        """Count the messages of ``bits`` each, one on every edge whose sender is active."""

        def count() -> Traffic:
            graph, outcomes = self.sent(round)
            return traffic_of(graph, outcomes.ticks_E, bits, self.copies_N)

        if not (self.network.ideal and self.topology.recurs):
            return count()
        return self._keep(("traffic", self.topology.phase(round), bits), count)

    def _keep(self, key: Hashable, make: Callable[[], T]) -> T:
        """``make()``, cached for the latest keys."""
        if key not in self._kept:
            self._kept[key] = make()
            whole = self.topology.period if self.topology.recurs else None
            many = 7 * max(whole or 0, RECENT, self.depth + 2)  # up to seven objects a round
            while len(self._kept) > many:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]  # type: ignore[return-value]
