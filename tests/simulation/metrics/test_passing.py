"""Passing rates: the estimate is unbiased whatever the plan, and what is drawn is what the
probabilities say.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from swarm.common.statistics import passing_law, passing_rate
from swarm.simulation.metrics.passing import ExactPassing, PassUntil
from tests.support import experiment, prepared, records

SIZE = "answers: 1, tasks: 20"
NEW = f"metrics=[accuracy,{{passing: {{{SIZE}, most: 700}}}},{{passing_exact: {{{SIZE}}}}}]"


def ended(attempts: Sequence[int], until: int) -> tuple[int, int]:
    """Passes and attempts of a row of attempts that ends at the ``until``-th pass."""
    total = np.cumsum(attempts)
    if total[-1] < until:
        return int(total[-1]), len(attempts)
    return until, int((total >= until).argmax()) + 1


@pytest.mark.parametrize("rate", [0.03, 0.4, 0.9])
@pytest.mark.parametrize(("until", "most"), [(2, 9), (3, 9), (4, 4), (5, 3)])
def test_the_estimate_is_unbiased_over_all_that_can_happen(
    rate: float, until: int, most: int
) -> None:
    expected, biased = 0.0, 0.0
    for attempts in itertools.product([0, 1], repeat=most):
        chance = rate ** sum(attempts) * (1 - rate) ** (most - sum(attempts))
        passes, made = ended(attempts, until)
        expected += chance * float(passing_rate(passes, made, until))
        biased += chance * passes / made
    assert expected == pytest.approx(rate, rel=1e-12)
    if until < most and rate > 0.1:
        assert biased > rate * 1.01, "the plain share is too large where attempts end with a pass"


def test_pass_until_estimates_the_products_of_probabilities() -> None:
    right_BJA = np.random.default_rng(0).uniform(0.4, 1.0, (3, 4, 3))
    right_BJA[0, 0] = 0.12  # passed once in 579 attempts: most of its plans end at the limit
    exact = ExactPassing(3, 4).rates(right_BJA)
    np.testing.assert_allclose(exact, right_BJA.prod(2))
    found = np.array([PassUntil(3, 4, 5, 1000, seed).rates(right_BJA) for seed in range(150)])
    off = (found.mean(0) - exact) / (found.std(0, ddof=1) / np.sqrt(len(found)))
    assert (np.abs(off) < 4).all()
    assert np.abs(off).max() > 0.3, "draws of another seed are others"
    assert len(np.unique(found[:, 0, 0])) > 5


def test_a_task_is_a_row_of_samples_however_they_come_in() -> None:
    out = torch.randn(2, 4, 23, generator=torch.Generator().manual_seed(0))
    y = torch.arange(23) % 4
    found = []
    for chunk in (23, 4, 1):
        metric = ExactPassing(answers=5, tasks=9)
        state = metric.state(2, 4, 23)
        assert state.shape == (2, 4, 5), "four tasks of five are all that 23 samples suffice for"
        for at in range(0, 23, chunk):
            metric.add(state, out[:, :, at : at + chunk], y[at : at + chunk], at)
        found.append(metric.value(state, y).numpy())
    right = torch.softmax(out.double(), 1)[:, y, torch.arange(23)][:, :20].reshape(2, 4, 5)
    for each in found:
        np.testing.assert_allclose(each, right.prod(2).mean(1), rtol=1e-12)
    nothing = metric.value(metric.state(2, 4, 3), y)
    assert torch.isnan(nothing).all()


def test_shards_and_blocks_do_not_change_a_bit() -> None:
    one, other = (
        [
            {k: v for k, v in row.values.items() if not k.startswith("wall_s")}
            for row in records(prepared("rounds=2", NEW, "engine.block=3", *words))
        ]
        for words in ((), ("engine.shards=2",))
    )
    assert one == other
    last = one[-1]
    assert 0 < last["passing_mean"] < 1
    assert last["passing_mean"] == pytest.approx(last["passing_exact_mean"], rel=0.5, abs=0.02)
    assert {"passing_p10", "consensus_passing"} <= last.keys()


def test_draws_follow_the_seed_of_the_run() -> None:
    right_BJA = np.full((2, 3, 2), 0.3)
    one, same, other = (PassUntil(2, 3, 5, 1000, seed).rates(right_BJA) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    np.testing.assert_array_equal(one[0], one[1])  # the same random numbers for every device
    assert (one != other).any()
    (metric,) = (m for m in experiment(NEW, "seed=3").metrics.outputs if isinstance(m, PassUntil))
    assert metric.keys.seed == 3


def test_the_passing_law_is_found_again() -> None:
    n_K = np.array([8.0, 16, 32, 64])
    law = passing_law(n_K, np.exp(-40 * n_K**-0.8))
    assert (law.c, law.alpha) == pytest.approx((40, 0.8))
    assert float(law.at(640)) == pytest.approx(np.exp(-40 * 640**-0.8))
    for rates in ([0.1, 0.2, 1.0, 0.5], [0.0, 0.2, 0.3, 0.5], [0.1, np.nan, 0.3, 0.5]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            passing_law(n_K, rates)
