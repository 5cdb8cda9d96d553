"""``privacy.accountant=pld``: ε by privacy loss distributions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from swarm.learning.privacy import pld
from swarm.learning.privacy.accountant import Accountant
from swarm.learning.privacy.correlated import Correlated, PairAccountant, Pairs
from swarm.learning.privacy.mechanism import DeviceLevel, Privacy, SampleLevel
from swarm.learning.privacy.noise import Plan, least_noise
from swarm.learning.privacy.pld import gaussian_epsilon, sampled_epsilon
from tests.support import logged, require_same_bits

DELTA = 1e-5


def spent(privacy: Privacy, rate: float, releases: int) -> float:
    return float(Accountant(privacy, np.array([rate])).epsilon_N(np.array([releases]))[0])


def bounds(rate: float, sigma: float, count: int, step: float) -> tuple[float, float]:
    """ε from below and from above, if losses are rounded down and up to multiples of ``step``.

    Of the two directions, a sample more and a sample less, the one that loses more is taken."""
    x_X = np.linspace(-12 * sigma, 1 + 12 * sigma, 100_001)
    cells_X = (x_X[:-1] + x_X[1:]) / 2
    without_X, one_X = np.diff(norm.cdf(x_X, 0, sigma)), np.diff(norm.cdf(x_X, 1, sigma))
    with_X = (1 - rate) * without_X + rate * one_X
    loss_X = np.log1p(rate * np.expm1((2 * cells_X - 1) / (2 * sigma**2)))
    found = []
    for rounded in (np.floor, np.ceil):
        most = 0.0
        for mass_X, each_X in ((with_X, loss_X), (without_X, -loss_X)):
            at_X = rounded(each_X / step).astype(int)
            one_G = np.bincount(at_X - at_X.min(), mass_X)
            size = 1 << (count * len(one_G)).bit_length()
            sum_G = np.fft.irfft(np.fft.rfft(one_G, size) ** count, size).clip(0)
            loss_G = (np.arange(size) + count * at_X.min()) * step
            low, high = 0.0, 100.0
            for _ in range(50):
                middle = (low + high) / 2
                delta = (sum_G * -np.expm1(np.minimum(middle - loss_G, 0))).sum()
                low, high = (low, middle) if delta <= DELTA else (middle, high)
            most = max(most, high)
        found.append(most)
    return found[0], found[1]


def test_without_sampling_it_is_the_analytic_gaussian_mechanism() -> None:
    """Balle & Wang's σ for ε = 1 and δ = 1e-5, and what the library says; several releases are one
    with less noise."""
    from dp_accounting.gaussian_mechanism import get_epsilon_gaussian

    assert gaussian_epsilon(np.array([1 / 3.730632]), DELTA)[0] == pytest.approx(1, rel=1e-6)
    sigmas = np.array([0.3, 1.0, 5.0, 900.0])
    of_library = [get_epsilon_gaussian(sigma, DELTA) for sigma in sigmas.tolist()]
    np.testing.assert_allclose(
        gaussian_epsilon(1 / sigmas, DELTA), of_library, rtol=1e-6, atol=1e-9
    )
    found = spent(DeviceLevel(1.0, 6.0, DELTA, accountant="pld"), 1.0, 9)
    assert found == gaussian_epsilon(np.array([0.5]), DELTA)[0]
    assert gaussian_epsilon(np.zeros(1), DELTA)[0] == 0


@pytest.mark.parametrize(("rate", "sigma", "count"), [(0.25, 2.0, 12), (0.04, 0.8, 8)])
def test_with_sampling_it_lies_between_what_rounding_gives(
    rate: float, sigma: float, count: int
) -> None:
    below, above = bounds(rate, sigma, count, 5e-4)
    assert above - below < 0.01
    assert below < sampled_epsilon(rate, sigma, count, DELTA) < above


@pytest.mark.parametrize(
    ("rate", "sigma", "steps", "rdp", "by_loss"),
    [(0.01, 4.0, 10_000, 1.0355, 0.947), (256 / 60_000, 1.1, 14_062, 2.597, 2.382)],
)
def test_values_of_the_library(
    rate: float, sigma: float, steps: int, rdp: float, by_loss: float
) -> None:
    """As its own accountant gives them on its own grid."""
    assert spent(SampleLevel(1.0, sigma, DELTA), rate, steps) == pytest.approx(rdp, rel=5e-4)
    found = spent(SampleLevel(1.0, sigma, DELTA, accountant="pld"), rate, steps)
    assert found == pytest.approx(by_loss, rel=1e-3)
    assert found >= by_loss - 5e-4


def test_it_is_never_more_than_by_divergences() -> None:
    rate_N = np.array([0.001, 0.05, 0.3, 0.9, 1.0])
    for sigma in (0.06, 0.7, 4.0, 800.0):
        for releases in (1, 60):
            by = {}
            for accountant in ("rdp", "pld"):
                privacy = SampleLevel(1.0, sigma, DELTA, accountant=accountant)  # type: ignore[arg-type]
                by[accountant] = Accountant(privacy, rate_N).epsilon_N(np.full(5, releases))
            assert (by["pld"] <= by["rdp"]).all()
            worth = (by["rdp"] > 0.05) & ((by["rdp"] < pld.LARGEST) | (rate_N == 1))
            assert (by["pld"] < by["rdp"])[worth].all()
            assert (by["pld"] >= 0).all()
    # a tail that the library cuts off is more than this δ
    tiny = (SampleLevel(1.0, 2.0, 1e-18, accountant=name) for name in ("rdp", "pld"))  # type: ignore[arg-type]
    assert len({spent(privacy, 0.1, 20) for privacy in tiny}) == 1


def test_pairs_are_counted_in_parts_of_a_release() -> None:
    """Releases that the noise of neighbours protects add up to one of the Gaussian mechanism."""
    ring = np.arange(4)
    own_E, other_E = np.repeat(ring, 2), np.stack([(ring + 1) % 4, (ring - 1) % 4], 1)
    pairs = Pairs(4, own_E, np.sort(other_E, 1).reshape(-1))
    by = {}
    for accountant in ("rdp", "pld"):
        privacy = Correlated(1.0, 1.5, 2.0, DELTA, None, 0, accountant)  # type: ignore[arg-type]
        counted = PairAccountant(privacy, lambda round: 0, lambda round: pairs, np.ones(4, bool))
        by[accountant] = counted.epsilon_N(3 * counted.price_N(1))
    part = float(counted.price_N(1)[0]) / counted.full
    assert by["pld"] == pytest.approx(gaussian_epsilon(np.sqrt([3 * part]) / 1.5, DELTA)[0])
    assert (by["pld"] < by["rdp"]).all()


def test_a_budget_pays_for_more_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the last one that fits, at either level; nothing is composed before it may matter."""
    composed: list[tuple[float, int]] = []

    def watched(rate: float, sigma: float, count: int, delta: float) -> float:
        composed.append((rate, count))
        return sampled_epsilon(rate, sigma, count, delta)

    monkeypatch.setattr(pld, "sampled_epsilon", watched)
    by_divergence, by_loss = (
        Accountant(
            SampleLevel(1.0, 2.0, DELTA, 4.0, accountant=name), np.array([0.1, 0.2, 0.2, 1.0])
        )  # type: ignore[arg-type]
        for name in ("rdp", "pld")
    )
    sure_N, all_N = by_divergence.most_N, np.arange(4)
    assert by_loss.allowed(all_N, sure_N - 2, np.full(4, 2), 1).tolist() == [2, 2, 2, 2]
    assert not by_loss.poor_N(sure_N - 1, 1).any()
    assert composed == []
    most_N = by_loss.most_N
    assert (most_N[:3] > sure_N[:3]).all()
    assert (by_loss.epsilon_N(most_N) <= 4).all()
    assert (by_loss.epsilon_N(most_N + 1) > 4).all()
    assert by_loss.allowed(all_N, most_N - 2, np.full(4, 5), 1).tolist() == [2, 2, 2, 2]
    assert by_loss.allowed(all_N, most_N + 1, np.full(4, 5), 1).tolist() == [0, 0, 0, 0]
    assert by_loss.poor_N(most_N - np.array([0, 1, 0, 1]), 1).tolist() == [True, False, True, False]
    composed.clear()
    by_loss.epsilon_N(np.full(4, 7))
    assert sorted(composed) == [(0.1, 7), (0.2, 7)]  # once for each rate and count
    device = Accountant(DeviceLevel(1.0, 2.0, DELTA, 4.0, accountant="pld"), np.ones(1))
    last_N = device.most_N
    assert device.allowed(np.zeros(1, int), last_N - 1, np.array([5]), 1).tolist() == [5]
    assert device.allowed(np.zeros(1, int), last_N, np.array([5]), 1).tolist() == [0]


def test_less_noise_keeps_a_target() -> None:
    rate_N, steps_N, target = np.array([0.02]), np.array([10]), 1.0
    found = {}
    for name in ("rdp", "pld"):
        accountant = Accountant(SampleLevel(1.0, 1.0, DELTA, accountant=name), rate_N)  # type: ignore[arg-type]
        plan = Plan.of(accountant, [(1, steps_N)])
        found[name] = least_noise(accountant, plan, target, np.ones(1, bool))
        sigma = found[name].noise_multiplier
        assert accountant.with_noise(sigma).epsilon_N(steps_N).max() <= target
        assert accountant.with_noise(0.99 * sigma).epsilon_N(steps_N).max() > target
    assert found["pld"].noise_multiplier < found["rdp"].noise_multiplier


def test_same_bits_and_budgets_in_shards_and_after_a_resume(tmp_path: Path) -> None:
    common = ("privacy=sample_level", "privacy.accountant=pld", "partition=iid", "topology=ring")
    budget = ("privacy.epsilon=1.2", "devices=6", "engine.block=1", "optimizer.lr=0.05")
    require_same_bits(tmp_path, *common, *budget, rounds=4, cut=2)
    records = logged(tmp_path / "one")
    assert records[2]["budgets_spent"] == 0
    assert records[4]["budgets_spent"] > 0
    e_max = [record["epsilon_max"] for record in records]
    assert e_max[0] == 0 < e_max[1] < e_max[2] <= e_max[4] <= 1.2
