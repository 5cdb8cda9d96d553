"""Cuts rows into blocks that fit into the cache of a CPU core, for computations in which no row
depends on the others.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

NUMBERS = 1 << 16  # in a block


def row_blocks(v_nM: Tensor) -> Iterator[slice]:
    """Yield ranges of rows that cover all rows in order, each with about ``NUMBERS`` numbers."""
    n, width = v_nM.shape
    rows = max(1, NUMBERS // max(width, 1))
    for start in range(0, n, rows):
        yield slice(start, min(start + rows, n))
