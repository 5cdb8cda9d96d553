"""Top-k sparsification: the k largest numbers of a row are sent, with their positions.

Stich, Cordonnier, Jaggi, *Sparsified SGD with memory*, NeurIPS 2018 (arXiv 1809.07599). It is
biased, and a contraction: ‖v − C(v)‖² ≤ (1 − k/M) ‖v‖² for every v, with equality if all |v_i| are
equal.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.communication.compression.base import Draw
from swarm.communication.compression.row_blocks import row_blocks
from swarm.communication.compression.sparse import Sparse, index_bits


class TopK(Sparse):
    """C(v)_i = v_i for the k largest |v_i|, and 0 for the others; of equal ones, those with the
    lower index are kept.
    """

    def __init__(self, fraction: float = 0.1, feedback: bool = True, number_bits: int = 32) -> None:
        super().__init__(fraction, feedback, number_bits)

    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        source = v_nM.cpu().numpy()
        spelt, k = source.view(f"i{source.itemsize}"), self.kept(v_nM.shape[1])
        out = np.empty_like(spelt)
        for rows in row_blocks(v_nM):
            # these are integers, so that even the bits of a NaN times zero are zero
            np.multiply(spelt[rows], _largest(spelt[rows], k), out=out[rows])
        return torch.as_tensor(out.view(source.dtype), device=v_nM.device)

    def bits(self, width: int) -> int:
        """Return the bits of k values and k positions."""
        return self.kept(width) * (self.number_bits + index_bits(width))


def _largest(spelt_nM: npt.NDArray[np.signedinteger], k: int) -> npt.NDArray[np.bool_]:
    """A mask of the k largest magnitudes of each row; numbers are given as the integers that their
    bits spell.

    Without the sign bit these integers have the order of the magnitudes and are faster to
    partition, and a NaN is larger than any number.
    """
    size_nM = spelt_nM & np.iinfo(spelt_nM.dtype).max
    least_n1 = np.partition(size_nM, size_nM.shape[1] - k, axis=1)[:, -k, None]
    keep_nM: npt.NDArray[np.bool_] = size_nM >= least_n1
    tied = np.flatnonzero(np.count_nonzero(keep_nM, axis=1) > k)
    if len(tied):
        larger, equal = size_nM[tied] > least_n1[tied], size_nM[tied] == least_n1[tied]
        room_t1 = k - np.count_nonzero(larger, axis=1)[:, None]
        keep_nM[tied] = larger | (equal & (np.cumsum(equal, axis=1) <= room_t1))
    return keep_nM
