"""A network that fails changes nothing about the promise: the same bits on any number of shards,
and after a resume.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import swarm
from tests.support import logged, run

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
    common = ("devices=11", "engine.block=2", "rounds=6", "train.local_steps=1", *CASES[case])
    one = run(tmp_path / "one", *common)
    hashed = one["arms"]["swarm"]["params_sha256"]
    for shards in (2, 5):
        many = run(tmp_path / f"{shards}", *common, f"engine.shards={shards}")
        assert many["arms"]["swarm"]["params_sha256"] == hashed
        assert logged(tmp_path / f"{shards}") == logged(tmp_path / "one")
    for cut in (1, 4):
        run(tmp_path / f"cut{cut}", *common, f"rounds={cut}", "schedule.rounds=6")
        resumed = swarm.resume(tmp_path / f"cut{cut}", {"rounds": 6, "engine.shards": 3}).summary
        assert resumed["arms"]["swarm"]["params_sha256"] == hashed
        assert logged(tmp_path / f"cut{cut}") == logged(tmp_path / "one")
