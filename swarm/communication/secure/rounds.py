"""The secure sums of each round: which devices take part in them, and what they send beside their
rows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from swarm.common.plugin import returned, shape_of
from swarm.common.rng import Keys
from swarm.communication.messages import MessageSchedule
from swarm.communication.returned import chosen, plays
from swarm.communication.round_messages import Overhead
from swarm.communication.secure.base import SecureSum, SumGroup

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
T = TypeVar("T")
KEPT = 8  # results of the latest rounds, which are asked for several times


def group_of(
    secure_sum: SecureSum, device_g: Ints, alive_g: Bools, keys: Keys, round: int
) -> SumGroup:
    """Return ``secure_sum.group(…)``.

    Raises :class:`ConfigError` if that is not a group of these devices.
    """
    found = secure_sum.group(device_g, alive_g, keys, round)
    if not isinstance(found, SumGroup):
        needed = "a swarm.communication.secure.base.SumGroup is needed"
        raise returned("secure_sum", secure_sum, "group()", f"returns {shape_of(found)}", needed)
    for name, given_g in (("device_g", device_g), ("alive_g", alive_g)):
        if not np.array_equal(getattr(found, name), given_g):
            needed = f"the {name} that it was given is needed"
            raise returned("secure_sum", secure_sum, "group()", "has other devices", needed)
    return found


class SecureRounds:
    """The secure sums of every round of an experiment; rounds count from 1.

    A device drops out of a sum between its key and its row if it was there in the round before, or
    its link was up, and is not in this one.
    """

    def __init__(self, plug_in: SecureSum, messages: MessageSchedule, seed: int) -> None:
        self.plug_in, self.messages, self.seed = plug_in, messages, seed
        self._kept: OrderedDict[Hashable, object] = OrderedDict()

    # --- one sum over all, at a server ------------------------------------------------------------

    def invited(self, round: int) -> Bools:
        """Which devices advertise a key to the server, ``[N]``."""
        n, network = self.messages.devices, self.messages.network
        asked = chosen(self.messages.protocol, round, n, self.seed)
        now, before = network.online(round), network.online(max(round - 1, 1))
        invited = np.ones(n, bool) if asked is None else asked
        return invited if now is None or before is None else invited & (now | before)

    def at_server(self, round: int, phase: int) -> SumGroup:
        """The group of the sum over all devices in the phase number ``phase``."""

        def make() -> SumGroup:
            device_g = np.flatnonzero(self.invited(round))
            online = self.messages.network.online(round)
            alive_g = np.ones(len(device_g), bool) if online is None else online[device_g]
            keys = Keys(self.seed, f"secure.{phase}")
            return group_of(self.plug_in, device_g, alive_g, keys, round)

        return self._keep(("server", phase, round), make)

    def called_off(self, round: int) -> bool:
        """Whether a server cannot recover a sum of ``round``."""
        protocol, phases = self.messages.protocol, self.messages.server_phases
        return not all(
            self.at_server(round, phase).recovered
            for phase in phases
            if plays(protocol, phase, round)
        )

    def server_overhead(self, round: int, phase: int) -> Overhead:
        """What the sum over all devices sends beside the rows."""
        group, n = self.at_server(round, phase), self.messages.devices
        sent_N, received_N = np.zeros(n, np.int64), np.zeros(n, np.int64)
        sent_N[group.device_g] = group.up_bits
        sent_N[group.device_g[group.alive_g]] += group.unmask_bits
        received_N[group.device_g] = group.down_bits
        total, lost = int(received_N.sum()), int(not group.recovered)
        return Overhead(sent_N, received_N, total, group.round_trips, 1, lost)

    # --- a sum at each device, over its neighbours ------------------------------------------------

    def neighbours(self, round: int) -> dict[int, tuple[Ints, Bools]]:
        """Return for each receiver the neighbours that advertise a key to it, and which of their
        rows arrive. Receivers that are not there, or that get no key, are left out."""

        def make() -> dict[int, tuple[Ints, Bools]]:
            graph, outcomes = self.messages.sent(round)
            alive_E = outcomes.ticks_E >= 0
            there_E = alive_E
            if not self.messages.network.ideal and round > 1:
                before = self.messages.network.outcomes(round - 1, graph)
                online = self.messages.network.online(round)
                here_E = True if online is None else online[graph.dst_E]
                there_E = alive_E | ((before.ticks_E >= 0) & here_E)
            src, dst, alive = graph.src_E[there_E], graph.dst_E[there_E], alive_E[there_E]
            cuts = np.flatnonzero(np.diff(dst)) + 1
            each = zip(np.split(dst, cuts), np.split(src, cuts), np.split(alive, cuts), strict=True)
            return {int(d[0]): (s, a) for d, s, a in each if len(d)}

        return self._keep(("neighbours", round), make)

    def at_device(self, round: int, phase: int, receiver: int) -> SumGroup | None:
        """The group of the sum at one device; None if no neighbour advertises a key to it."""
        found = self.neighbours(round).get(receiver)
        if found is None:
            return None
        keys = Keys(self.seed, f"secure.{phase}.{receiver}")
        return group_of(self.plug_in, *found, keys, round)

    def neighbour_overhead(self, round: int, phase: int) -> Overhead:
        """What the sums of all neighbourhoods send beside the rows; the receiver of the rows hands
        on keys and shares as a server does."""

        def make() -> Overhead:
            n = self.messages.devices
            sent_N, received_N = np.zeros(n, np.int64), np.zeros(n, np.int64)
            round_trips = sums = lost = 0
            for receiver in self.neighbours(round):
                group = self.at_device(round, phase, receiver)
                assert group is not None
                up_g = np.full(len(group.device_g), group.up_bits)
                up_g[group.alive_g] += group.unmask_bits
                sent_N[group.device_g] += up_g
                received_N[receiver] += up_g.sum()
                received_N[group.device_g] += group.down_bits
                sent_N[receiver] += group.down_bits * len(up_g)
                round_trips = max(round_trips, group.round_trips)
                sums, lost = sums + 1, lost + (not group.recovered)
            return Overhead(sent_N, received_N, 0, round_trips, sums, lost)

        return self._keep(("overhead", phase, round), make)

    def _keep(self, key: Hashable, make: Callable[[], T]) -> T:
        """``make()``, cached for the latest keys."""
        if key not in self._kept:
            self._kept[key] = make()
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]  # type: ignore[return-value]
