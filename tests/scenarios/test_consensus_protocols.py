"""The consensus scenario under protocols of one's own choice: what each conserves, seen in a run's
summary.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from swarm.common.errors import ConfigError
from tests.support import prepared, run

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
