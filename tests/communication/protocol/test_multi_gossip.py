"""Several steps of averaging a round: the equation, and what is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from tests.communication.protocol.swarms import curves, descended, quadratics
from tests.support import records, trajectory


def several(steps: int) -> dict[str, Any]:
    return {"_target_": "swarm.communication.protocol.multi_gossip.MultiGossip", "steps": steps}


def test_it_follows_its_equation() -> None:
    """X⁺ = W³(X − γG(X)), with three messages on each of 16 links of a ring."""
    ready = quadratics("rounds=4", "topology=ring", protocol=several(3), init="independent")
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    w_NN = np.linalg.matrix_power(e.communication.mixing(1).matrix.toarray(), 3)
    (a, b), x_TNP = curves(ready), trajectory(ready)
    for round in range(1, 5):
        expected_N = w_NN @ descended(x_TNP[round - 1, :, 0], a, b, 2)
        np.testing.assert_allclose(x_TNP[round, :, 0], expected_N, rtol=0, atol=1e-14)
    assert [row.values["messages"] for row in records(ready)[1:]] == [48] * 4


def test_one_step_is_dpsgd() -> None:
    found = trajectory(quadratics("rounds=4", protocol=several(1)))
    assert np.array_equal(found, trajectory(quadratics("rounds=4", protocol="dpsgd")))


@pytest.mark.parametrize("steps", [0, 101])
def test_a_number_of_steps_out_of_range_is_refused(steps: int) -> None:
    with pytest.raises(ConfigError, match=f"steps={steps}: must be from 1 to 100"):
        quadratics("rounds=4", protocol=several(steps))
