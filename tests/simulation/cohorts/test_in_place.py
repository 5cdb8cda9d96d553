"""Devices of cohorts learn and mix in the rows of the state, which gives the bits of copies, and
only where nobody looks at these rows afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from swarm.communication.protocol.base import Protocol, Requirements, State
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.experiment.cohorts import cohorts
from swarm.simulation.loop import Simulation
from swarm.simulation.phases.base import Phase
from swarm.simulation.phases.learn import Learn
from swarm.simulation.phases.mix import Mix
from tests.support import prepared, simulation

THREE = "cohorts={small: {devices: 0.4, model: {hidden: [16]}}, tiny: {devices: [0, 7], model: {hidden: [5]}}}"
SMALL = ("devices=11", "engine.block=4", "rounds=3", "train.local_steps=2", THREE)
CASES: dict[str, tuple[str, ...]] = {
    "dpsgd": ("topology=ring",),
    "shards": ("topology=ring", "engine.shards=3"),
    "momentum": ("topology=ring", "optimizer=momentum"),
    "some are away": ("topology=ring", "churn=markov"),
    "messages are lost": ("topology=ring", "network.drop=0.4"),
    "a part is kept": ("topology=ring", "share=body"),
    "others are copied": ("topology=ring", "protocol=dpsgd_published"),
    "averaging twice": ("topology=ring", "protocol=multi_gossip"),
    "some take part": ("topology=none", "protocol=fedavg", "protocol.fraction=0.5"),
    "messages are late": (
        "topology=ring",
        "delay=exponential",
        "network.max_delay=3",
        "network.round_seconds=1.0",
    ),
    "each device is protected": ("topology=ring", "privacy=device_level"),
    "a model of its own": ("topology=ring", "personal=ditto"),
    "a server that steps": ("topology=none", "protocol=fedadam"),
    "a rule at a server": ("topology=none", "protocol=fedavg", "aggregator=coordinate_median"),
    "all with all": ("topology=complete",),
    "two phases": ("topology=ring", "protocol=gossip_pga"),
}


class KeepsWhatItMixed(Protocol):
    """Goes on from halfway between the rows before and after mixing."""

    phases = ("learn", "mix")
    requirements = Requirements(equal_models=False)

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        state.x = 0.5 * (state.x + received)


class GoesHalfWay(Protocol):
    """Takes half of what it has learnt."""

    requirements = Requirements(equal_models=False)

    def after_local_steps(
        self, state: State, rows: object, start_BP: Tensor, end_BP: Tensor
    ) -> None:
        state.x[rows] = 0.5 * (start_BP + end_BP)  # type: ignore[index]


class StartsHalfWay(Protocol):
    """Starts its local steps at half of its rows."""

    requirements = Requirements(equal_models=False)

    def start(self, state: State) -> Tensor:
        return 0.5 * state.x


class RemembersItsStart(Protocol):
    """Keeps the rows that devices began with, in the memory in which they are given."""

    phases = ("mix", "learn")
    requirements = Requirements(equal_models=False)

    def init(self, x_NP: Tensor, links: object) -> dict[str, Tensor]:
        return {"first": x_NP}

    def after_local_steps(
        self, state: State, rows: object, start_BP: Tensor, end_BP: Tensor
    ) -> None:
        state.x = state.x.clone()
        state.x[rows] = end_BP  # type: ignore[index]


def copy_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing happen in place from now on."""
    for kind in (Learn, Mix):
        monkeypatch.setattr(kind, "_in_place", lambda *_: False)
    monkeypatch.setattr(cohorts, "replaces_state", lambda *_: False)


def last(ready: PreparedRun) -> dict[str, Tensor]:
    """All that devices keep after the last round."""
    with simulation(ready) as running:
        list(running.engine.advance(3))
        return running.engine.snapshot()


def played(running: Simulation) -> Iterator[int]:
    """The memory of the rows of the first shard, before and after each round."""
    engine = running.engine
    yield engine.shards[0].state.x.data_ptr()  # type: ignore[attr-defined]
    for _ in engine.advance(running.experiment.settings.rounds):
        yield engine.shards[0].state.x.data_ptr()  # type: ignore[attr-defined]


def of_own(kind: type[Protocol]) -> PreparedRun:
    """A run with a protocol of this module."""
    return prepared(
        "topology=ring",
        f"plugins=[{Path(__file__)}]",
        f"protocol._target_={Path(__file__).stem}.{kind.__name__}",
        *SMALL,
    )


@pytest.mark.parametrize("case", CASES)
def test_the_bits_are_those_of_copies(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = prepared(*SMALL, *CASES[case])
    found = last(ready)
    copy_everything(monkeypatch)
    copied = last(ready)
    assert copied.keys() == found.keys()
    for name, rows in copied.items():
        torch.testing.assert_close(found[name], rows, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [KeepsWhatItMixed, GoesHalfWay, StartsHalfWay, RemembersItsStart])
def test_a_protocol_of_ones_own_finds_what_it_expects(
    kind: type[Protocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = of_own(kind)
    found = last(ready)
    if kind is RemembersItsStart:
        with simulation(ready) as running:
            first = running.engine.snapshot()["x"]
        torch.testing.assert_close(found["protocol.first"], first, rtol=0, atol=0)
    copy_everything(monkeypatch)
    torch.testing.assert_close(last(ready)["x"], found["x"], rtol=0, atol=0)


@pytest.mark.parametrize("case", ["dpsgd", "some take part", "all with all"])
def test_a_round_takes_no_new_rows(case: str) -> None:
    with simulation(prepared(*SMALL, *CASES[case])) as running:
        assert len(set(played(running))) == 1
    with simulation(prepared("devices=11", "rounds=3", "topology=ring")) as running:
        assert len(set(played(running))) > 1, "a swarm of one model has new rows in each round"


def test_who_listens_keeps_the_messages_of_a_round() -> None:
    def heard() -> list[Tensor]:
        kept: list[Tensor] = []

        def hear(phase: Phase, round: int, rows: Tensor) -> None:
            kept.extend([rows, rows.clone()])

        with simulation(prepared(*SMALL, "topology=ring", "rounds=1")) as running:
            running.engine.shards[0].listener = hear  # type: ignore[attr-defined]
            list(running.engine.advance(1))
        return kept

    rows, as_they_were = heard()
    torch.testing.assert_close(rows, as_they_were, rtol=0, atol=0)


def test_what_mixing_holds_is_stated() -> None:
    """Two copies of the group with most numbers, and no rows beside the state."""
    ready = prepared(*SMALL, "topology=ring")
    arm = ready.arms[0]
    e = ready.experiment(arm, arm.variants[0])
    (mix,) = (phase for phase in e.communication.phases if phase.mixes)
    found = e.model.cohorts
    assert found is not None
    held_NG = found.holds_NG.astype(np.int64)
    size_G = np.bincount(found.union.group_P.numpy())
    assert mix.held_numbers() == 2 * (held_NG.sum(0) * size_G).max()
    copied = prepared(*SMALL, "topology=ring", "protocol=dpsgd_published")
    e = copied.experiment(copied.arms[0], copied.arms[0].variants[0])
    (mix,) = (phase for phase in e.communication.phases if phase.mixes)
    assert mix.held_numbers() >= 2 * 11 * e.model.layout.width
