"""The interface of aggregation rules: how a device combines the rows that it hears with its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.plugin import returned, shape_of
from swarm.communication.mixing import Conserves, Mixing
from swarm.communication.routing import Route
from swarm.communication.topology.graph import Graph

Ints = npt.NDArray[np.int64]


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
    """

    own_M: Tensor
    own_weight: float
    rows_KM: Tensor
    weight_K: Tensor
    sender_K: Ints
    age_K: Ints

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
    """

    route: Route
    payload_mM: Tensor
    own_RM: Tensor
    device_R: Ints

    def heard(self, r: int) -> Heard:
        """Return the rows that the device number ``r`` of the R devices combines."""
        matrix = self.route.matrix
        entries = slice(matrix.indptr[r], matrix.indptr[r + 1])
        columns, weights = matrix.indices[entries], matrix.data[entries]
        own = self.route.sender_m[columns] == self.device_R[r]
        columns = columns[~own]
        rows = self.payload_mM[torch.as_tensor(columns.astype(np.int64))]
        return Heard(
            self.own_RM[r],
            float(weights[own].sum()),
            rows,
            torch.as_tensor(weights[~own], device=rows.device).to(rows.dtype),
            self.route.sender_m[columns],
            self.route.age_m[columns],
        )


class Aggregator(ABC):
    """A rule for the ``mix`` phase of any protocol, by which a device combines its own row with
    those that it heard.

    A rule looks at one device at a time and keeps no state, so its result does not depend on how
    the swarm is cut into shards. A median of all rows, for example, is::

        class Median(Aggregator):
            def combine(self, heard: Heard) -> Tensor:
                return heard.inputs_nM.median(dim=0).values

    Attributes:
        linear: Whether the rule is the weighted mean Σ_j W_ij · row_j. Protocols that remember sums
            of what they mixed need it, and the engine may compute it in other ways.
    """

    linear: bool = False

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
