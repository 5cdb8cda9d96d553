"""Attacks that ask whether a model has learnt from a sample, from the losses of models.

LiRA is the likelihood ratio attack of Carlini, Chien, Nasr, Song, Terzis & Tramèr, *Membership
inference attacks from first principles*, IEEE S&P 2022 (arXiv 2112.03570).

Axes in names: A samples, S shadow models.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from swarm.simulation.metrics.formulas import auc

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SMALLEST, LARGEST = 1e-7, 500.0  # of a loss: below, float32 has no digits left
Z = 1.959963984540054  # of a 95% interval


def logit_scaled(loss: Floats) -> Floats:
    """φ = ln(p / (1 − p)) of the probability p = e^−loss that a model gives the right class. Over
    models, φ of a sample is about normally distributed, as p is not."""
    return np.asarray(-np.log(np.expm1(np.clip(loss, SMALLEST, LARGEST))))


def _fitted(phi_SA: Floats, of_SA: Bools) -> tuple[Floats, float]:
    """The mean of each sample's φ over the shadows that ``of_SA`` selects, ``[A]``, and the
    variance around it, one for all samples, as few shadows give no good estimate for each."""
    count_A = of_SA.sum(0)
    mean_A = (phi_SA * of_SA).sum(0) / count_A
    freedom = max(int(of_SA.sum() - len(count_A)), 1)
    variance = float((of_SA * (phi_SA - mean_A) ** 2).sum()) / freedom
    return mean_A, max(variance, 1e-12)


def lira(phi_A: Floats, phi_SA: Floats, inside_SA: Bools) -> Floats:
    """The online attack: ln N(φ; μ_in, σ²_in) − ln N(φ; μ_out, σ²_out), ``[A]``, of the samples'
    ``phi_A`` under the attacked model, with μ_in over the shadows that have learnt from a sample
    (``inside_SA``) and μ_out over the others; every sample must be in some and not in some."""
    found = np.zeros(len(phi_A))
    for sign, of_SA in ((1, inside_SA), (-1, ~inside_SA)):
        mean_A, variance = _fitted(phi_SA, of_SA)
        found -= sign * ((phi_A - mean_A) ** 2 / variance + math.log(variance)) / 2
    return found


def lira_offline(phi_A: Floats, phi_SA: Floats, inside_SA: Bools) -> Floats:
    """The offline attack, (φ − μ_out)/σ_out, ``[A]``: whoever trained the shadows need not have had
    the samples. It orders samples as the one-sided test of the paper does."""
    mean_A, variance = _fitted(phi_SA, ~inside_SA)
    return np.asarray((phi_A - mean_A) / math.sqrt(variance))


def auc_interval(score_m: Floats, other_k: Floats) -> tuple[float, float, float]:
    """The AUC and the ends of its 95% interval by Hanley & McNeil, *The meaning and use of the area
    under a receiver operating characteristic (ROC) curve*, 1982, which takes scores for
    independent."""
    area, m, k = auc(score_m, other_k), len(score_m), len(other_k)
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (m - 1) * (first - area**2) + (k - 1) * (second - area**2)
    half = Z * math.sqrt(max(variance, 0.0) / (m * k))
    return area, max(area - half, 0.0), min(area + half, 1.0)
