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
from swarm.common.system.garbage import without_collection
from swarm.learning.privacy.mechanism import Privacy
from swarm.learning.privacy.pld import loss_epsilon

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

ORDERS = (*range(2, 64), 128, 256, 512, 1024)
"""Orders of the divergences of sampled releases. Orders in between would make an ε below 8 smaller
by a few hundredths at most, and take ten times as long."""
MANY = 1 << 50  # releases that no run reaches
LIBRARY = ("dp_accounting", "pip install '.[privacy]'")


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


def require_library(name: str, library: tuple[str, str] | None = LIBRARY) -> None:
    """Raise :class:`ConfigError` if the ``library`` is not installed that counts for the option
    ``name`` of ``privacy``: its module, and how to install it."""
    if library is not None and find_spec(library[0]) is None:
        valid = f"needs the library {library[0].replace('_', '-')}: `{library[1]}`"
        raise ConfigError("privacy", name, valid)


def epsilon_of(orders_O: Floats, divergence_UO: Floats, delta: float) -> Floats:
    """The smallest ε ``[U]`` that the divergences of some releases together allow for ``delta``."""
    each_UO = divergence_UO + np.log1p(-1 / orders_O) - (np.log(delta * orders_O)) / (orders_O - 1)
    # δ ≥ √(1 − e^−KL) needs no ε at all
    none_UO = delta**2 + np.expm1(-divergence_UO) > 0
    return np.asarray(np.maximum(0.0, np.where(none_UO, 0.0, each_UO).min(1)))


class Accountant:
    """What N devices spend, if each release of device i is a sample with rate ``rate_N[i]``.

    A mechanism that is not Gaussian overrides :meth:`one_release`, one whose releases cost more in
    some rounds than in others :meth:`phase` and :meth:`price_N`, and one with another constructor
    :meth:`with_noise`. ``privacy.accountant`` must then be ``rdp``.

    Attributes:
        library: The module of the library that counts, and how to install it; None: it needs none.
        full: The price of a release that nobody else's noise protects: what is spent is counted in
            whole numbers, of which this many stand for one release.
    """

    full: ClassVar[int] = 1
    library: ClassVar[tuple[str, str] | None] = LIBRARY

    def __init__(self, privacy: Privacy, rate_N: Floats) -> None:
        self.privacy, self.rate_N = privacy, rate_N
        self._rates_U, self._kind_N = np.unique(rate_N, return_inverse=True)
        self._one_UO: Floats | None = None  # NaN of a rate that nobody has asked for
        self._exact: dict[int, int] = {}  # by rate, how many releases the budget allows

    def with_noise(self, noise_multiplier: float) -> Accountant:
        """The accountant of the same devices with another noise multiplier."""
        return Accountant(self.privacy.with_noise(noise_multiplier), self.rate_N)

    def one_release(self, rate: float) -> tuple[Floats, Floats]:
        """Return orders of Rényi divergences, and the divergence of each, of one release on a
        sample with this ``rate``. Orders are among :data:`ORDERS`; with a rate of 1 there may be
        others."""
        return divergences(rate, self.privacy.noise_multiplier)

    def epsilon_N(self, releases_N: Ints) -> Floats:
        """The ε of each device after so many releases, ``[N]``."""
        pairs, place_N = np.unique(
            np.stack([self._kind_N, releases_N]), axis=1, return_inverse=True
        )
        return self._epsilon(pairs[0], pairs[1])[place_N.reshape(-1)]

    def phase(self, round: int) -> int:
        """The number of a phase: rounds of the same one have the same :meth:`price_N`."""
        return 0

    def price_N(self, round: int) -> Ints:
        """What a release of each device in ``round`` costs, ``[N]``."""
        return np.ones(len(self._kind_N), np.int64)

    def made(self, steps_n: Ints) -> Ints:
        """How many releases devices make in a round with so many steps: one for each step, or at
        the level of devices one for the round."""
        sample = self.privacy.unit == "sample"
        return steps_n if sample else (steps_n > 0).astype(np.int64)

    def allowed(self, devices_n: Ints, releases_n: Ints, steps_n: Ints, round: int) -> Ints:
        """How many of ``steps_n`` steps of ``round`` these devices can pay for, after
        ``releases_n`` releases."""
        if self.privacy.epsilon is None:
            return steps_n
        if self.privacy.unit == "sample":
            left_n = self._payable(devices_n, releases_n + steps_n) - releases_n
            return np.asarray(left_n.clip(0))
        then_n = releases_n + self.price_N(round)[devices_n]
        return np.asarray(np.where(self._payable(devices_n, then_n) == then_n, steps_n, 0))

    def after(self, devices_n: Ints, releases_n: Ints, steps_n: Ints, round: int) -> Ints:
        """How many releases these devices have made after a ``round`` with so many steps."""
        return np.asarray(releases_n + self.made(steps_n) * self.price_N(round)[devices_n])

    def poor_N(self, releases_N: Ints, round: int) -> npt.NDArray[np.bool_]:
        """Which devices cannot pay for a release in ``round``, ``[N]``."""
        then_N = releases_N + self.price_N(round)
        return np.asarray(self._payable(np.arange(len(then_N)), then_N) < then_N)

    @property
    def most_N(self) -> Ints:
        """How many releases each device's budget allows, ``[N]``."""
        return self._payable(np.arange(len(self._kind_N)), np.full(len(self._kind_N), MANY))

    def _payable(self, devices_n: Ints, wanted_n: Ints) -> Ints:
        """How many of ``wanted_n`` releases since the start these devices can pay for."""
        if self.privacy.epsilon is None:
            return wanted_n
        kind_n = self._kind_N[devices_n]
        most_n = self._surely_U[kind_n]
        if self.privacy.accountant == "pld":
            # exact numbers take long, and are asked for near the end of a budget only
            for kind in np.unique(kind_n[wanted_n > most_n]).tolist():
                most_n[kind_n == kind] = self._most(kind)
        return np.asarray(np.minimum(wanted_n, most_n))

    @cached_property
    def _surely_U(self) -> Ints:
        """How many releases with each rate the budget allows by Rényi divergences, ``[U]``; found
        by bisection. It is no more than by privacy loss distributions."""
        kinds_U, budget = np.arange(len(self._rates_U)), self.privacy.epsilon
        assert budget is not None, "asked only where there is one"
        low_U, high_U = np.zeros_like(kinds_U), np.full_like(kinds_U, MANY)
        while (high_U - low_U > 1).any():
            middle_U = (low_U + high_U) // 2
            fits_U = self._by_divergence(kinds_U, middle_U) <= budget
            low_U, high_U = np.where(fits_U, middle_U, low_U), np.where(fits_U, high_U, middle_U)
        return low_U

    def _most(self, kind: int) -> int:
        """How many releases with this rate the budget allows."""
        if kind not in self._exact:

            def fits(releases: int) -> bool:
                spent_1 = self._epsilon(np.array([kind]), np.array([releases]))
                return bool(spent_1[0] <= self.privacy.epsilon)

            low = int(self._surely_U[kind])
            high = 2 * low + 1
            while high < MANY and fits(high):
                low, high = high, 2 * high + 1
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if fits(middle) else (low, middle)
            self._exact[kind] = low
        return self._exact[kind]

    def _epsilon(self, kind_U: Ints, releases_U: Ints) -> Floats:
        """The ε of so many releases with each of these rates, ``[U]``."""
        found_U = self._by_divergence(kind_U, releases_U)
        if self.privacy.accountant == "rdp":
            return found_U
        # both are upper bounds, and so is the smaller one
        rate_U, count_U = self._rates_U[kind_U], releases_U / self.full
        by_loss_U = loss_epsilon(
            rate_U, self.privacy.noise_multiplier, count_U, self.privacy.delta, found_U
        )
        return np.minimum(found_U, by_loss_U)

    def _by_divergence(self, kind_U: Ints, releases_U: Ints) -> Floats:
        """The ε ``[U]`` that the Rényi divergences of all releases allow."""
        made_U = releases_U > 0
        orders_O, one_UO = self._one(kind_U[made_U])
        spent_UO = np.zeros((len(kind_U), len(orders_O)))
        spent_UO[made_U] = one_UO * (releases_U[made_U, None] / self.full)
        return epsilon_of(orders_O, spent_UO, self.privacy.delta)

    def _one(self, kind_U: Ints) -> tuple[Floats, Floats]:
        """The orders ``[O]``, and their divergences of one release with each of these rates,
        ``[U, O]``; infinity for an order that is left out."""
        # releases without sampling have more orders than others
        whole = self.one_release(1.0)[0] if self._rates_U[-1] == 1 else np.empty(0)
        orders_O = np.union1d(np.array(ORDERS, np.float64), whole)
        if self._one_UO is None:
            self._one_UO = np.full((len(self._rates_U), len(orders_O)), np.nan)
        for kind in np.unique(kind_U[np.isnan(self._one_UO[kind_U, 0])]).tolist():
            orders_K, divergence_K = self.one_release(float(self._rates_U[kind]))
            self._one_UO[kind] = np.inf
            self._one_UO[kind, np.searchsorted(orders_O, orders_K)] = divergence_K
        return orders_O, self._one_UO[kind_U]
