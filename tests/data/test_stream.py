"""The order of samples: every pass meets each sample once, and a draw is a pure function of
(device, step).
"""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.common.rng import Keys
from swarm.data.dataset import DeviceSplit
from swarm.data.stream.stream import Stream

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=6)
BATCH = st.integers(1, 9)
SEED = st.integers(0, 2**32)


def _stream(sizes: list[int], batch: int, seed: int) -> Stream:
    ids = np.random.default_rng(seed).permutation(sum(sizes)) + 100
    return Stream(
        DeviceSplit(ids, np.concatenate([[0], np.cumsum(sizes)])), batch, Keys(seed, "stream")
    )


@given(SIZES, BATCH, SEED)
@settings(max_examples=60, deadline=None)
def test_every_pass_meets_each_sample_once(sizes: list[int], batch: int, seed: int) -> None:
    stream = _stream(sizes, batch, seed)
    passes = 3
    for device, size in enumerate(sizes):
        steps = -(-passes * size // batch)
        draw = stream.draw(np.array([device]), np.array([0]), steps)
        met = draw.sample_BKb.reshape(-1)[: passes * size].reshape(passes, size)
        own = np.sort(stream.sample[stream.ptr_N1[device] : stream.ptr_N1[device + 1]])
        for each in met:
            np.testing.assert_array_equal(np.sort(each), own)
        first = draw.first_BKb.reshape(-1)
        assert first[:size].all()
        assert not first[size:].any()


@given(SIZES, BATCH, SEED, st.integers(0, 50), st.integers(1, 12), st.data())
@settings(max_examples=60, deadline=None)
def test_a_draw_is_a_function_of_device_and_step(
    sizes: list[int], batch: int, seed: int, start: int, count: int, data: st.DataObject
) -> None:
    """However the devices are grouped and ordered and the steps cut into chunks, the same samples
    come.
    """
    stream = _stream(sizes, batch, seed)
    devices = np.arange(len(sizes))
    whole = stream.draw(devices, np.full(len(sizes), start), count)
    order = np.array(data.draw(st.permutations(list(devices))))
    cut = data.draw(st.integers(0, count))
    for begin, end in ((0, cut), (cut, count)):
        if begin < end:
            part = stream.draw(order, np.full(len(sizes), start + begin), end - begin)
            np.testing.assert_array_equal(part.sample_BKb, whole.sample_BKb[order, begin:end])
            np.testing.assert_array_equal(part.first_BKb, whole.first_BKb[order, begin:end])
    for device in devices:  # devices that stand at different steps
        one = stream.draw(np.array([device]), np.array([start + count - 1]), 1)
        np.testing.assert_array_equal(one.sample_BKb[0, 0], whole.sample_BKb[device, -1])


def test_passes_and_devices_have_orders_of_their_own() -> None:
    stream = _stream([64, 64], 64, 0)
    draw = stream.draw(np.array([0, 1]), np.array([0, 0]), 5).sample_BKb
    place = [tuple(np.argsort(np.argsort(order))) for order in draw.reshape(10, 64)]
    assert len(set(place)) == 10
    other = _stream([64, 64], 64, 1).draw(np.array([0]), np.array([0]), 1).sample_BKb
    assert tuple(np.argsort(np.argsort(other[0, 0]))) not in place


def test_far_into_a_run_nothing_overflows() -> None:
    stream = _stream([7, 33], 32, 0)
    far = 2**33
    draw = stream.draw(np.array([0, 1]), np.array([far, far]), 40)
    assert not draw.first_BKb.any()
    assert set(draw.sample_BKb[0].reshape(-1)) == set(stream.sample[:7])
    assert set(draw.sample_BKb[1].reshape(-1)) == set(stream.sample[7:])


@given(SIZES, BATCH, st.floats(0.1, 4))
def test_steps_of_epochs_cover_them_and_no_more(
    sizes: list[int], batch: int, epochs: float
) -> None:
    steps = _stream(sizes, batch, 0).steps_of_epochs(epochs)
    for size, count in zip(sizes, steps, strict=True):
        assert count * batch >= epochs * size - 1e-9
        assert count == 1 or (count - 1) * batch < epochs * size + 1e-9
