"""The communication of an arm: topology, protocol, network, compression, and the phases of a
round."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from swarm.common.errors import ConfigError
from swarm.common.names import telling
from swarm.common.plugin import absent
from swarm.common.rows import Layout
from swarm.communication.aggregation.base import Aggregator
from swarm.communication.aggregation.pre_aggregator import PreAggregated, PreAggregator, refusal
from swarm.communication.aggregation.robust import RobustRule
from swarm.communication.attack.base import Attack, DataAttack, LinkAttack, MessageAttack
from swarm.communication.attack.placement import hostile_devices
from swarm.communication.compression.base import Compressor
from swarm.communication.messages import MessageSchedule
from swarm.communication.mixing import Mixing
from swarm.communication.network.base import Churn, Clock, Delay, Outage
from swarm.communication.network.fleet import Fleet, hardware_of
from swarm.communication.network.network import Network
from swarm.communication.network.sharing import LinkRates
from swarm.communication.pairs import exchange_seconds
from swarm.communication.protocol.base import Links, Protocol
from swarm.communication.returned import check_protocol, shares_of, slots_of
from swarm.communication.secure.base import SecureSum
from swarm.communication.topology.base import Topology, check_period, graph_of
from swarm.communication.topology.graph import Graph
from swarm.communication.transform.base import MessageTransform
from swarm.config.build import build
from swarm.config.choices import choice
from swarm.config.explain import shown
from swarm.config.settings import Settings
from swarm.learning.privacy.correlated import Pairs
from swarm.simulation.experiment.cohorts.check import require_parts
from swarm.simulation.experiment.cohorts.messages import mixed_messages
from swarm.simulation.experiment.data import Data
from swarm.simulation.experiment.model import Model
from swarm.simulation.goals.set_goals import SetGoals
from swarm.simulation.hostile.collude import with_collusion
from swarm.simulation.phases import KINDS, Phase
from swarm.simulation.secure.sums import Sums, sums_of

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Communication:
    """The swarm's graph, its protocol, its network, and everything that follows from them.

    Attributes:
        layout: How what devices send lies in a row: the first part of the model's.
        cohorts: Which device has which model; None where all have the same, and where messages
            have no parameters.
        mixed: The messages between cohorts; None where ``cohorts`` is.
        topology: The graph of each round.
        protocol: What devices send, and how they use what they receive.
        fleet: The hardware of the devices.
        lines: Their link rates; None without hardware.
        network: Whether and when each message arrives.
        aggregator: How a device combines its own row with those that it hears, in phases that mix;
            the pre-aggregators are a part of it.
        transforms: The changes of a message before it is sent, in this order.
        compressor: The compression of messages; None without compression.
        secure: The secure sums of every round; None where rows are added up as they are.
        attack: What hostile devices do.
        messages: Which messages arrive in which round, and with which weights.
        hostile_N: Which devices are hostile, ``[N]``; None if nobody is.
        message_attack: The attack, if it changes the rows that hostile devices send; else None.
        link_attack: The attack, if it makes a row for each receiver; else None.
        data_attack: The attack, if it changes what hostile devices learn from; else None.
        phases: The phases of a round, in their order.
        goals: Of these the one in which devices set their goals; None where they have none.
        names: The names of the devices; None where they have numbers only.
    """

    def __init__(self, settings: Settings, data: Data, model: Model) -> None:
        self.settings, self.data, self.model = settings, data, model
        self.sizes_N = data.stream.sizes_N
        self.layout: Layout = model.layout.sent
        self.dtype, self.device = model.dtype, model.device
        s, split = settings, data.split
        owners = split.names if split.owned else None
        self.topology: Topology = self._build(
            s.topology, Topology, "topology", devices=s.devices, seed=s.seed, owner_names=owners
        )
        check_period(self.topology)
        names = telling(split.names or self.topology.node_names)
        self.names = names if names is not None and len(names) == s.devices else None
        self.protocol: Protocol = self._build(s.protocol, Protocol, "protocol", seed=s.seed)
        check_protocol(self.protocol, tuple(KINDS))
        self.cohorts = model.cohorts if self.protocol.sends_parameters else None
        self.protocol.bind(self.layout)
        self.fleet: Fleet = self._build(s.fleet, Fleet, "fleet", devices=s.devices, seed=s.seed)
        self.aggregator: Aggregator = self._aggregator()
        self.transforms: tuple[MessageTransform, ...] = tuple(
            self._build(node, MessageTransform, "transforms") for node in s.transforms
        )
        self.attack: Attack = self._build(s.attack, Attack, "attack")
        self.compressor = self._compressor()
        self.mixed = mixed_messages(self.cohorts, self.number_bits, self.compressor)
        secure_sum: SecureSum = self._build(s.secure_sum, SecureSum, "secure_sum")
        kinds = [KINDS[name] for name in self.protocol.phases]
        made = [kind(number, self) for number, kind in enumerate(kinds)]
        self.phases: tuple[Phase, ...] = tuple(made)
        self.goals: SetGoals | None = None
        if data.goal is not None:
            self.goals = SetGoals(len(kinds), self, data.goal, data.outputs)
            self.phases = (self.goals, *self.phases)
        self.sums = Sums(self)
        self.lines: LinkRates | None = None
        self.network = self._network(data, model)
        if self.protocol.requirements.pairs:
            self.topology = self.protocol.pairing(self.topology, self.network)
        self.messages = MessageSchedule(
            self.topology,
            s.mixing,
            self.protocol,
            self.network,
            self.compressor is not None or bool(self.transforms) or self._changes_messages,
            s.devices,
            tuple(number for number, kind in enumerate(kinds) if kind.through_server),
        )
        if any(phase.sends for phase in self.phases):
            self.sums = sums_of(secure_sum, self)
        self._take_hostile()

    def _build(self, node: dict[str, Any], expect: type, section: str, **context: Any) -> Any:
        return build(node, expect, section, self.settings.plugins, **context)

    @property
    def _changes_messages(self) -> bool:
        return self.attack.devices not in (0, []) and isinstance(
            self.attack, MessageAttack | LinkAttack
        )

    def _take_hostile(self) -> None:
        """Find who is hostile, and what that changes."""
        attack = self.attack
        self.hostile_N = hostile_devices(attack, self.messages.graph(1), self.settings.seed)
        acting = None if self.hostile_N is None else attack
        self.message_attack = acting if isinstance(acting, MessageAttack) else None
        self.link_attack = acting if isinstance(acting, LinkAttack) else None
        self.data_attack = acting if isinstance(acting, DataAttack) else None
        if self.hostile_N is not None:
            attack.check(self.hostile_N)
        if self.message_attack is not None and self.message_attack.copies > 1:
            self.messages.copies_N = np.where(self.honest_N, 1, self.message_attack.copies)
        if self.message_attack is not None and self.message_attack.colludes:
            self.phases = with_collusion(self.phases, self.message_attack)
        for place, phase in enumerate(self.phases):
            phase.place = place

    @property
    def honest_N(self) -> Bools:
        """Which devices are honest, ``[N]``."""
        n = self.settings.devices
        return np.ones(n, bool) if self.hostile_N is None else ~self.hostile_N

    def _aggregator(self) -> Aggregator:
        s = self.settings
        rule: Aggregator = self._build(s.aggregator, Aggregator, "aggregator")
        before = [self._build(node, PreAggregator, "pre_aggregators") for node in s.pre_aggregators]
        if not before:
            return rule
        if why := refusal(rule):
            names = shown([choice("pre_aggregator", node) for node in s.pre_aggregators])
            raise ConfigError("pre_aggregators", names, why)
        assert isinstance(rule, RobustRule)
        return PreAggregated(before, rule)

    def _compressor(self) -> Compressor | None:
        require_parts(self.settings, self.cohorts)
        found: Compressor = self._build(
            self.settings.compressor,
            Compressor,
            "compressor",
            layout=self.layout,
            number_bits=self.number_bits,
        )
        return None if absent(found) else found

    def _network(self, data: Data, model: Model) -> Network:
        s = self.settings
        graph = graph_of(self.topology, self.topology.phase(1), s.devices)
        hardware = hardware_of(self.fleet, s.devices)
        compute_N, pairs = None, self.protocol.requirements.pairs
        if hardware is not None:
            lines = LinkRates(hardware.uplink, hardware.downlink, self.fleet.fair)
            self.lines = lines
            relative_N = data.relative_batch_N
            work_N = data.local_steps_N * (1.0 if relative_N is None else relative_N)
            work_N = work_N * model.relative_work_of(np.arange(s.devices))
            work_N = work_N + sum(phase.beside_N for phase in self.phases)
            compute_N = work_N * model.step_flops / hardware.flops
            if pairs:  # an exchange ends with the steps, so that nobody waits for a message
                bits = max(phase.bits for phase in self.phases if phase.sends)
                compute_N = compute_N + exchange_seconds(graph, lines, bits)
        context = {
            "devices": s.devices,
            "seed": s.seed,
            "device_names": self.names,
            "tick": s.network.round_seconds,
            "degree_N": graph.degree_in + graph.degree_out,
            "longest_edge": self._longest_edge(graph),
            "compute_N": compute_N,
        }
        churn: Churn = self._build(s.churn, Churn, "churn", **context)
        outage: Outage = self._build(s.outage, Outage, "outage", **context)
        clock: Clock = self._build(s.clock, Clock, "clock", **context)
        delay: Delay = self._build(s.delay, Delay, "delay", **context)
        timed = None if pairs else self.lines
        sending = [] if timed is None else [phase for phase in self.phases if phase.sends]
        return Network(
            s.devices,
            s.seed,
            s.network.round_seconds,
            s.network.drop,
            s.network.symmetric,
            s.network.max_delay,
            None if absent(delay) else delay,
            None if absent(churn) else churn,
            None if absent(outage) else outage,
            None if absent(clock) else clock,
            timed,
            float(max((phase.bits for phase in sending), default=0)),
            None if self.mixed is None else self.mixed.bits_on,
        )

    def _longest_edge(self, graph: Graph) -> float | None:
        """The longest edge in the graph's unit of length; None where edges have no lengths,
        infinity where the graph changes."""
        lengths, still = graph.length_E, self.topology.period == 1
        return None if lengths is None else float(lengths.max(initial=0.0)) if still else math.inf

    # --- the graph, and who takes part ------------------------------------------------------------

    def graph(self, round: int) -> Graph:
        """The graph of ``round`` (counted from 1)."""
        return self.messages.graph(round)

    def mixing(self, round: int) -> Mixing:
        """The mixing weights of ``round`` (counted from 1) if every message arrives."""
        return self.messages.mixing(round)

    def pairs(self, round: int) -> Pairs:
        """The pairs of linked devices of ``round`` (counted from 1)."""
        graph = self.graph(round)
        return Pairs(graph.n, graph.dst_E, graph.src_E)

    def active(self, round: int) -> Bools | None:
        """Which devices learn and are heard in ``round``, ``[N]``; None means all of them. Nobody
        does in a round that is called off, as the secure sum of a server could not be recovered."""
        if self.sums.called_off(round):
            return np.zeros(self.settings.devices, bool)
        return self.messages.participants(round, self.settings.seed)

    def server_shares(self, round: int) -> Floats:
        """Each device's weight ``[N]`` in the mean that a server takes in ``round``: the protocol's
        own weights, scaled to sum to one over those that are heard."""
        shares, active = shares_of(self.protocol, self.sizes_N), self.active(round)
        if active is None:
            return shares
        heard = np.where(active, shares, 0.0)
        return heard / heard.sum() if heard.any() else shares

    def learning_n(self, devices: Ints) -> Bools | None:
        """Which of these devices learn if they are active, ``[n]``; None: all of them."""
        if self.hostile_N is None or self.attack.learns:
            return None
        return ~self.hostile_N[devices]

    # --- the shapes of what is kept ---------------------------------------------------------------

    @property
    def learns(self) -> bool:
        """Whether any phase of a round is one of learning."""
        return any(phase.learns for phase in self.phases)

    @property
    def own_validation(self) -> bool:
        """Whether devices measure models on validation samples of their own."""
        judges = self.protocol.requirements.own_validation or self.aggregator.own_validation
        return judges or (self.goals is not None and self.goals.goal.measures)

    @property
    def number_bits(self) -> int:
        """The number of bits of a number of the run's dtype."""
        return self.dtype.itemsize * 8

    @cached_property
    def most_links(self) -> int:
        """The largest number of neighbours of a device, if a phase has a row for each of them;
        else 0."""
        per_edge = any(phase.per_edge for phase in self.phases)
        return self.messages.most_links if per_edge else 0

    @cached_property
    def links(self) -> tuple[Ints, Floats] | None:
        """The neighbours of all devices and their weights, ``[N, most_links]`` each, if a phase has
        a row for each neighbour; else None."""
        return self.messages.links() if any(phase.per_edge for phase in self.phases) else None

    @cached_property
    def slots(self) -> dict[str, tuple[int, ...]]:
        """The shape of each of the protocol's slots, for one device."""
        links = None
        if any(phase.per_edge for phase in self.phases):
            weight = torch.zeros(0, self.most_links, dtype=self.dtype)
            ids = weight.to(torch.int64)
            links = Links(ids, weight, ids.new_empty(0))
        nobody = torch.empty(0, self.layout.width, dtype=self.dtype)
        found = slots_of(self.protocol, nobody, links)
        return {name: tuple(rows.shape[1:]) for name, rows in found.items()}

    @cached_property
    def in_flight(self) -> dict[str, tuple[int, ...]]:
        """The shapes, for one device, of messages under way and of compression errors that are fed
        back."""
        return {name: each for phase in self.phases for name, each in phase.in_flight().items()}

    @property
    def kept_numbers(self) -> int:
        """How many numbers a device keeps for its communication, from round to round."""
        shapes = [*self.slots.values(), *self.in_flight.values()]
        return sum(math.prod(shape) for shape in shapes)
