"""Whole numbers in proportion to weights: the rounding rule that splits, label shards and skewed
sizes share.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def largest_remainder(
    weights: npt.ArrayLike, total: int, low: npt.ArrayLike = 0, high: npt.ArrayLike | None = None
) -> Ints:
    """Integers ``[K]`` that sum to ``total``, within ``[low, high]``, as near to ``λ·weights`` as
    whole numbers get.

    ``λ`` is the factor for which ``clip(λ·weights, low, high)`` sums to ``total``. The shares are
    rounded down, and what is left goes to the largest remainders (Hamilton's method); of equal
    remainders the earlier entry comes first. ``largest_remainder([1, 1, 4], 9)`` is ``[2, 1, 6]``.
    Raises ``ValueError`` when the bounds cannot hold ``total``, or a weight is not positive.
    """
    weights_K = np.asarray(weights, dtype=np.float64)
    low_K = np.broadcast_to(np.asarray(low, dtype=np.float64), weights_K.shape)
    high_K = np.broadcast_to(
        np.asarray(total if high is None else high, dtype=np.float64), weights_K.shape
    )
    if (
        not (low_K.sum() <= total <= high_K.sum())
        or bool((low_K > high_K).any())
        or not bool((weights_K > 0).all())
    ):
        raise ValueError(
            f"cannot apportion {total} between bounds that sum to {low_K.sum():g} and"
            f" {high_K.sum():g}"
        )
    below, above = 0.0, float((high_K / weights_K).max(initial=0.0))
    # Bisection down to neighbouring floats is exact; a closed form would need a sort.
    for _ in range(200):
        middle = 0.5 * (below + above)
        if np.clip(middle * weights_K, low_K, high_K).sum() < total:
            below = middle
        else:
            above = middle
    share_K = np.clip(above * weights_K, low_K, high_K)
    # 2.9999999999 is a 3 with a rounding error
    whole_K = np.floor(share_K + 1e-9).astype(np.int64)
    left = total - int(whole_K.sum())
    order = np.argsort(-(share_K - whole_K), kind="stable")
    room = (
        order[whole_K[order] < high_K[order]]
        if left > 0
        else order[::-1][whole_K[order[::-1]] > low_K[order[::-1]]]
    )
    whole_K[room[: abs(left)]] += np.sign(left)
    return whole_K
