"""The consensus scenario under protocols of one's own choice: what each conserves, seen in a run's
summary.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import swarm
from scenarios.consensus import enough_rounds
from swarm.common.errors import ConfigError
from tests.support import prepared, run

CHOSEN = ("scenario=consensus", "model=softmax", "checkpoint.every=0")
COMMON = (
    "scenario=consensus",
    "devices=8",
    "topology=exponential",
    "network.drop=0.3",
    "rounds=80",
    "model=softmax",
)


def test_push_sum_keeps_the_mean_that_row_weights_lose(tmp_path: Path) -> None:
    """Kempe, Dobra & Gehrke 2003: under one-sided losses push-sum ends at the mean, plain averaging
    somewhere else.
    """
    plain = run(tmp_path / "plain", *COMMON)
    push_sum = run(tmp_path / "push_sum", *COMMON, "protocol=push_sum_averaging", "mixing=column")
    assert plain["mean_drift_share"] > 0.01
    assert push_sum["mean_drift_share"] < 1e-12
    assert push_sum["rate_measured"] < 0.9


@pytest.mark.parametrize("protocol", ["push_sum", "none", "fedavg"])
def test_protocols_that_learn_are_refused(protocol: str) -> None:
    with pytest.raises(
        ConfigError,
        match=f"protocol={protocol}: learns, which this scenario does not; averaging, push",
    ):
        prepared("scenario=consensus", f"protocol={protocol}")


def test_rounds_are_chosen_by_the_spectral_gap(tmp_path: Path) -> None:
    """A ring of 23 contracts by ρ = 1/3 + 2/3·cos(2π/23): 100 rounds cannot measure that."""
    summary = run(tmp_path / "run", "topology=ring", "devices=23", *CHOSEN)
    rho = (1 + 2 * math.cos(2 * math.pi / 23)) / 3
    assert summary["rho"] == pytest.approx(rho)
    assert summary["rate_measured"] == pytest.approx(rho, rel=1e-4)
    assert summary["rounds"] == 20 + math.ceil(math.log(1e-10) / math.log(rho))
    recorded = swarm.load(tmp_path / "run").config
    assert recorded["rounds"] == summary["rounds"]
    assert recorded["scenario"]["rounds"] is None  # so more of them can be resumed


def test_rounds_that_are_typed_win_and_both_are_refused() -> None:
    assert prepared(*CHOSEN, "rounds=7").settings.rounds == 7
    typed = swarm.check(overrides=["scenario=consensus", "devices=8", "rounds=100"])
    assert typed.settings.rounds == 100
    given = swarm.check({"scenario": "consensus", "model": "softmax", "rounds": 9, "devices": 8})
    assert given.settings.rounds == 9
    with pytest.raises(ConfigError, match=r"scenario\.rounds=auto: would choose rounds"):
        swarm.check(overrides=["scenario=consensus", "rounds=7", "scenario.rounds=auto"])
    with pytest.raises(ConfigError, match=r"scenario\.rounds=7: must be auto or null"):
        swarm.check(overrides=["scenario=consensus", "scenario.rounds=7"])


@pytest.mark.parametrize(
    ("rho", "slower", "rounds"),
    [(0.0, 1, 20), (1.0, 1, 100), (0.5, 1, 54), (0.5, 2, 87), (1 - 1e-6, 1, 20_000)],
)
def test_enough_rounds_are_few_or_capped(rho: float, slower: float, rounds: int) -> None:
    assert enough_rounds(rho, slower) == rounds
    assert enough_rounds(math.nan) == 20_000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "theory (ρ) "),
        (("network.drop=0.1", "delay=constant"), "lossless theory (ρ, while messages are lost and messages are late) "),
    ],
)  # fmt: skip
def test_the_theory_is_called_lossless_where_the_network_is_not(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    summary = run(tmp_path / "run", "topology=ring", "devices=8", *CHOSEN, "rounds=3", *words)
    assert said in summary["headline"]
    assert ("lossless" in summary["headline"]) == bool(words)
