"""A forked child: what it says arrives, and whatever happens to it harms nobody."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable

import pytest

from swarm.common.system.processes import child as of_children
from swarm.common.system.processes.child import Child, Parent, spare_cores
from tests.processes import SERVER

DEADLINE = 20.0  # seconds


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_messages_arrive_whole_and_in_order() -> None:
    long, numbers = "x" * 300_000, [0.1 + 0.2, 1e-310, 5e300]  # longer than a pipe is

    def work(parent: Parent) -> None:
        for message in ("first", long, numbers):
            parent.send(message)

    child = Child(work)
    assert [child.receive() for _ in range(4)] == ["first", long, numbers, None]
    assert child.pid is None, "it has ended, and nothing of it is left"


def _raises(parent: Parent) -> None:
    raise RuntimeError


def _exits(parent: Parent) -> None:
    raise SystemExit(3)


def _dies_in_the_midst(parent: Parent) -> None:
    os.write(parent._pipe, b'{"half":')
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("work", [_raises, _exits, _dies_in_the_midst])
def test_a_child_that_fails_has_no_message_and_never_comes_back(
    work: Callable[[Parent], None],
) -> None:
    own = os.getpid()
    child = Child(work)
    assert os.getpid() == own
    assert child.receive() is None
    assert child.receive() is None


def test_a_child_that_hangs_is_ended_and_a_slow_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_children, "PATIENCE_S", 0.3)
    monkeypatch.setattr(of_children, "POLL_S", 0.05)
    hanging = Child(lambda parent: time.sleep(10 * DEADLINE))
    pid, looks, late = hanging.pid, list[float](), time.monotonic() + DEADLINE
    assert pid is not None

    def look() -> None:
        looks.append(time.monotonic())
        assert looks[-1] < late

    try:
        assert hanging.receive(look) is None
    finally:
        hanging.end()
    assert _gone(pid)
    assert len(looks) > 3

    def slow(parent: Parent) -> None:
        for _ in range(10):
            time.sleep(0.1)
            parent.beat()
        parent.send("done")

    assert Child(slow).receive() == "done"


def test_a_child_leaves_ctrl_c_to_its_parent_and_knows_when_it_is_waited_for() -> None:
    def work(parent: Parent) -> None:
        while not parent.waits:
            time.sleep(0.001)
        parent.send("ready")
        while parent.waits:
            time.sleep(0.001)
        parent.send("left alone")
        while not parent.waits:
            time.sleep(0.001)
        parent.send("awaited")
        while not parent.asked:
            time.sleep(0.001)
        parent.send("asked")

    child = Child(work)
    assert child.receive() == "ready"
    assert child.pid is not None
    os.kill(child.pid, signal.SIGINT)
    _until(lambda: bool(select.select([child._read], [], [], 0)[0]))
    assert [child.receive(), child.receive()] == ["left alone", "awaited"]
    child.end()
    child.end()


def _with_a_child(pids: object) -> None:
    def work(parent: Parent) -> None:
        inner = Child(lambda _: time.sleep(DEADLINE))
        parent.send([os.getpid(), inner.pid])
        time.sleep(DEADLINE)

    pids.send(Child(work).receive())  # type: ignore[attr-defined]
    time.sleep(DEADLINE)


def test_children_end_with_a_parent_that_is_killed() -> None:
    ours, theirs = SERVER.Pipe()
    process = SERVER.Process(target=_with_a_child, args=(theirs,))
    process.start()
    assert ours.poll(DEADLINE)
    pids = ours.recv()
    process.kill()
    process.join(DEADLINE)
    for pid in pids:
        _until(lambda pid=pid: _gone(pid))


def test_cores_are_spare_where_threads_may_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_children, "cores", lambda: 4)
    monkeypatch.setattr(of_children, "_only_thread", lambda: True)
    for allowed, spare in {"1": 0, "3": 2, "64": 3, "0": 0, "two": 3}.items():
        monkeypatch.setenv("OMP_NUM_THREADS", allowed)
        assert spare_cores() == spare
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert spare_cores() == 3
    monkeypatch.undo()
    monkeypatch.setattr(of_children, "cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS")
    halt = threading.Event()
    thread = threading.Thread(target=halt.wait)
    thread.start()
    assert spare_cores() == 0, "another thread may hold a lock"
    halt.set()
    thread.join()
