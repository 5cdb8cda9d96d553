"""Samples of a device's own that nobody learns from: which ones they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.config.composing.compose import compose
from swarm.data.dataset import Dataset, DeviceSplit
from swarm.data.local_test import asked, of_owners, taken_out
from swarm.results.provenance import identity
from tests.support import config, prepared

KEYS = Keys(0, "local_test")
SIZES = np.array([1, 2, 5, 10, 40])


def data(train: int, owner: np.ndarray | None = None, test: int = 0) -> Dataset:
    """Samples of no meaning: first those to learn from, then the test samples."""
    ids = np.arange(train + test)
    x = np.zeros((len(ids), 1), np.float32)
    nobody = np.zeros(0, np.int64)
    return Dataset(x, ids % 2, 2, owner, ids[:train], nobody, ids[train:])


def split(sizes: np.ndarray) -> DeviceSplit:
    """So many samples each, those of a device in an order of their own."""
    ends = np.cumsum(sizes)
    ids = np.concatenate(
        [np.arange(end - size, end)[::-1] for end, size in zip(ends, sizes, strict=True)]
    )
    return DeviceSplit(ids, np.concatenate([[0], ends]), ordered=True)


def test_a_share_of_each_device_is_taken_and_at_least_one_sample_stays() -> None:
    before, made = split(SIZES), data(SIZES.sum())
    left, after = taken_out(made, before, 0.25, KEYS)
    held = after.local_test
    assert held is not None
    assert held.sizes_N.tolist() == [0, 1, 2, 3, 10], "⌈n / 4⌉, and never the last one"
    assert (after.sizes_N + held.sizes_N).tolist() == SIZES.tolist()
    assert np.union1d(left.train, held.sample).tolist() == made.train.tolist()
    assert not np.isin(left.train, held.sample).any()
    for device in range(len(SIZES)):
        own = before.of(device)
        assert sorted([*after.of(device), *held.of(device)]) == sorted(own)
        assert after.of(device).tolist() == [i for i in own if i not in held.of(device)]
    assert after.ordered, "and in the order of before"


def test_what_is_taken_follows_from_seed_and_device_alone() -> None:
    _, alone = taken_out(data(40), split(np.array([40])), 0.2, KEYS)
    _, among = taken_out(data(1000), split(np.array([40, 900, 3])), 0.2, KEYS)
    _, other = taken_out(data(40), split(np.array([40])), 0.2, Keys(1, "local_test"))
    _, twins = taken_out(data(80), split(np.array([40, 40])), 0.2, KEYS)
    held = [each.local_test for each in (alone, among, other, twins)]
    assert held[0].of(0).tolist() == held[1].of(0).tolist()
    assert held[0].of(0).tolist() != held[2].of(0).tolist()
    assert held[3].of(0).tolist() != (held[3].of(1) - 40).tolist()


def test_every_sample_of_a_device_is_as_likely_to_be_taken() -> None:
    count = np.zeros(20)
    for seed in range(400):
        _, after = taken_out(data(20), split(np.array([20])), 0.25, Keys(seed, "x"))
        count[after.local_test.sample] += 1
    assert count.sum() == 400 * 5
    assert np.abs(count - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


def test_one_sample_each_leaves_nothing_to_take() -> None:
    with pytest.raises(ConfigError, match=r"data\.local_test=0\.5: .*keeps it to learn from"):
        taken_out(data(3), split(np.ones(3, np.int64)), 0.5, KEYS)


def test_the_test_samples_of_an_owner_are_its_devices_own() -> None:
    made = data(6, np.array([2, 2, 0, 0, 5, 5, 0, 2, 1, 2, 1]), test=5)  # 5 has no test sample
    dealt = DeviceSplit(np.array([4, 5, 0, 1, 2, 3]), np.array([0, 2, 4, 6]))
    held = of_owners(made, dealt).local_test
    assert [held.of(device).tolist() for device in range(3)] == [[], [7, 9], [6]]
    mixed = DeviceSplit(np.array([4, 0, 5, 1, 2, 3]), np.array([0, 2, 4, 6]))
    twice = DeviceSplit(np.array([4, 5, 0, 1]), np.array([0, 2, 3, 4]))
    drifts = replace(made, concept=np.zeros(11, np.int64))
    nobody = replace(made, owner=None)
    for each, dealt_so in ((made, mixed), (made, twice), (drifts, dealt), (nobody, dealt)):
        assert of_owners(each, dealt_so).local_test is None


def test_pooled_data_leave_them_out_too() -> None:
    for ordered in (True, False):
        _, after = taken_out(data(58), replace(split(SIZES), ordered=ordered), 0.25, KEYS)
        pooled = after.pooled(Keys(0, "pool"))
        assert pooled.local_test.sample.tolist() == sorted(after.local_test.sample)
        assert not np.isin(pooled.sample, pooled.local_test.sample).any()
        assert len(pooled.sample) + len(pooled.local_test.sample) == 58


@pytest.mark.parametrize("value", ["most", 1.0, -0.1, True, None, float("nan")])
def test_another_value_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"data\.local_test=.*auto or a fraction from 0"):
        asked({"local_test": value})


@pytest.mark.parametrize("words", [("drift=label_swap",), ("data=sea", "partition=natural")])
def test_drifting_data_hold_nothing_out(words: tuple[str, ...]) -> None:
    common = ("update=online", "train.batch=2", *words)
    with pytest.raises(ConfigError, match=r"data\.local_test=0\.2: .* drift"):
        prepared(*common, "data.local_test=0.2")
    assert prepared(*common, "data.local_test=auto").split.local_test is None


def test_the_default_is_the_configuration_of_before() -> None:
    today = config()
    assert today["data"].pop("local_test") == "auto"
    assert identity(config()) == identity(today)
    assert identity(config("data.local_test=0.2")) != identity(today)


def test_an_option_of_ones_own_may_have_another_default(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    target = "_target_: swarm.data.generated.digits.Digits\n"
    (tmp_path / "data" / "mine.yaml").write_text(target + "local_test: 0.3\n")
    (tmp_path / "data" / "other.yaml").write_text(target)
    found = [
        compose(words, tmp_path).data.local_test
        for words in (["data=mine"], ["data=mine", "data.local_test=0.1"], ["data=other"])
    ]
    assert found == [0.3, 0.1, "auto"]
