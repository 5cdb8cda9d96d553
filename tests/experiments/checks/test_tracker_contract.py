"""check_plugin tries a tracker by the calls of a run, which it makes: nothing of them is made up."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.config.composing.compose import compose
from swarm.config.plug_ins import load_plugins
from swarm.config.settings import plain
from swarm.experiments.checks.check_plugin import SMALL, ContractError, check_plugin

FILE = Path(__file__).with_name("notes.py")
NOTES = "notes.Notes"


@pytest.fixture(autouse=True)
def _loaded() -> None:
    load_plugins([str(FILE)])


def called(make: Callable[[], object]) -> list[tuple[Any, ...]]:
    """What the tracker is told while ``make`` runs, from the first arm to the end of the run."""
    calls: list[tuple[Any, ...]] = sys.modules["notes"].CALLS
    calls.clear()
    make()
    first = [name for name, *_ in calls].index("configure")
    last = [name for name, *_ in calls].index("attach") + 2
    return calls[first:last]


def test_a_tracker_is_told_what_a_run_tells_it(tmp_path: Path) -> None:
    """The same calls in the same order, with the same keys."""
    words = ("scenario.arms=[swarm,isolated]", "report=true")
    cfg = plain(compose([*SMALL, *words]))
    cfg |= {"plugins": [str(FILE)], "tracker": {"_target_": NOTES}}
    told = called(lambda: swarm.run(cfg, tmp_path / "run"))
    assert called(lambda: check_plugin(NOTES)) == told
    names = [name for name, *_ in told]
    arm = ["configure", "start", "record", "record", "record", "record", "finish"]
    assert names == [*arm, *arm, "conclude", "attach", "close"]


def test_also_where_data_drift(tmp_path: Path) -> None:
    """``finish`` gets the whole entry of the summary, with what drift did to the arm."""
    words = ("report=true", "drift=rotation", "update=online", "train.batch=2", "partition=iid",
             "scenario.arms=[swarm]")  # fmt: skip
    cfg = plain(compose([*SMALL, *words]))
    cfg |= {"plugins": [str(FILE)], "tracker": {"_target_": NOTES}}
    made: list[swarm.Result] = []
    told = called(lambda: made.append(swarm.run(cfg, tmp_path / "run")))
    (summary,) = [call[-1] for call in told if call[0] == "finish"]
    assert {"forgetting", "recovery_rounds"} <= set(summary)
    assert summary == sorted(made[0].summary["arms"]["swarm"])


@pytest.mark.parametrize(
    "how", ["configure", "start", "record", "finish", "conclude", "attach", "close"]
)
def test_what_any_call_raises_is_said(how: str) -> None:
    said = rf"tracker={NOTES}: its {how} raises OSError: nobody listens \(.*notes\.py, line 25\)"
    with pytest.raises(ConfigError, match=said):
        check_plugin(NOTES, how=how)


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("sleeps", ContractError, "it did not answer for 0.3 s, its deadline_s"),
        ("threads", ConfigError, "raises OSError: made in another thread"),
        ("times out", ConfigError, "its record raises TimeoutError: timed out"),
        ("misses", ContractError, "its missing names swarm, isolated after a run that has told"),
        ("forgets", ContractError, "its missing returns None; a list of names is needed"),
    ],
)
def test_what_a_run_would_not_forgive_is_found(how: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        check_plugin(NOTES, how=how)


def test_nothing_is_left_where_it_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tracker may open its files at once, and a check is of no run."""
    monkeypatch.chdir(tmp_path)
    check_plugin(NOTES)
    assert not [*tmp_path.iterdir()]
