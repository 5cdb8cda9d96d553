"""ε is that of the library and of the literature, and a budget allows as many releases as it can."""

from __future__ import annotations

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.learning.privacy import accountant as module
from swarm.learning.privacy.accountant import Accountant, divergences, epsilon_of, require_library
from swarm.learning.privacy.mechanism import DeviceLevel, SampleLevel


def _epsilon(privacy: SampleLevel | DeviceLevel, rate: float, releases: int) -> float:
    return float(Accountant(privacy, np.array([rate])).epsilon_N(np.array([releases]))[0])


@pytest.mark.parametrize(
    ("rate", "sigma", "steps", "epsilon", "classic"),
    [(0.01, 4.0, 10_000, 1.0355, 1.2586), (256 / 60_000, 1.1, 14_062, 2.597, 3.008)],
)
def test_published_values(
    rate: float, sigma: float, steps: int, epsilon: float, classic: float
) -> None:
    """Those of Abadi et al. and of the tutorial of TensorFlow Privacy, by the improved conversion;
    by the one of Mironov they are larger."""
    assert _epsilon(SampleLevel(1.0, sigma), rate, steps) == pytest.approx(epsilon, rel=5e-4)
    orders_O, one_O = divergences(rate, sigma)
    by_mironov = (one_O * steps - np.log(1e-5) / (orders_O - 1)).min()
    assert by_mironov == pytest.approx(classic, rel=5e-4)


def test_many_devices_spend_what_each_would_alone_and_what_the_library_says() -> None:
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant, compute_epsilon

    rate_N, releases_N = np.array([0.1, 1.0, 0.1, 0.02]), np.array([7, 3, 0, 500])
    found_N = Accountant(SampleLevel(1.0, 2.0, 1e-6), rate_N).epsilon_N(releases_N)
    assert found_N[2] == 0
    for rate, releases, found in zip(rate_N, releases_N, found_N, strict=True):
        if releases:
            orders_O, one_O = divergences(float(rate), 2.0)
            of_library = compute_epsilon(orders_O, one_O * releases, 1e-6)[0]
            assert found == pytest.approx(of_library, rel=1e-12)
    accountant = RdpAccountant()
    accountant.compose(dp_accounting.GaussianDpEvent(2.0), 3)
    assert found_N[1] == pytest.approx(accountant.get_epsilon(1e-6), rel=1e-12)
    assert epsilon_of(np.array([2.0]), np.array([[1e-15]]), 1e-6)[0] == 0


@pytest.mark.parametrize("budget", [0.9, 3.0, 30.0])
def test_a_budget_allows_the_last_release_that_it_pays_for(budget: float) -> None:
    accountant = Accountant(SampleLevel(1.0, 1.0, 1e-5, budget), np.array([0.01, 0.2, 1.0]))
    assert (accountant.epsilon_N(accountant.most_N) <= budget).all()
    assert (accountant.epsilon_N(accountant.most_N + 1) > budget).all()
    devices, none = np.arange(3), np.zeros(3, np.int64)
    steps = accountant.allowed(devices, accountant.most_N - 2, none + 5, 1)
    assert steps.tolist() == np.minimum(accountant.most_N, 2).clip(2).tolist()
    assert accountant.allowed(devices, accountant.most_N + 1, none + 5, 1).tolist() == [0, 0, 0]


def test_a_device_releases_once_a_round() -> None:
    accountant, both = Accountant(DeviceLevel(1.0, 2.0, 1e-5, 8.0), np.ones(2)), np.arange(2)
    assert accountant.after(both, np.array([3, 3]), np.array([5, 0]), 1).tolist() == [4, 3]
    almost_N = accountant.most_N - np.array([1, 0])
    assert accountant.allowed(both, almost_N, np.array([5, 5]), 1).tolist() == [5, 0]
    assert accountant.poor_N(almost_N, 1).tolist() == [False, True]


def test_settings_that_promise_nothing_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for options, said in (
        ({"clip_norm": None}, "noise hides only what clipping has bounded"),
        ({"clip_norm": 0.0}, "must be null or a norm"),
        ({"noise_multiplier": -1.0}, "must be 0 or a number from 0.05 to 1000"),
        ({"delta": -1e-5}, "must be a probability from 1e-18"),
        ({"delta": 0.0}, "must be a probability from 1e-18"),
        ({"epsilon": 0.0}, "must be null or a budget above 0"),
        ({"epsilon": 1.0, "noise_multiplier": 0.0}, "spends any budget at once"),
        ({"rate": 1.5}, "must be null or a probability"),
    ):
        with pytest.raises(ConfigError, match=said):
            SampleLevel(**options)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the library .*\.\[privacy\]"):
        require_library("sample_level")
