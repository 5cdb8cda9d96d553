"""The generated sources: what each promises about its distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression as LeastSquares
from sklearn.linear_model import LogisticRegression

from swarm.common.errors import ConfigError
from swarm.data.dataset import Dataset, DeviceSplit, Source, label_mix
from swarm.data.generated.digits import Digits
from swarm.data.generated.digits_like import DigitsLike
from swarm.data.generated.synthetic import Gaussian, LeafSynthetic, LinearRegression


@pytest.mark.parametrize(
    "make", [Digits, lambda seed: DigitsLike(10, seed=seed), lambda seed: LeafSynthetic(10, seed=seed),
             lambda seed: Gaussian(10, seed=seed), lambda seed: LinearRegression(10, seed=seed)]
)  # fmt: skip
def test_sources_are_pure_functions_of_the_seed(make: type[Source]) -> None:
    first, again, other = (make(seed=s).load() for s in (0, 0, 1))  # type: ignore[call-arg]
    assert np.array_equal(first.x, again.x)
    assert np.array_equal(first.y, again.y)
    assert np.array_equal(first.test, again.test)
    assert not np.array_equal(first.x[first.train[:50]], other.x[other.train[:50]])
    assert first.x.dtype == np.float32
    assert first.y.dtype == (np.int64 if first.classes else np.float32)


def test_digits_like_is_learnable_and_tested_on_the_real_held_out_digits() -> None:
    real, made = Digits(seed=2).load(), DigitsLike(150, per_device=12, seed=2).load()
    assert len(made.train) == 1800
    for part in ("validation", "test"):
        assert np.array_equal(made.x[getattr(made, part)], real.x[getattr(real, part)])
        assert np.array_equal(made.y[getattr(made, part)], real.y[getattr(real, part)])
    model = LogisticRegression(max_iter=200).fit(made.x[made.train], made.y[made.train])
    assert model.score(made.x[made.test], made.y[made.test]) > 0.85
    assert DigitsLike(3, flat=False).load().features == (1, 8, 8)


def test_digits_like_never_blends_in_a_held_out_digit() -> None:
    real, copies = Digits(seed=0).load(), DigitsLike(200, blend=0.0, noise=0.0, shift=0.0).load()
    known = {row.tobytes() for row in real.x[real.train]}
    assert {row.tobytes() for row in copies.x[copies.train]} <= known


def test_digits_like_samples_differ_from_one_another() -> None:
    made = DigitsLike(100).load()
    assert len(np.unique(made.x[made.train], axis=0)) == len(made.train)


def centres(data: Dataset) -> np.ndarray:
    assert data.owner is not None
    return np.stack(
        [data.x[data.owner == i].mean(axis=0) for i in range(int(data.owner.max()) + 1)]
    )


def skew(data: Dataset) -> float:
    """Mean total-variation distance between a device's labels and everybody's."""
    assert data.owner is not None
    mix = label_mix(data.y, DeviceSplit.group(data.owner, int(data.owner.max()) + 1), data.classes)  # type: ignore[arg-type]
    return float(0.5 * np.abs(mix - mix.mean(axis=0)).sum(axis=1).mean())


def test_leaf_inputs_move_apart_with_beta() -> None:
    spread = [
        centres(LeafSynthetic(60, alpha=0.0, beta=b, per_device=50).load()).var(axis=0).mean()
        for b in (0, 1, 2)
    ]
    # Var(v_k) = 1 + beta², plus a little sampling noise
    assert spread == pytest.approx([1, 2, 5], rel=0.35)


def test_leaf_labels_move_apart_with_alpha() -> None:
    skews = [
        skew(LeafSynthetic(60, alpha=a, beta=0.0, per_device=100).load()) for a in (0.0, 3.0, 30.0)
    ]
    assert skews == sorted(skews)
    assert skews[2] > skews[0] + 0.02


def test_published_leaf_alpha_changes_nothing() -> None:
    """One number added to the scores of all classes cannot move their argmax; with an entry per
    class it does.
    """
    quiet, loud = (
        LeafSynthetic(20, alpha=a, per_class=False, per_device=50).load() for a in (0.0, 5.0)
    )
    assert np.array_equal(quiet.x, loud.x)
    assert np.array_equal(quiet.y, loud.y)
    quiet, loud = (LeafSynthetic(20, alpha=a, per_device=50).load() for a in (0.0, 5.0))
    assert np.array_equal(quiet.x, loud.x)
    assert (quiet.y != loud.y).mean() > 0.2


def test_leaf_iid_and_published_sizes() -> None:
    same = LeafSynthetic(20, iid=True, per_device=400).load()
    assert centres(same).var(axis=0).mean() < 0.01
    assert skew(same) < 0.1
    sizes = np.bincount(LeafSynthetic(300).load().owner)  # type: ignore[arg-type]
    assert sizes.min() >= 50
    assert sizes.max() == 2000
    assert np.median(sizes) == pytest.approx(50 + math.exp(4), rel=0.25)


@pytest.mark.parametrize("seed", range(4))
def test_leaf_iid_has_one_model_around_nought(seed: int) -> None:
    """Synthetic-IID as published: inputs N(0, diag(j^-1.2)), so that no class gets nearly
    everything.
    """
    same = LeafSynthetic(20, iid=True, per_device=100, seed=seed).load()
    assert np.bincount(same.y, minlength=10).max() < len(same.y) / 2
    assert np.abs(same.x.mean(axis=0)).max() < 0.1
    np.testing.assert_allclose(same.x.std(axis=0), np.arange(1, 61) ** -0.6, rtol=0.1)
    other = LeafSynthetic(20, iid=True, per_device=100, seed=seed, alpha=7.0, beta=7.0).load()
    assert np.array_equal(same.y, other.y)
    assert np.array_equal(same.x, other.x)


def test_leaf_is_a_linear_model_on_each_device() -> None:
    data = LeafSynthetic(1, features=8, classes=3, per_device=3000).load()
    model = LogisticRegression(max_iter=500, C=100).fit(data.x[data.train], data.y[data.train])
    assert model.score(data.x[data.test], data.y[data.test]) > 0.85


def test_gaussian_best_accuracy_is_phi_of_half_the_separation() -> None:
    data = Gaussian(20, classes=2, features=5, separation=2.0, per_device=1000).load()
    model = LogisticRegression().fit(data.x[data.train], data.y[data.train])
    phi = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    assert model.score(data.x, data.y) == pytest.approx(phi, abs=0.01)
    assert Gaussian(2, classes=8, features=3).load().classes == 8


def test_gaussian_heterogeneity_is_the_variance_between_devices() -> None:
    spread = [
        centres(Gaussian(200, classes=2, heterogeneity=h).load()).var(axis=0).mean()
        for h in (0.0, 2.0)
    ]
    # the mean of two independent shifts of variance 4
    assert spread[1] - spread[0] == pytest.approx(4 / 2, rel=0.2)


def test_linear_regression_r2_and_heterogeneity() -> None:
    data = LinearRegression(20, noise=0.5).load()
    assert data.y.shape == (2000, 1)
    score = LeastSquares().fit(data.x[data.train], data.y[data.train]).score(data.x, data.y)
    assert score == pytest.approx(1 / 1.25, abs=0.03)
    mixed = LinearRegression(20, noise=0.5, heterogeneity=2.0).load()
    assert LeastSquares().fit(mixed.x, mixed.y).score(mixed.x, mixed.y) < 0.5
    assert mixed.owner is not None
    own = mixed.owner == 3
    assert LeastSquares().fit(mixed.x[own], mixed.y[own]).score(mixed.x[own], mixed.y[own]) > 0.75


def test_bad_options_are_refused_by_name() -> None:
    for build, message in [
        (lambda: DigitsLike(10, per_device=0), "per_device=0: must be at least 1"),
        (lambda: DigitsLike(10, blend=1.5), "blend=1.5: must be between 0 and 1"),
        (lambda: DigitsLike(10**7, per_device=10**3), r"at most \d+ samples \(.* GiB"),
        (lambda: LeafSynthetic(10, alpha=-1.0), "alpha=-1: "),
        (lambda: LeafSynthetic(10, beta=float("inf")), "beta=inf"),
        (lambda: LeafSynthetic(10**9, per_device=10), "GiB"),
        (lambda: LeafSynthetic(10**6).load(), "GiB"),
        (lambda: Gaussian(10, classes=1), "classes=1: must be at least 2"),
        (lambda: LinearRegression(10, noise=-0.1), "noise=-0.1"),
    ]:
        with pytest.raises(ConfigError, match=message):
            build()
