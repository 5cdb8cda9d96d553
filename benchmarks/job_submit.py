"""Hand runs to a Ray job server on this machine, with the command of docs/cluster.md word for word.

    pip install '.[dashboard]'
    python -m benchmarks.job_submit        # some minutes, 80 processor seconds

The head listens on the loopback only, with a token of its own, in a folder that is removed at the
end. A line is printed for each promise of the page; the exit code is 1 if one is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PLUG_IN = "tests/learning/models/published_models.py"
SMALL = ("devices=12", "engine.block=2", "optimizer.lr=0.1", "scenario.arms=[swarm]", "tracker=none",
         "checkpoint.every=5", f"plugins=[{PLUG_IN}]", "model=custom", "buffers=local",
         "model._target_=published_models.BatchNormMLP")  # fmt: skip
LONG = (*SMALL, "rounds=400", "evaluate.every=100")
SECONDS = 180.0


def documented(port: int, folder: Path) -> list[str]:
    """The words of the page's ``ray job submit``, for a server on ``port`` and a run folder."""
    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"^ray job submit (?:.*\\\n)*.*$", page, re.M)
    words = shlex.split(found.replace("\\\n", " "))
    ours = {
        "--address=http://127.0.0.1:8265": f"--address=http://127.0.0.1:{port}",
        "hydra.run.dir=/shared/runs/first": f"hydra.run.dir={folder}",
    }
    assert set(ours) <= set(words), "the page's command has changed"
    return [ours.get(word, word) for word in words]


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def ray(*words: str) -> list[str]:
    """A command of Ray's, run by this interpreter, which has the packages."""
    return [sys.executable, "-c", "from ray.scripts.scripts import main; main()", *words]


@contextmanager
def head(environment: Mapping[str, str], folder: Path) -> Iterator[int]:
    """A head with a job server within the block; gives the server's port."""
    port, server = free_ports(2)
    command = ray(
        "start", "--head", f"--port={port}", "--include-dashboard=true", f"--dashboard-port={server}",
        "--num-cpus=2", f"--temp-dir={folder / 'ray'}", "--block",
    )  # fmt: skip
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        end = time.monotonic() + SECONDS
        while subprocess.run(
            ray("job", "list", f"--address=http://127.0.0.1:{server}"),
            env=environment, capture_output=True, check=False,
        ).returncode:  # fmt: skip
            if process.poll() is not None or time.monotonic() > end:
                sys.exit("the head did not start:\n" + (folder / "head.log").read_text()[-2000:])
            time.sleep(1.0)
        yield server
    finally:
        process.terminate()  # with --block it ends all that it has started
        process.wait(60.0)
        with suppress(ProcessLookupError):  # what may be left of its session
            os.killpg(process.pid, signal.SIGKILL)


def submitted(environment: Mapping[str, str], words: Sequence[str]) -> tuple[int, str]:
    """The exit code of ``ray job submit``, and what it printed."""
    done = subprocess.run(
        ray(*words[1:]), env=environment, cwd=ROOT, text=True, timeout=SECONDS, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


def records(folder: Path) -> list[dict[str, Any]]:
    """The records of a run without its wall seconds."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [
        {key: value for key, value in json.loads(line).items() if not key.startswith("wall_s")}
        for line in lines
    ]


def local(folder: Path, *overrides: str) -> list[dict[str, Any]]:
    """The records of the same run in one process."""
    command = [sys.executable, "run_swarm.py", *overrides, f"hydra.run.dir={folder}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return records(folder)


def stopped(environment: Mapping[str, str], server: int, folder: Path) -> str:
    """Hand in a long run, and stop its job in the middle; returns what the job printed."""
    words = documented(server, folder)
    words[3:3] = ["--no-wait", "--submission-id=long"]
    code, said = submitted(environment, [*words, *LONG])
    assert code == 0, said
    end = time.monotonic() + SECONDS
    while len(records(folder)) < 20:
        assert time.monotonic() < end, "the job does not begin"
        time.sleep(0.2)
    address = f"--address=http://127.0.0.1:{server}"
    submitted(environment, ["ray", "job", "stop", address, "long"])
    return submitted(environment, ["ray", "job", "logs", address, "long"])[1]


def checks(environment: Mapping[str, str], server: int, folder: Path) -> Iterator[tuple[str, bool]]:
    """Each promise of the page in words, and whether it is kept."""
    first = folder / "first"
    words = documented(server, first)
    code, _ = submitted({**environment, "RAY_AUTH_TOKEN": "0" * 64}, words)
    yield "another token is refused, and nothing is written", code != 0 and not first.exists()
    code, said = submitted(environment, [*words, *SMALL, "rounds=5"])
    yield "the command of the page runs to its end", code == 0 and "run folder" in said
    alone = local(folder / "local", *SMALL, "rounds=5")
    same = len(alone) > 5 and records(first) == alone
    yield "its records are those of the same run in one process", same
    code, said = submitted(environment, [*words[:-1], "devices=0"])
    yield (
        "a refused setting ends the job with its sentence",
        code != 0 and "error: devices=0" in said,
    )
    long = folder / "long"
    said = stopped(environment, server, long)
    yield "a job that is stopped leaves a run that can go on", f"resume={long}" in said
    before = len(records(long))
    code, said = submitted(environment, [*words[:-1], f"resume={long}"])
    whole = records(long) == local(folder / "whole", *LONG)
    yield "which goes on in another job, to the same records", code == 0 and before < 400 and whole


def main() -> int:
    """Run all checks; returns the exit code."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    broken = 0
    with tempfile.TemporaryDirectory(prefix="jobs-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        environment = {
            **os.environ,
            "HOME": name,  # where Ray would look for a token
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every port on the loopback only
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        with head(environment, folder) as server:
            for words, kept in checks(environment, server, folder):
                print("ok    " if kept else "BROKEN", words, flush=True)
                broken += not kept
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
