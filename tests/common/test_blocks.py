"""How devices are cut into the blocks that train together."""

from __future__ import annotations

import numpy as np
import pytest

from swarm.common.rows import Blocks


@pytest.mark.parametrize("width", [1, 4810, 101_770, 10_000_000])
@pytest.mark.parametrize("devices", [1, 2, 15, 16, 17, 100, 255, 1000, 10_007])
def test_auto_leaves_four_blocks_of_equal_size(devices: int, width: int) -> None:
    blocks = Blocks.auto(devices, width)
    sizes = [len(blocks.devices_of(b)) for b in range(len(blocks))]
    assert np.array_equal(
        np.concatenate([blocks.devices_of(b) for b in range(len(blocks))]), np.arange(devices)
    )
    assert len(blocks) >= min(4, devices)
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) == blocks.size <= 32
    assert blocks.size == 1 or blocks.size * width <= 1_000_000


@pytest.mark.parametrize(
    ("devices", "most", "count"), [(100, 6, 17), (100, 25, 4), (7, 1, 7), (5, 9, 1)]
)
def test_a_given_size_is_an_upper_bound(devices: int, most: int, count: int) -> None:
    blocks = Blocks.of_size(devices, most)
    assert (len(blocks), blocks.size <= most) == (count, True)


def test_rows_follow_the_blocks_a_shard_holds() -> None:
    blocks = Blocks(10, 4)  # sizes 2, 3, 2, 3
    assert list(blocks.slices(np.array([1, 3]))) == [(1, slice(0, 3)), (3, slice(3, 6))]
