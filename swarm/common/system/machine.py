"""What this machine offers: CPU cores, memory, installed packages."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_installed(module: str) -> bool:
    """Whether a package called ``module`` is installed; it is not imported.

    A folder without Python files, such as ``wandb`` in a run folder, is no package.
    """
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None


def available_bytes(root: Path = Path("/")) -> int | None:
    """Return the bytes of memory that can be used without swapping; None if nobody knows.

    It is the kernel's estimate, or less if the control groups of this process allow less. ``proc``
    and ``sys`` are looked for below ``root``.
    """
    limits = []
    with contextlib.suppress(OSError):
        lines = (root / "proc/meminfo").read_text().splitlines()
        limits += [
            int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")
        ]
    if not limits and "SC_PHYS_PAGES" in os.sysconf_names:  # not Linux: the whole physical memory
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limits += _left_in_groups(root)
    return min(limits) if limits else None


def resident_bytes() -> int:
    """Return the bytes of this process that are in memory now; 0 where nobody knows."""
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory could not be allocated.

    Python, NumPy and PyArrow raise a MemoryError, the operating system an OSError with ENOMEM, and
    torch a RuntimeError that only its text tells from others.
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error)
    words = (
        "can't allocate memory",
        "not enough memory",
        "out of memory",
        "Cannot allocate memory",
    )
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in text for word in words)
    )


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield the bytes that the control group of this process, and each group above it, still
    allows; groups without a limit are left out.

    A process belongs to one group of the unified hierarchy (version 2), or to one of the memory
    controller (version 1). A limit holds for a group and all groups below it. Inside a container
    the names may be those of the host: groups that are not found are skipped, and the container's
    own limit stands at the top of the hierarchy.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                top, names = (
                    root / "sys/fs/cgroup",
                    ("memory.max", "memory.current", "inactive_file"),
                )
            elif "memory" in controllers.split(","):
                top = root / "sys/fs/cgroup/memory"
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            else:
                continue
            own = PurePosixPath(path.lstrip("/"))
            for group in [own, *own.parents]:
                if ".." not in group.parts:
                    yield from _left(top / group, *names)


def _left(group: Path, limit: str, usage: str, cache: str) -> Iterator[int]:
    """Yield the limit of one group minus the memory in use, without cached files, which the kernel
    drops when memory is needed.
    """
    with contextlib.suppress(OSError, ValueError):  # no such group, or no limit ("max")
        most, used = int((group / limit).read_text()), int((group / usage).read_text())
        with contextlib.suppress(OSError, ValueError):
            facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            used -= int(facts.get(cache, 0))
        yield max(0, most - used)
