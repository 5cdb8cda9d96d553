"""A warning of a plug-in is said once, though its parts are built and tried several times."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.common.plugin.warned import each_warned_once
from tests.support import config

FILE = Path(__file__).with_name("warning_parts.py")
MADE = {"Source", "Deal", "Links", "Talk", "Plans", "Steps", "Net", "Measure"}
SAID = {*(f"{name} is made" for name in MADE), "Links is asked", "Talk is sent"}


def of_own_parts() -> dict[str, Any]:
    cfg = config(f"plugins=[{FILE}]", "scenario.arms=[swarm,isolated]", "rounds=2", "report=false")
    nodes: dict[str, Any] = {
        section: {"_target_": f"warning_parts.{name}"}
        for section, name in {
            "data": "Source",
            "partition": "Deal",
            "topology": "Links",
            "protocol": "Talk",
            "update": "Plans",
            "model": "Net",
        }.items()
    }
    nodes["optimizer"] = {"_target_": "warning_parts.Steps", "lr": 0.1}
    return {**cfg, **nodes, "metrics": ["standard", {"_target_": "warning_parts.Measure"}]}


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """How often each sentence of our parts is shown to somebody who has all of them shown."""
    found = Counter[str]()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield found
    found.update(str(one.message) for one in said if str(one.message) in SAID)


@pytest.mark.parametrize("do", ["check", "run"])
def test_every_warning_of_a_part_is_said_once(tmp_path: Path, do: str) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "check": lambda: swarm.check(of_own_parts()),
        "run": lambda: swarm.run(of_own_parts(), tmp_path / "run"),
    }
    with counted() as found:
        calls[do]()
    assert found == Counter(SAID)


def test_check_plugin_says_each_once() -> None:
    with counted() as found:
        swarm.check_plugin("warning_parts.Links", f"plugins=[{FILE}]")
    assert found == Counter({"Links is made", "Links is asked"})


def test_the_second_try_of_the_first_rounds_says_nothing() -> None:
    """Not even a sentence that is another one each time."""
    cfg = config(f"plugins=[{FILE}]", "scenario.arms=[swarm]")
    cfg["topology"] = {"_target_": "warning_parts.Numbered"}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        swarm.check(cfg)
    import warning_parts  # type: ignore[import-not-found]

    built = sum("Numbered is number" in str(one.message) for one in said)
    assert built == warning_parts.Numbered.made - 1


def test_two_blocks_that_end_in_another_order_leave_nothing_unsaid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As blocks on two threads may."""
    shown: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_, **__: shown.append(message))
    first, second = each_warned_once(), each_warned_once()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    for _ in range(2):
        warnings.showwarning("a sentence", UserWarning, "file", 1)
    assert shown == ["a sentence"] * 2


def test_a_warning_that_is_an_error_is_still_one() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((ConfigError, UserWarning), match="Plans is made"):
            swarm.check(of_own_parts())
