"""Arrays of NumPy: views that nobody can write to, and large ones in parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Array = TypeVar("Array", bound=npt.NDArray[Any])

# Checks and scaling work on this many array elements at once, which bounds their temporary memory.
CHUNK = 1 << 22


def fixed(array: Array) -> Array:
    """The array, on the same memory, as a view that nobody can write to."""
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True)
class FixedArrays:
    """The base of a dataclass whose arrays nobody can write to, here and in any copy of it.

    It has views of the arrays that it is given, which their owner may write to as before.
    """

    def __post_init__(self) -> None:
        for name, each in arrays_of(self):
            object.__setattr__(self, name, fixed(each))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()  # an array that is copied, or sent to a process, can be written to


def arrays_of(held: DataclassInstance) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """The fields of a dataclass that are arrays, by name."""
    for field in fields(held):
        each = getattr(held, field.name)
        if isinstance(each, np.ndarray):
            yield field.name, each


def chunks(x: npt.NDArray[np.generic]) -> Iterator[slice]:
    """Row ranges of ``x`` of at most :data:`CHUNK` elements each, so that copies of one are small.

    A row of more elements is a range by itself.
    """
    rows = max(1, CHUNK // max(1, int(np.prod(x.shape[1:]))))
    for start in range(0, len(x), rows):
        yield slice(start, min(start + rows, len(x)))
