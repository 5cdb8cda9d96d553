"""A network that fails changes nothing about the promise: the same bits on any number of shards,
and after a resume.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import require_same_bits

LOSS, CHURN = (
    ("network.drop=0.3",),
    ("churn=markov", "churn.leave_rate=0.2", "churn.return_rate=0.5"),
)
DELAY, CLOCK = ("delay=exponential", "delay.mean=1.5"), ("clock=poisson", "clock.rate=0.2")
CASES = {
    "loss": LOSS,
    "churn": CHURN,
    "delay": DELAY,
    "poisson": CLOCK,
    "all": (*LOSS, *CHURN, *DELAY, *CLOCK, "network.max_delay=3"),
    "all, float64, momentum": (
        *LOSS,
        *CHURN,
        *DELAY,
        *CLOCK,
        "compute.dtype=float64",
        "optimizer=momentum",
    ),
    "fleet": ("fleet=terminals", "fleet.stragglers=0.3", "fleet.slowdown=4.0", *LOSS, *CHURN),
    "fleet, clock": ("fleet=uniform", "fleet.uplink=6.0e+4", *LOSS, *CLOCK),
}


@pytest.mark.parametrize("case", CASES)
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, case: str) -> None:
    common = ("devices=11", "engine.block=2", "train.local_steps=1", *CASES[case])
    require_same_bits(tmp_path, *common, rounds=6, cut=1 if len(case) % 2 else 4)
