"""The loss of a left-out sample is that of a regression which has not seen it."""

from __future__ import annotations

import numpy as np
import pytest

from swarm.common.statistics import left_out_loss
from swarm.common.statistics.ridge import RIDGE


def test_the_loss_is_that_of_a_regression_without_the_sample() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(60, 7)), draw.integers(0, 4, 60)
    found = left_out_loss(x, y, 4)
    design, one_hot = np.column_stack([np.ones(60), x]), np.eye(4)[y]
    for sample in range(60):
        others = np.arange(60) != sample
        a = design[others]
        gram = a.T @ a + RIDGE * np.eye(a.shape[1])
        predicted = design[sample] @ np.linalg.solve(gram, a.T @ one_hot[others])
        assert found[sample] == pytest.approx(((predicted - one_hot[sample]) ** 2).sum(), rel=1e-9)


def test_a_wrong_label_has_the_larger_loss() -> None:
    draw = np.random.default_rng(1)
    y = draw.integers(0, 3, 90)
    x = np.eye(3)[y] + draw.normal(0, 0.1, (90, 3))
    told = np.where(np.arange(90) < 5, (y + 1) % 3, y)
    assert set(np.argsort(left_out_loss(x, told, 3))[-5:]) == set(range(5))
