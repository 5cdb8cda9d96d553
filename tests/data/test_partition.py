"""What each way of dealing samples promises."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.data.dataset import DeviceSplit, label_mix
from swarm.data.generated.digits import Digits
from swarm.data.generated.synthetic import LinearRegression
from swarm.data.partition import (
    Dirichlet,
    Iid,
    Natural,
    Partition,
    Pathological,
    QuantitySkew,
    Rare,
)

Ints = npt.NDArray[np.int64]


def labels(samples: int, classes: int = 10, seed: int = 0) -> Ints:
    return np.random.default_rng(seed).integers(0, classes, samples)


def rules(devices: int, classes: int) -> list[Partition]:
    least = -(-classes // devices)
    return [
        Iid(devices),
        Dirichlet(devices, 0.05, min_samples=1, tries=2),
        Dirichlet(devices, 3.0, min_samples=1),
        QuantitySkew(devices, 1.5, min_samples=1),
        Pathological(devices, max(least, min(2, classes))),
        Rare(devices, classes - 1),
    ]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(2, 6), st.integers(60, 300), st.integers(0, 99))
def test_every_sample_is_dealt_exactly_once_and_nobody_is_left_out(
    devices: int, classes: int, samples: int, seed: int
) -> None:
    y = np.concatenate(
        [np.arange(classes), np.arange(samples) % classes, labels(samples, classes, seed)]
    )
    for rule in rules(devices, classes):
        holdings = rule.assign(y, None, Keys(seed, "partition"))
        assert holdings.devices == devices
        assert holdings.sizes_N.min() >= 1
        assert np.array_equal(np.sort(holdings.sample), np.arange(len(y)))
        again = rule.assign(y, None, Keys(seed, "partition"))
        assert np.array_equal(holdings.sample, again.sample)
        assert np.array_equal(holdings.ptr_N1, again.ptr_N1)


def test_another_seed_deals_otherwise() -> None:
    y = labels(500)
    for rule in rules(10, 10):
        first, second = (rule.assign(y, None, Keys(seed, "partition")) for seed in (0, 1))
        assert not np.array_equal(first.sample, second.sample)


def test_deal_answers_in_the_data_sets_own_ids() -> None:
    data = Digits().load()
    for rule in rules(100, 10):
        holdings = rule.split(data, Keys(0, "partition"))
        assert np.array_equal(np.sort(holdings.sample), np.sort(data.train))


def test_deal_checks_a_strangers_rule() -> None:
    class Lazy(Partition):
        def assign(self, y_S: object, owner_S: object, keys: Keys) -> DeviceSplit:
            return DeviceSplit(np.array([0, 1]), np.array([0, 2, 2]))

    class Greedy(Partition):
        def assign(self, y_S: object, owner_S: object, keys: Keys) -> DeviceSplit:
            return DeviceSplit(np.array([0, 1, 0]), np.array([0, 2, 3]))

    with pytest.raises(ConfigError, match="leaves device 1 without samples"):
        Lazy(2).split(Digits().load(), Keys(0, "partition"))
    with pytest.raises(ConfigError, match="gives a sample to two devices"):
        Greedy(2).split(Digits().load(), Keys(0, "partition"))


def test_iid_sizes_and_labels() -> None:
    y = np.arange(10_000) % 10
    holdings = Iid(7).assign(y, None, Keys(0, "partition"))
    assert np.ptp(holdings.sizes_N) == 1
    assert np.abs(label_mix(y, holdings, 10) - 0.1).max() < 0.04  # 5 sigma of 1,429 draws


def test_dirichlet_limits() -> None:
    y = np.arange(10_000) % 10
    even = Dirichlet(10, 1e6).assign(y, None, Keys(0, "partition"))
    # nearer to uniform than even a random deal
    assert np.abs(label_mix(y, even, 10) - 0.1).max() < 0.005
    assert np.ptp(even.sizes_N) <= 30
    sharp = Dirichlet(10, 1e-4).assign(y, None, Keys(0, "partition"))
    assert len({int(sharp.device_S[sharp.sample.argsort()][y == c].max()) for c in range(10)}) < 10
    held = [
        np.sort(np.bincount(sharp.device_S[np.isin(sharp.sample, np.flatnonzero(y == c))]))[-1]
        for c in range(10)
    ]
    assert min(held) > 950  # every class sits on one device, but for what the repair moved


def test_dirichlet_shares_have_the_right_moments() -> None:
    """Var(p) = (1/N)(1 - 1/N)/(alpha N + 1): the proportions really are Dirichlet(alpha)."""
    y, devices, alpha = np.repeat(np.arange(200), 1000), 5, 0.7
    holdings = Dirichlet(devices, alpha).assign(y, None, Keys(3, "partition"))
    cell = holdings.device_S * 200 + y[holdings.sample]
    share = np.bincount(cell, minlength=devices * 200).reshape(devices, 200) / 1000
    assert share.mean() == pytest.approx(1 / devices)
    assert share.var() == pytest.approx(
        (1 / devices) * (1 - 1 / devices) / (alpha * devices + 1), rel=0.12
    )


def test_dirichlet_skew_falls_with_alpha() -> None:
    data = Digits().load()
    tops = []
    for alpha in (0.05, 0.3, 1.0, 100.0):
        holdings = Dirichlet(100, alpha).split(data, Keys(0, "partition"))
        assert holdings.sizes_N.min() >= 2
        tops.append(label_mix(data.y, holdings, 10).max(axis=1).mean())  # type: ignore[arg-type]
    assert tops == sorted(tops, reverse=True)
    assert tops[0] > 0.7 > 0.4 > tops[-1]


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 60), st.integers(1, 4), st.integers(0, 99))
def test_dirichlet_repair_reaches_the_minimum_even_where_it_is_the_average(
    devices: int, least: int, seed: int
) -> None:
    y = np.arange(devices * least) % 3
    holdings = Dirichlet(devices, 0.01, min_samples=least, tries=1).assign(
        y, None, Keys(seed, "partition")
    )
    assert (holdings.sizes_N == least).all()
    assert np.array_equal(np.sort(holdings.sample), np.arange(len(y)))


@pytest.mark.parametrize("per_device", [1, 2, 5, 9, 10])
def test_pathological_gives_exactly_so_many_classes(per_device: int) -> None:
    data = Digits().load()
    holdings = Pathological(100, per_device).split(data, Keys(0, "partition"))
    held = label_mix(data.y, holdings, 10) > 0  # type: ignore[arg-type]
    assert (held.sum(axis=1) == per_device).all()
    assert np.ptp(held.sum(axis=0)) <= 0.2 * per_device * 10  # no class is favoured
    if per_device == 2:
        # of 45 pairs: shards are mixed, not dealt in a pattern
        assert len({tuple(row) for row in held}) > 30


def test_pathological_pairs_are_near_uniform() -> None:
    y = np.arange(40_000) % 4
    holdings = Pathological(6000, 2).assign(y, None, Keys(0, "partition"))
    held = label_mix(y, holdings, 4) > 0
    _, count = np.unique(held, axis=0, return_counts=True)
    assert len(count) == 6
    assert np.abs(count - 1000).max() < 150


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.floats(0, 3), st.integers(0, 50))
def test_quantity_skew_sizes(devices: int, exponent: float, seed: int) -> None:
    y = labels(400)
    sizes = np.sort(
        QuantitySkew(devices, exponent, 2).assign(y, None, Keys(seed, "partition")).sizes_N
    )[::-1]
    assert sizes.sum() == 400
    assert sizes.min() >= 2
    rank = np.arange(1, devices + 1) ** exponent
    assert np.allclose(sizes, np.maximum(2, sizes[0] / rank), atol=1.5)


def test_quantity_skew_draws_who_is_large() -> None:
    largest = {
        int(QuantitySkew(20, 1.0).assign(labels(400), None, Keys(s, "p")).sizes_N.argmax())
        for s in range(20)
    }
    assert len(largest) > 5


def test_rare_gives_one_class_to_one_device_and_the_rest_to_everybody() -> None:
    y = np.arange(10_000) % 10
    holders = set()
    for seed in range(12):
        holdings = Rare(20, 3).assign(y, None, Keys(seed, "partition"))
        count_N = label_mix(y, holdings, 10)[:, 3] * holdings.sizes_N
        holder = int(count_N.argmax())
        assert count_N[holder] == pytest.approx(1000)
        assert count_N.sum() == pytest.approx(1000), "nobody else has a single one"
        rest_N = holdings.sizes_N - np.rint(count_N)
        assert set(rest_N) == {450}, "the others are dealt evenly, to the holder too"
        holders.add(holder)
    assert len(holders) > 5


def test_natural_follows_the_owners() -> None:
    owner = np.repeat([4, 7, 9], [5, 20, 10])
    y = np.zeros(35, np.int64)
    holdings = Natural(3).assign(y, owner, Keys(0, "partition"))
    assert [set(owner[holdings.of(i)]) for i in range(3)] == [{4}, {7}, {9}]
    two = Natural(2, largest=True).assign(y, owner, Keys(0, "partition"))
    assert [set(owner[two.of(i)]) for i in range(2)] == [{7}, {9}]
    for devices, message in [
        (2, "3 owners; devices=3 would do, or partition.largest"),
        (4, "devices=3 would do$"),
    ]:
        with pytest.raises(ConfigError, match=message):
            Natural(devices).assign(y, owner, Keys(0, "partition"))
    with pytest.raises(
        ConfigError, match=r"natural: .*; iid, dirichlet, pathological or quantity_skew would do"
    ) as info:
        Natural(3).assign(y, None, Keys(0, "partition"))
    assert str(info.value.under("partition")).startswith("partition=natural: ")


def test_bad_partitions_are_refused_by_name() -> None:
    y = labels(100)
    for build, message in [
        (
            lambda: Iid(101).assign(y, None, Keys(0, "p")),
            "100 training samples .* at most devices=100 would do",
        ),
        (
            lambda: Dirichlet(1, min_samples=101).assign(y, None, Keys(0, "p")),
            "more samples are needed",
        ),
        (lambda: Dirichlet(60).assign(y, None, Keys(0, "p")), "at most devices=50"),
        (lambda: QuantitySkew(60).assign(y, None, Keys(0, "p")), "at most devices=50"),
        (lambda: Pathological(60, 2).assign(y, None, Keys(0, "p")), "at most devices=50"),
        (
            lambda: Pathological(10, 11).assign(y, None, Keys(0, "p")),
            "classes_per_device=11: must be 1 to 10",
        ),
        (
            lambda: Pathological(3, 2).assign(y, None, Keys(0, "p")),
            "classes_per_device=2: must be 4 to 10",
        ),
        (lambda: Pathological(3, 0), "classes_per_device=0: must be at least 1"),
        (lambda: Dirichlet(3, 0.0), "alpha=0: must be at least 0.0001 and at most"),
        (lambda: Dirichlet(3, float("nan")), "alpha=nan"),
        (lambda: Dirichlet(3, 1.0, min_samples=0), "min_samples=0: must be at least 1"),
        (lambda: QuantitySkew(3, -1.0), "exponent=-1: must be at least 0"),
        (
            lambda: Rare(3, 12).assign(y, None, Keys(0, "p")),
            "label=12: must be one of the 10 labels .* 0 to 9",
        ),
        (
            lambda: Rare(3, -1).assign(y, None, Keys(0, "p")),
            "label=-1: must be one of .*, 0 to 9; numbers count from 0, and -1 is not the last",
        ),
        (
            lambda: Rare(99).assign(y, None, Keys(0, "p")),
            "training samples cannot give every device 1; at most",
        ),
        (
            lambda: Rare(3).assign(y / 2, None, Keys(0, "p")),
            "rare: deals by class label and the data have numeric targets",
        ),
    ]:
        with pytest.raises(ConfigError, match=message):
            build()


def test_label_rules_refuse_a_regression() -> None:
    data = LinearRegression(5).load()
    for rule in (Dirichlet(5), Pathological(5)):
        with pytest.raises(
            ConfigError, match=f"{type(rule).__name__.lower()}: deals by class label"
        ):
            rule.split(data, Keys(0, "partition"))
    for other in (Iid(5), QuantitySkew(5), Natural(5)):
        assert other.split(data, Keys(0, "partition")).devices == 5


def test_many_devices_are_dealt_without_a_loop() -> None:
    y = labels(300_000)
    start = time.perf_counter()
    for rule in (
        Iid(20_000),
        Dirichlet(20_000),
        Dirichlet(20_000, 0.001),
        Pathological(20_000),
        QuantitySkew(20_000),
    ):
        assert rule.assign(y, None, Keys(0, "partition")).devices == 20_000
    assert time.perf_counter() - start < 10  # about 1 s
