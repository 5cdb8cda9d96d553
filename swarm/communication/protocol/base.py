"""The seam between a gossip protocol and the machinery that carries its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.gradient_correction import GradientCorrection
from swarm.common.rows import Layout
from swarm.communication.mixing import Mixing
from swarm.communication.topology.graph import Graph
from swarm.config.aliases.old_members import OldMembers

PhaseName = str  # one of `swarm.simulation.phases.KINDS`
Conserves = Literal["row", "column", "both"]
Rows = slice | Tensor  # some of a shard's rows: a range, or their numbers
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RoundInfo:
    """Where a round stands: its number (from 1), the learning rate, the local steps of each device,
    ``[n]``, and the share of all devices that learn and are heard."""

    round: int
    lr: float
    steps_n: Ints
    share: float = 1.0


@dataclass(frozen=True)
class Links:
    """The neighbours of some devices on a graph that never changes, for protocols with a memory for
    each link.

    ``ids_nd`` (ascending, −1 where a device has fewer than the most), the mixing weights
    ``weight_nd`` (0 there), and ``own_n``, the ids of the devices themselves.
    """

    ids_nd: Tensor
    weight_nd: Tensor
    own_n: Tensor

    @property
    def there_nd(self) -> Tensor:
        return self.ids_nd >= 0


@dataclass(frozen=True)
class Inbox:
    """The messages that some devices received, sorted by (receiver, sender, age), not yet combined.

    ``rows_AM`` the payloads; ``dst_A`` the receiver as a number of the shard's rows; ``src_A`` the
    sender's id; ``age_A`` the rounds it was under way; ``rank_A`` counts a receiver's messages from
    0.
    """

    rows_AM: Tensor
    dst_A: Tensor
    src_A: Tensor
    age_A: Tensor

    @property
    def rank_A(self) -> Tensor:
        first = torch.searchsorted(self.dst_A, self.dst_A)
        return torch.arange(len(self.dst_A), device=self.dst_A.device) - first


@dataclass
class State(OldMembers):
    """The rows of some devices.

    They are the parameters ``x`` (``[N, P]``), the protocol's own rows ``slots`` (``[N, …]`` each,
    part of every checkpoint) and ``round_buffers``, rows that live until the end of a round.
    """

    x: Tensor
    slots: dict[str, Tensor] = field(default_factory=dict)
    round_buffers: dict[str, Tensor] = field(default_factory=dict)
    now: RoundInfo = field(default_factory=lambda: RoundInfo(0, 0.0, np.zeros(0, np.int64)))
    links: Links | None = None

    @property
    def learnt_N1(self) -> Tensor:
        """1 for the devices that took local steps in this round, 0 for the others."""
        return torch.as_tensor(self.now.steps_n > 0, device=self.x.device).to(self.x)[:, None]


@dataclass(frozen=True)
class Requirements:
    """What a protocol needs in order to work; other combinations are refused before a run.

    Attributes:
        conserves: The sums that a mixing matrix must conserve: those of its rows, of its columns,
            or both. ``row`` is met by a matrix that conserves both.
        fixed_links: It keeps something for each link, so that the graph must not change and no
            message may be lost.
        static_graph: The graph must not change, though messages may be lost on it.
        own_packet: A device takes in its own row as others read it, compressed: at
            :meth:`Protocol.receive` it is ``state.round_buffers["sent"]``.
        own_error_feedback: It sends later what compression left out, so that a compressor must not
            do so too.
        no_compression: It needs the exact numbers of its messages.
        linear_mixing: It remembers sums of what it mixed, so that mixing must be the weighted mean.
        plain_sgd: It reads gradients off the local steps, which must be those of plain SGD.
        common_init: All devices have to start with the same parameters.
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


class Protocol(OldMembers):
    """A round is the sequence ``phases``:

    * ``learn``: the active devices take their local steps from :meth:`start`, with
      :meth:`gradient_correction` added to the gradients; :meth:`after_local_steps` takes in the
      result, block by block;
    * ``mix``: the rows of :meth:`send` are averaged over the graph, Σ_j W_ij · row_j, and handed to
      :meth:`receive`;
    * ``messages``: the same rows arrive one by one, at :meth:`receive_messages`;
    * ``per_edge``: :meth:`send` gives a row for each neighbour, ``[N, d, M]`` as :class:`Links`
      orders them, and :meth:`receive` gets theirs in the same order;
    * ``server``: the weighted mean over *all* devices goes to :meth:`receive`. It reaches
      everybody: whoever is away or not chosen fetches it before learning again.

    ``learn`` may come twice; the second time has the samples of the first. The defaults replace the
    parameters by what was learnt or received. Apart from ``server``, a device that is not there in
    a round keeps its state, whatever these methods do to its row.
    """

    phases: tuple[PhaseName, ...] = ("learn", "mix")
    requirements: Requirements = Requirements()

    def bind(self, layout: Layout) -> None:
        """Learn how parameters lie in a row, before anything else is asked."""
        return

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        """The slots before the first round, from the first parameters; ``x_NP`` may have no rows,
        to learn their shapes.
        """
        return {}

    def graph(self, graph: Graph) -> Graph:
        """The part of the topology's graph that is used."""
        return graph

    def check(self, mixing: Mixing) -> None:
        """Raises :class:`ConfigError` if the protocol cannot work with these weights: of every
        round of a short period, else of the first rounds."""
        return

    def width(self, phase: int, parameters: int) -> int:
        """M, the numbers in a payload row of phase ``phase``."""
        return parameters

    def participants(self, round: int, devices: int, seed: int) -> npt.NDArray[np.bool_] | None:
        """Who learns and is heard in ``round``, ``[devices]``; None: everybody.

        A pure function of its arguments.
        """
        return None

    def start(self, state: State) -> Tensor:
        """The rows ``[N, P]`` from which local learning starts."""
        return state.x

    def gradient_correction(self, state: State) -> GradientCorrection | None:
        """What is added to the gradients of this round, a row for each device; None: nothing."""
        return None

    def after_local_steps(self, state: State, rows: Rows, start_BP: Tensor, end_BP: Tensor) -> None:
        """Take in where the local steps of ``rows`` started and ended."""
        state.x[rows] = end_BP

    def send(self, phase: int, state: State) -> Tensor:
        """The payload rows ``[N, M]`` of phase number ``phase``, for ``per_edge`` ``[N, d, M]``."""
        return state.x

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        """Take in the averaged rows ``[N, M]``, or for ``per_edge`` the neighbours' rows
        ``[N, d, M]``."""
        state.x = received

    def receive_messages(self, phase: int, state: State, inbox: Inbox) -> None:
        """Take in the messages of a ``messages`` phase."""
        raise NotImplementedError

    def shares(self, sizes_N: Ints) -> npt.NDArray[np.float64]:
        """Weights ``[N]`` of the ``server`` phase, from the devices' numbers of samples; those of a
        round's participants are scaled to sum to one."""
        return np.full(len(sizes_N), 1.0 / len(sizes_N))
