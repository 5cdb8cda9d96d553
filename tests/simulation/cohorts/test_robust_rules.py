"""Robust rules among devices with models of several shapes, against loops over devices, named
tensors and single numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.base import Neighbourhoods
from swarm.communication.routing import routes
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.experiment import Experiment
from tests.simulation.cohorts.test_nested_averaging import (
    Named,
    corner,
    has_of,
    named,
    trajectory_alone,
)
from tests.support import experiment, final_rows, prepared, require_same_bits, trajectory

THREE = "cohorts={small: {devices: 0.4, model: {hidden: [4]}}, tiny: {devices: [0, 7], model: {hidden: [2]}}}"
SMALL = ("devices=11", "engine.block=3", "compute.dtype=float64", "model.hidden=[6]", THREE)
Floats = npt.NDArray[np.float64]
Heard = list[tuple[int, float]]
OfNumber = Callable[[Floats], float]


def heard_by(e: Experiment) -> list[Heard]:
    """Whom each device hears in round 1, itself included, and with which weight."""
    messages = e.communication.messages.mix(1)
    found: list[Heard] = [[(i, 1.0)] for i in range(e.settings.devices)]
    matrix = messages.matrix
    for row, device in enumerate(messages.dst_R.tolist()):
        at = slice(matrix.indptr[row], matrix.indptr[row + 1])
        senders = (matrix.indices[at] // messages.rows_per_device).tolist()
        found[device] = list(zip(senders, matrix.data[at].tolist(), strict=True))
    return found


def number_by_number(devices: list[Named], heard: Heard, i: int, rule: OfNumber) -> Named:
    """Of each number of device i, what a rule makes of the values of those who have it, the
    device's own first."""
    found = {}
    for name, own in devices[i].items():
        values = np.full((len(heard), *own.shape), np.nan)
        order = sorted((j for j, _ in heard), key=lambda j: j != i)
        for place, j in enumerate(order):
            if name in devices[j]:
                part = corner(devices[j][name], own.shape)
                values[(place, *map(slice, part.shape))] = part.numpy()
        out = np.empty(own.shape)
        for at in np.ndindex(*own.shape):
            each = values[(slice(None), *at)]
            out[at] = rule(each[~np.isnan(each)])
        found[name] = torch.as_tensor(out)
    return found


def completed(devices: list[Named], j: int, i: int) -> Floats:
    """The model of device j as device i reads it: with its own numbers where j has none."""
    parts = []
    for name, own in devices[i].items():
        values = own.clone()
        if name in devices[j]:
            part = corner(devices[j][name], own.shape)
            corner(values, part.shape).copy_(part)
        parts.append(values.reshape(-1))
    return torch.cat(parts).numpy()


def clipped(devices: list[Named], heard: Heard, i: int, radius: float, equal: bool) -> Floats:
    own = completed(devices, i, i)
    out = own.copy()
    for j, weight in heard:
        apart = completed(devices, j, i) - own
        scale = min(1.0, radius / max(float(np.linalg.norm(apart)), 1e-300))
        out += (1 / len(heard) if equal else weight) * scale * apart
    return out


def trimmed(f: float) -> OfNumber:
    def rule(values: Floats) -> float:
        count = int(f) if f >= 1 else int(f * len(values) + 1e-9)
        cut = min(count, (len(values) - 1) // 2)
        return float(np.sort(values)[cut : len(values) - cut].mean())

    return rule


def rows_after(ready: PreparedRun) -> tuple[Experiment, list[Named], list[Named]]:
    """The experiment, what devices learn when they are alone for a round, and where they are after
    a round together."""
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    learnt = [named(e, row, i) for i, row in enumerate(trajectory_alone(ready))]
    after = [named(e, row, i) for i, row in enumerate(trajectory(ready)[1])]
    return e, learnt, after


# --- number by number -----------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["network.drop=0.0", "network.drop=0.4"])
@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("aggregator=coordinate_median",), lambda values: float(np.median(values))),
        (("aggregator=trimmed_mean", "aggregator.f=0.34"), trimmed(0.34)),
        (("aggregator=trimmed_mean", "aggregator.f=1", "aggregator.unsafe=warn"), trimmed(1)),
    ],
)
@pytest.mark.filterwarnings("ignore:aggregator.f=1")
def test_a_rule_goes_over_those_who_have_a_number(
    words: tuple[str, ...], rule: OfNumber, network: str
) -> None:
    ready = prepared(*SMALL, "topology=small_world", "rounds=1", network, *words)
    e, learnt, after = rows_after(ready)
    for i, heard in enumerate(heard_by(e)):
        expected = number_by_number(learnt, heard, i, rule)
        for name, values in after[i].items():
            torch.testing.assert_close(values, expected[name], rtol=1e-12, atol=1e-14)


def test_a_device_with_too_few_rows_of_a_number_keeps_it_where_messages_are_lost() -> None:
    """With unsafe=refuse, f=1 and no loss every number has 3 rows or is a device's alone."""
    words = ("topology=complete", "aggregator=trimmed_mean", "aggregator.f=1", "rounds=1")
    three = THREE.replace("[0, 7]", "[0, 7, 9]")
    ready = prepared(*SMALL[:-1], three, "network.drop=0.7", *words)
    e, learnt, after = rows_after(ready)
    kept = 0

    def rule(values: Floats) -> float:
        nonlocal kept
        kept += len(values) == 2
        return float(np.sort(values)[1:-1].mean()) if len(values) > 2 else float(values[0])

    for i, heard in enumerate(heard_by(e)):
        expected = number_by_number(learnt, heard, i, rule)
        for name, values in after[i].items():
            torch.testing.assert_close(values, expected[name], rtol=1e-12, atol=1e-14)
    assert kept > 100


def test_bucketing_keeps_equal_numbers_and_every_number_within_those_who_have_it() -> None:
    words = ("topology=complete", "aggregator=coordinate_median", "aggregator.f=1",
             "pre_aggregators=[bucketing]", "rounds=1")  # fmt: skip
    e, learnt, after = rows_after(prepared(*SMALL, *words))
    for i, heard in enumerate(heard_by(e)):
        low, high = (number_by_number(learnt, heard, i, f) for f in (np.min, np.max))
        for name, values in after[i].items():
            assert (values >= low[name] - 1e-12).all()
            assert (values <= high[name] + 1e-12).all()
            assert name not in ("1.weight",) or (values != learnt[i][name]).any()


@pytest.mark.parametrize(
    "words",
    [
        ("aggregator=coordinate_median",),
        ("aggregator=trimmed_mean", "protocol.fraction=0.5"),
    ],
)
def test_a_server_goes_over_those_who_have_a_number(words: tuple[str, ...]) -> None:
    ready = prepared(*SMALL, "topology=none", "protocol=fedavg", "rounds=1", *words)
    e, learnt, after = rows_after(ready)
    active = e.communication.active(1)
    sends = np.ones(11, bool) if active is None else active
    first = [named(e, row, i) for i, row in enumerate(trajectory(ready)[0])]
    before = [each if sends[i] else first[i] for i, each in enumerate(learnt)]
    rule: OfNumber = trimmed(0.25) if "trimmed_mean" in words[0] else lambda v: float(np.median(v))
    senders = [(j, 1.0) for j in np.flatnonzero(sends).tolist()]
    for i in range(11):
        own = before[i]
        there = number_by_number(before, [(i, 1.0), *senders], i, lambda v: float(len(v) > 1))
        made = number_by_number(
            before, senders, i, lambda v: float(rule(v)) if len(v) else float("nan")
        )
        for name, values in after[i].items():
            expected = torch.where(there[name] > 0, made[name], own[name])
            torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rule", ["coordinate_median", "clipped_gossip"])
def test_a_message_is_left_out_by_those_who_read_its_number_that_is_not_finite(rule: str) -> None:
    words = (*SMALL, "topology=complete", f"aggregator={rule}", "init=independent")
    e = experiment(*words)
    mixed, cohorts = e.communication.mixed, e.model.cohorts
    assert mixed is not None
    assert cohorts is not None
    route = routes(e.communication.messages.mix(1), [np.arange(11)], np.float64)[0]
    rows_NP = e.model.first_rows(np.arange(11))
    only_own = torch.as_tensor(~has_of(e)[np.flatnonzero(cohorts.cohort_N != 0)].any(0))
    sender = int(np.flatnonzero(cohorts.cohort_N == 0)[0])

    def combined(rows: torch.Tensor) -> Floats:
        found = Neighbourhoods(route, rows, rows, np.arange(11))
        return mixed.combined(e.communication.aggregator, found).numpy()

    spoilt_NP, moved_NP = rows_NP.clone(), rows_NP.clone()
    spoilt_NP[sender, only_own.nonzero()[0]] = torch.nan
    moved_NP[sender, only_own] += 1.0  # which the others do not read
    plain, spoilt, moved = combined(rows_NP), combined(spoilt_NP), combined(moved_NP)
    for device in range(11):
        if cohorts.cohort_N[device]:
            np.testing.assert_array_equal(spoilt[device], plain[device])
            np.testing.assert_array_equal(moved[device], plain[device])
        elif device == sender:
            np.testing.assert_array_equal(spoilt[device], spoilt_NP[device].numpy())
        else:
            assert np.isfinite(spoilt[device]).all()
            assert (spoilt[device] != plain[device]).mean() > 0.5


# --- with distances -------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["network.drop=0.0", "network.drop=0.4"])
@pytest.mark.parametrize("rule", ["clipped_gossip", "centred_clipping"])
def test_a_neighbour_does_not_differ_in_numbers_that_it_lacks(rule: str, network: str) -> None:
    words = ("topology=small_world", f"aggregator={rule}", "aggregator.radius=0.3", "rounds=1")
    ready = prepared(*SMALL, "init=independent", network, *words)
    e, learnt, after = rows_after(ready)
    for i, heard in enumerate(heard_by(e)):
        expected = clipped(learnt, heard, i, 0.3, equal=rule == "centred_clipping")
        found = torch.cat([values.reshape(-1) for values in after[i].values()]).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_clipped_gossip_conserves_the_sum_of_every_number() -> None:
    """With symmetric weights device i gains in every number what device j loses."""
    words = ("topology=small_world", "aggregator=clipped_gossip", "aggregator.radius=0.3")
    ready = prepared(*SMALL, "init=independent", "rounds=1", *words)
    alone, together = trajectory_alone(ready), trajectory(ready)[1]
    assert np.abs(alone - together).max() > 0.01
    np.testing.assert_allclose(together.sum(0), alone.sum(0), rtol=0, atol=1e-12)


# --- what holds for all of them -------------------------------------------------------------------

RULES = [
    ("topology=small_world", "aggregator=trimmed_mean", "aggregator.f=1", "network.drop=0.2",
     "pre_aggregators=[bucketing]", "aggregator.unsafe=warn", "protocol=multi_gossip"),
    ("topology=small_world", "aggregator=clipped_gossip", "delay=exponential", "delay.mean=1.0",
     "churn=markov"),
    ("protocol=fedadam", "aggregator=coordinate_median", "protocol.fraction=0.6"),
]  # fmt: skip


@pytest.mark.parametrize("words", RULES, ids=lambda words: words[1])
@pytest.mark.filterwarnings("ignore:aggregator.f=1")
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, words: tuple[str, ...]) -> None:
    common = ("devices=11", "engine.block=2", "model.hidden=[6]", THREE)
    require_same_bits(tmp_path, *common, *words, rounds=3, cut=1)
    has_NP = has_of(experiment(*common, *words))
    for rows_NP in trajectory(prepared(*common, *words, "rounds=2")):
        assert not rows_NP[~has_NP].any()


@pytest.mark.parametrize("rule", ["trimmed_mean", "clipped_gossip", "centred_clipping"])
def test_cohorts_of_one_model_are_the_run_without_cohorts(rule: str) -> None:
    words = ("devices=11", "rounds=2", "topology=small_world", f"aggregator={rule}")
    same = "cohorts={same: {devices: 0.5, model: {hidden: [64]}}}"
    with_them, without = final_rows(prepared(*words, same)), final_rows(prepared(*words))
    np.testing.assert_allclose(with_them, without, rtol=0, atol=2e-6)


# --- what is refused ------------------------------------------------------------------------------

RING = ("devices=6", "topology=ring", "model.hidden=[6]",
        "cohorts={small: {devices: [1, 3, 5], model: {hidden: [4]}}}")  # fmt: skip
PAIR = ("devices=6", "topology=ring", "model.hidden=[6]",
        "cohorts={small: {devices: [2, 3, 4, 5], model: {hidden: [4]}}}")  # fmt: skip
REFUSED = [
    ((*PAIR, "aggregator=trimmed_mean", "aggregator.f=1"),
     "aggregator.f=1: is too many for device 0 (of the cohort own), which combines 2 rows with the"
     " numbers that only own has, its own included, and that f needs 3; so few rows bear no hostile"
     " one, and only a topology with more links or aggregator.unsafe=warn would do"),
    ((*PAIR, "aggregator=trimmed_mean", "aggregator.f=2"),
     "device 0 (of the cohort own), which combines 2 rows with the numbers that only own has"),
    ((*PAIR, "aggregator=trimmed_mean", "aggregator.f=1", "protocol=fedavg"),
     "is too many for the server, which combines 2 rows with the numbers that only own has"),
    ((*PAIR, "aggregator=coordinate_median", "attack=label_flip", "attack.devices=[0]"),
     "bears 0 hostile rows among the 2 of device 1 (of the cohort own) with the numbers that only"
     " own has, and 1 hostile neighbour has them; fewer hostile devices would do"),
    ((*RING, "aggregator=krum"), "aggregator=krum: must be mean, coordinate_median or trimmed_mean"),
    ((*RING, "aggregator=geometric_median"), "a rule that ranks rows by their distances would rank"),
    ((*RING, "aggregator=monna"), "aggregator=monna: must be mean, coordinate_median"),
    ((*RING, "aggregator=reputation", "data.local_validation=0.2"),
     "aggregator=reputation: must be a rule that measures no models with cohorts"),
    ((*RING, "aggregator=trimmed_mean", "aggregator.f=1", "pre_aggregators=[nnm]"),
     "pre_aggregators=[nnm]: must be [] or bucketing with cohorts"),
    ((*RING, "aggregator=clipped_gossip", "protocol=fedavg"), "must be a rule that treats all rows"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=lambda words: str(words[-1])[:40])
def test_a_rule_without_a_meaning_or_enough_rows_is_refused(
    words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        prepared(*words)


def test_numbers_that_no_neighbour_has_need_no_rows_and_unsafe_only_warns() -> None:
    prepared(*RING, "aggregator=trimmed_mean", "aggregator.f=1")  # every link is between cohorts
    words = (*PAIR, "aggregator=trimmed_mean", "aggregator.f=1", "aggregator.unsafe=warn")
    with pytest.warns(UserWarning, match=r"device 0 \(of the cohort own\), device 1"):
        prepared(*words)
