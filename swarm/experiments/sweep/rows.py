"""Rows of a table of numbers, which are looked at without making a data frame of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Rows:
    """Some rows of a table: ``rows[name]`` are their values in a column."""

    table: Mapping[str, npt.NDArray[Any]]
    places: Sequence[int] | npt.NDArray[np.int64]

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.table[name][self.places]

    def __len__(self) -> int:
        return len(self.places)

    def where(self, keep: npt.NDArray[np.bool_]) -> Rows:
        """Those for which ``keep`` is true."""
        return Rows(self.table, np.asarray(self.places, np.int64)[keep])
