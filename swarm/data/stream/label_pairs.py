"""Pairs of labels that trade places, in data of a world that has changed."""

from __future__ import annotations

import numpy as np

from swarm.data.dataset import Ints


def traded(classes: int, pairs: int, draw: np.random.Generator) -> Ints:
    """Return the new label of each class, ``[C]``, after so many ``pairs`` of different labels that
    are drawn have traded places; 2 · ``pairs`` must not be above ``classes``."""
    pair_P2 = draw.permutation(classes)[: 2 * pairs].reshape(pairs, 2)
    new_C = np.arange(classes)
    new_C[pair_P2] = pair_P2[:, ::-1]
    return new_C
