"""Pairs of labels trade places."""

from __future__ import annotations

import numpy as np

from swarm.data.stream.label_pairs import traded


def test_pairs_trade_places_and_the_others_stay() -> None:
    new_C = traded(10, 3, np.random.default_rng(0))
    assert (new_C != np.arange(10)).sum() == 6
    assert np.array_equal(new_C[new_C], np.arange(10))
    drawn = {tuple(traded(10, 3, np.random.default_rng(seed))) for seed in range(9)}
    assert len(drawn) > 1
    assert np.array_equal(traded(4, 0, np.random.default_rng(0)), np.arange(4))
