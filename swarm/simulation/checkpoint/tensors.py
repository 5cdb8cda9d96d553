"""Tensors in a safetensors file, written and read piece by piece: no second copy of everything is
ever in memory.

The format is a length (8 bytes), a JSON header that says where each tensor lies, and their bytes.
What is written here is byte for byte what the library ``safetensors`` would write, which needs all
of it in memory twice; reading is left to the library.
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
    """Write the tensors (of :data:`DTYPES`); returns the SHA-256 and the number of bytes of what
    was written.

    A tensor that lies in one piece on the CPU is written as it lies there; of any other only a
    piece is copied at a time.
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
    """The tensor in pieces of at most :data:`PIECE` numbers or one row: views, one after the
    other.
    """
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
        # opened anew, so that what was read before is let go
        with safe_open(self.path, framework="pt") as file:
            found: Tensor = file.get_tensor(name)
            return found.clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def all_finite(tensor: Tensor) -> bool:
    """Whether every number is finite, looked at piece by piece."""
    return all(bool(torch.isfinite(part).all()) for part in split(tensor))
