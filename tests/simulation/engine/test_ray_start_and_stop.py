"""A Ray of a run's own: private, gone afterwards however the run ends, and refused where it cannot
work.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import swarm
from swarm.cli.main import main
from swarm.common.errors import ConfigError
from swarm.common.rows import Blocks
from swarm.simulation.engine.ray.call_scheduler import format_ids
from swarm.simulation.engine.ray.cluster import cluster
from swarm.simulation.engine.ray.placement import place
from tests.processes import CommandLine
from tests.support import experiment, logged, prepared, run

ROOT = Path(__file__).resolve().parents[3]
DEADLINE = 90.0
ARMS = (
    "scenario.arms=[swarm,centralised]",
    "optimizer.lr=auto",
    "lr_search.lrs=[0.1,0.3]",
    "lr_search.rounds=2",
)
# A run long enough to be met in the middle.
LONG = ["devices=12", "rounds=100000", "optimizer.lr=0.1", "tracker=none", "report=false", "scenario.arms=[swarm]",
        "engine=ray", "engine.actors=2", "evaluate.every=10", "checkpoint.every=10"]  # fmt: skip


def _descendants(pid: int) -> set[int]:
    """The processes below ``pid``: those of one session tree, and those that a fork server made
    their own session.
    """
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = set(), [pid]
    while todo:
        new = children.get(todo.pop(), [])
        found.update(new)
        todo += new
    return found


def _alive(pids: set[int]) -> set[int]:
    def lives(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False

    return {pid for pid in pids if lives(pid)}


def _folders(place: Path) -> list[Path]:
    return list(place.glob("swarm-*"))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of the test's own, with a name short enough for sockets."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    folder.rmdir()  # only if empty


def test_a_whole_run_on_one_ray(tmp_path: Path, short: Path) -> None:
    """Trials and arms share the actors; a run goes on with another number of them, or with none."""
    before = _descendants(os.getpid())  # of other tests in this process, such as wandb's
    same = ("devices=11", "engine.block=2", "rounds=4", *ARMS)
    local = run(tmp_path / "local", *same)
    ray = run(tmp_path / "ray", "engine=ray", "engine.actors=3", *same)
    hashes = [
        {name: arm["params_sha256"] for name, arm in one["arms"].items()} for one in (local, ray)
    ]
    assert hashes[0] == hashes[1]
    assert local["tuning"] == ray["tuning"]
    assert logged(tmp_path / "ray") == logged(tmp_path / "local")
    engines = {name: arm["engine"] for name, arm in ray["arms"].items()}
    assert engines["centralised"]["actors"] == 1
    assert set(engines["centralised"]["pids"]) <= set(engines["swarm"]["pids"])
    assert engines["swarm"]["prefork"] is True
    assert not _alive(set(engines["swarm"]["pids"]))
    assert not _descendants(os.getpid()) - before
    assert not list(short.iterdir())


def test_a_run_can_go_on_in_another_engine(tmp_path: Path) -> None:
    """With the blocks it has: its actors were one a device."""
    settings = prepared("engine=ray", "engine.actors=per_device").settings
    assert settings.engine["block"] == 1
    whole = run(tmp_path / "whole", "engine.block=1", "rounds=6")
    run(tmp_path / "cut", "engine.block=1", "rounds=3", "schedule.rounds=6")
    resumed = swarm.resume(
        tmp_path / "cut", {"engine.shards": 3, "rounds": 6, "engine": "local"}
    ).summary
    assert resumed["arms"]["swarm"]["params_sha256"] == whole["arms"]["swarm"]["params_sha256"]
    assert resumed["engine"]["shards"] == 3
    with pytest.raises(ConfigError, match=r"engine=nowhere"):
        swarm.resume(tmp_path / "cut", {"rounds": 7, "engine": "nowhere"})


@pytest.mark.parametrize(
    "how",
    [(signal.SIGINT,), (signal.SIGINT,) * 4, (signal.SIGTERM,), (signal.SIGKILL,)],
    ids=["Ctrl-C", "Ctrl-C time and again", "SIGTERM", "kill -9"],
)
def test_nothing_is_left(how: tuple[signal.Signals, ...], tmp_path: Path) -> None:
    temporary = Path(tempfile.mkdtemp(dir="/tmp"))  # short: sockets live below it
    words = (*LONG, f"hydra.run.dir={tmp_path / 'run'}")
    process = CommandLine(*words, own_group=True, TMPDIR=str(temporary))
    left: set[int] = set()
    try:
        end = time.monotonic() + DEADLINE
        while not list((tmp_path / "run").glob("checkpoints/swarm/*.json")):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.1)
        left = _descendants(process.pid)
        assert len(left) > 4
        for number in how:
            process.send_signal(number)
            time.sleep(0.2)  # of whatever it does meanwhile, the next signal meets it in the middle
        _, said = process.communicate(timeout=DEADLINE)
        if how != (signal.SIGKILL,):
            assert process.returncode == (143 if how == (signal.SIGTERM,) else 130)
            assert said == f"interrupted; go on with resume={tmp_path / 'run'}\n"
        while (_alive(left) or _folders(temporary)) and time.monotonic() < end:
            time.sleep(0.1)
        assert not _alive(left)
        assert not list(temporary.iterdir())
    finally:
        for pid in _alive({process.pid, *left}):
            os.kill(pid, signal.SIGKILL)
        process.wait(DEADLINE)


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("engine.actors=1000", "must be at most"),
        ("engine.actors=0", "must be auto, per_device or a number"),
        ("engine.address=ray://host:1", "must be null"),
        ("engine.address=somewhere", "must be null"),
        ("engine.restarts=-1", "must be ≥ 0"),
    ],
)
def test_refused_with_one_sentence(
    wrong: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["engine=ray", wrong, f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {wrong}: ")
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_dashboard_belongs_to_the_cluster_of_the_address() -> None:
    """It is refused at once, and not started, or left out, without a word."""
    said = (
        r"^engine\.dashboard=true: must be false with engine\.address=auto: that cluster has a"
        r" dashboard if it was started"
    )
    with pytest.raises(ConfigError, match=said):
        prepared("engine=ray", "engine.address=auto", "engine.dashboard=true")


def test_an_address_that_does_not_answer() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"engine\.address=.* does not answer") as found:
            prepared("engine=ray", f"engine.address={address}")
    assert found.value.exit_code == 2


def test_no_cluster_to_join_is_refused_before_the_start(tmp_path: Path) -> None:
    start = time.monotonic()
    command = [sys.executable, str(ROOT / "run_swarm.py"), "engine=ray", "engine.address=auto"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [*command, f"hydra.run.dir={tmp_path / 'run'}"],
        env={**environment, "RAY_ADDRESS": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: engine.address=auto: must be a running Ray cluster of yours"
    )
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - start < DEADLINE


def test_other_versions_of_ray_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def mismatched(*_: object) -> None:
        raise RuntimeError(
            "Version mismatch: The cluster was started with:\n    Ray: 2.55.0\n    Python: 3.12.1\n"
        )

    monkeypatch.setattr(cluster, "_init", mismatched)
    monkeypatch.setattr(
        cluster.Cluster, "_import", lambda *_: SimpleNamespace(shutdown=lambda: None)
    )
    with pytest.raises(
        ConfigError, match=r"^engine\.address=auto: must have our versions .* Ray: 2\.55\.0 [^\n]*$"
    ):
        cluster.Cluster("auto", 1, True, False, 1 << 27).__enter__()


def test_a_ray_that_does_not_start_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object) -> None:
        raise Exception("The current node timed out during startup.\nThis could happen …")

    monkeypatch.setattr(cluster, "_init", late)
    monkeypatch.setattr(cluster, "_require_set_up", lambda: None)
    monkeypatch.setattr(
        cluster.Cluster, "_import", lambda *_: SimpleNamespace(shutdown=lambda: None)
    )
    with pytest.raises(
        cluster.ClusterError, match=r"^Ray did not start: The current node timed out [^\n]*$"
    ):
        cluster.Cluster(None, 1, False, False, 1 << 27).__enter__()


def test_a_ray_that_dies_ends_the_run_with_one_sentence(tmp_path: Path, short: Path) -> None:
    """Its process that starts workers, that is; without our looking, it would take the driver along
    without a word.
    """
    command = [
        sys.executable,
        str(ROOT / "run_swarm.py"),
        *LONG,
        f"hydra.run.dir={tmp_path / 'run'}",
    ]
    said = tmp_path / "said"
    with said.open("w") as file:
        process = subprocess.Popen(
            command,
            env={**os.environ, "TMPDIR": str(short)},
            stdout=subprocess.DEVNULL,
            stderr=file,
        )
    try:
        end = time.monotonic() + DEADLINE
        while not list((tmp_path / "run").glob("checkpoints/swarm/*.json")):
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < end
            time.sleep(0.1)
        names = {
            pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in _descendants(process.pid)
        }
        (raylet,) = (pid for pid, name in names.items() if name == "raylet")
        os.kill(raylet, signal.SIGKILL)
        assert process.wait(DEADLINE) == 1
        assert f"error: Ray's own process (raylet, {raylet}) has died" in said.read_text()
        assert "Traceback" not in said.read_text()
        while (_alive(set(names)) or _folders(short)) and time.monotonic() < end:
            time.sleep(0.1)
        assert not _alive(set(names))
    finally:
        process.kill()
        process.wait()


def test_a_ray_that_was_imported_too_early_is_refused_at_once(tmp_path: Path) -> None:
    """It has read its settings by then: not private, and without a token."""
    program = (
        f"import ray; from tests.support import run; run({str(tmp_path / 'run')!r}, 'engine=ray',"
        " 'rounds=1')"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
        "PYTHONPATH": str(ROOT)
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 1
    assert (
        "ClusterError: Ray was imported by this process before the run could set it up"
        in done.stderr
    )


def test_blocks_of_one_belong_to_an_actor_for_each_device(tmp_path: Path) -> None:
    assert prepared("engine=ray", "engine.actors=per_device").settings.engine["block"] == 1
    with pytest.raises(ConfigError, match=r"engine\.block=2: must be 1"):
        prepared("engine=ray", "engine.actors=per_device", "engine.block=2")


def test_too_little_memory_says_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.experiments.runs.memory.available_bytes", lambda: 1 << 30)
    text = r"engine\.actors=12: would need about .* at most [1-7] actors fit"
    with pytest.raises(ConfigError, match=text):
        prepared("engine=ray", "engine.actors=per_device")


def test_too_few_files_says_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 600))
    with pytest.raises(ConfigError, match=r"engine\.actors=12: would need .* open files"):
        prepared("engine=ray", "engine.actors=per_device")


# --- parts ----------------------------------------------------------------------------------------


def test_placement_cuts_fewer_edges_than_chance() -> None:
    """A ring whose ids are scrambled: contiguous ids cut nearly everything, a partitioner need
    not.
    """
    e = experiment("devices=64", "topology=clusters", "engine.block=1")
    found = place(e.communication.graph(1), e.blocks, 4)
    assert sorted(np.concatenate(found.parts).tolist()) == list(range(64))
    assert [len(part) for part in found.parts] == [16, 16, 16, 16]
    assert all((np.diff(part) > 0).all() for part in found.parts)
    plain = Blocks(64, 1).spread(4)
    owner = np.repeat(np.arange(4), 16)
    assert (
        found.cut
        <= (owner[e.communication.graph(1).src_E] != owner[e.communication.graph(1).dst_E]).sum()
    )
    assert len(plain) == 4


def test_spans_for_people() -> None:
    assert format_ids(np.array([0, 1, 2, 5, 7, 8])) == "0 to 2, 5, 7 to 8"
    assert format_ids(np.array([3])) == "3"
