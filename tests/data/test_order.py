"""Samples that happened one after the other are met one after the other: by each device, and by a
pooled one in step.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from swarm.common.rng import Keys
from swarm.data.dataset import Dataset, DeviceSplit
from swarm.data.partition import Iid
from swarm.data.stream.stream import Stream


def dealt(count: int = 40, devices: int = 3) -> tuple[Dataset, DeviceSplit]:
    time = np.random.default_rng(0).permutation(count)
    ids = np.arange(count)
    data = Dataset(
        np.zeros((count, 1), np.float32), ids % 2, 2, None, ids[:30], ids[30:30], ids[30:], time
    )
    return data, Iid(devices).split(data, Keys(0, "partition"))


def test_every_device_meets_its_samples_in_the_order_in_which_they_happened() -> None:
    data, holdings = dealt()
    stream = Stream(holdings, 2, Keys(0, "stream"))
    met = stream.draw(np.arange(3), np.zeros(3, np.int64), 5).sample_BKb.reshape(3, -1)
    for device, ids in enumerate(met):
        assert data.time is not None
        assert (np.diff(data.time[ids]) > 0).all()
        assert set(ids) == set(holdings.of(device))


def test_the_pooled_device_is_never_ahead_of_the_others() -> None:
    _, holdings = dealt()
    place = {int(s): j for device in range(3) for j, s in enumerate(holdings.of(device))}
    pooled = holdings.pooled(Keys(0, "pool"))
    places = [place[int(s)] for s in pooled.sample]
    assert pooled.ordered
    assert sorted(places) == places
    assert sorted(pooled.sample) == sorted(holdings.sample)


def test_without_times_the_pool_is_mixed() -> None:
    data, _ = dealt()
    pooled = Iid(3).split(replace(data, time=None), Keys(0, "partition")).pooled(Keys(0, "pool"))
    assert not pooled.ordered
    assert (np.diff(pooled.sample) < 0).any()
