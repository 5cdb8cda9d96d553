"""The density of models: how large a model of a reference family would have to be to do as well.

Xiao et al., *Densing law of LLMs*, 2024 (arXiv 2412.04315): reference models of several sizes N,
trained on D samples, give a law of the loss L by N and D, and a curve of the score S by the loss.
Inverted, they turn the score of any model into its effective size N̂, and its density is ρ = N̂/N.
The paper finds that the densities of the best models grow as ln ρ = A·t + B.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from swarm.common.statistics.growth import PowerLaw, power_law
from swarm.common.statistics.intervals import LEVEL, Interval

Floats = NDArray[np.float64]


class LossLaw(NamedTuple):
    """``L = a·N^−α + b·D^−β`` for models of N parameters that have learnt from D samples."""

    a: float
    alpha: float
    b: float
    beta: float

    def at(self, size: ArrayLike, samples: ArrayLike) -> Floats:
        """Return the losses at the sizes N and numbers of samples D, arrays of one shape."""
        return PowerLaw(self.a, self.alpha, 0.0).at(size) + self._of_data(samples)

    def of_samples(self, samples: float) -> PowerLaw:
        """Return the law of the sizes alone, for models that all have learnt from ``samples``."""
        return PowerLaw(self.a, self.alpha, float(self._of_data(samples)))

    def _of_data(self, samples: ArrayLike) -> Floats:
        return np.asarray(self.b * np.asarray(samples, np.float64) ** -self.beta)


def loss_law(size: ArrayLike, samples: ArrayLike, loss: ArrayLike) -> LossLaw:
    """Fit ``L = a·N^−α + b·D^−β`` to the losses of K models, all ``[K]``, by least squares of log
    L; all four numbers are above 0, and the exponents at most 3.

    Raises ``ValueError`` for fewer than five models or three different values of either, and for
    values that are not finite and above 0.
    """
    n_K, d_K, loss_K = (np.asarray(each, np.float64) for each in (size, samples, loss))
    several = min(len(set(n_K.tolist())), len(set(d_K.tolist()))) >= 3
    positive = all(np.isfinite(each).all() and (each > 0).all() for each in (n_K, d_K, loss_K))
    if not len(n_K) == len(d_K) == len(loss_K) >= 5 or not several or not positive:
        raise ValueError(
            "a law of the loss needs five models or more, of three different sizes and three"
            " different numbers of samples, and finite values above 0"
        )
    # both terms are fitted as their values in the middle: far from it, factor and exponent are
    # hardly told apart
    middles = np.exp(np.log([n_K, d_K]).mean(1))
    logs_K = np.log(loss_K)

    def off(parameters: Floats) -> Floats:
        of_size, alpha, of_data, beta = parameters
        terms = np.exp(of_size) * (n_K / middles[0]) ** -alpha
        return np.asarray(np.log(terms + np.exp(of_data) * (d_K / middles[1]) ** -beta) - logs_K)

    mean = math.log(loss_K.mean())
    starts = [
        (mean + math.log(share), alpha, mean + math.log(1 - share), beta)
        for share in (0.1, 0.5, 0.9)
        for alpha in (0.1, 0.5)
        for beta in (0.1, 0.5)
    ]
    bounds = ([-60.0, 1e-6, -60.0, 1e-6], [60.0, 3.0, 60.0, 3.0])
    found = [optimize.least_squares(off, start, bounds=bounds, xtol=1e-12) for start in starts]
    of_size, alpha, of_data, beta = min(found, key=lambda each: float(each.cost)).x
    return LossLaw(
        float(np.exp(of_size) * middles[0] ** alpha),
        float(alpha),
        float(np.exp(of_data) * middles[1] ** beta),
        float(beta),
    )


class ScoreCurve(NamedTuple):
    """``S = c/(1 + e^(−γ(L − l))) + d``: a score that falls with the loss L (γ < 0), from c + d
    down to d."""

    c: float
    gamma: float
    middle: float
    d: float

    def at(self, loss: ArrayLike) -> Floats:
        """Return the scores at these losses."""
        steps = self.gamma * (np.asarray(loss, np.float64) - self.middle)
        return np.asarray(self.c / (1 + np.exp(-steps)) + self.d)

    def loss(self, score: ArrayLike) -> Floats:
        """Return the losses with these scores, the inverse of :meth:`at`; NaN outside d < S < c +
        d, where no loss has the score."""
        share = (np.asarray(score, np.float64) - self.d) / self.c
        inside = (share > 0) & (share < 1)
        found = np.full(share.shape, np.nan)
        found[inside] = self.middle - np.log(1 / share[inside] - 1) / self.gamma
        return found


def score_curve(loss: ArrayLike, score: ArrayLike) -> ScoreCurve:
    """Fit a :class:`ScoreCurve` to the losses and scores of K models, ``[K]`` each, by least
    squares. The ends of the curve lie between 0 and 1, as those of an accuracy do.

    Raises ``ValueError`` for fewer than five models, for values that are not finite, and for scores
    outside [0, 1].
    """
    loss_K, score_K = np.asarray(loss, np.float64), np.asarray(score, np.float64)
    finite = np.isfinite(loss_K).all() and np.isfinite(score_K).all()
    if len(loss_K) != len(score_K) or len(set(loss_K.tolist())) < 5 or not finite:
        raise ValueError("a curve of the score needs five models or more, and finite values")
    if score_K.min() < 0 or score_K.max() > 1:
        raise ValueError("a curve of the score needs scores from 0 to 1")
    spread = float(np.ptp(loss_K))

    def curve(parameters: Floats) -> ScoreCurve:
        top, share, steepness, middle = parameters  # the lower end is a share of the upper one
        return ScoreCurve(top * (1 - share), -steepness / spread, middle, top * share)

    low, high = float(loss_K.min()), float(loss_K.max())
    starts = [
        (min(1.0, score_K.max() + 0.01), 0.1, steepness, low + at * spread)
        for steepness in (2.0, 5.0, 15.0)
        for at in (0.2, 0.5, 0.9)
    ]
    bounds = ([1e-6, 0.0, 1e-3, low - 3 * spread], [1.0, 0.999, 1e3, high + 3 * spread])
    found = [
        optimize.least_squares(lambda p: curve(p).at(loss_K) - score_K, start, bounds=bounds)
        for start in starts
    ]
    return curve(min(found, key=lambda each: float(each.cost)).x)


class Reference(NamedTuple):
    """The reference family of a task at one number of samples: the ``law`` of the loss by size, the
    ``curve`` of the score by loss, and the sizes of its smallest and largest model."""

    law: PowerLaw
    curve: ScoreCurve
    least: float
    most: float

    def score(self, size: ArrayLike) -> Floats:
        """Return the scores of reference models of these sizes."""
        return self.curve.at(self.law.at(size))

    def effective_size(self, score: ArrayLike) -> Floats:
        """Return the sizes of the reference models with these scores.

        It is NaN for a score that no model between the smallest and the largest one of the family
        has: nothing is extrapolated.
        """
        found = np.asarray(self.law.size(self.curve.loss(score)))
        # a model of the family itself is inside, whatever rounding makes of it
        outside = (found < self.least * (1 - 1e-9)) | (found > self.most * (1 + 1e-9))
        return np.where(outside, np.nan, found)

    def side(self, score: float) -> int:
        """Return −1 for a score below that of the smallest model, 1 for one above that of the
        largest, and 0 for one between them."""
        least, most = (float(each) for each in self.score([self.least, self.most]))
        return -1 if score < least - 1e-12 else int(score > most + 1e-12)

    def density(self, score: ArrayLike, size: ArrayLike) -> Floats:
        """Return ρ = N̂/N of models with these scores and sizes N; NaN outside the family."""
        return np.asarray(self.effective_size(score) / np.asarray(size, np.float64))


def reference(size: ArrayLike, loss: ArrayLike, score: ArrayLike) -> Reference:
    """Fit the :class:`Reference` of K models that have learnt from equally many samples: their
    sizes, losses and scores, ``[K]`` each.

    Raises ``ValueError`` for fewer than five models, and for whatever :func:`power_law` and
    :func:`score_curve` refuse.
    """
    size_K = np.asarray(size, np.float64)
    law, curve = power_law(size_K, loss), score_curve(loss, score)
    return Reference(law, curve, float(size_K.min()), float(size_K.max()))


class Trend(NamedTuple):
    """A line ``y = slope·x + start``; the interval of its slope is Student's for the scatter of the
    points about the line."""

    slope: Interval
    start: float

    def at(self, x: ArrayLike) -> Floats:
        """Return the line at ``x``."""
        return self.slope.mean * np.asarray(x, np.float64) + self.start

    @property
    def doubling(self) -> Interval:
        """Over which length of x e^y doubles, ln 2 / slope; it has no interval where that of the
        slope reaches 0, as no finite length is then the longest."""
        return doubling(self.slope)


def doubling(slope: Interval) -> Interval:
    """Over which length of x a quantity doubles whose logarithm has this ``slope``: ln 2 / slope,
    negative where it halves. Its ends are NaN where the slope's interval contains 0."""
    one_side = slope.above(0) is not None
    low, high = (slope.high, slope.low) if one_side else (math.nan, math.nan)
    ends = [math.log(2) / each if each else math.nan for each in (slope.mean, low, high)]
    return Interval(*ends)


def trend(x: ArrayLike, y: ArrayLike) -> Trend:
    """Fit a line to K points, ``[K]`` each, by least squares; the slope's interval is ± t(0.975, K
    − 2) standard errors.

    Raises ``ValueError`` for fewer than three points, fewer than two different x, and values that
    are not finite.
    """
    x_K, y_K = np.asarray(x, np.float64), np.asarray(y, np.float64)
    finite = np.isfinite(x_K).all() and np.isfinite(y_K).all()
    if len(x_K) != len(y_K) or len(x_K) < 3 or len(set(x_K.tolist())) < 2 or not finite:
        raise ValueError("a trend needs three points or more, finite, at two different places")
    found = stats.linregress(x_K, y_K)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(x_K) - 2) * found.stderr)
    slope = float(found.slope)
    return Trend(Interval(slope, slope - half, slope + half), float(found.intercept))
