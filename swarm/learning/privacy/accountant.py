"""How much privacy each device has spent: ε for its δ, by Rényi differential privacy.

The Rényi divergences of a release are those of the library ``dp-accounting``. They add up over
releases (Mironov, *Rényi differential privacy*, CSF 2017, arXiv 1702.07476), and the conversion to
(ε, δ) is that of Canonne, Kamath & Steinke, *The discrete Gaussian for differential privacy*,
NeurIPS 2020 (arXiv 2004.00010, proposition 12).
"""

from __future__ import annotations

from functools import cache, cached_property
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.system.imports import without_collection
from swarm.learning.privacy.mechanism import LEAST_NOISE, MOST_NOISE, Privacy

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

ORDERS = (*range(2, 64), 128, 256, 512, 1024)
"""Orders of the divergences of sampled releases. Orders in between would make an ε below 8 smaller
by a few hundredths at most, and take ten times as long."""
MANY = 1 << 50  # releases that no run reaches


@cache
def divergences(rate: float, noise_multiplier: float) -> tuple[Floats, Floats]:
    """The orders, and the Rényi divergence of each, of one release of the Gaussian mechanism on a
    Poisson sample with this ``rate``."""
    with without_collection():
        import dp_accounting
        from dp_accounting.rdp import RdpAccountant
    release = dp_accounting.GaussianDpEvent(noise_multiplier)
    if rate == 1:
        accountant = RdpAccountant()
        accountant.compose(release)
    else:
        accountant = RdpAccountant(ORDERS)
        accountant.compose(dp_accounting.PoissonSampledDpEvent(rate, release))
    return np.asarray(accountant.orders, np.float64), np.asarray(accountant.rdp, np.float64)


def require_library(name: str) -> None:
    """Raise :class:`ConfigError` if the library is not installed that counts for the option
    ``name`` of ``privacy``."""
    if find_spec("dp_accounting") is None:
        valid = "needs the library dp-accounting: `pip install '.[privacy]'`"
        raise ConfigError("privacy", name, valid)


def epsilon_of(orders_O: Floats, divergence_UO: Floats, delta: float) -> Floats:
    """The smallest ε ``[U]`` that the divergences of some releases together allow for ``delta``."""
    each_UO = divergence_UO + np.log1p(-1 / orders_O) - (np.log(delta * orders_O)) / (orders_O - 1)
    # δ ≥ √(1 − e^−KL) needs no ε at all
    none_UO = delta**2 + np.expm1(-divergence_UO) > 0
    return np.asarray(np.maximum(0.0, np.where(none_UO, 0.0, each_UO).min(1)))


def noise_for(epsilon: float, delta: float, rate: float, releases: int) -> float:
    """The least noise multiplier with which ``releases`` samples with this ``rate`` spend at most
    ``epsilon``, rounded up to three decimals, by bisection.

    Raises :class:`ConfigError` where none is in the range of the accountant.
    """

    def spent(thousandths: int) -> float:
        orders_O, divergence_O = divergences(rate, thousandths / 1000)
        return float(epsilon_of(orders_O, divergence_O[None] * releases, delta)[0])

    low, high = round(1000 * LEAST_NOISE) - 1, round(1000 * MOST_NOISE)
    if spent(high) > epsilon:
        valid = f"cannot be kept with a noise_multiplier of at most {MOST_NOISE:g}"
        raise ConfigError("epsilon", epsilon, valid)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if spent(middle) <= epsilon else (middle, high)
    return high / 1000


class Accountant:
    """What N devices spend, if each release of device i is a sample with rate ``rate_N[i]``.

    Attributes:
        full: The price of a release that nobody else's noise protects: what is spent is counted in
            whole numbers, of which this many stand for one release.
    """

    full: ClassVar[int] = 1

    def __init__(self, privacy: Privacy, rate_N: Floats) -> None:
        self.privacy = privacy
        self._rates_U, self._kind_N = np.unique(rate_N, return_inverse=True)

    @cached_property
    def _one(self) -> tuple[Floats, Floats]:
        """The orders ``[O]``, and their divergences of one release with each rate, ``[U, O]``."""
        sigma = self.privacy.noise_multiplier
        found = [divergences(rate, sigma) for rate in self._rates_U.tolist()]
        # releases with a rate of 1 have more orders than others
        orders = sorted({order for orders_O, _ in found for order in orders_O.tolist()})
        orders_O, one_UO = np.array(orders), np.full((len(found), len(orders)), np.inf)
        for row_O, (orders_K, divergence_K) in zip(one_UO, found, strict=True):
            row_O[np.searchsorted(orders_O, orders_K)] = divergence_K
        return orders_O, one_UO

    def epsilon_N(self, releases_N: Ints) -> Floats:
        """The ε of each device after so many releases, ``[N]``."""
        pairs, place_N = np.unique(
            np.stack([self._kind_N, releases_N]), axis=1, return_inverse=True
        )
        return self._epsilon(pairs[0], pairs[1])[place_N.reshape(-1)]

    def price_N(self, round: int) -> Ints:
        """What a release of each device in ``round`` costs, ``[N]``."""
        return np.ones(len(self._kind_N), np.int64)

    def allowed(self, devices_n: Ints, releases_n: Ints, steps_n: Ints, round: int) -> Ints:
        """How many of ``steps_n`` steps of ``round`` these devices can pay for, after
        ``releases_n`` releases."""
        if self.privacy.epsilon is None:
            return steps_n
        left_n = self.most_N[devices_n] - releases_n
        if self.privacy.unit == "sample":
            return np.asarray(np.minimum(steps_n, left_n.clip(0)))
        return np.asarray(np.where(left_n >= self.price_N(round)[devices_n], steps_n, 0))

    def after(self, devices_n: Ints, releases_n: Ints, steps_n: Ints, round: int) -> Ints:
        """How many releases these devices have made after a ``round`` with so many steps: one for
        each step, or at the level of devices one for the round."""
        made_n = steps_n if self.privacy.unit == "sample" else steps_n > 0
        return np.asarray(releases_n + made_n * self.price_N(round)[devices_n])

    def poor_N(self, releases_N: Ints, round: int) -> npt.NDArray[np.bool_]:
        """Which devices cannot pay for a release in ``round``, ``[N]``."""
        return np.asarray(self.most_N - releases_N < self.price_N(round))

    def _epsilon(self, kind_U: Ints, releases_U: Ints) -> Floats:
        orders_O, one_UO = self._one
        with np.errstate(invalid="ignore"):  # 0 releases of an order that is left out
            spent_UO = one_UO[kind_U] * (releases_U[:, None] / self.full)
        spent_UO[releases_U == 0] = 0.0
        return epsilon_of(orders_O, spent_UO, self.privacy.delta)

    @cached_property
    def most_N(self) -> Ints:
        """How many releases each device's budget allows, ``[N]``; found by bisection."""
        kinds_U = np.arange(len(self._rates_U))
        low_U, high_U = np.zeros_like(kinds_U), np.full_like(kinds_U, MANY)
        if self.privacy.epsilon is None:
            return high_U[self._kind_N]
        while (high_U - low_U > 1).any():
            middle_U = (low_U + high_U) // 2
            fits_U = self._epsilon(kinds_U, middle_U) <= self.privacy.epsilon
            low_U, high_U = np.where(fits_U, middle_U, low_U), np.where(fits_U, high_U, middle_U)
        return low_U[self._kind_N]
