"""Fills the free places between the objects of a process before it forks.

A child would otherwise put its small objects there, and copy a shared page for each of them. Once
the places are taken, its objects lie side by side on new pages, which are a fifth fewer.
"""

from __future__ import annotations

import ctypes
from typing import Any

# CPython's allocator takes blocks of up to 512 bytes from pools: a header, then blocks of one size.
POOL_BYTES, POOL_HEADER = 1 << 14, 48
PYTHON_SIZES = range(512, 15, -16)  # the large ones tell best whose allocator it is
NUMBER_BYTES = 32  # of a Python number: those of this loop lie between the blocks of their size
LIBRARY_SIZES = (*(1 << n for n in range(16, 10, -1)), *range(1016, 23, -16))
MOST_BYTES = 8 << 20  # for each size, should an allocator be another than expected


class _Mallinfo2(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def fill_holes() -> None:
    """Take, for ever, the places that small objects have left free in Python's and in the C
    library's memory. It does nothing where the C library is not glibc, and leaves Python's alone
    where that has another allocator (``PYTHONMALLOC``, ``PYTHONDEVMODE``)."""
    library, python = ctypes.CDLL(None), ctypes.pythonapi
    if not hasattr(library, "mallinfo2"):
        return
    library.mallinfo2.restype = _Mallinfo2
    library.sbrk.argtypes, library.free.argtypes = [ctypes.c_ssize_t], [ctypes.c_void_p]
    library.sbrk.restype = ctypes.c_void_p
    for allocate in (library.malloc, python.PyObject_Malloc):
        allocate.argtypes, allocate.restype = [ctypes.c_size_t], ctypes.c_void_p
    for size in PYTHON_SIZES:
        if not _fill_pools(python.PyObject_Malloc, size):
            break
    for size in LIBRARY_SIZES:
        _fill_heap(library, size)


def _fill_pools(allocate: Any, size: int) -> bool:
    """Take blocks of ``size`` until two follow each other from the start of a pool, as they do in a
    new one. Returns False, after the first block, if that is not where a pool has its blocks."""
    last, near = 0, (4 if size == NUMBER_BYTES else 1) * size
    for _ in range(MOST_BYTES // size):
        block = allocate(size) or 0
        if (block % POOL_BYTES - POOL_HEADER) % size:
            return False
        if last % POOL_BYTES - POOL_HEADER < near and 0 < block - last <= near:
            break
        last = block
    return True


def _fill_heap(library: Any, size: int) -> None:
    """Take blocks of ``size`` until one comes from the end of the heap, beyond all holes."""
    end = library.sbrk(0) - library.mallinfo2().keepcost
    for _ in range(MOST_BYTES // size):
        block = library.malloc(size) or 0
        if block >= end:
            library.free(block)
            return
