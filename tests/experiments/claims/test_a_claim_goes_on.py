"""What stops in the middle goes on: killed, interrupted, failed and damaged runs, and those that
other code has made.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from swarm.experiments.claims import run as claims
from swarm.simulation import checkpoint
from tests.cli.conftest import Command
from tests.processes import CommandLine

from .conftest import TINY, Tiny, facts, hashes, judged_in, stamps
from .tiny import MOOD, PARENT

ROOT = Path(__file__).parents[3]
ROUNDS = 50
LONG = (f"scenario.quick.rounds={ROUNDS}", "scenario.quick.seeds=1")  # two runs
SIDE_BY_SIDE = (*LONG, "scenario.jobs=2")


def family(group: int) -> list[int]:
    """The processes that are left of a process group."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = entry.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == group and state != "Z":
            found.append(int(entry.parent.name))
    return found


def workers(group: int) -> list[int]:
    """Those of them that run trials: they are forked from a server, whose command line they
    have."""
    servers = {
        pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        for pid in family(group)
        if b"multiprocessing.forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
    }
    return [pid for pid, parent in servers.items() if parent in servers]


def wait_for(
    what: Callable[[], object], process: CommandLine | None = None, seconds: float = 300
) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)


def under_way() -> bool:
    """Both runs have saved something, and neither is finished."""
    return (
        len({file.parts[2] for file in Path("c/runs").glob("*/checkpoints/swarm/round_*.json")})
        == 2
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the long claim comes to when nothing disturbs it."""
    folder = judged_in(tmp_path_factory.mktemp("whole"), *LONG)
    return {**hashes(folder), "verdict": facts(folder)["verdicts"][0]["because"]}


def stop(process: CommandLine, how: str) -> str:
    if how == "parent killed":
        process.kill()
    elif how == "worker killed":
        os.kill(workers(process.pid)[0], signal.SIGKILL)
    elif how == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    elif how == "interrupted":
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    return err


@pytest.mark.parametrize("how", ["parent killed", "worker killed", "Ctrl-C", "interrupted"])
def test_a_claim_that_ends_in_the_middle_goes_on_where_it_was(
    command: Command, whole: dict[str, str], how: str
) -> None:
    process = CommandLine(*TINY, *SIDE_BY_SIDE, "hydra.run.dir=c", own_group=True)
    wait_for(under_way, process)
    began = time.monotonic()
    err = stop(process, how)
    if how in ("Ctrl-C", "interrupted"):
        assert process.returncode == 130
        assert time.monotonic() - began < 10
        assert "resume=c" in err
        assert "Traceback" not in err
        wait_for(lambda: not family(process.pid), seconds=5)
    if how == "worker killed":  # who it was is not known, so both go on one by one, and end well
        assert (process.returncode, err) == (0, "")
    else:
        assert not Path("c/summary.json").exists()
        wait_for(lambda: not family(process.pid), seconds=20)
        assert any(
            checkpoint.rounds_in(Path("c/runs") / name / "checkpoints" / "swarm")[-1] < ROUNDS
            for name in hashes_of()
        )
        done = command("resume=c")
        assert (done.code, done.err) == (0, "")
    assert {**hashes(), "verdict": facts()["verdicts"][0]["because"]} == whole


def hashes_of() -> list[str]:
    return [f"topology={name},seed=0" for name in ("ring", "complete")]


def test_finished_runs_are_kept(judged: Path, command: Command) -> None:
    before = stamps()
    again = command("resume=c")
    assert (again.code, again.out) == (0, "c is finished already; nothing to do\n")
    (judged / "summary.json").unlink()
    done = command("resume=c")
    assert (done.code, stamps()) == (0, before)
    assert "4 of 4 runs were there already" in done.out
    assert command("resume=c", "rounds=9").code == 2
    assert command("resume=c", "devices=9").code == 2


def test_a_run_that_fails_is_listed_and_tried_again(
    tiny: Tiny, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PARENT, str(os.getpid()))
    Path(MOOD).write_text("raise")
    words = (
        "scenario.quick.topologies=[ring,moody]",
        "scenario.quick.foretold=[star]",
        "scenario.quick.seeds=1",
    )
    done = tiny(*words, "scenario.jobs=2")
    assert done.code == 1
    cause = facts()["failed"]["topology=moody,seed=0"]
    assert cause.startswith(
        "topology=tiny.Moody: its __init__ raises ZeroDivisionError: not my day ("
    )
    assert cause.endswith("tiny.py, line 31)")
    said = (
        f"error: 1 of 3 runs failed, the first is topology=moody,seed=0 ({cause});"
        f" resume={Path.cwd() / 'c'} tries again\n"
    )
    assert done.err == said
    assert f"topology=moody,seed=0: failed: {cause}" in done.out
    assert "so nothing is predicted" in done.out
    assert facts()["failed"] == {"topology=moody,seed=0": cause}
    assert facts()["verdicts"][0]["verdict"] == "undecided"
    assert "Traceback" in Path("c/runs/topology=moody,seed=0/console.txt").read_text()
    page = Path("c/report.html").read_text()
    assert cause in page
    assert "charts cannot be shown (KeyError" in page
    assert not Path("c/prediction.json").exists()
    before = stamps()
    Path(MOOD).unlink()
    again = command("resume=c")
    assert (again.code, again.err) == (0, "")
    assert facts()["verdicts"][0]["verdict"] == "indicates yes"
    assert {name: stamp for name, stamp in stamps().items() if name in before} == before
    assert Path("c/prediction.json").exists()


def test_a_run_that_kills_its_worker_fails_alone(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PARENT, str(os.getpid()))
    Path(MOOD).write_text("kill")
    done = tiny(
        "scenario.quick.topologies=[moody,ring,complete]",
        "scenario.quick.seeds=1",
        "scenario.jobs=2",
    )
    assert done.code == 1
    assert facts()["failed"] == {
        "topology=moody,seed=0": (
            "its process ended without a word: killed, perhaps for want of memory"
        )
    }
    assert sorted(hashes()) == ["topology=complete,seed=0", "topology=ring,seed=0"]


def test_damaged_runs_are_set_aside_and_run_anew(judged: Path, command: Command) -> None:
    before = hashes()
    (judged / "summary.json").unlink()
    (judged / "runs/topology=ring,seed=0/metrics.jsonl").write_text("nonsense\n{}\n")
    (judged / "runs/topology=complete,seed=1/config.yaml").write_text("[")
    interrupted = judged / "runs/topology=ring,seed=1"
    (interrupted / "summary.json").unlink()
    max(interrupted.glob("checkpoints/swarm/*.safetensors")).write_bytes(b"nonsense")
    done = command("resume=c")
    assert (done.code, done.err, hashes()) == (0, "", before)
    assert "topology=ring,seed=0/metrics.jsonl: damaged; line 1" in done.out
    assert ".safetensors: has 8 bytes where" in done.out
    assert len([*(judged / "superseded").iterdir()]) == 3
    assert (judged / "prediction.json").exists()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("config.yaml", "[", "resume=c/config.yaml: damaged; must be one YAML mapping"),
        ("config.yaml", "devices: 3", "error: resume=c/config.yaml: cannot be used: scenario="),
        ("prediction.json", "[", "resume=c/prediction.json: damaged; must be one JSON mapping"),
    ],
)
def test_a_damaged_folder_is_one_sentence(
    judged: Path, command: Command, name: str, text: str, said: str
) -> None:
    (judged / "summary.json").unlink()
    (judged / name).write_text(text)
    done = command("resume=c")
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_other_code_runs_anew_with_a_prediction_of_its_own(
    judged: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (judged / "summary.json").unlink()
    # only these can be told apart afterwards
    for run in (judged / "runs").glob("topology=complete*"):
        job = json.loads((run / "job.json").read_text())
        (run / "job.json").write_text(json.dumps(job | {"code": job["code"] | {"source": "other"}}))
    before = stamps()
    assert command("resume=c").code == 0
    anew = {name for name, stamp in stamps().items() if stamp != before[name]}
    assert anew == {
        f"topology={name},seed={seed}" for name in ("complete", "star") for seed in (0, 1)
    }
    aside = [re.sub(r"^\d{9,}", "N", path.name) for path in (judged / "superseded").iterdir()]
    assert "N-prediction.json" in aside
    assert len(aside) == 5


def test_one_process_at_a_time(judged: Path, command: Command) -> None:
    (judged / "summary.json").unlink()
    with claims.Folder(judged).lock():
        done = command("resume=c")
    assert (done.code, "is being run by another process" in done.err) == (2, True)


def test_a_claim_of_somebody_else_asks_for_trust_once(judged: Path, command: Command) -> None:
    """And then runs, which go on or are begun, with the same plug-ins."""
    (judged / "summary.json").unlink()
    (judged / "runs/topology=ring,seed=0/summary.json").unlink()
    for file in judged.rglob(".signature"):
        file.unlink()
    before = {file: file.read_bytes() for file in judged.rglob("*") if file.is_file()}
    done = command("resume=c")
    assert done.code == 2
    assert "c/config.yaml names, and no command of yours has signed that folder" in done.err
    assert {file: file.read_bytes() for file in judged.rglob("*") if file.is_file()} == before
    assert (command("resume=c", "--trust").code, len(stamps())) == (0, 6)
    (judged / "summary.json").unlink()
    assert command("resume=c").code == 0
