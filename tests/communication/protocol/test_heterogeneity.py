"""The bias of D-PSGD at a constant rate, where devices differ: the fixed points in closed form,
reached by the engine.

f_i(x) = ½a_i(x − b_i)². Our mean squared error has no ½, so a rate of γ/2 gives the step γa_i(x −
b_i).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swarm.experiments.runs.prepared import PreparedRun
from tests.support import config, final_rows

PLUGIN = Path(__file__).with_name("quadratic.py")
GAMMA = 0.2


def _ready(topology: str, protocol: str, rounds: int) -> PreparedRun:
    from swarm.config.settings import Settings

    values = config(
        f"topology={topology}", "devices=8", "engine.block=8", f"protocol={protocol}", "partition=natural", f"rounds={rounds}",
        "compute.dtype=float64", "train.batch=1", "train.local_steps=1", f"optimizer.lr={GAMMA / 2}", f"plugins=[{PLUGIN}]",
    )  # fmt: skip
    values["data"] = {"_target_": "quadratic.Quadratics"}
    values["model"] = {"_target_": "quadratic.Slope"}
    return PreparedRun.prepare(Settings.parse(values))


@pytest.mark.parametrize("topology", ["ring", "star", "complete"])
@pytest.mark.parametrize("protocol", ["dpsgd_published", "dpsgd", "none"])
def test_fixed_point(topology: str, protocol: str) -> None:
    ready = _ready(topology, protocol, 220)
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    root_a = ready.dataset.x[ready.split.sample, 0].astype(np.float64)
    b = ready.dataset.y[ready.split.sample, 0].astype(np.float64) / root_a
    W, A, one = e.communication.mixing(1).matrix.toarray(), np.diag(root_a**2), np.eye(8)
    expected = {
        "dpsgd_published": lambda: np.linalg.solve(
            one - W + GAMMA * A, GAMMA * A @ b
        ),  # x = Wx − γA(x − b)
        "dpsgd": lambda: np.linalg.solve(
            one - W + GAMMA * W @ A, GAMMA * W @ A @ b
        ),  # x = W(x − γA(x − b))
        "none": lambda: b,
    }[protocol]()
    found = final_rows(ready)[:, 0]
    assert np.abs(found - expected).max() < 1e-12
    best = (root_a**2 * b).sum() / (root_a**2).sum()
    # where it is centralised descent, there is no bias
    exact = topology == "complete" and protocol == "dpsgd"
    assert (np.abs(found - best).max() < 1e-12) == exact
