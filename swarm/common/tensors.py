"""Tensors that read what NumPy holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class _Memory:
    """The memory of an array, for NumPy to make another array of; it keeps the first one alive."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array = array
        self.__array_interface__ = {
            **array.__array_interface__,
            "data": (array.__array_interface__["data"][0], False),  # False: not read-only
        }


def reading(array: npt.NDArray[Any]) -> Tensor:
    """The array as a tensor on its own memory, which nobody may write to.

    torch knows no read-only tensors, and warns where it gets a read-only array. So it is given one
    that says nothing of that, on the same memory: no copy is made.
    """
    if array.flags.writeable or not array.size:
        return torch.as_tensor(array)
    return torch.as_tensor(np.asarray(_Memory(array)))
