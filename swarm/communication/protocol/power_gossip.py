"""PowerGossip: two vectors are sent over a link instead of a matrix, by power iteration on the
difference of the two models.

Vogels, Karimireddy, Jaggi, *Practical low-rank communication compression in decentralized deep
learning*, NeurIPS 2020 (arXiv 2008.01425).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from swarm.common.rng import Keys
from swarm.common.rows import Layout
from swarm.communication.compression.row_blocks import row_blocks
from swarm.communication.protocol.base import Links, Protocol, Requirements, State


class PowerGossip(Protocol):
    """PowerGossip: for every link and every matrix of the model, with D = X_j − X_i and a vector q
    that both ends of the link remember:

        p = Dq / ‖Dq‖,   q ← Dᵀp,   X_i ← X_i + w_ij · p qᵀ.

    Device i sends X_i q and then X_iᵀp, so the payloads are vectors. A parameter of three or more
    axes is a matrix with the first axis as its rows. A vector is a matrix with one column, whose
    difference is sent exactly. At the other end of the link p has the opposite sign and q the same
    bits, so that the mean of the two models does not change.

    The first q of a link is drawn from the run's ``seed`` and the ids of its two ends, so both
    know it.
    """

    phases = ("learn", "per_edge", "per_edge")
    requirements = Requirements(conserves="both", fixed_links=True)

    def __init__(self, seed: int = 0) -> None:
        self.keys = Keys(seed, "power_gossip")

    def bind(self, layout: Layout) -> None:
        self.matrices, row, column = [], 0, 0
        for slot in layout.slots:
            height = slot.shape[0] if slot.shape else 1
            width = (slot.stop - slot.start) // height
            self.matrices.append(
                Matrix(
                    slice(slot.start, slot.stop),
                    height,
                    slice(row, row + height),
                    slice(column, column + width),
                )
            )
            row, column = row + height, column + width
        self.sizes = row, column

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        """Return the slot ``q``: random numbers for each link, the same at both its ends."""
        assert links is not None
        own_n1, ids_nd = links.own_n[:, None].cpu().numpy(), links.ids_nd.cpu().numpy()
        low_nd, high_nd = np.minimum(own_n1, ids_nd).clip(0), np.maximum(own_n1, ids_nd)
        q = x_NP.new_zeros(*ids_nd.shape, self.sizes[1])
        # one neighbour at a time, as drawing takes several float64 arrays
        for d in range(ids_nd.shape[1]):
            for rows in row_blocks(q[:, d]):
                drawn = self.keys.normal(low_nd[rows, d], high_nd[rows, d], self.sizes[1])
                q[rows, d] = torch.as_tensor(drawn).to(q)
        return {"q": torch.where(links.there_nd[:, :, None], q, 0.0)}

    def width(self, phase: int, parameters: int) -> int:
        return self.sizes[not self._first(phase)]

    def _first(self, phase: int) -> bool:
        return phase == self.phases.index("per_edge")

    def send(self, phase: int, state: State) -> Tensor:
        """Return X_i q for each link in the first ``per_edge`` phase, X_iᵀp in the second.

        Each row has a product and a sum of its own, since the bits of a batched matrix product
        would depend on the other rows.
        """
        first = self._first(phase)
        by = state.slots["q"] if first else state.round_buffers["p"]
        out = by.new_empty(*by.shape[:2], self.sizes[not first])
        for m in self.matrices:
            X = m.of(state.x) if first else m.of(state.x).transpose(1, 2).contiguous()
            at, into = (m.columns, m.rows) if first else (m.rows, m.columns)
            for d in range(out.shape[1]):
                out[:, d, into] = (X * by[:, d, None, at]).sum(2)
        state.round_buffers["sent"] = out
        return out

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        assert state.links is not None
        there = state.links.there_nd[:, :, None]
        own = state.round_buffers["sent"]
        if self._first(phase):
            p = torch.where(there, received - own, 0.0)
            for m in self.matrices:
                p[:, :, m.rows] = _unit(p[:, :, m.rows])
            state.round_buffers["p"] = p
            return
        q, p = (
            torch.where(there, -(received + own), 0.0),
            state.round_buffers["p"],
        )  # the other end computes with −p
        state.x = state.x.clone()
        for m in self.matrices:
            X, move = m.of(state.x), state.links.weight_nd[:, :, None] * p[:, :, m.rows]
            for d in range(q.shape[1]):
                X.addcmul_(move[:, d, :, None], q[:, d, None, m.columns])
            unit = _unit(q[:, :, m.columns])
            agrees = (unit == 0).all(2, keepdim=True)  # both ends agree, and keep their old q
            state.slots["q"][:, :, m.columns] = torch.where(
                agrees, state.slots["q"][:, :, m.columns], unit
            )


@dataclass(frozen=True)
class Matrix:
    """A parameter as a matrix.

    Attributes:
        where: Where the parameter lies in a row of parameters.
        height: The number of the matrix's rows.
        rows: Where the part for this matrix lies in X_i q.
        columns: Where the part for this matrix lies in X_iᵀp.
    """

    where: slice
    height: int
    rows: slice
    columns: slice

    def of(self, x_NP: Tensor) -> Tensor:
        """Return the matrix of every device as a view, ``[N, height, width]``."""
        return x_NP[:, self.where].view(len(x_NP), self.height, -1)


def _unit(v_NdM: Tensor) -> Tensor:
    """The vectors scaled to length one; zero vectors stay zero."""
    length = v_NdM.square().sum(2, keepdim=True).sqrt()
    return torch.where(length > 0, v_NdM / length, 0.0)
