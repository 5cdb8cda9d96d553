"""ε by privacy loss distributions: tighter than by Rényi divergences, and slower for samples.

The privacy loss of a release is log P(out | one)/P(out | other). Its distribution gives δ for each
ε exactly, and that of several releases is the convolution of theirs (Koskela, Jälkö & Honkela,
*Computing tight differential privacy guarantees using FFT*, AISTATS 2020, arXiv 1906.03049).

Releases of the Gaussian mechanism without sampling add up to one of it, whose δ has a closed form
(Balle & Wang, *Improving the Gaussian mechanism for differential privacy*, ICML 2018, arXiv
1805.06530). Those on Poisson samples are convolved by the library ``dp-accounting``, on a grid
whose rounding only makes ε larger (Doroshenko, Ghazi, Kamath, Kumar & Manurangsi, *Connect the
dots: tighter discrete approximations of privacy loss distributions*, PoPETs 2022, arXiv
2207.04380).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from swarm.common.system.garbage import without_collection

Floats = npt.NDArray[np.float64]

FINEST, POINTS = 1e-4, 1 << 14
"""The least distance between two losses of a grid, and how many losses of one release there may be:
a coarser grid makes ε larger by a thousandth or two at most, and a finer one takes longer."""
LARGEST = 100.0
"""The largest ε, by Rényi divergences, that is worth a distribution: a larger one promises nothing,
and would take a grid of millions of losses."""


def loss_epsilon(
    rate_U: Floats, noise_multiplier: float, count_U: Floats, delta: float, at_most_U: Floats
) -> Floats:
    """An upper bound of ε ``[U]`` for ``delta`` of ``count_U`` releases of the Gaussian mechanism
    on Poisson samples with these rates; ``at_most_U`` is another bound, which is returned where it
    is above :data:`LARGEST`. Only counts of releases without sampling may be fractions."""
    mu_U = np.where(rate_U == 1, np.sqrt(count_U) / noise_multiplier, 0.0)
    found_U = gaussian_epsilon(mu_U, delta)
    for i in np.flatnonzero((rate_U < 1) & (count_U > 0)).tolist():
        known = float(at_most_U[i])
        rate, count = float(rate_U[i]), int(count_U[i])
        large = known > LARGEST
        found_U[i] = known if large else sampled_epsilon(rate, noise_multiplier, count, delta)
    return found_U


def gaussian_epsilon(mu_U: Floats, delta: float) -> Floats:
    """The least ε ``[U]`` for ``delta`` of releases of the Gaussian mechanism that add up to
    μ = √count / σ, by bisection of

        δ(ε) = Φ(μ/2 − ε/μ) − e^ε · Φ(−μ/2 − ε/μ).
    """
    mu_U = np.asarray(mu_U, np.float64)
    there_U = mu_U > 0
    m_U = np.where(there_U, mu_U, 1.0)
    low_U, high_U = np.zeros_like(m_U), m_U**2 / 2 + m_U * np.sqrt(-2 * np.log(delta))
    for _ in range(64):
        middle_U = (low_U + high_U) / 2
        upper_U = log_ndtr(m_U / 2 - middle_U / m_U)
        lower_U = middle_U + log_ndtr(-m_U / 2 - middle_U / m_U)
        log_delta_U = upper_U + np.log1p(-np.exp(np.minimum(lower_U - upper_U, -1e-300)))
        fits_U = log_delta_U <= np.log(delta)
        low_U, high_U = np.where(fits_U, low_U, middle_U), np.where(fits_U, middle_U, high_U)
    return np.where(there_U, high_U, 0.0)


@lru_cache(maxsize=1 << 16)
def sampled_epsilon(rate: float, noise_multiplier: float, count: int, delta: float) -> float:
    """An upper bound of ε for ``delta`` of ``count`` releases of the Gaussian mechanism on Poisson
    samples with this ``rate``, below 1. It may be infinite for a tiny ``delta``."""
    composed = _one(rate, noise_multiplier).self_compose(count)
    return float(composed.get_epsilon_for_delta(delta))


@lru_cache(maxsize=256)
def _one(rate: float, noise_multiplier: float) -> Any:
    """The privacy loss distribution of one release."""
    with without_collection():
        from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism
    return from_gaussian_mechanism(
        noise_multiplier,
        sampling_prob=rate,
        value_discretization_interval=grid(rate, noise_multiplier),
    )


def grid(rate: float, noise_multiplier: float) -> float:
    """The distance between two losses of one release: :data:`FINEST` times a power of two."""
    # noise is within ten standard deviations, but for 10⁻²³
    largest = 1 / (2 * noise_multiplier**2) + 10 / noise_multiplier
    width = np.logaddexp(np.log1p(-rate), np.log(rate) + largest) - np.log1p(-rate)
    return float(FINEST * 2 ** max(0, np.ceil(np.log2(width / (FINEST * POINTS)))))
