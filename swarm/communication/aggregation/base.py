"""The interface of aggregation rules: how a device combines the rows that it hears with its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.plugin import is_plugin, returned, shape_of
from swarm.common.rng import Keys
from swarm.communication.mixing import Conserves, Mixing
from swarm.communication.routing import Route
from swarm.communication.topology.graph import Graph

Ints = npt.NDArray[np.int64]
Losses = Callable[[Tensor, Tensor, Tensor], Tensor]
"""The losses ``[A]`` of A models, given rows ``[m, M]``, the number of each model among them, and
the device on whose samples it is measured, a number of the shard's rows; see
:attr:`swarm.communication.protocol.local_info.LocalInfo.measure_loss`."""
Complete = Callable[[Tensor, Tensor, Ints], None]
"""Writes the devices' own numbers into the rows of messages where the sender has none, given the
rows ``[K, G, M]``, the own rows ``[G, M]`` and the senders ``[K, G]``."""


@dataclass(frozen=True)
class Draws:
    """The random draws of a rule in a round; those of a device do not depend on the others."""

    keys: Keys = field(default_factory=lambda: Keys(0, "aggregator"))
    round: int = 0

    def uniform(self, device_G: Ints, count: int) -> npt.NDArray[np.float64]:
        """Return uniform numbers in (0, 1) for each of the devices, ``[G, count]``."""
        return self.keys.uniform(device_G, self.round, count)


@dataclass(frozen=True)
class Heard:
    """The rows that one device combines: its own, and those of K messages sorted by sender.

    Attributes:
        own_M: The device's own row.
        own_weight: W_ii, the mixing weight of its own row.
        rows_KM: The rows of the messages.
        weight_K: W_ij, the mixing weight of each message, in the dtype of the rows.
        sender_K: The ids of the senders.
        age_K: How many rounds each message was under way.
        loss_n: The loss of each of the n = K + 1 models on the device's own validation samples, its
            own model's first; None unless the rule has ``own_validation``.
        device: The device's id.
        draws: The random draws of the rule in this round.
    """

    own_M: Tensor
    own_weight: float
    rows_KM: Tensor
    weight_K: Tensor
    sender_K: Ints
    age_K: Ints
    loss_n: Tensor | None = None
    device: int = 0
    draws: Draws = field(default_factory=Draws)

    @property
    def inputs_nM(self) -> Tensor:
        """All n = K + 1 rows, the device's own first."""
        return torch.cat([self.own_M.unsqueeze(0), self.rows_KM])


@dataclass(frozen=True)
class Neighbourhoods:
    """The rows that R devices of a shard combine.

    Attributes:
        route: Which payload rows each of the devices hears, and with which weight.
        payload_mM: The payload rows, in the order of the route's columns.
        own_RM: The devices' own rows.
        device_R: The devices' ids.
        draws: The random draws of the rule in this round.
        losses: Measures models on the devices' own validation samples; None unless the rule has
            ``own_validation``.
        memory_RN: What each device remembers of all N devices, 0 at first; the rule writes into it.
            None unless the rule ``has_memory``.
        complete: Completes the rows of senders that lack some of the numbers; None where all
            senders have all of them.
    """

    route: Route
    payload_mM: Tensor
    own_RM: Tensor
    device_R: Ints
    draws: Draws = field(default_factory=Draws)
    losses: Losses | None = None
    memory_RN: Tensor | None = None
    complete: Complete | None = None

    @cached_property
    def receiver_E(self) -> Ints:
        """The receiver of each entry of the route's matrix, as a number of the R devices."""
        return np.repeat(np.arange(len(self.device_R)), np.diff(self.route.matrix.indptr))

    @cached_property
    def own_E(self) -> npt.NDArray[np.bool_]:
        """Whether each entry of the route's matrix is a device's own row, and not a message."""
        sender_E = self.route.sender_m[self.route.matrix.indices]
        own_E: npt.NDArray[np.bool_] = sender_E == self.device_R[self.receiver_E]
        return own_E

    @cached_property
    def loss_E(self) -> Tensor | None:
        """The loss of the model of each entry of the route's matrix on its receiver's samples, and
        after them those of the devices' own models, ``[E + R]``."""
        if self.losses is None:
            return None
        device, message_E = self.own_RM.device, np.flatnonzero(~self.own_E)
        own_R = torch.arange(len(self.own_RM), device=device)
        found_R = self.losses(self.own_RM, own_R, self._rows_of(np.arange(len(own_R))))
        column_A = torch.as_tensor(self.route.matrix.indices[message_E], device=device)
        at_A = self._rows_of(self.receiver_E[message_E])
        found = found_R.new_full((len(self.own_E) + len(found_R),), torch.nan)
        found[len(self.own_E) :] = found_R
        found[torch.as_tensor(message_E)] = self.losses(self.payload_mM, column_A, at_A)
        return found

    def _rows_of(self, r: Ints) -> Tensor:
        return torch.as_tensor(self.route.dst_R[r], device=self.own_RM.device)

    def heard(self, r: int) -> Heard:
        """Return the rows that the device number ``r`` of the R devices combines."""
        matrix = self.route.matrix
        entries = np.arange(matrix.indptr[r], matrix.indptr[r + 1])
        columns, weights = matrix.indices[entries], matrix.data[entries]
        own = self.own_E[entries]
        columns = columns[~own]
        rows = self.payload_mM[torch.as_tensor(columns.astype(np.int64))]
        sender_K = self.route.sender_m[columns]
        if self.complete is not None:
            self.complete(rows[:, None], self.own_RM[r : r + 1], sender_K[:, None])
        loss_n = None
        if self.loss_E is not None:
            loss_n = self.loss_E[torch.as_tensor([len(self.own_E) + r, *entries[~own]])]
        return Heard(
            self.own_RM[r],
            float(weights[own].sum()),
            rows,
            torch.as_tensor(weights[~own], device=rows.device).to(rows.dtype),
            sender_K,
            self.route.age_m[columns],
            loss_n,
            int(self.device_R[r]),
            self.draws,
        )


class Aggregator(ABC):
    """A rule for the ``mix`` phase of any protocol, by which a device combines its own row with
    those that it heard.

    A rule looks at one device at a time, and keeps nothing unless it ``has_memory``, so its result
    does not depend on how the swarm is cut into shards. A median of all rows, for example, is::

        class Median(Aggregator):
            def combine(self, heard: Heard) -> Tensor:
                return heard.inputs_nM.median(dim=0).values

    Rules that work on many devices at once are :class:`~swarm.communication.aggregation.robust
    .StackRule`, and those that assume a number of hostile neighbours ``RobustRule``.

    Attributes:
        linear: Whether the rule is the weighted mean Σ_j W_ij · row_j. Protocols that remember sums
            of what they mixed need it, and the engine may compute it in other ways.
        own_validation: Whether the rule needs ``Heard.loss_n``, the losses of the models on the
            device's own validation samples, so that each device must have some
            (``data.local_validation``) and messages must be models.
        weighs: Whether the mixing weights have a part in the result. A run warns of weights that
            are chosen for a rule that does without. A plug-in says so in its own class: what it
            derives from may do without where it does not.
        symmetric: Whether the rule treats all n rows alike, and makes no difference between the
            device's own and others. A server needs that, which has no row of its own.
        partial_rows: What the rule makes of rows that lack some of the numbers, as those of smaller
            models do. ``by_number``: it combines each number among the rows that have it.
            ``completed``: it takes the device's own numbers in place of those that a row lacks, so
            that the row does not differ there. None: it combines whole rows only.
    """

    linear: bool = False
    own_validation: bool = False
    weighs: bool = True
    symmetric: bool = False
    partial_rows: Literal["by_number", "completed"] | None = None

    @property
    def has_memory(self) -> bool:
        """Whether each device keeps a number of each other one from round to round, in
        ``Neighbourhoods.memory_RN``; it is a part of every checkpoint."""
        return False

    @abstractmethod
    def combine(self, heard: Heard) -> Tensor:
        """Return the row that the device receives, ``[M]``.

        If no message arrived, ``heard`` has none, and the result must be the device's own row.
        """

    def conserves(self, mixing: Mixing) -> Conserves:
        """Return the sums that the rule conserves under these weights.

        ``row`` means that devices with equal rows keep them; ``both`` means that the mean over all
        devices stays the same as well.
        """
        return "row"

    def check(self, graph: Graph) -> None:
        """Refuse a graph of the first round on which the rule has no effect, with a
        :class:`~swarm.common.errors.ConfigError`.
        """
        return

    def bears(self, rows: int) -> int:
        """Return how many hostile ones among ``rows`` rows, the device's own honest one included,
        the rule bears with its settings.
        """
        return 0

    def check_bound(self, graph: Graph, names: Sequence[str | None] | None) -> None:
        """Refuse a graph with a device that combines too few rows for the number of hostile ones
        that the rule is told to bear; ``names`` are the devices'.
        """
        return

    def held_numbers(self, rows: int, width: int) -> float:
        """Return the most numbers that the rule holds at once, where a device combines up to
        ``rows`` rows of ``width`` numbers.
        """
        return 4.0 * rows * width

    def combine_all(self, found: Neighbourhoods) -> Tensor:
        """Return the rows that R devices receive, ``[R, M]``: :meth:`combine`, one device after the
        other.

        Raises :class:`~swarm.common.errors.ConfigError` if :meth:`combine` returns no such row.
        """
        out_RM = torch.empty_like(found.own_RM)
        for r in range(len(out_RM)):
            combined = self.combine(found.heard(r))
            fits = isinstance(combined, Tensor) and combined.shape == out_RM[r].shape
            if not fits or combined.dtype != out_RM.dtype:
                kind = str(out_RM.dtype).removeprefix("torch.")
                needed = f"{kind} numbers of shape [{out_RM.shape[1]}] are needed"
                said = f"returns {shape_of(combined)}"
                raise returned("aggregator", self, "combine()", said, needed)
            out_RM[r] = combined
        return out_RM


def uses_weights(rule: Aggregator) -> bool:
    """Whether the mixing weights may have a part in what ``rule`` makes of rows, as it says itself;
    what a plug-in inherits is said of another class."""
    inherited = is_plugin(rule) and "weighs" not in {*vars(rule), *vars(type(rule))}
    return inherited or rule.weighs
