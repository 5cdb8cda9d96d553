"""What a forked worker is given as it starts, and what no worker is forked for."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from swarm.simulation.engine.prefork import ForkServer, PreforkError, available
from tests.simulation.engine.prefork.conftest import (
    SECONDS,
    Script,
    start,
)

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))


SCRIPT = """
import json, os, sys
told = {"argv": sys.argv, "cwd": os.getcwd(), "name": __name__, "path": sys.path[0], "ours": os.environ.get("OURS"),
        "gone": os.environ.get("GONE"), "parent": os.getppid(), "loaded": "colorsys" in sys.modules, "stdin": sys.stdin.read(),
        "files": sorted(os.listdir("/proc/self/fd"), key=int)}
print(json.dumps(told))
print("to stderr", file=sys.stderr)
sys.exit(7)
"""


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
