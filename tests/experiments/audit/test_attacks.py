"""The theory of the attacks: what they find where there is something, where there is nothing, and
how much privacy allows them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from swarm.experiments.audit.attacks import (
    auc_interval,
    lira,
    lira_offline,
    logit_scaled,
)
from swarm.simulation.metrics.formulas import found_at

A, S = 4000, 8


def shadows(shift: float, seed: int = 0) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """φ of A samples of different difficulty under two audited models and S shadows, ``[2 + S,
    A]``, and who has learnt from which: those that have know them better by ``shift``."""
    random = np.random.default_rng(seed)
    half = [random.random(A) < 0.5 for _ in range(S // 2 + 1)]
    inside = np.array([side for each in half for side in (each, ~each)])
    hard_A = random.normal(0, 3, A)
    return hard_A + shift * inside + random.normal(0, 1, inside.shape), inside


@pytest.mark.parametrize("attack", [lira, lira_offline])
def test_auc_of_models_that_never_saw_the_samples(attack) -> None:  # type: ignore[no-untyped-def]
    phi, inside = shadows(0.0)
    score = attack(phi[0], phi[2:], inside[2:])
    _, low, high = auc_interval(score[inside[0]], score[~inside[0]])
    assert low - 0.01 < 0.5 < high + 0.01
    assert high - low < 0.05


def test_lira_knows_which_samples_are_hard() -> None:
    """A shift of one deviation: the best possible AUC is Φ(1/√2) = 0.760; a common threshold hardly
    sees it, as samples differ by three."""
    phi, inside = shadows(1.0)
    score = lira(phi[0], phi[2:], inside[2:])
    area = auc_interval(score[inside[0]], score[~inside[0]])[0]
    plain = auc_interval(phi[0][inside[0]], phi[0][~inside[0]])[0]
    best = stats.norm.cdf(1 / math.sqrt(2))
    assert plain < 0.6 < 0.68 < area <= best + 0.02


def test_lira_is_the_ratio_of_two_normal_densities() -> None:
    phi = np.array([[0.0, 1.0], [2.0, 3.0], [5.0, 4.0], [7.0, 8.0]])
    inside = np.array([[True, True], [True, True], [False, False], [False, False]])
    own, own_out = 1.5, 5.5
    spread_in, spread_out = math.sqrt(2.0), math.sqrt((2 + 8) / 2)
    found = lira(np.array([own, own]), phi, inside)
    means = ((1.0, 6.0), (2.0, 6.0))
    for value, (mean_in, mean_out) in zip(found, means, strict=True):
        wanted = stats.norm.logpdf(own, mean_in, spread_in)
        wanted -= stats.norm.logpdf(own, mean_out, spread_out)
        assert value == pytest.approx(wanted)
    offline = lira_offline(np.array([own_out, own_out]), phi, inside)
    assert offline == pytest.approx([-0.5 / spread_out, -0.5 / spread_out])


def test_logit_scaling() -> None:
    p = np.array([0.01, 0.5, 0.99])
    assert logit_scaled(-np.log(p)) == pytest.approx(np.log(p / (1 - p)))
    assert np.isfinite(logit_scaled(np.array([0.0, 1e9]))).all()


@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.0])
def test_no_attack_beats_differential_privacy(sigma: float) -> None:
    """The best test of the Gaussian mechanism, N(0, σ²) or N(1, σ²), keeps TPR ≤ e^ε·FPR + δ with
    the ε that is counted; without noise enough it would not."""
    pytest.importorskip("dp_accounting")
    from swarm.learning.privacy.accountant import Accountant
    from swarm.learning.privacy.mechanism import DeviceLevel

    spent = Accountant(DeviceLevel(1.0, sigma, 1e-3), np.ones(1)).epsilon_N(np.ones(1, np.int64))
    random = np.random.default_rng(1)
    own, other = random.normal(1, sigma, 200_000), random.normal(0, sigma, 200_000)
    for rate in (0.001, 0.01, 0.1):
        found = found_at(rate, own, other)
        assert found <= math.exp(spent[0]) * rate + 1e-3
        assert found >= stats.norm.sf(stats.norm.isf(rate) - 1 / sigma) * 0.9
