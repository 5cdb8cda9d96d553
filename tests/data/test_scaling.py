"""Numbers keep their digits until they are scaled: statistics in float64, of the training rows
only, and then the cast.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.common.arrays import CHUNK
from swarm.common.errors import ConfigError
from swarm.data.files.table import Table
from swarm.data.prepare import Samples, prepare
from swarm.data.scaling import Scale, rescaled
from tests.data.packed import peak_of

SPREAD = np.random.default_rng(0).random(200)
TRAIN = np.arange(140)


@pytest.mark.parametrize(
    "column",
    [
        5812345.0 + SPREAD,  # northings in metres
        1.7e9 + 300 * SPREAD,  # Unix seconds within five minutes
        1e15 + 1000 * SPREAD,
        -1e6 + 1e-3 * SPREAD,
        1e-30 * SPREAD,
        1e30 * SPREAD,
        (1.7e18 + 3e11 * SPREAD).astype(np.int64),  # the same in nanoseconds
        2**62 + (100 * SPREAD).astype(np.int64),  # beyond what float64 counts
        -(2**62) + (100 * SPREAD).astype(np.int64),
        2**63 + (100 * SPREAD).astype(np.uint64),
        np.where(SPREAD > 0.5, 2**63 - 1, -(2**63)),  # a difference that int64 does not hold
        (100 * SPREAD).astype(np.int8),
        SPREAD.astype(np.float16),
        SPREAD > 0.5,
    ],
    ids=str,
)
@pytest.mark.parametrize("scale", ["standard", "unit"])
def test_a_narrow_column_keeps_its_digits(column: np.ndarray, scale: Scale) -> None:
    """Against exact arithmetic with Python's whole numbers."""
    exact = [int(v) for v in column] if column.dtype.kind in "iub" else [float(v) for v in column]
    low = min(exact)
    small = np.array([float(v - low) for v in exact])  # exact differences
    shift, span = (
        (small[TRAIN].mean(), small[TRAIN].std())
        if scale == "standard"
        else (small[TRAIN].min(), np.ptp(small[TRAIN]))
    )
    found, affine = rescaled(column[:, None], TRAIN, scale)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found[:, 0], (small - shift) / span, atol=2e-3 if abs(low) >= 1e15 else 1e-5
    )
    assert affine.span[0] == pytest.approx(span, rel=1e-3)
    assert affine.shift[0] == pytest.approx(low + shift, rel=1e-12)


@given(
    st.floats(-1e12, 1e12),
    st.floats(1e-6, 1e6),
    st.integers(0, 9),
    st.sampled_from(["standard", "unit"]),
    st.booleans(),
)
def test_scaling_forgets_offset_and_unit(
    offset: float, unit: float, seed: int, scale: Scale, one_scale: bool
) -> None:
    """As far as float64 holds the column at all."""
    x = np.random.default_rng(seed).normal(size=(50, 2))
    moved = offset + unit * x
    held = 4 * np.spacing(abs(offset) + 10 * unit) / unit
    train = np.arange(35)
    plain, other = (rescaled(values, train, scale, one_scale)[0] for values in (x, moved))
    np.testing.assert_allclose(other, plain, atol=10 * held + 1e-5)


def test_only_a_column_of_one_value_is_constant() -> None:
    x = np.stack([np.full(200, 1e9), 1e9 + 1e-6 * SPREAD, np.full(200, 0.1)], axis=1)
    found, affine = rescaled(x, TRAIN, "standard")
    assert (found[:, [0, 2]] == 0).all()
    assert affine.span[[0, 2]].tolist() == [1, 1]
    assert found[TRAIN, 1].std() == pytest.approx(1, abs=0.2)  # float64 has about eight steps in it
    assert affine.shift[0] == 1e9


def test_blocks_keep_their_own_types_and_stand_side_by_side() -> None:
    draw = np.random.default_rng(0)
    blocks = [
        2**60 + draw.integers(0, 9, (60, 1)),
        draw.normal(size=(60, 2)),
        draw.integers(0, 2, (60, 3)).astype(np.uint8),
    ]
    data = prepare(
        Samples(blocks, np.arange(60) % 2, 2, scaled=2, columns=tuple("abcdef")),
        0,
        scale="standard",
    )
    assert data.features == (6,)
    np.testing.assert_allclose(data.x[data.train, :3].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(data.x[data.train, :3].std(0), 1, atol=1e-6)
    assert np.array_equal(data.x[:, 3:], blocks[2])
    assert data.scaling is not None
    assert data.scaling.shift[3:].tolist() == [0, 0, 0]
    blocks[1][7, 1] = np.nan
    with pytest.raises(ConfigError, match=r"row 7 \(counted from 0\), column 'c' is nan"):
        prepare(Samples(blocks, np.arange(60) % 2, 2, scaled=2, columns=tuple("abcdef")), 0)


@pytest.mark.parametrize("scale", ["none", "standard", "unit"])
def test_what_the_cast_would_lose_is_named(tmp_path: Path, scale: Scale) -> None:
    table = pd.DataFrame(
        {"northing": 5812345.0 + SPREAD, "far": 1e7 * SPREAD, "side": (SPREAD > 0.5).astype(int)}
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        Table(str(tmp_path / "t.csv"), label="side", scale=scale).load()
    found = [str(w.message) for w in said]
    wanted = (
        "column 'northing' is large and varies little: what varies in it is lost, as float32 holds"
        " seven digits; "
    )
    assert found == ([wanted + "data.scale=standard or unit keeps it"] if scale == "none" else [])


def test_targets_have_statistics_of_their_own_each(tmp_path: Path) -> None:
    y = np.stack([200_000 + 15_000 * SPREAD, 1e-3 * SPREAD, 1e9 + 1000 * SPREAD], axis=1)
    data = prepare(Samples(SPREAD[:, None], y, 0), 0, target_scale="standard")
    assert data.target is not None
    np.testing.assert_allclose(data.y[data.train].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.y[data.train].std(0), 1, atol=1e-5)
    np.testing.assert_allclose(
        data.target.shift + data.target.span * data.y, y, rtol=1e-6, atol=1e-9
    )
    plain = prepare(Samples(SPREAD[:, None], y.astype(np.float32), 0), 0)
    assert plain.target is None
    assert np.array_equal(plain.y, y.astype(np.float32))
    said = (
        r"the targets vary by [0-9.]*e\+19, whose square cannot be reported; they must vary by at"
        r" most 1e\+15; give "
    )
    with pytest.raises(ConfigError, match=f"^data=samples: {said}"):
        prepare(Samples(SPREAD[:, None], 1e20 * SPREAD[:, None], 0), 0, target_scale="standard")
    pd.DataFrame({"x": SPREAD, "price": 1e20 * SPREAD}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ConfigError, match=f"^label=price: {said}"):
        Table(
            str(tmp_path / "t.csv"), label="price", task="regression", target_scale="standard"
        ).load()
    with pytest.raises(ConfigError, match=r"^target_scale=log: must be"):
        prepare(Samples(SPREAD[:, None], y, 0), 0, target_scale="log")  # type: ignore[arg-type]


def test_images_of_bytes_are_never_copied_as_float64() -> None:
    """Besides the float32 result there are only pieces of it."""
    x = np.random.default_rng(0).integers(0, 256, (20_000, 784)).astype(np.uint8)
    samples = Samples(x, np.arange(20_000) % 10, 10, one_scale=True)
    for scale in ("standard", "unit", "none"):
        taken = peak_of(lambda scale=scale: prepare(samples, 0, scale=scale))  # type: ignore[misc]
        assert taken < 4 * x.size + 25 * CHUNK
