"""How forked workers end: as Python does, and nobody outlives the one it is there for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from swarm.simulation.engine.prefork import ForkServer, PreforkError, available
from tests.simulation.engine.prefork.conftest import (
    SECONDS,
    SLEEP,
    Script,
    eventually,
    gone,
    sleeper,
    start,
)

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


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
