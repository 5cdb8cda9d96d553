"""What metrics return, checked where it arrives, so that a fault names the metric in a sentence.

Each function raises :class:`~swarm.common.plugin.PluginError` for what cannot be used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from numbers import Real

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swarm.common.errors import of_the
from swarm.common.plugin import PluginError, returned, shape_of
from swarm.simulation.metrics.base import Metric
from swarm.simulation.metrics.column import Column

SECTION = "metrics"
MOST = 2**63  # whole numbers of a record are below it, as tables keep them in 64 bits


def fault(metric: Metric, call: str, found: str, needed: str) -> PluginError:
    """The error for a ``metric`` whose method ``call`` has returned what cannot be used; see
    :func:`~swarm.common.plugin.returned`."""
    return returned(SECTION, metric, call, found, needed)


def one_each(
    metric: Metric, found: Tensor, devices: int, numbers: int = 1, method: str = "value()"
) -> Tensor:
    """Return what a metric returned, ``found``, as ``[devices, numbers]``, if it has one value a
    device, or so many ``numbers``."""
    shape = (devices,) if numbers == 1 else (devices, numbers)
    fits = isinstance(found, Tensor) and found.shape in (shape, (devices, numbers))
    if not fits or found.is_complex():
        each, verb = ("one value", "is") if numbers == 1 else (f"{numbers} values", "are")
        each = f"{each} for {of_the(devices, 'device')} {verb} needed"
        needed = each if isinstance(found, Tensor) else f"{each}, as a torch tensor"
        raise fault(metric, method, f"returns {shape_of(found)}", needed)
    return found.reshape(devices, numbers)


def compared_each(
    metric: Metric, each: npt.NDArray[np.float64], devices: int, method: str = "values()"
) -> npt.NDArray[np.float64]:
    """Return what a metric returned, ``each``, if it has one value a device."""
    fits = isinstance(each, np.ndarray) and each.shape == (devices,)
    if not fits or each.dtype.kind not in "fiub":
        needed = f"one value for {of_the(devices, 'device')} is needed"
        needed += "" if isinstance(each, np.ndarray) else ", as a NumPy array"
        raise fault(metric, method, f"returns {shape_of(each)}", needed)
    return each


def one_number(metric: Metric, found: object, call: str, key: str = "") -> float | None:
    """Return the number of a record that a metric returned, under ``key`` if it returned several,
    or None; NumPy's and torch's numbers become Python's."""
    if getattr(found, "ndim", None) == 0:
        found = found.item()  # type: ignore[attr-defined]
    if found is None:
        return None
    if isinstance(found, Real) and not isinstance(found, bool):
        try:
            value = float(found)
            return found if isinstance(found, int) and abs(value) < MOST else value
        except OverflowError:
            said, needed = "a larger one", "a number below 1.8e308, or None, is needed"
    else:
        said, needed = shape_of(found), "a number, or None, is needed"
    raise fault(metric, call, f"has {said} under {key}" if key else f"returns {said}", needed)


def keyed_numbers(
    metric: Metric, found: Mapping[str, object], call: str, keys: Collection[str]
) -> dict[str, float | None]:
    """Return the numbers of a record that a metric returned, each under one of ``keys``."""
    if not isinstance(found, Mapping):
        needed = f"a dict with numbers of its columns, {', '.join(keys)}, is needed"
        raise fault(metric, call, f"returns {shape_of(found)}", needed)
    for key in found:
        if key not in keys:
            needed = f"it must be one of its columns, {', '.join(keys)}"
            raise fault(metric, call, f"has the key {key}", needed)
    return {key: one_number(metric, each, call, key) for key, each in found.items()}


def whole(metric: Metric, found: object, call: str, least: int) -> int:
    """Return the number of bytes, or of values, that a metric returned, if it is a whole number
    from ``least`` on."""
    if isinstance(found, bool) or not isinstance(found, int | np.integer) or found < least:
        said = repr(found) if isinstance(found, int | float) else shape_of(found)
        raise fault(metric, call, f"returns {said}", f"a whole number ≥ {least} is needed")
    return int(found)


def reason(metric: Metric, found: object, call: str) -> str | None:
    """Return why a metric cannot be measured, if it returned a reason or None."""
    if found is None or (isinstance(found, str) and found.strip()):
        return found
    needed = "the end of a sentence that says why it cannot be measured, or None, is needed"
    raise fault(metric, call, f"returns {shape_of(found)}", needed)


def columns_of(metric: Metric) -> tuple[Column, ...]:
    """Return the columns of a metric, if they are some, and each has a key of its own."""
    found = metric.columns()
    if not isinstance(found, tuple | list) or not all(isinstance(each, Column) for each in found):
        raise fault(metric, "columns()", f"returns {shape_of(found)}", "Columns are needed")
    keys = [column.key for column in found]
    for key in keys:
        if not isinstance(key, str) or not key.isidentifier():
            needed = "a key must be letters, digits and underscores, such as macro_f1"
            raise fault(metric, "columns()", f"has a column with the key {key!r}", needed)
        if keys.count(key) > 1:
            needed = "each number needs a key of its own"
            raise fault(metric, "columns()", f"has two columns with the key {key}", needed)
    return tuple(found)
