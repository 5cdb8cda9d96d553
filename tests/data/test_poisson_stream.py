"""Poisson sampling: each sample takes part by itself, with the stated probability."""

from __future__ import annotations

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.data.dataset import DeviceSplit
from swarm.data.stream.poisson import PoissonStream

SIZES = [40, 7, 200]


def _stream(batch: int = 5, rate: float | None = None) -> PoissonStream:
    split = DeviceSplit.group(np.repeat(np.arange(3), SIZES), 3)
    return PoissonStream(split, batch, Keys(0, "stream"), rate=rate)


def test_every_sample_is_drawn_with_its_rate_independently_of_the_others() -> None:
    steps, devices = 4000, np.arange(3)
    drawn, stream = _stream().draw(devices, np.zeros(3, np.int64), steps), _stream()
    assert drawn.there_BKb is not None
    assert not drawn.first_BKb.any()
    np.testing.assert_allclose(stream.rate_N, np.array([5 / 40, 5 / 7, 5 / 200]))
    for i, (size, rate) in enumerate(zip(SIZES, stream.rate_N, strict=True)):
        chosen = np.zeros((steps, sum(SIZES)))
        rows, places = np.nonzero(drawn.there_BKb[i])
        np.add.at(chosen, (rows, drawn.sample_BKb[i][rows, places]), 1)
        own = np.flatnonzero(chosen.any(0))
        assert len(own) == size  # nobody else's
        assert (own == np.arange(sum(SIZES[:i]), sum(SIZES[: i + 1]))).all()
        chosen = chosen[:, own]
        assert chosen.max() == 1  # and none of them twice
        off = (chosen.mean(0) - rate) / (rate * (1 - rate) / steps) ** 0.5
        assert np.abs(off).max() < 4.5
        assert 0.6 < (off**2).mean() < 1.5 or size < 10
        count = chosen.sum(1)
        assert abs(count.mean() - 5) < 4 * (5 / steps) ** 0.5
        assert count.var() == pytest.approx(size * rate * (1 - rate), rel=0.12)
        pair = (chosen[:, 0] * chosen[:, 1]).mean() - rate**2
        assert abs(pair) < 4.5 * (rate**2 * (1 - rate**2) / steps) ** 0.5
        assert abs(np.corrcoef(count[1:], count[:-1])[0, 1]) < 4.5 / steps**0.5


def test_a_draw_depends_on_the_device_and_the_step_alone() -> None:
    stream = _stream()

    def sets(devices: list[int], first: int, count: int) -> list[list[tuple[int, ...]]]:
        drawn = stream.draw(np.array(devices), np.full(len(devices), first), count)
        assert drawn.there_BKb is not None
        return [
            [tuple(s[t].tolist()) for s, t in zip(own, there, strict=True)]
            for own, there in zip(drawn.sample_BKb, drawn.there_BKb, strict=True)
        ]

    whole = sets([0, 1, 2], 0, 6)
    assert sets([2, 0], 3, 3) == [whole[2][3:], whole[0][3:]]
    assert len({found for own in whole for found in own}) == 18


def test_rates() -> None:
    whole = _stream(rate=1.0).draw(np.arange(3), np.zeros(3, np.int64), 2)
    assert whole.there_BKb is not None
    assert whole.there_BKb.sum(2).tolist() == [[size] * 2 for size in SIZES]
    assert _stream(rate=0.5).mean_N.tolist() == [20, 3.5, 100]
    assert _stream(rate=0.5).weight(np.array([1]))[0, 0] == pytest.approx(1 / 3.5)
    assert _stream(rate=0.3).steps_of_epochs(2).tolist() == [7, 7, 7]
    with pytest.raises(ConfigError, match=r"more than the 7 samples of device 1.* at most 7 would"):
        _stream(8)
