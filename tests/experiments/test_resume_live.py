"""A live run goes on from its checkpoints although its records leave out rounds, and stays live.

The engine here is the one of this process, which leaves out every second record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.config.schema import sealed
from swarm.config.settings import Settings
from swarm.experiments.runs.run import _require_same_numbers
from swarm.results.track.jsonl import read_jsonl
from swarm.simulation.engine.base import RoundResult
from swarm.simulation.engine.local import LocalEngine
from tests.conftest import composed

Small = Callable[..., dict[str, Any]]


@pytest.fixture
def gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    play = LocalEngine.advance

    def advance(self: LocalEngine, until: int) -> Iterator[RoundResult]:
        return (result for result in play(self, until) if result.round % 2 == 0)

    monkeypatch.setattr(LocalEngine, "advance", advance)


def _interrupted(folder: Path, **facts: Any) -> None:
    """The run in ``folder`` without its end; ``facts`` are what its engine said of itself."""
    (folder / "summary.json").unlink()
    progress = json.loads((folder / "progress.json").read_text())
    arms = {}
    if facts:
        arms = {"swarm": {**progress["arms"]["swarm"], "rounds": 4, "engine": facts}}
    kept = {key: value for key, value in progress.items() if key != "seal"}
    (folder / "progress.json").write_text(json.dumps(sealed({**kept, "arms": arms})))


@pytest.mark.usefixtures("gaps")
def test_it_goes_on(small: Small, tmp_path: Path) -> None:
    small("rounds=8", "evaluate.every=4", "checkpoint.every=4")
    run = tmp_path / "run"
    for file in (run / "checkpoints" / "swarm").glob("*8.*"):
        file.unlink()
    _interrupted(run)
    assert swarm.resume(run, {}).summary["arms"]["swarm"]["rounds"] == 8
    assert [record["round"] for record in read_jsonl(run / "metrics.jsonl")] == [0, 2, 4, 6, 8]


@pytest.mark.usefixtures("gaps")
def test_a_record_that_was_removed_is_noticed(small: Small, tmp_path: Path) -> None:
    small("evaluate.every=4", "checkpoint.every=4")
    run = tmp_path / "run"
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:-2] + lines[-1:]))
    with pytest.raises(ConfigError, match=r"lacks round 1 of the arm swarm"):
        swarm.resume(run, {"rounds": 9})


@pytest.mark.parametrize(("over", "goes_on"), [(True, False), (False, True)])
def test_an_arm_whose_seconds_are_over_is_done(
    small: Small, tmp_path: Path, over: bool, goes_on: bool
) -> None:
    small()
    run = tmp_path / "run"
    _interrupted(run, out_of_time=over)
    assert swarm.resume(run, {"rounds": 6}).summary["arms"]["swarm"]["rounds"] == 4 + 2 * goes_on


def test_no_engine_takes_over_a_run_of_the_other_kind() -> None:
    live, other, slower = (
        Settings.parse(composed(*words))
        for words in (("engine=live",), ("engine=ray",), ("engine=live", "engine.pace=0.5"))
    )
    for then, now, name in ((live, other, "ray"), (other, live, "live")):
        with pytest.raises(ConfigError, match=rf"^engine={name}: cannot take over this run"):
            _require_same_numbers(then, now)
    with pytest.raises(ConfigError, match=r"^engine\.pace=0\.5: cannot change on resume; it is 0"):
        _require_same_numbers(live, slower)
    _require_same_numbers(live, live)
