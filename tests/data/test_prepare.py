"""Rounding, splitting, scaling and the checks every source's data pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.data.dataset import Dataset, DeviceSplit, label_mix
from swarm.data.generated.digits import Digits
from swarm.data.largest_remainder import largest_remainder
from swarm.data.prepare import Samples, on_cache_lines, prepare, split
from swarm.data.validation import validate


@given(
    st.lists(
        st.tuples(st.floats(0.01, 1000), st.integers(0, 5), st.integers(0, 40)),
        min_size=1,
        max_size=12,
    ),
    st.floats(0, 1),
)
def test_apportion_keeps_total_and_bounds(
    entries: list[tuple[float, int, int]], fraction: float
) -> None:
    weights, low, extra = (np.array(column) for column in zip(*entries, strict=True))
    high = low + extra
    total = int(low.sum() + fraction * extra.sum())
    result = largest_remainder(weights, total, low, high)
    assert result.sum() == total
    assert (result >= low).all()
    assert (result <= high).all()


def test_apportion_is_the_largest_remainder_method() -> None:
    assert largest_remainder([1, 1, 4], 9).tolist() == [2, 1, 6]
    assert largest_remainder([47, 16, 15.8, 12, 6.1, 3.1], 10).tolist() == [5, 2, 1, 1, 1, 0]
    assert largest_remainder([1000, 1, 1], 10, low=2).tolist() == [6, 2, 2]
    with pytest.raises(ValueError, match="cannot apportion 10"):
        largest_remainder([1, 1], 10, high=4)


def test_digits_split_sizes_strata_and_disjointness() -> None:
    data = Digits().load()
    assert [len(data.train), len(data.validation), len(data.test)] == [1257, 180, 360]
    ids = np.concatenate([data.train, data.validation, data.test])
    assert np.array_equal(np.sort(ids), np.arange(1797))
    exact = np.bincount(data.y) * 360 / 1797
    assert np.abs(np.bincount(data.y[data.test]) - exact).max() < 1
    again, other = Digits().load(), Digits(seed=1).load()
    assert np.array_equal(data.test, again.test)
    assert not np.array_equal(data.test, other.test)


@given(st.lists(st.integers(0, 5), min_size=8, max_size=60), st.integers(0, 5))
def test_split_leaves_every_stratum_a_training_sample(strata: list[int], seed: int) -> None:
    labels = np.array(strata)
    train, validation, test = split(labels, np.arange(len(labels)), Keys(seed, "split"), 0.2, 0.1)
    assert len(test) == np.ceil(0.2 * len(labels) - 1e-9)
    assert len(validation) == np.ceil(0.1 * len(labels) - 1e-9)
    assert np.array_equal(
        np.sort(np.concatenate([train, validation, test])), np.arange(len(labels))
    )
    if len(test) + len(validation) <= len(labels) - len(set(strata)):
        assert set(labels[train]) == set(strata)


def test_split_is_within_owners_where_there_are_any() -> None:
    owner = np.repeat(np.arange(30), 10)
    x = np.random.default_rng(0).normal(size=(300, 2))
    data = prepare(Samples(x, np.zeros(300, np.int64), 1, owner=owner), seed=0)
    assert (np.bincount(owner[data.train]) == 7).all()


@pytest.mark.parametrize(
    ("test", "validation"), [(-0.1, 0.1), (1.0, 0.0), (0.6, 0.4), (float("nan"), 0.1)]
)
def test_split_refuses_impossible_fractions(test: float, validation: float) -> None:
    with pytest.raises(ConfigError, match="must be a fraction"):
        Digits(test=test, validation=validation).load()


def test_scaling_looks_at_training_samples_only() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(5, 3, (500, 4)) * [1, 10, 100, 0]
    samples = Samples(x, draw.integers(0, 2, 500), 2)
    plain = prepare(samples, 0)
    wild = x.copy()
    wild[plain.test] *= 1000  # a leak of test samples into the statistics would show
    for scale in ("standard", "unit"):
        scaled = prepare(samples, 0, scale=scale)  # type: ignore[arg-type]
        leaky = prepare(replace(samples, x=wild), 0, scale=scale)  # type: ignore[arg-type]
        assert np.array_equal(scaled.x[scaled.train], leaky.x[leaky.train])
        part = scaled.x[scaled.train].astype(np.float64)
        if scale == "standard":
            assert np.allclose(part.mean(0), 0, atol=1e-6)
            assert np.allclose(part.std(0), [1, 1, 1, 0], atol=1e-6)
        else:
            assert np.allclose([part.min(0), part.max(0)], [[0, 0, 0, 0], [1, 1, 1, 0]], atol=1e-6)


def test_one_scale_for_grey_levels() -> None:
    raw, unit, standard = (Digits(scale=scale).load() for scale in ("none", "unit", "standard"))  # type: ignore[arg-type]
    assert np.array_equal(unit.x, raw.x / 16)
    assert standard.x[standard.train].std() == pytest.approx(1, abs=1e-4)
    assert Digits(flat=False).load().x.shape == (1797, 1, 8, 8)


def test_what_cannot_be_learned_from_is_refused_by_place() -> None:
    x, y = np.ones((20, 3)), np.arange(20) % 2
    bad = x.copy()
    bad[7, 1] = np.nan
    with pytest.raises(
        ConfigError,
        match=r"row 7 \(counted from 0\), column 1 is nan; every value must be a finite",
    ):
        prepare(Samples(bad, y, 2), 0)
    with pytest.raises(ConfigError, match=r"path=f\.csv: row 7 .*, column 'age' is nan"):
        prepare(Samples(bad, y, 2, columns=("id", "age", "sex"), origin=("path", "f.csv")), 0)
    bad[7, 1] = 1e300  # finite, but not as float32
    with pytest.raises(
        ConfigError,
        match=r"row 7 .* is 1e\+300; every value must be a finite number that float32 holds",
    ):
        prepare(Samples(bad, y, 2, one_scale=True), 0, scale="standard")
    with pytest.raises(
        ConfigError, match=r"row 3 \(counted from 0\) has label 9; labels must be 0 to 1"
    ):
        prepare(Samples(x, np.where(np.arange(20) == 3, 9, y), 2), 0)
    with pytest.raises(ConfigError, match=r"row 0 .* has label -1; labels must be 0 to 1"):
        prepare(Samples(x, y - 1, 2), 0)
    with pytest.raises(ConfigError, match="target 0 is inf"):
        prepare(Samples(x, np.full((20, 1), np.inf), 0), 0)
    with pytest.raises(ConfigError, match="at least one sample"):
        prepare(Samples(x[:0], y[:0], 2), 0)
    with pytest.raises(ConfigError, match="20 samples"):
        prepare(Samples(x, y[:4], 2), 0)
    with pytest.raises(ConfigError, match="labels of type float64"):
        prepare(Samples(x, y * 0.5, 2), 0)
    with pytest.raises(ConfigError, match="2 samples cannot be split"):
        prepare(Samples(x[:2], y[:2], 2), 0)
    with pytest.raises(ConfigError, match="scale=log: must be none, standard or unit"):
        prepare(Samples(x, y, 2), 0, scale="log")  # type: ignore[arg-type]


def test_limit_is_stratified_and_bounded() -> None:
    y = np.repeat(np.arange(4), 100)
    samples = Samples(np.random.default_rng(0).normal(size=(400, 2)), y, 4)
    data = prepare(samples, 0, limit=40)
    assert np.bincount(y[data.train]).tolist() == [10, 10, 10, 10]
    assert set(data.train) < set(prepare(samples, 0).train)
    with pytest.raises(ConfigError, match="limit=281: must be 1 to 280"):
        prepare(samples, 0, limit=281)


def test_validate_guards_sources_that_split_themselves() -> None:
    good = Digits().load()
    validate(good)
    for broken, message in [
        (replace(good, test=good.train[:5]), "share samples"),
        (replace(good, test=good.test[:0]), "no test samples"),
        (replace(good, train=np.array([5000])), "must be 0 to 1796"),
        (replace(good, owner=good.y[:9]), "owners must be"),
    ]:
        with pytest.raises(ConfigError, match=message):
            validate(broken)


def test_holdings_and_label_mix() -> None:
    holdings = DeviceSplit.group(np.array([1, 0, 1, -1, 2, 1]), 3)
    assert holdings.devices == 3
    assert holdings.sizes_N.tolist() == [1, 3, 1]
    assert [holdings.of(i).tolist() for i in range(3)] == [[1], [0, 2, 5], [4]]
    mix = label_mix(np.array([0, 1, 2, 0, 2, 0]), holdings, 3)
    assert np.allclose(mix, [[0, 1, 0], [2 / 3, 0, 1 / 3], [0, 0, 1]])
    assert mix.dtype == np.float64


def test_whole_numbers_are_what_they_are_whatever_holds_them() -> None:
    for device_S in ([1, 0, -1], np.array([1, 0, -1], object), np.array([1, 0, -1], np.int8)):
        assert DeviceSplit.group(device_S, 2).sizes_N.tolist() == [1, 1]
    for wrong in ([1.0, 0.0], np.array([1, 0.5], object), np.array([1, None], object), ["1", "0"]):
        with pytest.raises(ValueError, match="must be a whole number for each sample"):
            DeviceSplit.group(wrong, 2)


def test_dataset_features() -> None:
    empty = np.zeros(0, np.int64)
    assert Dataset(
        np.zeros((2, 1, 8, 8), np.float32), empty, 2, None, empty, empty, empty
    ).features == (1, 8, 8)


def test_samples_begin_on_a_cache_line_whatever_they_came_in() -> None:
    for shift in range(0, 64, 4):
        raw = np.zeros(4 * 100 + 128, np.uint8)
        begin = -raw.ctypes.data % 64 + shift
        x = raw[begin : begin + 400].view(np.float32).reshape(20, 5)
        x[...] = np.arange(100).reshape(20, 5)
        found = on_cache_lines(x)
        assert found.ctypes.data % 64 == 0
        assert np.array_equal(found, x)


def test_a_class_that_nothing_could_learn_is_named() -> None:
    """Refused where the test set comes with the data, a warning where the draw took a rare class's
    only sample.
    """
    x, y = np.arange(20.0)[:, None], np.repeat([0, 1, 2], [9, 9, 2])
    with pytest.raises(
        ConfigError, match="class 2 is among the test samples but in no training sample"
    ):
        prepare(Samples(x, y, 3, test=np.array([0, 18, 19])), 0)
    owner, rare = (
        np.repeat([0, 1], [10, 10]),
        np.r_[np.zeros(19, np.int64), 1],
    )  # split within owners, whatever the label
    seed = next(
        s for s in range(20) if 19 in split(owner, np.arange(20), Keys(s, "split"), 0.2, 0.1)[2]
    )
    with pytest.warns(
        UserWarning,
        match="class 1 is among the test samples but in no training sample: nobody can learn it",
    ):
        prepare(Samples(x, rare, 2, owner=owner), seed)
