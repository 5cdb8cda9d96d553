"""The memory that there is for a run: the machine's, and no more than any control group above the
process allows.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from swarm.common.system.machine import available_bytes

GIB = 1 << 30


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "proc/meminfo", "MemTotal: 67108864 kB\nMemAvailable: 33554432 kB\n")  # 32 GiB
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def group(root: Path, name: str, limit: int | str, used: int = 0, cache: int = 0) -> None:
    """A group of the unified hierarchy."""
    place = f"sys/fs/cgroup/{name}"
    write(root, f"{place}/memory.max", f"{limit}\n")
    write(root, f"{place}/memory.current", f"{used}\n")
    write(
        root, f"{place}/memory.stat", f"anon {used - cache}\ninactive_file {cache}\nactive_file 7\n"
    )


def test_without_groups_it_is_the_kernel_s_estimate(root: Path) -> None:
    assert available_bytes(root) == 32 * GIB


@pytest.mark.parametrize(
    "tightest", ["", "user.slice", "user.slice/session", "user.slice/session/job"]
)
def test_the_tightest_group_counts_wherever_it_is(root: Path, tightest: str) -> None:
    write(root, "proc/self/cgroup", "0::/user.slice/session/job\n")
    for name in ("user.slice", "user.slice/session", "user.slice/session/job"):
        group(root, name, "max", 5 * GIB)
    group(root, tightest, 8 * GIB, 3 * GIB)
    assert available_bytes(root) == 5 * GIB


def test_files_that_are_only_kept_do_not_count_as_used(root: Path) -> None:
    write(root, "proc/self/cgroup", "0::/job\n")
    group(root, "job", 8 * GIB, 7 * GIB, cache=6 * GIB)
    assert available_bytes(root) == 7 * GIB


def test_a_group_over_its_limit_has_nothing_left(root: Path) -> None:
    write(root, "proc/self/cgroup", "0::/job\n")
    group(root, "job", GIB, 2 * GIB)
    assert available_bytes(root) == 0


@pytest.mark.parametrize("tightest", ["docker", "docker/abc"])
def test_version_1(root: Path, tightest: str) -> None:
    write(
        root,
        "proc/self/cgroup",
        "12:cpuset:/docker/abc\n4:cpu,memory:/docker/abc\n1:name=systemd:/docker/abc\n0::/x\n",
    )
    for name in ("docker", "docker/abc"):
        # how version 1 writes that there is none
        limit = 4 * GIB if name == tightest else 0x7FFFFFFFFFFFF000
        write(root, f"sys/fs/cgroup/memory/{name}/memory.limit_in_bytes", f"{limit}\n")
        write(root, f"sys/fs/cgroup/memory/{name}/memory.usage_in_bytes", f"{2 * GIB}\n")
        write(
            root,
            f"sys/fs/cgroup/memory/{name}/memory.stat",
            f"cache 1\ntotal_inactive_file {GIB}\n",
        )
    assert available_bytes(root) == 3 * GIB


@pytest.mark.parametrize("path", ["/docker/of/the/host", "/../../elsewhere", "/"])
def test_a_container_that_sees_names_of_its_host_keeps_to_its_own_limit(
    root: Path, path: str
) -> None:
    write(root, "proc/self/cgroup", f"0::{path}\n")
    group(root, "", 6 * GIB, GIB)
    assert available_bytes(root) == 5 * GIB


@pytest.mark.parametrize("text", ["", "nonsense", "0::/job\n"])
def test_what_cannot_be_read_is_no_limit(root: Path, text: str) -> None:
    write(root, "proc/self/cgroup", text)
    write(root, "sys/fs/cgroup/job/memory.max", "many\n")
    assert available_bytes(root) == 32 * GIB
