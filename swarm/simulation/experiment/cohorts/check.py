"""Refuses what cannot work where devices have models of several shapes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from swarm.common.errors import ConfigError
from swarm.common.plugin import called
from swarm.communication.aggregation.pre_aggregator import PreAggregated
from swarm.communication.compression.base import Compressor
from swarm.config.build import class_of
from swarm.config.choices import choice
from swarm.config.explain import shown
from swarm.config.settings import Settings
from swarm.learning.models.base import Wrapped

if TYPE_CHECKING:
    from swarm.simulation.experiment.cohorts.cohorts import Cohorts
    from swarm.simulation.experiment.experiment import Experiment

WITH = "with cohorts, whose devices have models of different shapes"


def check_cohorts(e: Experiment) -> None:
    """Check that the parts of ``e`` go together with its cohorts, if it has any.

    Raises :class:`ConfigError` for the first combination that cannot work."""
    cohorts = e.model.cohorts
    if cohorts is None:
        return
    for key, value, valid in _refusals(e):
        said = valid.format(WITH) if "{}" in valid else f"{valid} {WITH}"
        raise ConfigError(key, value, said)
    protocol = e.communication.protocol
    if protocol.sends_parameters and any(phase.sends for phase in e.communication.phases):
        _require_overlap(cohorts, called(protocol))
        _require_one_meaning(cohorts)


def require_parts(settings: Settings, cohorts: Cohorts | None) -> None:
    """Refuse a compressor of whole models where messages are parts of them."""
    kind: type[Compressor] = class_of(
        settings.compressor, Compressor, "compressor", settings.plugins
    )
    if cohorts is not None and kind.whole_rows:
        valid = "must be one that packs any numbers with cohorts, whose messages are parts of a"
        valid += " model: it packs the matrices or neurons of a whole one"
        raise ConfigError("/compressor", choice("compressor", settings.compressor), valid)


def _refusals(e: Experiment) -> Iterator[tuple[str, object, str]]:
    """What does not go together with cohorts: the key, its value, and what would be valid."""
    s, c = e.settings, e.communication
    if c.protocol.requirements.equal_models:
        valid = (
            "must be a protocol that averages numbers one by one, and remembers none of another"
            " device,"
        )
        yield "/protocol", called(c.protocol), valid
    if c.protocol.sends_parameters:
        yield from _of_messages(e)
    if e.data.privacy.shares_noise:
        valid = "must be none, sample_level or device_level {}: noise that two devices share would"
        yield "/privacy", choice("privacy", s.privacy), f"{valid} cancel in what both have only"
    if e.data.privacy.hidden_in_mean:
        valid = "must be local {}: a mean over the few devices that have a number has too little"
        yield "/privacy.noise", "distributed", f"{valid} noise"
    if not e.model.personal.by_number:
        valid = "must be none, or one that treats every number by itself,"
        yield "/personal", choice("personal", s.personal), valid
    if s.compute.compile:
        yield "/compute.compile", True, "must be false"


def _of_messages(e: Experiment) -> Iterator[tuple[str, object, str]]:
    """What takes messages for rows of one shape, which those made of parameters are not."""
    s, c = e.settings, e.communication
    yield from _of_rules(e)
    if c.sums.secure:
        yield "/secure_sum", choice("secure_sum", s.secure_sum), "must be none"
    if c.link_attack is not None:
        valid = "must be none, or one that makes one row for all receivers or changes what devices"
        valid += " learn from,"
        yield "/attack", choice("attack", s.attack), valid


def _of_rules(e: Experiment) -> Iterator[tuple[str, object, str]]:
    """Which rules have no meaning for rows of which some lack numbers."""
    rule, s = e.communication.aggregator, e.settings
    name = choice("aggregator", s.aggregator)
    of_rows = rule.rule if isinstance(rule, PreAggregated) else rule
    if rule.linear or (rule.partial_rows and not rule.own_validation and not rule.has_memory):
        return
    if rule.own_validation:
        valid = "must be a rule that measures no models {}, as a device has no module for those of"
        yield "/aggregator", name, f"{valid} another shape"
    if of_rows.partial_rows:
        names = shown([choice("pre_aggregator", node) for node in s.pre_aggregators])
        valid = "must be [] or bucketing {}: distances between all rows have no meaning where two"
        yield "/pre_aggregators", names, f"{valid} rows may have few numbers in common"
    valid = "must be mean, coordinate_median or trimmed_mean, which go number by number, or"
    valid += " clipped_gossip or centred_clipping, which bound what each neighbour changes, {}: a"
    valid += " rule that ranks rows by their distances would rank models by their size"
    yield "/aggregator", name, valid


def _require_overlap(cohorts: Cohorts, protocol: str) -> None:
    """Refuse two cohorts that have no parameter in common, where parameters are exchanged."""
    if cohorts.union.apart is not None:
        raise cohorts.union.apart
    shared_CC = cohorts.union.shared_CC
    for one, other in combinations(range(len(cohorts.names)), 2):
        if shared_CC[one, other]:
            continue
        pair = f"{cohorts.names[one]} and {cohorts.names[other]}"
        valid = (
            f"have no parameter in common, so {protocol} has nothing to average; choose a protocol"
            " that exchanges no parameters (none, fedmd), or models with parameters of one name"
        )
        raise ConfigError("/cohorts", pair, valid)


def _require_one_meaning(cohorts: Cohorts) -> None:
    """Refuse two cohorts whose common numbers mean different changes of what they stand beside."""
    each = [model.template for model in cohorts.models]
    beside = [model.beside() if isinstance(model, Wrapped) else {} for model in each]
    for one, other in combinations(range(len(each)), 2):
        if not cohorts.union.shared_CC[one, other]:
            continue
        names = cohorts.names[one], cohorts.names[other]
        for what, which in beside[one].items():
            its = beside[other].get(what, which)
            if its == which:
                continue
            valid = (
                f"have numbers of one name that mean different changes: {what} is {which} in"
                f" {names[0]} and {its} in {names[1]}, so no mean of them means either; make these"
                " equal, or choose a protocol that exchanges no parameters (none, fedmd)"
            )
            raise ConfigError("/cohorts", " and ".join(names), valid)


def needed_numbers(e: Experiment) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The numbers that each device has to hold at least: of its model, its optimizer, its messages
    and a gradient, ``[N]``."""
    cohorts, c = e.model.cohorts, e.communication
    if cohorts is None:
        numbers = e.model.numbers + c.kept_numbers + e.model.layout.width
        return np.full(e.settings.devices, numbers, np.int64)
    found: np.ndarray[tuple[int], np.dtype[np.int64]] = cohorts.numbers_N.copy()
    for shape in (*c.slots.values(), *c.in_flight.values()):
        own: int | np.ndarray[tuple[int], np.dtype[np.int64]] = shape[-1] if shape else 1
        if c.mixed is not None and own in (cohorts.union.sent, c.mixed.width):
            own = c.mixed.kept_N if own == c.mixed.width else cohorts.width_N
        found += math.prod(shape[:-1]) * own
    return found


def frozen_bytes(e: Experiment) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The bytes that each device takes for parameters that never change, as it stores them,
    ``[N]``."""
    own = np.array([model.frozen_bytes for model in e.model.each], np.int64)
    cohorts = e.model.cohorts
    found: np.ndarray[tuple[int], np.dtype[np.int64]] = own[
        np.zeros(e.settings.devices, np.int64) if cohorts is None else cohorts.cohort_N
    ]
    return found
