"""Checks of the data of a run, whichever source they come from; each message names the row, column
or field that is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from swarm.common.arrays import chunks
from swarm.common.errors import ConfigError
from swarm.common.names import Names
from swarm.common.plugin import shape_of
from swarm.data.dataset import Dataset

Origin = tuple[str, object]  # the key and value that an error names

UNNAMED: Origin = ("/data", "samples")  # of sources that say nothing of where samples come from
_LARGEST = np.finfo(np.float32).max


def check_arrays(
    x: npt.NDArray[np.generic],
    y: npt.NDArray[np.generic],
    classes: int,
    origin: Origin = UNNAMED,
    columns: Sequence[str] = (),
) -> None:
    """Check the samples ``x`` ``[S, *features]`` and their labels or targets ``y``.

    Raises ``ConfigError`` for no samples, a NaN or infinity, and a label out of range. ``origin``
    is the key and value that the message names; ``columns`` are names of the features for it.
    """
    key, value = origin
    if x.ndim < 2 or x.size == 0:
        raise ConfigError(
            key,
            value,
            f"x has shape {list(x.shape)}; at least one sample with one feature is needed",
        )
    if len(y) != len(x):
        raise ConfigError(
            key, value, f"{len(y)} labels for {len(x)} samples; the two numbers must be equal"
        )
    _finite(x, origin, [f"column {name!r}" for name in columns])
    if classes == 0:
        if y.ndim != 2 or y.shape[1] < 1:
            raise ConfigError(
                key,
                value,
                f"regression targets of shape {list(y.shape)}; [samples, targets] is needed",
            )
        _finite(y, origin, [f"target {t}" for t in range(y.shape[1])])
        return
    if y.ndim not in (1, 2) or y.dtype.kind not in "iu":
        raise ConfigError(
            key,
            value,
            f"labels of type {y.dtype} and shape {list(y.shape)}; [samples] integers are needed, or"
            " [samples, positions]",
        )
    bad = np.argwhere((y < 0) | (y >= classes))  # type: ignore[operator]
    if bad.size:
        row, found = bad[0][0], y[tuple(bad[0])]
        raise ConfigError(
            key,
            value,
            f"row {row} (counted from 0) has label {found}; labels must be 0 to {classes - 1}",
        )


def _finite(x: npt.NDArray[np.generic], origin: Origin, names: Sequence[str]) -> None:
    if x.dtype.kind in "biu":
        return
    for rows in chunks(x):
        finite = (np.abs(x[rows]) <= _LARGEST).reshape(rows.stop - rows.start, -1)
        if not finite.all():
            row, column = (int(i) for i in np.argwhere(~finite)[0])
            found = x[rows.start + row].reshape(-1)[column]
            name = names[column] if names else f"column {column}"
            valid = (
                f"row {rows.start + row} (counted from 0), {name} is {found}; every value must be a"
                " finite number"
            )
            valid += " that float32 holds, up to 3.4e38" if np.isfinite(found) else ""
            raise ConfigError(*origin, valid)


def _require_arrays(dataset: object, origin: Origin) -> None:
    """Refuse an object that is no :class:`Dataset` of NumPy arrays."""
    if not isinstance(dataset, Dataset):
        raise ConfigError(
            *origin, f"come as {shape_of(dataset)}; a swarm.data.dataset.Dataset is needed"
        )
    if (
        isinstance(dataset.classes, bool)
        or not isinstance(dataset.classes, int | np.integer)
        or dataset.classes < 0
    ):
        raise ConfigError(
            *origin, f"have {dataset.classes!r} classes; a whole number is needed, 0 for regression"
        )
    kinds = {"x": "fiu", "y": "fiu", "train": "iu", "validation": "iu", "test": "iu"}
    optional = ("owner", "time", "concept", "observed_labels", "public")
    kinds |= dict.fromkeys(optional, "iu")
    for name, kind in kinds.items():
        found = getattr(dataset, name)
        if found is None and name in optional:
            continue
        if not isinstance(found, np.ndarray) or found.dtype.kind not in kind:
            needed = "whole numbers" if kind == "iu" else "numbers"
            raise ConfigError(
                *origin, f"have {shape_of(found)} as {name}; a NumPy array of {needed} is needed"
            )


def validate(dataset: Dataset, origin: Origin = UNNAMED, columns: Sequence[str] = ()) -> None:
    """Check everything that must hold of any data set.

    Raises ``ConfigError`` about the first thing that does not hold; the message names the key and
    value of ``origin``.
    """
    _require_arrays(dataset, origin)
    check_arrays(dataset.x, dataset.y, dataset.classes, origin, columns)
    _require_disjoint_sets(dataset, origin)
    _require_one_per_sample(dataset, origin)
    if dataset.owner_names is not None:
        owners = 0 if dataset.owner is None else int(dataset.owner.max()) + 1
        _check_names(dataset.owner_names, owners, len(dataset.owner_names), "owners", origin)
    if dataset.class_names is not None:
        _check_names(dataset.class_names, dataset.classes, dataset.classes, "classes", origin)


def _require_disjoint_sets(dataset: Dataset, origin: Origin) -> None:
    """Refuse sets that lack samples, share some, or have ids that are no samples."""
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    if dataset.public is not None:
        parts["public"] = dataset.public
    for name in ("train", "test"):
        if not len(parts[name]):
            raise ConfigError(*origin, f"no {name} samples; at least one is needed")
    ids = np.concatenate(list(parts.values()))
    if ids.min() < 0 or ids.max() >= len(dataset.x):
        raise ConfigError(
            *origin,
            f"sample ids {ids.min()} to {ids.max()}; they must be 0 to {len(dataset.x) - 1}",
        )
    *first, last = parts
    if int(np.bincount(ids, minlength=len(dataset.x)).max()) > 1:
        raise ConfigError(
            *origin, f"{', '.join(first)} and {last} share samples; they must be disjoint"
        )


def _require_one_per_sample(dataset: Dataset, origin: Origin) -> None:
    """Refuse times, labels, concepts and owners that are not one valid number for each sample."""
    each = (len(dataset.x),)
    if dataset.time is not None and dataset.time.shape != each:
        raise ConfigError(
            *origin, f"times of shape {list(dataset.time.shape)}; one number per sample is needed"
        )
    observed = dataset.observed_labels
    if observed is not None and observed.shape != each:
        raise ConfigError(
            *origin,
            f"observed_labels of shape {list(observed.shape)}; one per sample is needed",
        )
    if observed is not None and not -1 <= observed.min() <= observed.max() < dataset.classes:
        raise ConfigError(
            *origin,
            f"observed_labels {observed.min()} to {observed.max()}; they must be −1 to"
            f" {dataset.classes - 1}",
        )
    concept = dataset.concept
    if concept is not None and (concept.shape != each or int(concept.min()) < 0):
        raise ConfigError(*origin, "concepts must be one number of 0 or more per sample")
    owner = dataset.owner
    if owner is not None and (len(owner) != len(dataset.x) or int(owner.min()) < 0):
        raise ConfigError(*origin, "owners must be one number of 0 or more per sample")


def _check_names(names: Names, least: int, most: int, what: str, origin: Origin) -> None:
    if not least <= len(names) <= most or len(set(names)) < len(names):
        raise ConfigError(
            *origin, f"has {len(names)} names for {least} {what}; each needs one of its own"
        )
