"""From per-device results to the numbers of a record. docs/metrics.md defines each in a line."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]


def spread(name: str, values_M: Floats) -> dict[str, float]:
    """``name_mean``, ``_min``, ``_p10``, ``_median``, ``_p90``, ``_max`` over devices, of which
    there is at least one.
    """
    with np.errstate(invalid="ignore"):  # of infinite values, whose difference is no number
        low, p10, median, p90, high = np.quantile(values_M, [0.0, 0.1, 0.5, 0.9, 1.0])
        mean = values_M.mean()
    parts = {
        "mean": mean,
        "min": low,
        "p10": p10,
        "median": median,
        "p90": p90,
        "max": high,
    }
    return {f"{name}_{k}": float(v) for k, v in parts.items()}


def accuracy(hits_MC: Floats, counts_C: Floats) -> Floats:
    """Share of right answers of each device."""
    return np.asarray(hits_MC.sum(1) / counts_C.sum())


def label_accuracy(hits_MC: Floats, counts_C: Floats, label: int) -> Floats:
    """Share of the samples of one label that each device gets right: its recall; nan where there
    are none.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(hits_MC[:, label] / counts_C[label])


def own_accuracy(hits_MC: Floats, counts_C: Floats, mix_MC: Floats) -> Floats:
    """Accuracy with the test samples reweighted by each device's label mix: Σ_c mix_c · hits_c /
    count_c.

    Labels that the test set lacks drop out, and the mix is renormalised over the rest: the accuracy
    that is to be expected on the device's samples of the labels that can be looked at. nan for a
    device left with none.
    """
    there = counts_C > 0
    mix = mix_MC[:, there]
    with np.errstate(invalid="ignore"):
        return np.asarray((mix * hits_MC[:, there] / counts_C[there]).sum(1) / mix.sum(1))


def r2(squared_error_MC: Floats, y_TC: Floats) -> Floats:
    """1 − SSE/SST of each device over all targets, about the mean of the evaluated samples."""
    total = float(np.square(y_TC - y_TC.mean(0)).sum())
    return np.asarray(1.0 - squared_error_MC.sum(1) / max(total, np.finfo(np.float64).tiny))


def majority(votes_TC: npt.NDArray[np.int64], y_T: npt.NDArray[np.int64]) -> float:
    """Accuracy of the answer most devices give; of m labels with equally many votes each is the
    answer with probability 1/m.
    """
    most_TC = votes_TC == votes_TC.max(1, keepdims=True)
    return float((most_TC[np.arange(len(y_T)), y_T] / most_TC.sum(1)).mean())


# R² of a hundred times the squared error of a constant prediction: below it a score measures
# nothing
WORST = -99.0


def gap_closed(
    lead: float | None, lower: float | None, upper: float | None, names: tuple[str, str, str]
) -> tuple[float | None, str | None]:
    """(S − L)/(U − L) of three mean final scores S (``lead``), L (``lower``) and U (``upper``), or
    None with the reason, which calls the arms by ``names``: an arm is missing or diverged, a score
    is below ``WORST`` (so far off that whatever the lead does would close all of the gap, or none),
    or U − L < 0.02."""
    scores = dict(zip(names, (lead, lower, upper), strict=True))
    if lead is None or lower is None or upper is None:
        missing = ", ".join(name for name, score in scores.items() if score is None)
        return None, f"needs the final score of: {missing}"
    for name, score in scores.items():
        if score is not None and not score >= WORST:
            reason = "worse than a constant prediction by a factor of 100 or more"
            return None, f"{name} ends with a score of {score:.3g}, {reason}"
    if upper - lower < 0.02:
        return (
            None,
            (
                f"{names[2]} is only {upper - lower:.3f} above {names[1]}; below 0.02 the share"
                " means nothing"
            ),
        )
    return (lead - lower) / (upper - lower), None


def auc(score_m: Floats, other_k: Floats) -> float:
    """The area under the ROC curve: the probability that one of ``score_m`` is larger than one of
    ``other_k``, ties counting one half; NaN where one of them is empty."""
    if not len(score_m) or not len(other_k):
        return float("nan")
    ordered = np.sort(other_k)
    below = np.searchsorted(ordered, score_m, "left") + np.searchsorted(ordered, score_m, "right")
    return float(below.sum() / (2 * len(score_m) * len(other_k)))


def found_at(rate: float, score_m: Floats, other_k: Floats) -> float:
    """The share of ``score_m`` above a threshold that at most the share ``rate`` of ``other_k`` is
    above: the true-positive rate at this false-positive rate."""
    allowed = int(rate * len(other_k) + 1e-9)
    if allowed >= len(other_k):
        return 1.0
    threshold = np.sort(other_k)[::-1][allowed]
    return float((score_m > threshold).mean())


def answers(out_BCb: Tensor, dtype: torch.dtype) -> Tensor:
    """The share that each class has of each answer, ``[B, C, b]``: all of it for the class with
    the largest output, 1/m each for m equally large ones, none of outputs that are NaN."""
    best = (out_BCb == out_BCb.amax(1, keepdim=True)).to(dtype)
    return best / best.sum(1, keepdim=True).clamp_min(1)
