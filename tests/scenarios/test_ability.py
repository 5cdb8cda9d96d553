"""The rule of claim 20 on lives made up for it, and the runs behind a life."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from scenarios.ability import Ability
from swarm.common.errors import ConfigError
from swarm.config.build import build, option
from swarm.experiments.claims.base import Claim
from swarm.experiments.claims.results import Results
from tests.scenarios.made_up import claim, judged, noise, results

LONGEST, LIFE = 60, 40


def lives(
    before: float = 0.3, after: float = 0.1, at_fastest_slow: float | None = None, wide: float = 0.0
) -> Results:
    """The knowing are ``before`` ahead of all others, then ``after`` behind those with the rate of
    the able; those that know and learn at 0.03 are ``at_fastest_slow`` behind. What comes before
    birth is 0, and so is the other arms' accuracy."""
    of = claim("ability")

    def curve(values: dict[str, Any], seed: int) -> pd.DataFrame:
        life = np.arange(1 - values["pretraining"], 2 * LIFE + 1)
        knows, able = values["pretraining"] == LONGEST, values["rate"] == 0.3
        behind = after
        if at_fastest_slow is not None and values["rate"] == 0.03:
            behind = at_fastest_slow
        late = 0.5 - behind * (knows and not able)
        late += (wide * (seed - 2)) * able + noise(seed + 10 * able)
        early = 0.5 + before * knows + noise(seed + 20 * knows)
        accuracy = np.where(life <= LIFE, early, late) * (life > 0)
        return pd.DataFrame({"round": life + values["pretraining"], "stream_accuracy": accuracy})

    return results(of, lambda *_: {"accuracy_mean": 0.5}, curve)


@pytest.mark.parametrize(
    ("before", "after", "slow", "wide", "holds"),
    [
        (0.3, 0.1, None, 0.0, True),
        (0.3, -0.1, None, 0.0, False),
        (0.3, 0.1, -0.1, 0.0, False),  # one of the rates is enough
        (0.3, 0.1, 0.0, 0.0, None),
        (0.3, 0.1, None, 0.2, None),  # too uncertain
        (-0.1, 0.1, None, 0.0, None),  # nothing was known, so ability has beaten nothing
    ],
)
def test_the_rule_asks_both_sides_of_the_drift(
    before: float, after: float, slow: float | None, wide: float, holds: bool | None
) -> None:
    (verdict,) = judged(claim("ability"), lives(before, after, slow, wide))
    assert verdict.holds is holds


def test_a_life_is_counted_from_birth() -> None:
    of = claim("ability")
    found = lives(0.3, 0.1)
    (verdict,) = judged(of, found)
    assert verdict.figures["knowledge before the drift, rate 0.01"].mean == pytest.approx(
        0.3, abs=0.01
    )
    assert verdict.figures["ability after the drift, rate 0"].mean == pytest.approx(0.1, abs=0.01)
    # of five rounds, the fourth after the drift makes up for those before it: 1 of 0.3, 4 of 0.1
    table = of.table(found).set_index(["world", "pretraining", "rate", "arm"])
    overtaken = table["overtaken by the able in round"]
    assert overtaken["drift", LONGEST, 0.03, "swarm"] == "44 [44, 44]"
    assert overtaken["steady", LONGEST, 0.03, "swarm"] == "44 [44, 44]"
    found.curves.loc[found.curves["rate"] == 0.03, "stream_accuracy"] = 0.9
    late = (found.curves["rate"] == 0.03) & (found.curves["seed"] == 1)
    found.curves.loc[late & (found.curves["round"] > LONGEST + 50), "stream_accuracy"] = 0.1
    table = of.table(found).set_index(["world", "pretraining", "rate", "arm"])
    overtaken = table["overtaken by the able in round"]
    assert overtaken["drift", LONGEST, 0.03, "swarm"] == "in 1 of 5 seeds"
    found.curves.loc[late, "stream_accuracy"] = 0.9
    table = of.table(found).set_index(["world", "pretraining", "rate", "arm"])
    assert table["overtaken by the able in round"]["drift", LONGEST, 0.03, "swarm"] == "never"
    assert overtaken["drift", 15, 0.03, "swarm"] == "–"


def test_the_labels_swap_in_the_middle_of_life_and_the_rate_is_that_of_the_condition() -> None:
    of = claim("ability")
    assert isinstance(of, Ability)
    for condition in of.conditions():
        changes, pretraining = condition.changes, condition.values["pretraining"]
        met = changes["train.batch"] * changes["train.local_steps"]
        assert changes["data.per_device"] / met / 2 == pretraining + of.budget.life
        assert changes["rounds"] == pretraining + 2 * of.budget.life
        rate = changes["optimizer.lr"] * changes.get("schedule.floor", 1.0)
        assert rate == pytest.approx(condition.values["rate"])
        assert changes.get("schedule.rounds", 0) == pretraining


def test_nobody_is_overtaken_by_devices_without_a_finished_run() -> None:
    of, found = claim("ability"), lives()
    able = (found.finals["pretraining"] == 0) & (found.finals["rate"] == 0.3)
    without = Results(found.finals[~able], found.curves[found.curves["pretraining"] > 0])
    for each in (without, Results(pd.DataFrame(), pd.DataFrame())):
        assert set(of.table(each)["overtaken by the able in round"]) == {"–"}
        assert len(of.charts(each)) == 4


@pytest.mark.parametrize(
    ("key", "given", "says"),
    [
        ("pretraining", [60], "in ascending order"),
        ("pretraining", [60, 0], "in ascending order"),
        ("rates", [0.1, 0.1], "in ascending order"),
        ("rates", [0.1, 0.3], "must have one of at most 1/10"),
    ],
)
def test_what_cannot_be_judged_is_refused(key: str, given: list[float], says: str) -> None:
    settings = option("scenario", "ability")
    settings["full"] = {**settings["full"], key: given}
    with pytest.raises(ConfigError, match=f"full.{key}.*{says}"):
        build(settings, Claim, "scenario", preset="full").conditions()
