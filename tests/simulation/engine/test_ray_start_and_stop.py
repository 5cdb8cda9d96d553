"""A Ray of a run's own: private, gone afterwards however the run ends, and refused where it cannot
work.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
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
from tests.processes import CommandLine, ended
from tests.support import experiment, logged, prepared, run

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


ENDS = {
    "Ctrl-C": (signal.SIGINT,),
    "Ctrl-C time and again": (signal.SIGINT,) * 4,
    "SIGTERM": (signal.SIGTERM,),
    "kill -9": (signal.SIGKILL,),
}


def test_nothing_is_left(tmp_path: Path) -> None:
    """Of four runs, side by side as most of a Ray's start is waiting, each ended in its own way."""
    started = [_Started(name, tmp_path) for name in ENDS]
    try:
        for one in started:
            one.end()
        for one in started:
            one.require_nothing_left()
    finally:
        for one in started:
            one.clear()


class _Started:
    """A run in a process of its own, with a Ray and a temporary folder of its own."""

    def __init__(self, name: str, home: Path) -> None:
        self.name, self.folder = name, home / name.replace(" ", "_")
        self.temporary = Path(tempfile.mkdtemp(dir="/tmp"))  # short: sockets live below it
        self.left: set[int] = set()
        words = (*LONG, f"hydra.run.dir={self.folder}")
        self.process = CommandLine(*words, own_group=True, TMPDIR=str(self.temporary))

    def wait(self) -> None:
        """Until it is in the middle."""
        end = time.monotonic() + DEADLINE
        while not list(self.folder.glob("checkpoints/swarm/*.json")):
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.05)
        self.left = _descendants(self.process.pid)
        assert len(self.left) > 4

    def end(self) -> None:
        """End it in the middle by the signals of its name."""
        self.wait()
        for number in ENDS[self.name]:
            self.process.send_signal(number)
            if len(ENDS[self.name]) > 1:
                time.sleep(0.2)  # so that the next one meets it in the middle of the end

    def require_nothing_left(self) -> None:
        _, said = self.process.communicate(timeout=DEADLINE)
        if self.name != "kill -9":
            assert self.process.returncode == (143 if self.name == "SIGTERM" else 130), self.name
            assert said == f"interrupted; go on with resume={self.folder}\n"
        end = time.monotonic() + DEADLINE
        while (_alive(self.left) or _folders(self.temporary)) and time.monotonic() < end:
            time.sleep(0.05)
        assert not _alive(self.left), self.name
        assert not list(self.temporary.iterdir()), self.name

    def clear(self) -> None:
        for pid in _alive({self.process.pid, *self.left}):
            os.kill(pid, signal.SIGKILL)
        self.process.wait(DEADLINE)
        shutil.rmtree(self.temporary, ignore_errors=True)


def test_a_ray_that_dies_ends_the_run_with_one_sentence(tmp_path: Path) -> None:
    """Its process that starts workers, that is; without our looking, it would take the driver along
    without a word.
    """
    one = _Started("raylet killed", tmp_path)
    try:
        one.wait()
        names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in one.left}
        (raylet,) = (pid for pid, name in names.items() if name == "raylet")
        lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in one.left]
        unused = ("ray/autoscaler/", "ray/_private/log_monitor.py", "ray/dashboard/dashboard.py")
        assert not [line for line in lines if any(part in line for part in unused)]
        os.kill(raylet, signal.SIGKILL)
        _, said = one.process.communicate(timeout=DEADLINE)
        assert one.process.returncode == 1
        assert f"error: Ray's own process (raylet, {raylet}) has died" in said
        assert "Traceback" not in said
        end = time.monotonic() + DEADLINE
        while (_alive(one.left) or _folders(one.temporary)) and time.monotonic() < end:
            time.sleep(0.05)
        assert not _alive(one.left)
    finally:
        one.clear()


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


def test_no_cluster_to_join_is_refused_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = time.monotonic()
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    words = ("engine=ray", "engine.address=auto", f"hydra.run.dir={tmp_path / 'run'}")
    done = ended(*words, timeout=DEADLINE, RAY_ADDRESS="127.0.0.1:1")
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


def test_a_ray_that_was_imported_too_early_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read its settings by then: not private, and without a token."""
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    (tmp_path / "early.py").write_text("import ray\n")
    words = (*LONG, f"plugins=[{tmp_path / 'early.py'}]", f"hydra.run.dir={tmp_path / 'run'}")
    done = ended(*words, timeout=DEADLINE)
    assert done.returncode == 1
    said = "error: Ray was imported by this process before the run could set it up"
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_blocks_of_one_belong_to_an_actor_for_each_device(tmp_path: Path) -> None:
    assert prepared("engine=ray", "engine.actors=per_device").settings.engine["block"] == 1
    with pytest.raises(ConfigError, match=r"engine\.block=2: must be 1"):
        prepared("engine=ray", "engine.actors=per_device", "engine.block=2")


def test_too_little_memory_says_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.experiments.runs.memory.available_bytes", lambda: 1 << 30)
    text = r"engine\.actors=12: would need about .* at most [1-7] actors would fit"
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
