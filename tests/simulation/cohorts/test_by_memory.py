"""Cohorts whose devices the memory of a fleet chooses (``devices: memory``)."""

from __future__ import annotations

import re

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.simulation.experiment import Experiment
from swarm.simulation.experiment.cohorts.check import needed_numbers
from tests.support import prepared, records

LISTED = "cohorts={small: {devices: [1, 2], model: {hidden: [16]}}, tiny: {devices: [3, 4], model: {hidden: [2]}}}"
CHOSEN = "cohorts={small: {devices: memory, model: {hidden: [16]}}, tiny: {devices: memory, model: {hidden: [2]}}}"
FLEET = ("fleet=terminals", "devices=20", "scenario.arms=[swarm]")
KINDS = ("board", "phone", "pc", "drone", "television", "router")


def built(*words: str) -> Experiment:
    ready = prepared(*words)
    return ready.experiment(ready.arms[0], ready.arms[0].first)


def memory(**bytes_of: float) -> list[str]:
    return [f"fleet.classes.{kind}.memory={bytes_:.1f}" for kind, bytes_ in bytes_of.items()]


def cohort_names(e: Experiment) -> list[str]:
    assert e.model.cohorts is not None
    return [e.model.cohorts.names[c] for c in e.model.cohorts.cohort_N]


@pytest.mark.parametrize(
    "words",
    [
        ("topology=ring",),
        ("protocol=fedadam", "optimizer=adam"),
        (
            "delay=exponential",
            "delay.mean=1.0",
            "update=online",
            "replay=reservoir",
            "replay.size=9",
        ),
    ],
)
def test_a_device_has_the_largest_model_that_its_memory_holds(words: tuple[str, ...]) -> None:
    """What a device is held to need is what it needs in a swarm whose cohorts are listed."""
    listed = built(*FLEET, *words, LISTED)
    replay = listed.data.replay_bytes(4)
    own, small, tiny = (needed_numbers(listed)[[0, 1, 3]] * 4 + replay).tolist()
    assert own > small > tiny
    some = memory(board=own, phone=own - 1, drone=small, television=small - 1, router=tiny)
    e = built(*FLEET, *words, CHOSEN, *some)
    wanted = dict(zip(KINDS, ("own", "small", "own", "small", "tiny", "tiny"), strict=True))
    kinds = [e.communication.fleet.kind(device) for device in range(20)]
    assert set(kinds) == set(KINDS)
    assert cohort_names(e) == [wanted[str(kind)] for kind in kinds]
    assert (needed_numbers(e) * 4 + replay <= e.communication.fleet.hardware.memory).all()  # type: ignore[union-attr]


def test_what_packets_for_each_cohort_take_is_held_against_memory() -> None:
    gossip = ("protocol=diloco", "protocol.exchange=gossip")  # whose velocity is a row more
    words = (*FLEET, "compressor=top_k", "topology=ring", *gossip)
    e = built(*words, LISTED)
    mixed = e.communication.mixed
    assert mixed is not None
    shared_CC = mixed.cohorts.union.shared_CC
    needed = needed_numbers(e)
    for device in range(20):
        cohort = mixed.cohorts.cohort_N[device]
        assert needed[device] == 3 * shared_CC[cohort, cohort] + shared_CC[cohort].sum()
    small, tiny = (needed[[1, 3]] * 4).tolist()
    chosen = built(*words, CHOSEN, *memory(board=small, phone=2 * small, router=3 * tiny))
    assert (needed_numbers(chosen) * 4 <= chosen.communication.fleet.hardware.memory).all()  # type: ignore[union-attr]


def test_lists_come_before_memory_and_shares_after_it() -> None:
    large = "large: {devices: 0.25, model: {hidden: [128]}}"
    cohorts = CHOSEN.replace(
        "cohorts={", f"cohorts={{{large}, listed: {{devices: [0, 1], model: {{hidden: [1]}}}}, "
    )
    e = built(*FLEET, cohorts, *memory(phone=1e4))
    kinds = [e.communication.fleet.kind(device) for device in range(20)]
    for device, name in enumerate(cohort_names(e)):
        if device < 2:
            assert name == "listed"
        else:
            assert (name == "small") == (kinds[device] == "phone")
    assert cohort_names(e).count("large") == 5


def test_all_arms_have_the_devices_of_the_runs_own_fleet() -> None:
    words = (
        "fleet=terminals",
        "devices=8",
        "rounds=1",
        "scenario.arms=[swarm,isolated,fedavg]",
        CHOSEN,
        *memory(phone=1e4),
    )
    ready = prepared(*words)
    members = [arm.first.cohorts for arm in ready.arms if not arm.pooled]
    assert len(members) > 1
    assert all(each == members[0] for each in members)
    assert records(ready)[-1].values["accuracy_cohort_small"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((CHOSEN,), "cohorts.small.devices=memory: needs a fleet, whose devices have some memory each"),
        ((*FLEET, CHOSEN, *memory(router=1000)),
         "cohorts.tiny.devices=memory: leaves device 5 (a router) without a model, as it has 1,000"
         " bytes of memory, and the smallest model of these cohorts needs 1,280"),
        ((*FLEET, CHOSEN.replace("memory, model", "memory, placement: hubs, model", 1)),
         "cohorts.small.placement=hubs: must be random beside devices=memory"),
        ((*FLEET, CHOSEN.replace("devices: memory", "devices: memoir", 1)), "cohorts.small.devices=memoir: must be"),
        ((*FLEET, *memory(phone=1e4)), "or give such devices one by a cohort with devices=memory"),
        ((*FLEET, CHOSEN.replace("[2]", "[0]")), "cohorts.tiny.model.hidden=[0]: must be"),
    ],
)  # fmt: skip
def test_a_memory_that_chooses_nothing_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        prepared(*words)


def test_a_cohort_that_no_memory_chooses_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"cohorts\.small: no device has this model"):
        e = built(*FLEET, CHOSEN)
    assert e.model.cohorts is not None
    assert np.unique(e.model.cohorts.cohort_N).tolist() == [0]
