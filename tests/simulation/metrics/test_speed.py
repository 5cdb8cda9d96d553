"""How fast models learn and write: what is timed, how turns are compared, and what stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.learning.models.gru import GRU
from swarm.learning.models.mcsd import MCSD
from swarm.learning.models.sequence import SequenceModel
from swarm.learning.models.transformer import Transformer
from swarm.simulation.metrics import speed
from swarm.simulation.metrics.speed import Speed, Writing, taken_turns
from tests.support import prepared, records

T = 12
WORDS = (
    "data=markov", "data.tokens=7", f"data.context={T}", "partition=natural", "model=transformer",
    "model.width=16", "model.depth=1", "model.heads=2", "model.hidden=8", "train.batch=2",
    "optimizer=adam", "optimizer.lr=0.01", "topology=none", "protocol=none", "devices=3",
)  # fmt: skip
SIZES = "width: 16, depth: 1"
COHORTS = (
    f"cohorts={{mcsd: {{devices: [1], model: {{mcsd: {{{SIZES}, channels: 2, hidden: 8}}}}}},"
    f" gru: {{devices: [2], model: {{gru: {{{SIZES}}}}}}}}}"
)
MEASURED = "metrics=[standard,{speed: {turns: 2, tokens: 2}}]"
TIMED = ("speed_training", "speed_inference")


class Clock:
    """Seconds that pass only while somebody works."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.log = 0.0, ""
        monkeypatch.setattr(speed.time, "thread_time", lambda: self.now)

    def task(self, name: str, seconds: Callable[[], float]) -> Callable[[], None]:
        def work() -> None:
            self.log += name
            self.now += seconds()

        return work


def test_turns_alternate_and_what_is_done_once_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    slow = iter([9.0, 3.0, 4.0, 5.0])
    tasks = [clock.task("a", lambda: next(slow)), clock.task("b", lambda: 1.0)]
    np.testing.assert_array_equal(taken_turns(tasks, 3), [[3, 4, 5], [1, 1, 1]])
    assert clock.log == "ab" + "ab" + "ba" + "ab"


def models() -> list[SequenceModel]:
    torch.manual_seed(3)
    return [
        Transformer((T,), 7, width=16, heads=2, depth=2, hidden=8),
        MCSD((T,), 7, width=16, channels=2, depth=2, hidden=8),
        GRU((T,), 7, width=16, depth=2),
    ]


def test_a_ratio_is_of_one_turn_so_that_a_busy_machine_slows_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, x = Clock(monkeypatch), torch.randint(7, (3, T))
    own_s, other_s = iter([9.0, 8.0, 80.0, 24.0]), iter([9.0, 1.0, 20.0, 12.0])
    steps = [clock.task("a", lambda: next(own_s)), clock.task("b", lambda: next(other_s))]
    monkeypatch.setattr(Writing, "__call__", lambda self: clock.task("w", lambda: 0.5)())
    own, other = Speed(turns=3, tokens=10).of(models()[:2], steps, x)
    assert own["speed_training_ratio"] == 1
    assert other["speed_training_ratio"] == 4, "the median of 8, 4 and 2"
    assert own["speed_training"] == pytest.approx(3 * T / 24)
    assert other["speed_training"] == pytest.approx(3 * T / 12)
    assert other["speed_inference"] == pytest.approx(10 / 0.5)


def test_what_is_kept_and_computed_for_a_token() -> None:
    found = Speed(turns=1, tokens=1).of(models(), [lambda: None] * 3, torch.randint(7, (1, T)))
    assert [each["speed_state_bytes"] for each in found] == [
        4 * 2 * 2 * 16 * T,  # keys and values of each layer and token
        4 * 2 * 2 * 16,
        4 * 2 * 16,
    ]
    projections = 4 * 16 * 16 + 3 * 16 * 8
    attention = 2 * 16 * (T + 1)  # of the token itself, too
    assert found[0]["speed_token_flops"] == 2 * (2 * (projections + attention) + 16 * 7)


def test_what_is_written_is_most_probable() -> None:
    for model in models():
        read_T = torch.randint(7, (T,))
        with torch.inference_mode():
            last = Writing(model, read_T, 5)()
            for _ in range(6):
                read_T = torch.cat([read_T, model(read_T[None])[0, -1:].argmax(-1)])
        assert last == read_T[-1]


def kept(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records without seconds."""
    return [{k: v for k, v in row.items() if not k.startswith(("wall_s", *TIMED))} for row in rows]


@pytest.mark.parametrize("cohorts", [(), (COHORTS,)])
def test_it_is_measured_at_the_end_and_changes_nothing(cohorts: tuple[str, ...]) -> None:
    words = (*WORDS, *cohorts, "rounds=2", "evaluate.every=1", "engine.block=1")
    plain = [row.values for row in records(prepared(*words))]
    rows = [row.values for row in records(prepared(*words, MEASURED))]
    shards = [row.values for row in records(prepared(*words, MEASURED, "engine.shards=3"))]
    assert kept(shards) == kept(rows)
    for row, before in zip(kept(rows), kept(plain), strict=True):
        assert {key: row[key] for key in before} == before
    assert not [key for row in rows[:-1] for key in row if key.startswith("speed_")]
    ends = [f"_cohort_{name}" for name in ("own", "mcsd", "gru")] if cohorts else []
    for end in ("", *ends):
        assert rows[-1][f"speed_training{end}"] > 0
        assert rows[-1][f"speed_inference{end}"] > 0
    if cohorts:
        assert rows[-1]["speed_state_bytes_cohort_gru"] == 4 * 16
        assert rows[-1]["speed_state_bytes_cohort_own"] == rows[-1]["speed_state_bytes"]
        assert rows[-1]["speed_training_ratio_cohort_own"] == 1


def test_what_cannot_write_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"metrics=speed: must be left out.*model=mlp: only gru"):
        prepared("metrics=[standard,speed]")
