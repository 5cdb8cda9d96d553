"""The rules of claim 10 on results made up for them, and the sizes that it compares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch import nn

from scenarios.architecture import (
    GRU,
    IN_TURNS,
    MCSD,
    MODELS,
    TARGET,
    TRANSFORMER,
    VOCABULARY,
    Architecture,
    sizes_of,
)
from swarm.common.errors import ConfigError
from swarm.config.build import build, option
from swarm.experiments.claims.base import Claim
from tests.scenarios.made_up import Value, claim, judged, noise, results

LENGTHS = (128, 512, 2048, 4096)


def timed(training: float, inference: float, wide: float = 0.0, grows: str = TRANSFORMER) -> Value:
    """MCSD's ratios at the longest length, from which they fall to a third at the shortest; of one
    model the state grows."""

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        if values["model"] != IN_TURNS:
            return {"parameters": 78_208, "flops_total": 6e6, "steps_total": 3.0}
        least = np.log(values["length"] / 128) / np.log(32) * 2 / 3 + 1 / 3
        spread = np.exp(wide * (seed - 2) + noise(seed))
        found: dict[str, Any] = {}
        for name in ("own", MCSD, GRU):
            for what, ratio in (("training", training), ("inference", inference)):
                times = 1.0 if name == "own" else ratio * least * spread
                found[f"speed_{what}_cohort_{name}"] = 1000 * times
                found[f"speed_{what}_ratio_cohort_{name}"] = times
            which = TRANSFORMER if name == "own" else name
            kept = 8 * values["length"] if which == grows else 512
            found[f"speed_state_bytes_cohort_{name}"] = kept
        return found

    return value


def learning(rounds: dict[str, float]) -> Any:
    """The loss falls by 0.1 a round and is at the target after so many rounds."""

    def curve(values: dict[str, Any], seed: int) -> pd.DataFrame:
        at = np.arange(17)
        loss = TARGET + 0.1 * (rounds.get(values["model"], 10.0) - at)
        loss = np.where(at > 0, loss, np.nan)  # nobody has learnt at the start
        return pd.DataFrame({"round": at, "train_loss": loss})

    return curve


@pytest.mark.parametrize(
    ("training", "inference", "wide", "holds"),
    [
        (8.0, 6.0, 0.0, [True, True, True]),
        (6.5, 4.5, 0.0, [False, False, False]),
        (8.0, 4.5, 0.0, [True, True, False]),
        (6.5, 6.0, 0.0, [False, False, True]),
        (7.0, 5.0, 0.1, [None, None, None]),  # across the threshold at the longest length
        (6.5, 4.5, 0.3, [None, None, None]),  # too wide to lie below
    ],
)
def test_the_rule_is_that_of_the_text(
    training: float, inference: float, wide: float, holds: list[bool | None]
) -> None:
    of = claim("architecture")
    found = results(of, timed(training, inference, wide), learning({}))
    assert [each.holds for each in of.conclude(found)] == [*holds, True]


def test_a_ratio_that_is_high_at_a_shorter_length_is_not_refuted() -> None:
    of = claim("architecture")

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        middle = {**values, "length": 4096} if values["length"] == 512 else values
        return timed(8.0, 6.0)(middle, arm, seed) | (
            timed(6.0, 4.0)(values, arm, seed) if values["length"] == 4096 else {}
        )

    assert [each.holds for each in of.conclude(results(of, value, learning({})))][:3] == [None] * 3


def test_rounds_to_the_target_multiply_what_a_round_takes() -> None:
    of = claim("architecture")
    found = results(of, timed(6.0, 4.5), learning({TRANSFORMER: 15.0, MCSD: 10.5}))
    first, second, *_ = judged(of, found)
    assert [first.holds, second.holds] == [True, False]
    assert first.figures["times"].mean == pytest.approx(6 * 15 / 10.5, rel=0.01)
    row = of.table(found).query("length == 4096 and model == 'MCSD'").iloc[0]
    assert row["rounds to the target"].startswith("10.5 ")
    assert row["by FLOP"].startswith("1.43 "), "a step takes as many FLOP of all here"


def test_who_never_reaches_the_target_is_as_fast_as_nobody() -> None:
    of = claim("architecture")
    found = results(of, timed(8.0, 6.0), learning({TRANSFORMER: 99.0}))
    assert [each.holds for each in of.conclude(found)] == [None, True, True, True]


@pytest.mark.parametrize("grows", [MCSD, "nobody"])
def test_a_state_that_grows_is_refuted_and_so_is_one_that_does_not(grows: str) -> None:
    of = claim("architecture")
    found = results(of, timed(8.0, 6.0, grows=grows), learning({}))
    assert of.conclude(found)[3].holds is False


@pytest.mark.parametrize("width", [32, 64, 128])
def test_the_models_have_equal_parameters(width: int) -> None:
    sizes = {
        name: build(
            {**option("model", name), **sizes_of(width)[name]},
            nn.Module,
            "model",
            features=(8,),
            outputs=VOCABULARY,
        )
        for name in MODELS
    }
    count = {name: sum(p.numel() for p in module.parameters()) for name, module in sizes.items()}
    assert count[TRANSFORMER] == count[MCSD]
    assert count[GRU] == pytest.approx(count[MCSD], rel=0.01)


def test_what_is_compared_is_equal_but_for_the_architecture() -> None:
    of = claim("architecture")
    runs = [each for each in of.conditions() if each.values["model"] in MODELS]
    for length in LENGTHS:
        there = [each.changes for each in runs if each.values["length"] == length]
        assert len(there) == (3 if length <= 512 else 2)
        for key in ("devices", "rounds", "train.batch", "data.context", "data.per_device"):
            assert len({each[key] for each in there}) == 1
        assert there[0]["train.batch"] * length == 4096


@pytest.mark.parametrize(
    ("key", "value"),
    [("lengths", [256, 128]), ("lengths", [100]), ("widths", [64]), ("widths", [9])],
)
def test_sizes_that_cannot_be_are_refused(key: str, value: list[int]) -> None:
    node = option("scenario", "architecture")
    node["full"][key] = value
    of = build(node, Claim, "scenario", preset="full")
    assert isinstance(of, Architecture)
    with pytest.raises(ConfigError, match=f"full.{key}"):
        of.conditions()
