"""Goals: what devices practise, what they tell, and that neither depends on how a swarm is cut."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.common.plugin import PluginError
from swarm.common.rng import Keys
from swarm.learning.goal.base import Goal, Outlook, practised
from swarm.learning.goal.comparative_advantage import ComparativeAdvantage
from swarm.learning.goal.gap import Gap
from swarm.learning.goal.random import Random
from swarm.learning.goal.weakest import Weakest
from swarm.simulation.goals.set_goals import SetGoals
from swarm.simulation.metrics.best_in_group import BestInGroup
from swarm.simulation.metrics.specialisation import Specialisation
from swarm.simulation.phases.transport import Payload
from swarm.simulation.shard import Shard
from tests.support import experiment, prepared, records, require_same_bits, simulation

NAN = float("nan")
SMALL = (
    "devices=6",
    "topology=ring",
    "partition=iid",
    "data.local_validation=0.3",
    "rounds=3",
    "train.batch=8",
    "train.local_steps=2",
    "optimizer.lr=0.3",
)
GOALS = ("random", "weakest", "gap", "comparative_advantage")
MEASURED = "metrics=[standard,specialisation,best_in_group]"


def outlook(own: list[list[float]], told: list[list[float]], dst: list[int]) -> Outlook:
    """What devices know that hold samples of all classes."""
    own_nC = np.array(own)
    scores_AC = np.array(told).reshape(-1, own_nC.shape[1])
    held = np.full(own_nC.shape, 2)
    ids = np.arange(len(own))
    return Outlook(ids, 1, Keys(0, "goal"), held, own_nC, scores_AC, np.array(dst, np.int64))


# --- what they choose -----------------------------------------------------------------------------


def test_ricardo_s_england_and_portugal() -> None:
    """Hours for a unit of cloth and of wine: 100 and 120 in England, 90 and 80 in Portugal, which
    is better at both. England makes cloth, and Portugal wine."""
    own = (1 / np.array([[100, 120], [90, 80]])).tolist()
    seen = outlook(own, own[::-1], [0, 1])
    share = practised(ComparativeAdvantage(floor=1e-9), seen)
    assert share.tolist() == [[1, 0], [0, 1]]
    # a ratio, not a difference: 0.3 is more beside 0.22 than 0.9 is beside 0.8
    share = practised(ComparativeAdvantage(), outlook([[0.9, 0.3]], [[0.8, 0.22]], [0]))
    assert share.tolist() == [[0, 1]]
    # by the gap, which is absolute, both work at what England lags behind most and leads least in
    assert practised(Gap(), seen).tolist() == [[0, 1], [1, 0]]


def test_own_weakest_class_and_the_largest_gap() -> None:
    own = [[0.9, 0.2, NAN], [0.5, 0.5, 0.7]]
    seen = outlook(own, [[0.9, 0.3, 0.9], [0.5, 0.3, NAN], [0.9, 0.8, 0.0]], [0, 0, 1])
    assert practised(Weakest(), seen).tolist() == [[0, 1, 0], [0.5, 0.5, 0]]
    np.testing.assert_allclose(seen.heard_nC, [[0.7, 0.3, 0.9], [0.9, 0.8, 0.0]])
    assert practised(Gap(), seen).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_who_hears_nobody_takes_samples_as_they_come_and_nobody_what_it_does_not_hold() -> None:
    seen = outlook([[0.1, 0.9, 0.5]] * 2, [[0.0, 0.9, 0.9]], [1])
    held = np.array([[6, 3, 1], [0, 5, 5]])
    seen = Outlook(seen.device_n, 1, seen.keys, held, seen.own_nC, seen.scores_AC, seen.dst_A)
    np.testing.assert_allclose(practised(Gap(), seen), [[0.6, 0.3, 0.1], [0, 0, 1]])
    assert practised(Weakest(), seen).tolist() == [[1, 0, 0], [0, 0, 1]]


def test_a_goal_at_random_is_another_one_in_every_round_and_all_classes_are_as_likely() -> None:
    found = np.zeros(4)
    for round in range(1, 201):
        seen = Outlook(
            np.arange(10), round, Keys(3, "goal"), np.ones((10, 4), np.int64),
            np.full((10, 4), NAN), np.zeros((0, 4)), np.zeros(0, np.int64),
        )  # fmt: skip
        found += practised(Random(), seen).sum(0)
    np.testing.assert_allclose(found / 2000, 0.25, atol=0.03)


def test_a_goal_that_returns_something_else() -> None:
    class Wrong(Goal):
        def worth(self, seen: Outlook) -> np.ndarray:
            return np.zeros(3)

    with pytest.raises(PluginError, match=r"\[2, 2\] numbers is needed"):
        practised(Wrong(), outlook([[0.1, 0.2]] * 2, [], []))


# --- in a run -------------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", GOALS)
def test_a_goal_of_strength_0_has_the_bits_of_none(goal: str) -> None:
    found = []
    for words in (("goal=none",), (f"goal={goal}", "goal.strength=0")):
        with simulation(prepared(*SMALL, *words)) as running:
            last = list(running.records(3))[-1].values
            found.append((running.engine.snapshot(), last))
    (plain, measured), (own, values) = found
    assert torch.equal(own["x"], plain["x"])
    for key in ("train_loss", "prequential_accuracy", "accuracy_mean"):
        assert values[key] == measured[key], key
    counted = own["practised"]
    assert counted.sum(1).tolist() == [3 * 2 * 8] * 6


@pytest.mark.parametrize("goal", ["random", "gap"])
def test_the_same_bits_in_any_cut_and_after_a_resume(tmp_path: Path, goal: str) -> None:
    network = ("network.drop=0.3", "clock=poisson", "delay=exponential", "delay.mean=0.7")
    words = (*SMALL, "devices=10", "engine.block=2", "scenario.arms=[swarm]", MEASURED, *network)
    found = require_same_bits(tmp_path, *words, f"goal={goal}", rounds=4, cut=2)["arms"]["swarm"]
    assert 0 < found["specialisation_min"] < found["specialisation_max"] < np.log(10)
    assert 0 < found["best_in_group"] <= 1


@pytest.mark.parametrize("words", [(), ("churn=markov",)], ids=["always there", "churn"])
def test_scores_of_classes_that_a_device_lacks_are_under_way_in_a_checkpoint(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    delays = ("delay=constant", "network.max_delay=2", "partition=dirichlet")
    ten = ("devices=10", "engine.block=2", "scenario.arms=[swarm]")
    named = (*SMALL, *ten, "goal=gap", *delays, *words)
    require_same_bits(tmp_path, *named, rounds=5, cut=3)
    assert (experiment(*named).data.validation_NC == 0).any()


def test_devices_practise_their_weakest_class_and_are_scored_once_on_each_sample() -> None:
    words = (*SMALL, "goal=weakest", "goal.strength=1", "rounds=1", "train.local_steps=3")
    with simulation(prepared(*words)) as running:
        shard, e = running.engine.shards[0], running.experiment  # type: ignore[attr-defined]
        phase = e.communication.goals
        assert phase is not None
        with torch.inference_mode():
            own_nC = phase._scores(shard).numpy()
        _, last = running.records(1)
        practised_nC = running.engine.snapshot()["practised"].numpy()
    held, data = e.data.split.local_validation, e.data.dataset
    assert held is not None
    for device, (own, counts) in enumerate(zip(own_nC, practised_nC, strict=True)):
        labels = data.y[held.of(device)]
        assert set(np.flatnonzero(~np.isnan(own))) == set(labels.tolist())
        weakest = np.flatnonzero(own == np.nanmin(own))
        assert set(np.flatnonzero(counts)) <= set(weakest.tolist())
    held_NC = e.data.practice.held_NC  # type: ignore[union-attr]
    assert last.values["seen"] == np.minimum(held_NC, practised_nC).sum()


WIDER = ("model.hidden=[8]", "cohorts={wide: {devices: 0.5, model: {hidden: [16]}}}")
DEEPER = ("model.hidden=[16,8]", "cohorts={narrow: {devices: 0.5, model: {hidden: [8,16]}}}")


@pytest.mark.parametrize("words", [(), WIDER, DEEPER], ids=["one model", "wider", "crossed"])
def test_own_scores_are_those_of_a_loop(words: tuple[str, ...]) -> None:
    with simulation(prepared(*SMALL, "goal=weakest", *words)) as running:
        for _ in running.engine.advance(2):
            pass
        shard, e = running.engine.shards[0], running.experiment  # type: ignore[attr-defined]
        assert e.communication.goals is not None
        with torch.inference_mode():
            found_nC = e.communication.goals._scores(shard)
        rows = running.engine.snapshot()["x"]
    held, cohorts = e.data.split.local_validation, e.model.cohorts
    assert held is not None
    for device, row in enumerate(rows):
        model = e.model
        if cohorts is not None:
            number = int(cohorts.cohort_N[device])
            model, row = cohorts.models[number], cohorts.own(number, row)
        module = model.module()
        torch.nn.utils.vector_to_parameters(row.clone(), module.parameters())
        ids = held.of(device)
        right = module(torch.as_tensor(e.data.dataset.x[ids])).argmax(1).numpy()
        for label in range(10):
            mine = e.data.dataset.y[ids] == label
            expected = (right[mine] == label).mean() if mine.any() else NAN
            np.testing.assert_allclose(found_nC[device, label], expected, rtol=1e-6)


def test_each_told_score_costs_its_bytes_and_each_measured_model_its_flop() -> None:
    plain, alone, told = (
        records(prepared(*SMALL, f"goal={goal}", "goal.strength=0"))[-1].values
        for goal in ("random", "weakest", "gap")
    )
    links, rounds = 12, 3
    assert alone["bytes_total"] == plain["bytes_total"]
    assert told["bytes_total"] - plain["bytes_total"] == links * rounds * 10 * 4
    assert told["messages_total"] - plain["messages_total"] == links * rounds
    e = experiment(*SMALL, "goal=gap")
    rows = len(e.data.split.local_validation.sample)  # type: ignore[union-attr]
    forward = e.model.prediction_share * e.model.step_flops / 8
    assert told["flops_total"] - plain["flops_total"] == pytest.approx(rounds * rows * forward)
    assert alone["flops_total"] == told["flops_total"]


def test_told_scores_cost_the_same_bytes_and_seconds_in_a_swarm_of_two_models() -> None:
    words = (*SMALL, *WIDER, "goal.strength=0", "fleet=uniform")
    apart, told = (
        records(prepared(*words, f"goal={goal}", "scenario.arms=[swarm]"))[-1]
        for goal in ("random", "gap")
    )
    assert told.values["bytes_total"] - apart.values["bytes_total"] == 12 * 3 * 10 * 4
    alike, both = (
        experiment(*SMALL, *more, "goal=gap", "fleet=uniform").communication for more in ((), WIDER)
    )
    for found in (alike, both):
        assert found.goals is not None
        assert found.goals.traffic(1).sent_bits_N.tolist() == [2 * 10 * 32] * 6
    assert alike.goals is not None
    assert both.goals is not None
    seconds_N = alike.goals.seconds_on_line(1)
    assert seconds_N.min() > 0
    np.testing.assert_array_equal(both.goals.seconds_on_line(1), seconds_N)


def test_only_neighbours_whose_messages_arrive_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[list[tuple[int, int]]] = []
    worth = Gap.worth

    def watched(self: Gap, seen: Outlook) -> np.ndarray:
        heard.append(sorted(zip(seen.dst_A.tolist(), seen.scores_AC[:, 0].tolist(), strict=True)))
        return worth(self, seen)

    monkeypatch.setattr(Gap, "worth", watched)
    words = (*SMALL, "goal=gap", "network.drop=0.5", "scenario.arms=[swarm]")
    with simulation(prepared(*words)) as running:
        e = running.experiment
        for _ in running.engine.advance(3):
            pass
    for round, each in enumerate(heard, 1):
        arrived = e.communication.messages.single(round).dst_R
        assert [dst for dst, _ in each] == arrived.tolist()
    assert len({len(each) for each in heard}) > 1
    assert max(len(each) for each in heard) < 12


def test_of_several_messages_of_a_neighbour_the_latest_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[Outlook] = []
    told: list[torch.Tensor] = []
    worth, collect = Gap.worth, SetGoals.collect

    def watched(self: Gap, seen: Outlook) -> np.ndarray:
        heard.append(seen)
        return worth(self, seen)

    def noted(self: SetGoals, shard: Shard, round: int) -> Payload:
        found = collect(self, shard, round)
        told.append(found.own)
        return found

    monkeypatch.setattr(Gap, "worth", watched)
    monkeypatch.setattr(SetGoals, "collect", noted)
    words = (*SMALL, "goal=gap", "delay=exponential", "delay.mean=1.0", "rounds=6")
    words = (*words, "partition=dirichlet")  # so that some scores are none
    several = 0
    with simulation(prepared(*words)) as running:
        messages = running.experiment.communication.messages
        for _ in running.engine.advance(6):
            pass
    for round, seen in enumerate(heard, 1):
        single = messages.single(round)
        assert single.src_R is not None
        assert single.age_R is not None
        age: dict[tuple[int, int], int] = {}
        for dst, src, old in zip(single.dst_R, single.src_R, single.age_R, strict=True):
            age[dst, src] = min(old, age.get((dst, src), 99))
        several += len(single.dst_R) - len(age)
        assert sorted(dst for dst, _ in age) == seen.dst_A.tolist()
        expected = [told[round - 1 - age[pair]][pair[1]].numpy() for pair in sorted(age)]
        np.testing.assert_array_equal(seen.scores_AC, np.reshape(expected, (-1, 10)))
    assert several
    assert any(np.isnan(seen.scores_AC).any() for seen in heard)


# --- metrics --------------------------------------------------------------------------------------


def test_the_entropy_of_what_is_practised() -> None:
    counts = torch.tensor([[9, 0, 0, 0], [5, 5, 5, 5], [1, 1, 0, 0], [0, 0, 0, 0]]).double()
    found = Specialisation().value(counts, torch.zeros(1))
    np.testing.assert_allclose(found, [0, np.log(4), np.log(2), NAN], atol=1e-12)
    assert Specialisation().value(counts[:, :0], torch.zeros(1)).isnan().all()


def test_best_in_group_by_hand_and_what_a_device_gains_that_always_says_the_same() -> None:
    metric, y = BestInGroup(), torch.tensor([0, 0, 1, 1])
    answers = [[0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 1]]
    out_BCb = torch.nn.functional.one_hot(torch.tensor(answers), 3).transpose(1, 2).double()
    state = metric.state(4, 3, 4)
    metric.add(state, out_BCb, y, 0)
    f1 = metric.value(state, y).numpy()
    expected = [[1, 1], [2 / 3, 0], [0, 2 / 3], [2 / 3, 0.8]]
    np.testing.assert_allclose(f1[:, :2], expected, atol=1e-12)
    assert np.isnan(f1[:, 2]).all()
    for some, best in (([0, 1, 2, 3], 1.0), ([1, 2], 2 / 3), ([1, 3], (2 / 3 + 0.8) / 2)):
        found = metric.over_devices(metric.compared(f1[some]))
        assert found == pytest.approx({"best_in_group": best})


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "key", "says"),
    [
        (("goal=weakest", "data.local_validation=0"), "data.local_validation", "above 0 with Weakest"),
        (("goal=gap", "data=linear_regression"), "goal", "targets of these data are numbers"),
        (("goal=random", "goal.strength=1.5"), "goal.strength", "between 0 and 1"),
        (("goal=gap", "goal.strength=-0.1"), "goal.strength", "between 0 and 1"),
        (("goal=comparative_advantage", "goal.floor=0"), "goal.floor", "above 0"),
        (("goal=gap", "protocol=none"), "goal", "random and weakest listen to nobody"),
        (("goal=gap", "topology=none"), "goal", "topology=none has no link"),
        (("goal=gap", "topology=none", "protocol=fedavg"), "goal", "nothing goes along links"),
        (("goal=random", "update=online", "train.batch=2"), "update", "must be epochs with goal=random"),
        (("goal=gap", "secure_sum=bonawitz"), "secure_sum", "in the clear"),
        (("goal=random", "privacy=device_level"), "privacy", "must be none with goal=random"),
        (("goal=random", "labels=meetings", "update=online", "train.batch=2"), "labels", "must be none"),
        (("goal=gap", "engine=live"), "/goal", "must be none with engine=live"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_with_a_goal(words: tuple[str, ...], key: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        prepared(*SMALL, *words)
    assert caught.value.key.lstrip("/") == key.lstrip("/")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("goal=random", "goal.strength=0.01"), "0.0625 or more would do"),
        (("goal=none", MEASURED), "counted where they have goals only"),
        (("goal=random",), "goal=weakest do"),
    ],
)
def test_what_does_nothing_warns(words: tuple[str, ...], says: str) -> None:
    with pytest.warns(UserWarning, match=says):
        prepared(*SMALL, *words)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared(*SMALL, "goal=weakest", MEASURED, "scenario.arms=[swarm]")


def test_the_controls_have_no_goals() -> None:
    words = (*SMALL, "goal=gap", "scenario.arms=[swarm,isolated,centralised,fedavg]", MEASURED)
    ready = prepared(*words)
    arms = [ready.experiment(arm, arm.first) for arm in ready.arms]
    assert [e.data.goal is None for e in arms] == [False, True, True, True]
