"""Ridge regression on classes, and what it makes of a sample that it has not learnt from."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
RIDGE = 1.0


def left_out_loss(x: ArrayLike, y: ArrayLike, classes: int) -> Floats:
    """For each of S samples ``x`` ``[S, F]`` with labels ``y`` ``[S]``, return the squared error
    over all classes of a ridge regression on one-hot labels that has learnt from all other samples.

    That is |y_s − ŷ_s|² / (1 − h_s)², where ŷ is predicted by the regression on all samples and h_s
    is the sample's leverage, so one regression is enough (PRESS; Allen, Technometrics 1974). It has
    the strength :data:`RIDGE`, also of its constant.
    """
    one_hot = np.eye(classes)[np.asarray(y)]
    design = np.column_stack([np.ones(len(one_hot)), np.asarray(x, np.float64)])
    inverse = np.linalg.inv(design.T @ design + RIDGE * np.eye(design.shape[1]))
    leverage = np.einsum("sf,fg,sg->s", design, inverse, design, optimize=True)
    residual = one_hot - design @ (inverse @ (design.T @ one_hot))
    loss: Floats = (residual**2).sum(axis=1) / (1 - leverage) ** 2
    return loss
