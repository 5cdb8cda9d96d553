"""A few rows at a time: what is computed with them stays in a core's cache, and no row's result
depends on the others.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

NUMBERS = 1 << 16  # of a chunk


def row_blocks(v_nM: Tensor) -> Iterator[slice]:
    """Ranges that cover the rows in order, each of about ``NUMBERS`` numbers."""
    n, width = v_nM.shape
    rows = max(1, NUMBERS // max(width, 1))
    for start in range(0, n, rows):
        yield slice(start, min(start + rows, n))
