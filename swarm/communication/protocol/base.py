"""The interface between a protocol and the engines that carry its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.gradient_correction import GradientCorrection
from swarm.common.rows import Layout
from swarm.communication.mixing import Mixing
from swarm.communication.network.network import Network
from swarm.communication.pairs import RandomPairs
from swarm.communication.protocol.distillation import Distillation
from swarm.communication.protocol.local_info import LocalInfo, ranks
from swarm.communication.topology.base import Topology
from swarm.communication.topology.graph import Graph
from swarm.config.aliases.old_members import OldMembers

PhaseName = str  # one of `swarm.simulation.phases.KINDS`
Conserves = Literal["row", "column", "both"]
Rows = slice | Tensor  # some rows of a shard, as a range or as their numbers
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RoundInfo:
    """Facts about the current round.

    Attributes:
        round: The number of the round, counted from 1.
        lr: The learning rate.
        steps_n: The local steps that each device takes.
        share: The fraction of all devices that learn and are heard.
    """

    round: int
    lr: float
    steps_n: Ints
    share: float = 1.0


@dataclass(frozen=True)
class Links:
    """The neighbours of n devices on a graph that never changes, for protocols with a memory for
    each link; d is the largest number of neighbours.

    Attributes:
        ids_nd: The neighbours' ids, ascending; −1 in the unused places of a device with fewer than
            d neighbours.
        weight_nd: The neighbours' mixing weights; 0 in unused places.
        own_n: The ids of the devices themselves.
    """

    ids_nd: Tensor
    weight_nd: Tensor
    own_n: Tensor

    @property
    def there_nd(self) -> Tensor:
        """Which places hold a neighbour, ``[n, d]``."""
        return self.ids_nd >= 0


@dataclass(frozen=True)
class Inbox:
    """The A messages that some devices received, one by one, sorted by (receiver, sender, age).

    Attributes:
        rows_AM: The payload rows.
        dst_A: The receiver of each message, as a number of the shard's rows.
        src_A: The sender's id.
        age_A: The rounds that the message was under way.
    """

    rows_AM: Tensor
    dst_A: Tensor
    src_A: Tensor
    age_A: Tensor

    @property
    def rank_A(self) -> Tensor:
        """The number of each message among those of its receiver, from 0."""
        return ranks(self.dst_A)

    def lowest(self, value_A: Tensor, count: int) -> Inbox:
        """The ``count`` messages of each receiver with the lowest values, or all that it has; of
        equal values the first, and NaN comes last."""
        order = torch.argsort(value_A, stable=True)
        kept_A = torch.zeros_like(order, dtype=torch.bool)
        kept_A[order] = ranks(self.dst_A[order]) < count
        columns = (self.rows_AM, self.dst_A, self.src_A, self.age_A)
        return Inbox(*(column[kept_A] for column in columns))

    def mean_with(self, own_NM: Tensor) -> Tensor:
        """The mean of each device's own row and those of its messages, ``[N, M]``, added up in the
        order of the messages."""
        total, rank_A = own_NM.clone(), self.rank_A
        for rank in range(int(rank_A.max()) + 1 if len(rank_A) else 0):
            here = rank_A == rank
            total[self.dst_A[here]] += self.rows_AM[here]
        return total / (1 + torch.bincount(self.dst_A, minlength=len(own_NM)))[:, None]


@dataclass
class State(OldMembers):
    """The rows of N devices of a shard.

    Attributes:
        x: The parameters, ``[N, P]``.
        slots: The protocol's own rows by name, ``[N, …]`` each, which every checkpoint contains.
        round_buffers: Rows by name that are dropped at the end of the round.
        now: Facts about the current round.
        links: The devices' neighbours, for protocols that need fixed links; else None.
        local: What the devices know of themselves: data, speed, and how well a model does on their
            own validation samples.
    """

    x: Tensor
    slots: dict[str, Tensor] = field(default_factory=dict)
    round_buffers: dict[str, Tensor] = field(default_factory=dict)
    now: RoundInfo = field(default_factory=lambda: RoundInfo(0, 0.0, np.zeros(0, np.int64)))
    links: Links | None = None
    local: LocalInfo = field(default_factory=LocalInfo)

    @property
    def learnt_N1(self) -> Tensor:
        """``[N, 1]``: 1 for the devices that took local steps in this round, 0 for the others."""
        return torch.as_tensor(self.now.steps_n > 0, device=self.x.device).to(self.x)[:, None]


@dataclass(frozen=True)
class Requirements:
    """What a protocol needs in order to work; other combinations are refused before a run.

    Attributes:
        conserves: The sums that the mixing matrix must conserve: those of its rows, of its columns,
            or both. A matrix that conserves both also meets ``row`` and ``column``.
        fixed_links: The protocol keeps something for each link, so that the graph must not change
            and no message may be lost.
        static_graph: The graph must not change, but messages may be lost.
        own_packet: A device mixes its own row as the others decode it, after compression. In
            :meth:`Protocol.receive` that row is ``state.round_buffers["sent"]``.
        own_error_feedback: The protocol itself sends later what compression left out, so that the
            compressor must not do so too.
        no_compression: The protocol needs the exact numbers of its messages.
        linear_mixing: The protocol remembers sums of what it mixed, so that mixing must be the
            weighted mean.
        plain_sgd: The protocol computes gradients from the local steps, which must be those of
            plain SGD.
        common_init: All devices must start with the same parameters.
        pairs: Each active device averages with one random neighbour, which answers even while it is
            asleep (:class:`~swarm.communication.pairs.RandomPairs`), instead of with all of them.
        own_validation: Devices measure models on validation samples of their own, by
            :meth:`LocalInfo.loss`, so that each of them must have some (``data.local_validation``).
        weights: Each neighbour has its mixing weight. Without, the protocol makes nothing of them,
            and a run warns of weights that are chosen for it.
        equal_models: All devices must have a model of the same shape. A protocol does without that
            if it treats every number of a row by itself, leaves a 0 that nobody has at 0, and
            remembers nothing of another device, as what a device receives is the mean over those
            who have a number (``cohorts``).
    """

    conserves: Conserves = "row"
    fixed_links: bool = False
    static_graph: bool = False
    own_packet: bool = False
    own_error_feedback: bool = False
    no_compression: bool = False
    linear_mixing: bool = False
    plain_sgd: bool = False
    common_init: bool = False
    pairs: bool = False
    own_validation: bool = False
    weights: bool = True
    equal_models: bool = True


class Protocol(OldMembers):
    """What devices send in a round, and how they use what they receive.

    A round is the sequence ``phases``, less those that :meth:`plays` leaves out:

    * ``learn``: the active devices take their local steps from :meth:`start`, with
      :meth:`gradient_correction` added to the gradients; :meth:`after_local_steps` takes the
      result, block by block;
    * ``mix``: the rows of :meth:`send` are averaged over the graph, Σ_j W_ij · row_j, and handed to
      :meth:`receive`;
    * ``messages``: the rows of :meth:`send` are handed to :meth:`receive_messages` one by one;
    * ``per_edge``: :meth:`send` gives a row for each neighbour, ``[N, d, M]`` in the order of
      :class:`Links`, and :meth:`receive` gets the neighbours' rows in the same order;
    * ``server``: the weighted mean over the participants goes to :meth:`receive` of all devices. A
      device that is away or not chosen gets it as well, before it learns again;
    * ``predictions`` and ``server_predictions``: devices predict shared samples, these rows are
      averaged as in ``mix`` or ``server``, and devices learn from the averages as
      :attr:`distillation` says. :meth:`send` and :meth:`receive` are not called.

    ``learn`` may come twice; both times have the same samples. The defaults replace the parameters
    by what was learnt or received. Except in a ``server`` phase, a device that is not there in a
    round keeps its state, whatever these methods do to its row.

    Attributes:
        phases: The kinds of the phases of a round, in their order.
        requirements: What the protocol needs.
        sends_parameters: Whether rows of messages are made of parameters, so that two devices must
            have some in common.
        distillation: How devices learn from predictions; None where they exchange none.
    """

    phases: tuple[PhaseName, ...] = ("learn", "mix")
    requirements: Requirements = Requirements()
    sends_parameters: ClassVar[bool] = True
    distillation: Distillation | None = None

    def bind(self, layout: Layout) -> None:
        """Take the layout of parameters in a row; this method is called before all others."""
        return

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        """Return the slots before the first round, ``[N, …]`` each, from the initial parameters.

        ``x_NP`` may have no rows, when only the shapes of the slots are needed.
        """
        return {}

    def graph(self, graph: Graph) -> Graph:
        """Return the part of the topology's graph that the protocol uses."""
        return graph

    def pairing(self, topology: Topology, network: Network) -> Topology:
        """Return the topology whose links carry the messages, of a protocol whose devices meet in
        pairs (:attr:`Requirements.pairs`): by default each active device and a random neighbour.
        ``network`` says who is active and who is there in a round.
        """
        return RandomPairs(topology, network)

    def check(self, mixing: Mixing) -> None:
        """Refuse mixing weights that the protocol cannot work with, with a :class:`ConfigError`.

        It is called before the start for every round of a short period, else for the first rounds.
        """
        return

    def width(self, phase: int, parameters: int) -> int:
        """Return M, the length of a payload row in the phase number ``phase``, where P is
        ``parameters``.
        """
        return parameters

    def plays(self, phase: int, round: int) -> bool:
        """Return whether devices communicate in the phase number ``phase`` of ``round``.

        In a round in which they do not, :meth:`send` and :meth:`receive` are not called for that
        phase, and no message is counted. A ``learn`` phase is played in every round. The result
        must be a function of the arguments alone.
        """
        return True

    def participants(self, round: int, devices: int, seed: int) -> npt.NDArray[np.bool_] | None:
        """Return which devices learn and are heard in ``round``, ``[devices]``; None: all.

        The result must be a function of the arguments alone.
        """
        return None

    def start(self, state: State) -> Tensor:
        """Return the rows ``[N, P]`` from which the local steps start."""
        return state.x

    def gradient_correction(self, state: State) -> GradientCorrection | None:
        """Return what is added to the gradients of this round; None: nothing."""
        return None

    def after_local_steps(self, state: State, rows: Rows, start_BP: Tensor, end_BP: Tensor) -> None:
        """Take the parameters of the devices ``rows`` before and after their local steps."""
        state.x[rows] = end_BP

    def send(self, phase: int, state: State) -> Tensor:
        """Return the payload rows ``[N, M]`` of the phase number ``phase``; ``[N, d, M]`` if that
        is a ``per_edge`` phase.
        """
        return state.x

    def sends_models(self) -> bool:
        """Return whether every payload row is the sender's model, so that a neighbour can measure
        it; by default, whether :meth:`send` and :meth:`width` are those of this class.
        """
        kind = type(self)
        return kind.send is Protocol.send and kind.width is Protocol.width

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        """Take the averaged rows ``[N, M]`` of the phase number ``phase``, or the neighbours' rows
        ``[N, d, M]`` if that is a ``per_edge`` phase.
        """
        state.x = received

    def receive_messages(self, phase: int, state: State, inbox: Inbox) -> None:
        """Take the messages of a ``messages`` phase."""
        raise NotImplementedError

    def measures(self, arrived_N: Ints) -> Ints:
        """Return how many models each device measures on its own validation samples in a round with
        a ``messages`` phase, ``[N]``, given how many messages arrive; by default each of these.
        Only the computation that is counted follows from it. What a device measures without any
        message is not counted where it does not learn in the round.
        """
        return arrived_N

    def shares(self, sizes_N: Ints) -> npt.NDArray[np.float64]:
        """Return the weights ``[N]`` of the ``server`` phase, from the devices' numbers of samples.

        The weights of a round's participants are then scaled to sum to one.
        """
        return np.full(len(sizes_N), 1.0 / len(sizes_N))
