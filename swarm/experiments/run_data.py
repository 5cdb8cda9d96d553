"""Loads the data of a run, splits them among the devices, and orders the devices' streams."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from swarm.common.errors import ConfigError, of_the
from swarm.common.names import choices
from swarm.common.plugin import absent, is_plugin, returned
from swarm.common.rng import Keys
from swarm.common.system.machine import resident_bytes
from swarm.config.build import build
from swarm.config.choices import choice
from swarm.config.settings import Settings
from swarm.data.dataset import Dataset, DeviceSplit, Source
from swarm.data.local_test import (
    KEY,
    PUBLIC,
    VALIDATION,
    asked,
    of_owners,
    public_asked,
    shared,
    taken_out,
    validation_asked,
)
from swarm.data.partition import Partition
from swarm.data.stream.drift import Drift
from swarm.data.stream.labelling import LabelOracle
from swarm.data.validation import UNNAMED, validate
from swarm.experiments.runs.memory import require_loading

# An earlier run of this process is let go before the next one loads its data, if either is large.
# The search for what is garbage takes a tenth of a second, which a small run need not wait for.
_LARGE, _MUCH = 32 << 20, 512 << 20  # bytes of the data, and of the process


class Loaded(NamedTuple):
    """The data of a run, and what loading them takes.

    Attributes:
        dataset: All samples.
        split: Which device holds which of its training samples.
        program: The bytes of this process before it loaded them.
        loading: The most bytes that were taken beside these until they were loaded.
    """

    dataset: Dataset
    split: DeviceSplit
    program: int
    loading: int


def load_data(s: Settings, learns: bool, streams: bool) -> Loaded:
    """The data set, and which device holds which of its training samples.

    If nothing ``learns``, no device holds any. If the update policy ``streams``, each device's
    samples are in the order in which it meets them, with drift and observed labels applied. The
    split also says which samples of its own each device is tested on, as ``data.local_test`` asks,
    and on which it may measure models, as ``data.local_validation`` asks. No device holds the
    samples that all share, as ``data.public`` asks.

    Raises :class:`ConfigError` for data that cannot be loaded, split or used, and for drift or
    labels without a stream.
    """
    share, _ = asked(s.data)
    asked_for = {KEY: 0.0 if share == "auto" else share, VALIDATION: validation_asked(s.data)}
    taken = {key: each for key, each in asked_for.items() if each and learns}
    source, needed = _source(s)
    program = resident_bytes()
    dataset, split = _split_data(s, source, learns, streams, taken)
    if dataset.concept is not None:
        _refuse_drift(taken, public_asked(s.data))
    if share == "auto" and learns:
        split = of_owners(dataset, split)
    return Loaded(dataset, split, program, max(needed or 0, dataset.nbytes))


def _source(s: Settings) -> tuple[Source, int | None]:
    """The source of the data, and the most bytes that it takes to load them; None: nobody knows.

    Raises :class:`ConfigError` if so much is not free."""
    try:
        source = build(asked(s.data)[1], Source, "data", s.plugins, devices=s.devices, seed=s.seed)
        needed = source.loading()
    except ConfigError as error:
        raise error if error.key.startswith("data.") else error.under("data") from None
    if (needed or 0) >= _LARGE or resident_bytes() >= _MUCH:
        gc.collect()  # the parts of an experiment know one another, so that nobody else lets it go
    require_loading(s, needed)
    return source, needed


def _refuse_drift(taken: Mapping[str, float], public: float) -> None:
    """Refuse samples that are set aside of data that drift."""
    for key, share in taken.items():
        valid = (
            f"must be {'auto or ' if key == KEY else ''}0 with data that drift: what a device held"
            " out of its stream would belong to concepts that are over"
        )
        raise ConfigError(f"data.{key}", share, valid)
    if public:
        valid = "must be 0 with data that drift: the shared samples would not drift with them"
        raise ConfigError(f"data.{PUBLIC}", public, valid)


def _split_data(
    s: Settings, source: Source, learns: bool, streams: bool, taken: Mapping[str, float]
) -> tuple[Dataset, DeviceSplit]:
    """As :func:`load_data`, with the shares ``taken`` of each device's samples held out."""
    try:
        dataset = source.load()
        _require_samples(source, "load", dataset)
        dataset = dataset.read_only()
    except ConfigError as error:
        if (error.key, error.value) == UNNAMED:
            raise ConfigError("data", choice("data", s.data), error.valid) from None
        raise error if error.key.startswith("data.") else error.under("data") from None
    _require_label(s, dataset)
    if public := public_asked(s.data):
        dataset = shared(dataset, public, Keys(s.seed, PUBLIC))
    split = _split(s, dataset, learns)
    for key, part in taken.items():  # the second is a share of what the first has left
        dataset, split = taken_out(dataset, split, part, Keys(s.seed, key), key)
    drift: Drift = build(s.drift, Drift, "drift", s.plugins, seed=s.seed)
    labels: LabelOracle = build(s.labels, LabelOracle, "labels", s.plugins, seed=s.seed)
    if streams:
        return _streamed(s, dataset, split, drift, labels)
    for key, changes in (
        ("drift", not absent(drift)),
        ("labels", not absent(labels)),
    ):
        if changes:
            valid = (
                "needs a stream of samples; update=online or frozen would do, or update=nightly"
                " with replay=ring"
            )
            raise ConfigError(key, choice(key, getattr(s, key)), valid)
    return dataset, split


def _split(s: Settings, dataset: Dataset, learns: bool) -> DeviceSplit:
    partition = build(s.partition, Partition, "partition", s.plugins, devices=s.devices)
    if not learns:
        return DeviceSplit.group([], s.devices)
    try:
        return partition.split(dataset, Keys(s.seed, "partition"))
    except ConfigError as error:
        raise error.under("partition") from None


def _streamed(
    s: Settings, dataset: Dataset, split: DeviceSplit, drift: Drift, labels: LabelOracle
) -> tuple[Dataset, DeviceSplit]:
    split = split.in_order(Keys(s.seed, "order"))
    try:
        drifting = drift.apply(dataset, split)
        _require_samples(drift, "apply", drifting, dataset)
        drifting = drifting.read_only()
    except ConfigError as error:
        raise error.under("drift") from None
    try:
        told = labels.apply(drifting, split)
        _require_samples(labels, "apply", told, drifting)
    except ConfigError as error:
        raise error.under("labels") from None
    return told.read_only(), split


def _require_samples(
    maker: object, call: str, made: Dataset, before: Dataset | None = None
) -> None:
    """Refuse data that ``maker`` made and that cannot be used; unchanged data are not checked
    again."""
    if before is not None and made is before:
        return
    try:
        validate(made)
    except ConfigError as error:
        if not is_plugin(maker):
            raise
        section = {Source: "data", Drift: "drift", LabelOracle: "labels"}
        key = next(name for kind, name in section.items() if isinstance(maker, kind))
        raise returned(key, maker, call, "makes data that cannot be used", error.valid) from None


def _require_label(settings: Settings, dataset: Dataset) -> None:
    """Refuse an ``evaluate.label`` that no test sample has."""
    label = settings.evaluate.label
    if label is None:
        return
    if not dataset.classes:
        raise ConfigError(
            "evaluate.label", label, "must be null with numeric targets: there are no labels"
        )
    there = np.unique(dataset.y[dataset.test]).astype(np.int64).tolist()
    if dataset.class_of(label) not in there:
        which = choices(dataset.class_names, dataset.classes, label, there)
        valid = f"must be null or {of_the(len(there), 'label', 'one')} of the test samples, {which}"
        raise ConfigError("evaluate.label", label, valid)
