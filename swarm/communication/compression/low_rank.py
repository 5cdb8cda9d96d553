"""Low-rank compression: every matrix of the model is sent as a product of two thin ones.

The factors come from one power iteration from a random start, as in PowerSGD (Vogels, Karimireddy,
Jaggi, NeurIPS 2019, arXiv 1905.13727), without its warm start. With a Gaussian Q the result P Pᵀ W
is the randomised range finder of Halko, Martinsson, Tropp (SIAM Review 2011): for an m × k matrix
with singular values σ, E‖W − C(W)‖² ≤ (1 + h/(r − h − 1)) Σ_{j>h} σ_j² for every h ≤ r − 2, and
E‖W − C(W)‖² ≤ (1 − r/min(m, k)) ‖W‖². The compressor is biased, and a contraction.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.rows import Layout, ParameterSpec
from swarm.communication.compression.base import Compressor, Draw
from swarm.communication.compression.row_blocks import row_blocks


class LowRank(Compressor):
    """C(W) = P (Wᵀ P)ᵀ, where P is an orthonormal basis of W Q, and Q ``[k, rank]`` is standard
    normal, drawn for every device and round.

    The kernel of a convolution is a matrix of its outputs × all other axes. Vectors, and matrices
    that are smaller than their factors, are sent as they are.

    Raises :class:`ConfigError` for a rank below 1 or above the smallest side of a matrix, for a
    model without matrices, and from :meth:`bits` for payloads that are not one model's parameters.
    """

    whole_rows = True

    def __init__(
        self, layout: Layout, rank: int = 2, feedback: bool = True, number_bits: int = 32
    ) -> None:
        self.layout, self.rank, self.feedback, self.number_bits = (
            layout,
            rank,
            feedback,
            number_bits,
        )
        matrices = [s for s in layout.slots if min(sides(s)) > 1]
        if not matrices:
            raise ConfigError(
                "rank", rank, "finds no matrix in this model; choose another compressor"
            )
        smallest = min(matrices, key=lambda s: min(sides(s)))
        if not 1 <= rank <= min(sides(smallest)):
            shape = " × ".join(map(str, sides(smallest)))
            raise ConfigError(
                "rank", rank, f"must lie in 1 … {min(sides(smallest))}: {smallest.name} is {shape}"
            )
        self.factored = [s for s in matrices if rank * sum(sides(s)) < math.prod(sides(s))]

    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        out, starts = v_nM.clone(), self.starts(draw)
        for slot, q_nkr in zip(self.factored, starts, strict=True):
            for rows in row_blocks(v_nM):
                w_nmk = v_nM[rows, slot.start : slot.stop].view(-1, *sides(slot))
                factors = factor(w_nmk, q_nkr[rows].to(v_nM))
                out[rows, slot.start : slot.stop] = product(*factors).flatten(1)
        return out

    def starts(self, draw: Draw) -> list[Tensor]:
        """Return Q ``[n, k, rank]`` of each matrix that is sent as factors."""
        counts = [sides(s)[1] * self.rank for s in self.factored]
        normal = torch.from_numpy(draw.keys.normal(draw.device_n, draw.step, sum(counts)))
        return [part.reshape(len(part), -1, self.rank) for part in torch.split(normal, counts, 1)]

    def bits(self, width: int) -> int:
        """Return the bits of both factors of each matrix, and of all other numbers.

        Raises :class:`ConfigError` unless ``width`` is the number of the model's parameters.
        """
        if width != self.layout.width:
            raise ConfigError(
                "rank",
                self.rank,
                f"finds matrices in a model's {self.layout.width} parameters only, but the protocol"
                f" sends {width} numbers; choose another compressor or protocol",
            )
        saved = sum(math.prod(sides(s)) - self.rank * sum(sides(s)) for s in self.factored)
        return (width - saved) * self.number_bits


def sides(slot: ParameterSpec) -> tuple[int, int]:
    """Return m and k of a parameter as an m × k matrix; a vector is 1 × k."""
    return (
        (slot.shape[0], math.prod(slot.shape[1:]))
        if len(slot.shape) > 1
        else (1, math.prod(slot.shape))
    )


def factor(w_nmk: Tensor, q_nkr: Tensor) -> tuple[Tensor, Tensor]:
    """Return P ``[n, r, m]`` with orthonormal rows that span the columns of W Q, and P W
    ``[n, r, k]``.

    They are computed with sums, since the last bit of a library's matrix product depends on where
    the matrix lies in memory.
    """
    p = orthonormal([(w_nmk * q_nk[:, None]).sum(2) for q_nk in q_nkr.unbind(2)])
    return torch.stack(p, 1), torch.stack([(w_nmk * p_nm[:, :, None]).sum(1) for p_nm in p], 1)


def product(p_nrm: Tensor, q_nrk: Tensor) -> Tensor:
    """Return the matrices Σ_r p_r q_rᵀ, ``[n, m, k]``."""
    total = p_nrm[:, 0, :, None] * q_nrk[:, 0, None]
    for r in range(1, p_nrm.shape[1]):
        total = total + p_nrm[:, r, :, None] * q_nrk[:, r, None]
    return total


def orthonormal(columns: list[Tensor]) -> list[Tensor]:
    """Return orthonormal columns by Gram–Schmidt, done twice for the sake of float32.

    A column that depends linearly on earlier ones, up to rounding, becomes zero.
    """
    found: list[Tensor] = []
    for start_nm in columns:
        column_nm = start_nm
        for earlier in found + found:
            column_nm = column_nm - (column_nm * earlier).sum(1, keepdim=True) * earlier
        before, left = (each.square().sum(1, keepdim=True).sqrt() for each in (start_nm, column_nm))
        nothing = left <= 100 * torch.finfo(column_nm.dtype).eps * before
        found.append(torch.where(nothing, 0.0, column_nm / left))
    return found
