"""What a fork server and its workers are while they live: alone, on time, and Ray's actors."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import swarm.simulation.engine.prefork
from swarm.simulation.engine.prefork import ForkServer, available
from swarm.simulation.engine.prefork.server import users
from tests.simulation.engine.prefork.conftest import (
    SECONDS,
    Script,
    eventually,
    gone,
)

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))


def test_the_server_has_one_thread_and_a_private_folder(server: ForkServer) -> None:
    assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) == 1
    assert server.folder.stat().st_mode & 0o777 == 0o700


def test_a_worker_s_clocks_are_calm(server: ForkServer, script: Script) -> None:
    """No timer files, which Ray's event loop would wake up a hundred times a second for, and
    timeouts may be late.
    """
    text = """if True:
        import ctypes, os
        print(ctypes.CDLL(None).timerfd_create(1, 0), open("/proc/self/timerslack_ns").read().strip())
        print(os.path.exists("/"))
    """
    ran = subprocess.run(
        [str(server.executable), script(text)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert ran.stdout.split() == ["-1", "100000000", "True"]


def test_torch_computes_in_a_fork(script: Script) -> None:
    text = """if True:
        import sys, torch
        assert torch.get_num_threads() == 1
        w = torch.linspace(-1, 1, 4096).reshape(64, 64).requires_grad_()
        (torch.tanh(w @ w).square().sum()).backward()
        print(w.grad.double().sum().item().hex())
    """
    with ForkServer(("torch",), late=()) as server:
        forked = subprocess.run(
            [str(server.executable), script(text)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    import torch

    w = torch.linspace(-1, 1, 4096).reshape(64, 64).requires_grad_()
    torch.tanh(w @ w).square().sum().backward()  # type: ignore[no-untyped-call]
    assert w.grad is not None
    assert forked.stdout.strip() == w.grad.double().sum().item().hex()


RAY_PROGRAM = """if True:
    import contextlib, json, os, signal, sys, tempfile, time
    from swarm.simulation.engine.prefork import ForkServer

    route = sys.argv[1]
    os.environ.update(
        RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0123456789abcdef" * 4, RAY_USAGE_STATS_ENABLED="0",
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
    )
    told = {}
    with ForkServer(("torch",)) as server:
        import ray

        print(server.folder, flush=True)
        as_python = route != "py_executable"
        with server.as_python() if as_python else contextlib.nullcontext():
            ray.init(
                num_cpus=1, num_gpus=0, include_dashboard=False, object_store_memory=80 << 20, log_to_driver=False,
                configure_logging=False, _temp_dir=str(server.folder / "ray"),
                runtime_env=None if as_python else {"py_executable": server.py_executable},
            )

        @ray.remote(num_cpus=0, max_restarts=1, max_task_retries=0)
        class Actor:
            def __init__(self):
                self.had = "torch" in sys.modules
                began = time.perf_counter()
                import torch
                self.seconds = time.perf_counter() - began

            def tell(self):
                from ray._raylet import WorkerID
                return os.getpid(), os.getppid(), self.had, self.seconds, WorkerID.from_random().hex()

            def grad(self):
                import torch
                w = torch.ones(8, 8, requires_grad=True)
                (w @ w).sum().backward()
                return float(w.grad.sum())

        actors = [Actor.remote() for _ in range(4)]
        told["first"] = ray.get([a.tell.remote() for a in actors], timeout=100)
        told["grad"] = ray.get([a.grad.remote() for a in actors], timeout=30)
        os.kill(told["first"][1][0], signal.SIGKILL)
        until = time.monotonic() + 60
        while "again" not in told and time.monotonic() < until:
            with contextlib.suppress(ray.exceptions.RayError):
                again = ray.get(actors[1].tell.remote(), timeout=60)
                if again[0] != told["first"][1][0]:  # a call may still reach the one that is dying
                    told["again"] = again
        told["server"], told["unshared"] = server.pid, server.unshared
        if as_python:
            print(json.dumps(told), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        ray.shutdown()
    print(json.dumps(told))
"""


@pytest.mark.parametrize("route", ["as_python", "py_executable"])
def test_ray_actors_are_forked_restarted_and_gone(route: str) -> None:
    """By either way to get them forked; and nothing stays, whether the driver ends Ray in order
    (``py_executable``) or is killed before that (``as_python``)."""
    command = [sys.executable, "-c", RAY_PROGRAM, route]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == (-signal.SIGKILL if route == "as_python" else 0), ran.stderr[-4000:]
    folder, *_, last = ran.stdout.splitlines()
    told = json.loads(last)
    everyone = told["first"] + [told[name] for name in ("again",) if name in told]
    for _, parent, had_torch, seconds, _ in everyone:
        assert parent == everyone[0][1]
        assert had_torch
        assert seconds < 0.1
    assert len({identity for *_, identity in everyone}) == len(everyone), (
        "forked workers must not draw the same identities"
    )
    assert told["unshared"] is None
    assert told["server"] == everyone[0][1]
    assert len(everyone) == 5
    assert told["grad"] == [1024.0] * 4
    for pid in [everyone[0][1], *(pid for pid, *_ in everyone)]:
        eventually(lambda pid=pid: gone(pid))  # type: ignore[misc]
    eventually(lambda: not users(Path(folder)))
    assert not Path(folder).exists()


_FRAGMENTED = """
import os, re
from pathlib import Path
from swarm.simulation.engine.prefork.preload import load

def own():
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search("Private_Dirty: *([0-9]+)", text)[1])

sizes = {100: 100_000, 700: 20_000}
kept = {size: [bytes(size) for _ in range(count)] for size, count in sizes.items()}
for many in kept.values():
    del many[::10]
load(("json",))
if os.fork() == 0:
    before = own()
    more = [[bytes(size) for _ in range(count // 10)] for size, count in sizes.items()]
    print(own() - before)
    os._exit(0)
os.wait()
"""


def test_a_fork_puts_its_objects_side_by_side() -> None:
    """Three MiB of objects would lie in twelve thousand holes, on as many pages of the parent."""
    done = subprocess.run(
        [sys.executable, "-u", "-c", _FRAGMENTED], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 8 << 10  # KiB; with the holes it takes 25 MiB


_OTHER = """
import runpy
def own():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * 4
found, before = runpy.run_path(FILE), own()
found['fill_holes']()
print(own() - before)
"""


@pytest.mark.parametrize("allocator", ["pymalloc", "malloc", "malloc_debug"])
def test_filling_takes_little_whatever_the_allocator(allocator: str) -> None:
    """Each of a hundred sizes has a limit of 8 MiB, which none may reach."""
    file = str(Path(swarm.simulation.engine.prefork.__file__).with_name("fill_holes.py"))
    done = subprocess.run(
        [sys.executable, "-S", "-c", _OTHER.replace("FILE", repr(file))],
        env={"PYTHONMALLOC": allocator}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 6 << 10  # KiB
