"""Writes and reads tensors of a safetensors file piece by piece, so that memory never holds a
second copy of all of them.

The format is a length (8 bytes), a JSON header that says where each tensor lies, and their bytes.
The file is byte for byte what the library ``safetensors`` would write, but the library would need
all of it in memory twice. Reading is left to the library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import safe_open
from torch import Tensor

# In the library's order: the larger types first, so that each tensor starts at a multiple of its
# item's size.
DTYPES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
PIECE = 1 << 22  # numbers
ALIGN = 8


def write(file: IO[bytes], tensors: Mapping[str, Tensor]) -> tuple[str, int]:
    """Write the tensors, whose dtypes are among :data:`DTYPES`; returns the SHA-256 and the number
    of bytes written.

    A contiguous tensor on the CPU is written without a copy; any other is copied piece by piece.
    """
    order = sorted(tensors, key=lambda name: (list(DTYPES).index(tensors[name].dtype), name))
    digest, size = hashlib.sha256(), 0
    for piece in _pieces(tensors, order):
        digest.update(piece)
        file.write(piece)
        size += len(piece)
    return digest.hexdigest(), size


def _pieces(tensors: Mapping[str, Tensor], order: list[str]) -> Iterator[bytes | memoryview]:
    header, stop = {}, 0
    for name in order:
        tensor = tensors[name]
        start, stop = stop, stop + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, stop],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGN)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in order:
        for part in split(tensors[name]):
            octets: Any = part.cpu().contiguous().view(-1).view(torch.uint8).numpy()
            yield memoryview(octets)


def split(tensor: Tensor) -> Iterator[Tensor]:
    """Views of the tensor, one after the other, each of at most :data:`PIECE` numbers or one
    row."""
    if not tensor.numel():
        return
    if tensor.ndim == 0 or tensor.is_contiguous():
        tensor, rows = tensor.reshape(-1), PIECE
    else:
        rows = max(1, PIECE * len(tensor) // tensor.numel())
    yield from torch.split(tensor, rows)


class Stored(Mapping[str, Tensor]):
    """The tensors of a file, each read anew into memory of its own whenever it is asked for.

    Raises :class:`safetensors.SafetensorError` where the file is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with safe_open(path, framework="pt") as file:
            self._names = sorted(file.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        # opened anew each time, so that the memory of earlier reads is freed
        with safe_open(self.path, framework="pt") as file:
            found: Tensor = file.get_tensor(name)
            return found.clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def all_finite(tensor: Tensor) -> bool:
    """Whether every number of the tensor is finite; it is checked piece by piece."""
    return all(bool(torch.isfinite(part).all()) for part in split(tensor))
