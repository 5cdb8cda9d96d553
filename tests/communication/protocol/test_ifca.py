"""Groups that find themselves: which model a device joins, what it makes of others' models, and
what becomes of owners whose labels contradict one another.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.rows import Layout
from swarm.communication.protocol.base import Inbox, RoundInfo, State
from swarm.communication.protocol.ifca import IFCA
from swarm.communication.protocol.local_info import LocalInfo
from swarm.experiments.checks.trial import run_here
from tests.support import experiment, prepared, records, simulation

from .test_own_validation import concepts

OWNERS = concepts("devices=8", "data.local_validation=0.25", "seed=1")


def swarm_of(protocol: IFCA, wanted_NP: Tensor) -> State:
    """Devices at 0 that want to be near ``wanted_NP``: a model's loss is its distance from there."""
    protocol.bind(Layout.of(torch.nn.Linear(2, 1)))
    x_NP = torch.zeros_like(wanted_NP)

    def loss(rows_mP: Tensor, model_A: Tensor, device_A: Tensor) -> Tensor:
        return (rows_mP[model_A] - wanted_NP[device_A]).square().sum(1)

    many = torch.zeros(len(x_NP), dtype=torch.int64)
    now = RoundInfo(1, 0.1, np.ones(len(x_NP), np.int64))
    slots = protocol.init(x_NP, None)
    return State(x_NP, slots, now=now, local=LocalInfo(many, many, None, loss, loss))


def test_a_device_learns_and_sends_the_model_that_does_best() -> None:
    protocol = IFCA(3)
    state = swarm_of(protocol, torch.tensor([[1.0, 1, 1], [5.0, 5, 5], [9.0, 9, 9]]))
    state.slots["models"] = torch.tensor([0.0, 5.0, 8.0])[None, :, None].expand(3, 3, 3).clone()
    start_NP = protocol.start(state)
    assert start_NP[:, 0].tolist() == [0.0, 5.0, 8.0]
    protocol.after_local_steps(state, slice(0, 3), start_NP, start_NP + 1)
    assert protocol.send(1, state).tolist() == [[1.0] * 3 + [0], [6.0] * 3 + [1], [9.0] * 3 + [2]]
    assert state.slots["models"][:, :, 0].tolist() == [[1, 5, 8], [0, 6, 8], [0, 5, 9]]


def test_of_equally_good_models_the_first_is_learnt() -> None:
    protocol = IFCA(2)
    state = swarm_of(protocol, torch.tensor([[torch.nan] * 3, [0.0] * 3]))
    state.slots["models"] = torch.tensor([1.0, -1.0])[None, :, None].expand(2, 2, 3).clone()
    assert protocol.start(state)[:, 0].tolist() == [1.0, 1.0]


def test_a_groups_model_is_the_mean_over_those_that_learn_it() -> None:
    """Device 0 is in group 0, hears of group 0 from two and of group 1 from one; device 1 hears of
    nobody in its own group 1; a number that is no group is dropped."""
    protocol = IFCA(3)
    state = swarm_of(protocol, torch.zeros(2, 3))
    state.x = torch.tensor([[1.0] * 3, [7.0] * 3])
    state.slots["group"] = torch.tensor([[0.0], [1.0]])
    state.slots["models"] = torch.full((2, 3, 3), 100.0)
    said = [(0, 3.0, 0), (0, 5.0, 0), (0, 8.0, 1), (1, 2.0, 0), (1, 50.0, 7), (1, 50.0, torch.nan)]
    rows_AM = torch.tensor([[value] * 3 + [group] for _, value, group in said])
    dst_A = torch.tensor([to for to, _, _ in said])
    protocol.receive_messages(1, state, Inbox(rows_AM, dst_A, dst_A, dst_A))
    assert state.slots["models"][:, :, 0].tolist() == [[3.0, 8.0, 100.0], [2.0, 7.0, 100.0]]
    assert state.x[:, 0].tolist() == [3.0, 7.0]


def test_all_devices_start_with_the_same_models_of_the_same_spread() -> None:
    running = experiment(*OWNERS, "protocol=ifca", "model=mlp", "model.hidden=[64]")
    protocol, layout = running.communication.protocol, running.model.layout
    x_NP = running.model.first_rows(np.arange(8))
    models_NKP = protocol.init(x_NP, None)["models"]
    assert (models_NKP == models_NKP[:1]).all()
    assert (models_NKP[:, 0] == x_NP).all()
    other_P = models_NKP[0, 1]
    for slot in layout.slots:
        place = slice(slot.start, slot.stop)
        assert not torch.equal(other_P[place], x_NP[0, place])
        if slot.stop - slot.start > 100:
            assert float(other_P[place].std() / x_NP[0, place].std()) == pytest.approx(1, abs=0.15)


def test_owners_who_contradict_one_another_part() -> None:
    """Opposite labels: one model for all knows neither concept, and two groups know one each."""
    with simulation(prepared(*OWNERS, "rounds=10", "protocol=ifca")) as running:
        found = list(running.records(10))[-1].values
        (shard,) = running.engine.shards  # type: ignore[attr-defined]
        group_N = shard.state.slots["group"].squeeze(1)
    assert len(set(group_N[::2].tolist())) == len(set(group_N[1::2].tolist())) == 1
    assert group_N[0] != group_N[1]
    one = records(prepared(*OWNERS, "rounds=10", "protocol=dpsgd"))[-1].values
    assert found["local_accuracy_mean"] > 0.9
    assert one["local_accuracy_mean"] < 0.7


def test_one_model_travels_however_many_groups_there_are() -> None:
    """What travels is one model and the number of its group."""
    sizes = {
        k: records(prepared(*OWNERS, "rounds=1", "protocol=ifca", f"protocol.groups={k}"))[-1]
        for k in (2, 5)
    }
    plain = records(prepared(*OWNERS, "rounds=1", "protocol=dpsgd"))[-1]
    width = experiment(*OWNERS).model.layout.width
    for record in sizes.values():
        assert record.values["bytes_total"] * width == plain.values["bytes_total"] * (width + 1)


def test_measuring_every_group_counts_as_computation() -> None:
    flops = [
        records(prepared(*OWNERS, "rounds=2", "protocol=ifca", f"protocol.groups={k}"))[-1].values[
            "flops_total"
        ]
        for k in (2, 3, 4)
    ]
    assert flops[1] - flops[0] == pytest.approx(flops[2] - flops[1])
    assert flops[1] > flops[0]


def test_devices_that_are_away_or_asleep_measure_no_group(tmp_path: Path) -> None:
    # devices 0 and 1 are away in the first round
    (tmp_path / "away.csv").write_text("time,device,online\n0,0,0\n0,1,0\n1.5,0,1\n1.5,1,1\n")
    trace = ("churn=trace", f"churn.path={tmp_path / 'away.csv'}", "rounds=4")
    e = experiment(*OWNERS, "protocol=ifca", "protocol.groups=3", *trace)
    measured_RN = [
        sum(phase.measured(round) for phase in e.communication.phases) for round in (1, 4)
    ]
    np.testing.assert_array_equal(measured_RN, [[0, 0, 3, 3, 3, 3, 3, 3], [3] * 8])
    # a device that is asleep measures what it hears where a protocol says so, and no group
    for protocol, counts in (("ifca", 0), ("best_neighbour", 1)):
        c = experiment(*OWNERS, f"protocol={protocol}", "clock=periodic", "rounds=4").communication
        active = c.active(1)
        assert active is not None
        asleep = ~active
        heard_N = np.bincount(c.messages.single(1).dst_R, minlength=8)
        assert heard_N[asleep].any()
        measured_N = np.sum([phase.measured(1) for phase in c.phases], axis=0)
        np.testing.assert_array_equal(measured_N[asleep], counts * heard_N[asleep])


def test_shards_and_resume_do_not_change_a_bit() -> None:
    words = ("network.drop=0.3", "churn=markov", "delay=exponential", "delay.mean=1.0")
    ready = prepared(*OWNERS, *words, "protocol=ifca", "rounds=6", "engine.block=2")
    one = run_here(ready)
    for found in (run_here(ready, 2), run_here(ready, 4), run_here(ready, again_from=3)):
        assert all(torch.equal(found[name], one[name]) for name in one)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("protocol.groups=1",), r"groups=1: must be a whole number of at least 2"),
        (("data.local_validation=0",), r"must be above 0 with IFCA"),
        (("init=independent",), r"must be common .* with IFCA, whose devices must all start"),
        (("compressor=qsgd",), r"must be none with IFCA"),
    ],
)
def test_what_groups_cannot_work_with(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared(*OWNERS, "protocol=ifca", *words)
