"""Missing features, filled in by statistics of the training samples."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np

from swarm.common.errors import ConfigError
from swarm.data.dataset import Ints
from swarm.data.scaling import Numbers

# What can be done about values that are missing inside an array, of which no option leaves a part
# out.
IN_ARRAY = (
    "write numbers into these places of the file, with a channel of 0 and 1 that marks them, or"
    " make the samples shorter"
)


def place_in(shape: Sequence[int], number: int) -> str:
    """Where the flat feature ``number`` is in a sample of this shape, for messages: ``[59, 0]``."""
    return str([int(i) for i in np.unravel_index(number, shape)])


def filled(
    blocks: Sequence[Numbers], train: Ints, origin: tuple[str, object], columns: Sequence[str]
) -> list[Numbers]:
    """The blocks with NaN replaced by the mean of the column's training samples; a warning says
    how many values these are. ``columns`` are names of the flat features, for messages.

    Raises ``ConfigError`` for a column, or a place of an array, in which no training sample has a
    value.
    """
    full, count, first = [], 0, 0
    for block in blocks:
        found, replaced, never = _without_nan(block, train)
        if never is not None:
            whole = block.shape[1:]
            name = repr(columns[first + never]) if columns else str(never)
            what = f"place {place_in(whole, never)}" if len(whole) > 1 else f"column {name}"
            hint = IN_ARRAY if math.prod(whole) > 1 else "data.features=[…] leaves it out"
            said = f"{what} has no value in any training sample, and so no mean"
            raise ConfigError(*origin, f"{said}; {hint}")
        full.append(found)
        count, first = count + replaced, first + math.prod(block.shape[1:])
    if count:
        what = "missing values are" if count > 1 else "missing value is"
        said = f"{origin[1]}: {count} {what} filled in with the mean of the training samples"
        warnings.warn(said, stacklevel=4)
    return full


def _without_nan(x: Numbers, train: Ints) -> tuple[Numbers, int, int | None]:
    """``x`` with each NaN replaced by the mean of its column's other values in the training rows;
    how many were replaced; and the first flat column in which no training row has a value, or None.
    """
    missing = np.isnan(x) if x.dtype.kind == "f" else np.zeros(0, np.bool_)
    if not missing.any():
        return x, 0, None
    there = np.asarray((~missing[train]).sum(axis=0))
    never = np.flatnonzero(there.reshape(-1) == 0)
    if len(never):
        return x, 0, int(never[0])
    total = np.where(missing[train], 0, x[train]).sum(axis=0, dtype=np.float64)
    return np.where(missing, total / there, x), int(missing.sum()), None
