"""Forked workers: what they are given, that nobody outlives anybody, and Ray on top of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarm.simulation.engine.prefork import ForkServer, PreforkError, available
from swarm.simulation.engine.prefork.server import users

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))
SECONDS = 30.0

SCRIPT = """
import json, os, sys
told = {"argv": sys.argv, "cwd": os.getcwd(), "name": __name__, "path": sys.path[0], "ours": os.environ.get("OURS"),
        "gone": os.environ.get("GONE"), "parent": os.getppid(), "loaded": "colorsys" in sys.modules, "stdin": sys.stdin.read(),
        "files": sorted(os.listdir("/proc/self/fd"), key=int)}
print(json.dumps(told))
print("to stderr", file=sys.stderr)
sys.exit(7)
"""
SLEEP = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(60)"


def eventually(true: Callable[[], bool], seconds: float = SECONDS) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Ended; whether its parent has noticed is the parent's business."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def server() -> Iterator[ForkServer]:
    with ForkServer(("colorsys",), late=()) as server:  # a module that nothing else imports
        yield server


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """A program under the name that Ray gives to its workers'."""

    def write(text: str) -> str:
        file = tmp_path / "default_worker.py"
        file.write_text(text)
        return str(file)

    return write


Script = Callable[[str], str]


def start(server: ForkServer, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(server.executable), *arguments], stdout=subprocess.PIPE, text=True, **options
    )


def sleeper(
    server: ForkServer, script: Script, text: str = SLEEP
) -> tuple[subprocess.Popen[str], int]:
    client = start(server, script(text))
    assert client.stdout is not None
    return client, int(client.stdout.readline())


# --- one worker -----------------------------------------------------------------------------------


def test_a_worker_gets_what_its_client_was_given(
    server: ForkServer, script: Script, tmp_path: Path
) -> None:
    environment = {**os.environ, "OURS": "a=b\nü"}
    environment.pop("GONE", None)
    ran = subprocess.run(
        [str(server.executable), script(SCRIPT), "one", "", "two words", "ü'\""],
        env=environment, cwd=tmp_path, input="to stdin", capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    told = json.loads(ran.stdout)
    assert ran.returncode == 7
    assert ran.stderr == "to stderr\n"
    assert told["argv"][1:] == ["one", "", "two words", "ü'\""]
    assert told["stdin"] == "to stdin"
    assert told["ours"] == environment["OURS"]
    assert told["gone"] is None
    assert told["cwd"] == told["path"] == str(tmp_path)
    assert told["name"] == "__main__"
    assert told["parent"] == server.pid
    assert told["loaded"]
    assert told["files"] == [
        "0",
        "1",
        "2",
        "3",
    ], "3 is the listing's own: nothing of the server's may stay open"


ENDINGS = {
    "as it began": ("", 0, ""),
    "with a word": ("sys.exit('a reason')", 1, "a reason\n"),
    "with a large number": ("sys.exit(-1)", 255, ""),
    "by an error": ("raise ValueError('a bug')", 1, "ValueError: a bug\n"),
    "by Ctrl-C": ("raise KeyboardInterrupt", 130, ""),
}


@pytest.mark.parametrize(("end", "code", "said"), ENDINGS.values(), ids=ENDINGS)
def test_a_worker_ends_as_python_does(
    server: ForkServer, script: Script, end: str, code: int, said: str
) -> None:
    """It waits for its threads, does what is registered for the exit, and writes out what it has
    said.
    """
    text = f"""if True:
        import atexit, sys, threading, time
        atexit.register(lambda: print("registered"))
        def late():
            time.sleep(0.2)
            print("threads")
        threading.Thread(target=late).start()
        sys.stdout.write("begun ")
        {end}
    """
    ran = subprocess.run(
        [str(server.executable), script(text)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (code, "begun threads\nregistered\n")
    assert ran.stderr.endswith(said)


def test_a_worker_leaves_what_it_shares_alone_as_it_ends(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taking modules and objects apart would copy, into each worker, every page that it shares with
    the server. Nor does it clear away what is the server's: of its finalizers only those run that
    it has made itself."""
    (tmp_path / "heavy.py").write_text("""if True:
        import weakref
        class Kept:
            def __del__(self):
                print("taken apart", flush=True)
        kept = Kept()
        weakref.finalize(kept, print, "the server's")
    """)
    monkeypatch.syspath_prepend(tmp_path)
    text = "import heavy, weakref; weakref.finalize(heavy, print, 'its own')"
    with ForkServer(("heavy",), late=()) as server:
        ran = subprocess.run(
            [str(server.executable), script(text)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
    assert ran.stdout == "its own\n"


def test_anything_else_is_python_itself(server: ForkServer) -> None:
    command = [str(server.executable), "-c", "import os, sys; print(os.getppid(), sys.executable)"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert ran.stdout.split() == [str(os.getpid()), sys.executable]


def test_a_start_that_asks_for_more_is_an_ordinary_one(
    server: ForkServer, tmp_path: Path, script: Script
) -> None:
    """Ray's own start script decides then; here it is a stand-in that says who runs it."""
    setup = tmp_path / "setup_worker.py"
    setup.write_text("import sys; print('colorsys' in sys.modules, sys.argv[-1])")
    own = script(
        "import os, sys; print('colorsys' in sys.modules, os.environ.get('EXTRA'), sys.argv[-1])"
    )
    prefix = [str(server.executable), str(setup), "--language=PYTHON"]
    for context, said in {
        "{}": "True None end",
        '{"env_vars": {"EXTRA": "more"}}': "True more end",
        '{"env_vars": {"EXTRA": "$HOME"}}': "False end",
        '{"command_prefix": ["nice"]}': "False end",
        '{"py_executable": "/elsewhere/python"}': "False end",
        "not json": "False end",
    }.items():
        command = [*prefix, f"--serialized-runtime-env-context={context}", own, "end"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
        assert ran.stdout.strip() == said, context


def test_a_signal_that_kills_a_worker_is_its_status(server: ForkServer, script: Script) -> None:
    client, worker = sleeper(server, script)
    os.kill(worker, signal.SIGKILL)
    assert client.wait(SECONDS) == 128 + signal.SIGKILL


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_client_takes_its_worker_with_it(
    server: ForkServer, script: Script, how: signal.Signals
) -> None:
    client, worker = sleeper(server, script)
    client.send_signal(how)
    client.wait(SECONDS)
    eventually(lambda: gone(worker))


def test_a_worker_that_ignores_the_request_to_end_is_killed(
    server: ForkServer, script: Script
) -> None:
    client, worker = sleeper(
        server, script, f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
    )
    client.kill()
    client.wait(SECONDS)
    eventually(lambda: gone(worker))


def test_fifty_quick_ones_leave_nothing(server: ForkServer, script: Script) -> None:
    quick = script("import sys; sys.exit(int(sys.argv[1]))")
    clients = [start(server, quick, str(i)) for i in range(50)]
    assert [c.wait(SECONDS) for c in clients] == list(range(50))
    eventually(lambda: not children(server.pid))
    assert len(list(Path(f"/proc/{server.pid}/fd").iterdir())) < 15


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


# --- the server -----------------------------------------------------------------------------------


def test_the_server_has_one_thread_and_a_private_folder(server: ForkServer) -> None:
    assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) == 1
    assert server.folder.stat().st_mode & 0o777 == 0o700


def test_the_end_of_the_block_ends_everything(script: Script) -> None:
    with ForkServer(("colorsys",), late=()) as server:
        client, worker = sleeper(server, script)
        pid, folder = server.pid, server.folder
    assert client.wait(SECONDS) == 70
    assert not folder.exists()
    assert gone(worker)
    assert gone(pid)


def test_a_block_that_fails_ends_even_what_nobody_knows_of(script: Script) -> None:
    """Such as a Ray that did not get so far as to be shut down.

    Not the driver, which may have a file open there, too.
    """
    with (  # noqa: PT012
        pytest.raises(ValueError, match="oh"),
        ForkServer(("json",), late=()) as made,
    ):
        with (made.folder / "log").open("w") as log:
            stray = subprocess.Popen(["sleep", "60"], stdout=log, start_new_session=True)
            held = (made.folder / "held").open("w")
        raise ValueError("oh")
    held.close()
    assert stray.wait(SECONDS) == -signal.SIGKILL
    assert not made.folder.exists()


def test_the_death_of_the_server_takes_its_workers_and_is_noticed(script: Script) -> None:
    with ForkServer(("colorsys",), late=()) as server:
        client, worker = sleeper(server, script)
        server.check()
        os.kill(server.pid, signal.SIGKILL)
        assert client.wait(SECONDS) == 70
        eventually(lambda: gone(worker))
        with pytest.raises(PreforkError, match="died"):
            server.check()
        assert start(server, script(SLEEP), stderr=subprocess.DEVNULL).wait(SECONDS) != 0
    assert not server.folder.exists()


def test_the_death_of_the_driver_ends_everything(script: Script) -> None:
    program = f"""if True:
        import subprocess, sys, time
        from swarm.simulation.engine.prefork import ForkServer
        with ForkServer(("colorsys",), late=()) as server:
            worker = subprocess.Popen([str(server.executable), {script(SLEEP)!r}], stdout=subprocess.PIPE, text=True)
            with (server.folder / "log").open("w") as log:
                other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=log)
            print(server.pid, worker.pid, other.pid, worker.stdout.readline().strip(), server.folder, flush=True)
            time.sleep(60)
    """
    driver = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    *pids, folder = driver.stdout.readline().split()
    driver.kill()
    driver.wait(SECONDS)
    for pid in map(int, pids):
        eventually(lambda pid=pid: gone(pid))  # type: ignore[misc]
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"hello", b"refused: the request ended early"),
        ((1 << 60).to_bytes(8, "big"), b"refused: not a request"),
        ((10).to_bytes(8, "big") + b"1\0a\0/\0=x\0", b"refused: not a request: a length and three"),
    ],
)
def test_a_bad_request_is_refused_and_forgotten(
    server: ForkServer, script: Script, sent: bytes, answer: bytes
) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        client.connect(str(server.folder / "socket"))
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(4096).startswith(answer)
    assert start(server, script("")).wait(SECONDS) == 0, "it serves on"


@pytest.mark.parametrize(
    "body", [b"1\0a\0/\0=x", b"5\0a\0/", b"x\0a\0/", b"1\0a\0/nowhere/at/all\0A=b", b"0\0/"]
)
def test_a_request_with_files_but_nonsense_is_refused(
    server: ForkServer, script: Script, body: bytes
) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        client.connect(str(server.folder / "socket"))
        socket.send_fds(client, [len(body).to_bytes(8, "big") + body], [0, 1, 2])
        assert client.recv(4096).startswith(b"refused: ")
    assert start(server, script("")).wait(SECONDS) == 0
    assert len(list(Path(f"/proc/{server.pid}/fd").iterdir())) < 15


@pytest.mark.parametrize("name", ["no_such_module_at_all", "threading_one"])
def test_a_preload_that_cannot_be_shared_is_an_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "threading_one.py").write_text(
        "import threading, time; threading.Thread(target=time.sleep, args=[60]).start()"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    server = ForkServer((name,), late=(), seconds=SECONDS)
    with pytest.raises(PreforkError, match=r"thread|no_such_module"), server:
        pass
    assert not server.folder.exists()


def test_a_late_module_that_cannot_be_shared_is_left_to_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late_one.py").write_text(
        "import threading, time; threading.Thread(target=time.sleep, args=[60]).start()"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with ForkServer(("colorsys",), late=("late_one",), seconds=SECONDS) as server:
        assert server.unshared is not None
        assert "thread" in server.unshared


# --- arithmetic -----------------------------------------------------------------------------------


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


# --- Ray ------------------------------------------------------------------------------------------

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
        if route == "die":
            print(json.dumps(told), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        told["grad"] = ray.get([a.grad.remote() for a in actors], timeout=30)
        os.kill(told["first"][1][0], signal.SIGKILL)
        until = time.monotonic() + 60
        while "again" not in told and time.monotonic() < until:
            with contextlib.suppress(ray.exceptions.RayError):
                again = ray.get(actors[1].tell.remote(), timeout=60)
                if again[0] != told["first"][1][0]:  # a call may still reach the one that is dying
                    told["again"] = again
        told["server"], told["unshared"] = server.pid, server.unshared
        ray.shutdown()
    print(json.dumps(told))
"""


@pytest.mark.parametrize("route", ["as_python", "py_executable", "die"])
def test_ray_actors_are_forked_restarted_and_gone(route: str) -> None:
    """By either way to get them forked; and nothing stays when the driver is killed in the
    middle.
    """
    command = [sys.executable, "-c", RAY_PROGRAM, route]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == (-signal.SIGKILL if route == "die" else 0), ran.stderr[-4000:]
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
    if route != "die":
        assert told["unshared"] is None
        assert told["server"] == everyone[0][1]
        assert len(everyone) == 5
        assert told["grad"] == [1024.0] * 4
    for pid in [everyone[0][1], *(pid for pid, *_ in everyone)]:
        eventually(lambda pid=pid: gone(pid))  # type: ignore[misc]
    eventually(lambda: not users(Path(folder)))
    assert not Path(folder).exists()
