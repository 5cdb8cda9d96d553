"""Strings of bits, written and read number by number: what a packet really takes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Packet:
    """A string of bits that ends up as bytes, the last one filled up."""

    def __init__(self) -> None:
        self.text: list[str] = []

    def write(self, value: int, bits: int) -> None:
        assert 0 <= value < 1 << bits or (value == 0 and bits == 0), "does not fit"
        self.text.append(format(value, f"0{bits}b") if bits else "")

    def numbers(self, values: Tensor) -> None:
        """Floats of any dtype, as their own bits."""
        for value in _spelt(values).tolist():
            self.write(value, 8 * values.element_size())

    @property
    def bits(self) -> int:
        return len("".join(self.text))

    def bytes(self) -> bytes:
        return np.packbits(np.array(list("".join(self.text)), dtype=np.uint8)).tobytes()


class Reader:
    """Reads what :class:`Packet` wrote."""

    def __init__(self, data: bytes) -> None:
        self.text, self.at = "".join(format(byte, "08b") for byte in data), 0

    def read(self, bits: int) -> int:
        self.at += bits
        return int(self.text[self.at - bits : self.at] or "0", 2)

    def numbers(self, count: int, dtype: torch.dtype) -> Tensor:
        unsigned = np.dtype(f"u{dtype.itemsize}")
        values = np.array([self.read(8 * dtype.itemsize) for _ in range(count)], dtype=unsigned)
        return torch.from_numpy(values.view(f"i{dtype.itemsize}")).view(dtype)


def _spelt(values: Tensor) -> np.ndarray:
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()]
    return values.contiguous().view(whole).numpy().view(f"u{values.element_size()}")
