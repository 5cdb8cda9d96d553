"""What this machine has for us: cores, memory, packages."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from pathlib import Path


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_installed(module: str) -> bool:
    """Whether there is such a package, without importing it. A mere folder of that name, such as ``wandb`` in a run folder, is
    none."""
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None


def available_bytes() -> int | None:
    """Memory that can be used without swapping: the kernel's estimate, within the control group's limit if it has one."""
    limits = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    if not limits and "SC_PHYS_PAGES" in os.sysconf_names:  # not Linux: all the memory there is
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError):  # no control group, or no limit ("max")
        group = Path("/sys/fs/cgroup")
        limits.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return min(limits) if limits else None
