"""Cohorts in whole runs: who is in which, what is counted, what a folder gives back, and what is
refused."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.config.settings import Settings
from swarm.experiments.loading import LoadedRun
from swarm.learning.models.dense import MLP
from swarm.results.report.html.page_data import page_data
from swarm.simulation.experiment.cohorts.members import cohort_of_each
from tests.support import config, experiment, prepared, records, run, simulation

HALF = "cohorts={small: {devices: 0.5, model: {hidden: [16]}}}"
WORDS = ("devices=10", "topology=small_world", HALF)
LARGE, SMALL = 64 * 64 + 64 + 64 * 10 + 10, 64 * 16 + 16 + 16 * 10 + 10


def members(*words: str) -> list[int]:
    return cohort_of_each(Settings.parse(config("devices=10", *words))).tolist()


# --- who ------------------------------------------------------------------------------------------


def test_a_share_is_drawn_by_the_seed_and_a_larger_one_keeps_who_is_there() -> None:
    few = members("cohorts={a: {devices: 0.3, model: softmax}}")
    more = members("cohorts={a: {devices: 0.6, model: softmax}}")
    assert (sum(few), sum(more)) == (3, 6)
    assert all(b >= a for a, b in zip(few, more, strict=True))
    assert members("cohorts={a: {devices: 0.3, model: softmax}}", "seed=1") != few


def test_shares_of_one_together_are_all_devices_and_lists_come_first() -> None:
    thirds = "{devices: 0.33333333, model: softmax}"
    found = members(f"cohorts={{a: {thirds}, b: {thirds}, c: {thirds}}}")
    assert sorted(found) == [1] * 3 + [2] * 4 + [3] * 3
    listed = members("cohorts={a: {devices: 9, model: softmax}, b: {devices: [4], model: softmax}}")
    assert listed == [1, 1, 1, 1, 2, 1, 1, 1, 1, 1]
    assert members("cohorts={a: {devices: 1, model: softmax}}").count(1) == 1
    assert members("cohorts={a: {devices: 1.0, model: softmax}}").count(1) == 10


def test_a_share_of_less_than_a_device_is_one_that_the_largest_share_gives_up() -> None:
    def counts(devices: int, *shares: float) -> list[int]:
        cohorts = {f"c{i}": {"devices": share, "model": {}} for i, share in enumerate(shares)}
        settings = Settings.parse(config(f"devices={devices}") | {"cohorts": cohorts})
        return np.bincount(cohort_of_each(settings), minlength=len(shares) + 1).tolist()

    assert counts(6, 0.5, 0.01, 0.49) == [0, 2, 1, 3]
    assert counts(6, 0.5, 0.49, 0.01) == [0, 2, 3, 1]
    assert counts(6, 0.3, 0.01) == [3, 2, 1]  # nobody gives up what others do not need
    with pytest.raises(ConfigError, match=r"c1\.devices=0\.6: asks for 3 devices, and 2 of 6"):
        counts(6, 0.6, 0.6, 0.001)
    with pytest.raises(ConfigError, match=r"c2\.devices=0\.2: asks for 1 device, and 0 of 2"):
        counts(2, 0.4, 0.4, 0.2)


def test_hubs_of_the_graph_are_the_same_devices_in_every_arm() -> None:
    hubs = "cohorts={hub: {devices: 3, placement: hubs, model: {hidden: [32]}}}"
    ready = prepared(
        "devices=20", "topology=barabasi_albert", "scenario.arms=[swarm,fedavg,centralised]", hubs
    )
    graph = ready.experiment(ready.arms[0], ready.arms[0].first).communication.graph(1)
    degree_N = graph.degree_in
    chosen = ready.arms[0].first.cohorts["hub"].devices
    assert isinstance(chosen, list)
    assert degree_N[chosen].min() >= np.delete(degree_N, chosen).max()
    assert ready.arms[1].first.cohorts["hub"].devices == chosen
    assert ready.arms[2].first.cohorts == {}, "one model on all data is the run's own"


# --- what is counted ------------------------------------------------------------------------------


def test_a_message_has_the_numbers_that_both_ends_have() -> None:
    e = experiment(*WORDS)
    assert e.model.cohorts is not None
    small_N = e.model.cohorts.cohort_N == 1
    graph = e.communication.graph(1)
    sizes_E = np.where(small_N[graph.src_E] | small_N[graph.dst_E], SMALL, LARGE)
    last = records(prepared(*WORDS, "rounds=1"))[-1]
    assert last.values["bytes"] == 4 * sizes_E.sum()
    assert last.devices is not None
    sent_N = np.bincount(graph.src_E, sizes_E, 10) * 4
    np.testing.assert_array_equal(last.devices["bytes"], sent_N)


def test_a_server_sends_and_gets_what_each_device_has() -> None:
    values = records(prepared(*WORDS, "protocol=fedavg", "rounds=1"))[-1].values
    assert values["bytes"] == 2 * 4 * (5 * LARGE + 5 * SMALL)


def test_flops_are_those_of_each_devices_own_model() -> None:
    values = records(prepared(*WORDS, "rounds=1"))[-1].values
    models = [MLP((64,), 10, [width]) for width in (64, 16)]
    expected = sum(5 * 2 * model.step_flops(8) for model in models)
    assert values["flops_total"] == pytest.approx(expected, rel=1e-12)


def test_a_small_device_needs_the_memory_of_its_own_model() -> None:
    from swarm.simulation.experiment.cohorts.check import needed_numbers

    e = experiment(*WORDS)
    assert e.model.cohorts is not None
    expected = np.where(e.model.cohorts.cohort_N == 1, 2 * SMALL, 2 * LARGE)
    np.testing.assert_array_equal(needed_numbers(e), expected)


def test_the_distance_and_the_mean_are_over_those_who_have_a_number() -> None:
    """In a swarm that agrees in every number, the distance is 0 and the mean is everybody's."""
    ready = prepared(*WORDS, "protocol=fedavg", "rounds=2", "scenario.arms=[swarm]")
    values = records(ready)[-1].values
    assert values["consensus_distance"] == pytest.approx(0, abs=1e-5)
    assert values["consensus_accuracy"] == pytest.approx(values["accuracy_cohort_own"], abs=0.01)
    both = [values[f"accuracy_cohort_{name}"] for name in ("own", "small")]
    assert values["accuracy_mean"] == pytest.approx(np.mean(both))


# --- what a folder gives back ---------------------------------------------------------------------


def test_a_folder_gives_every_device_its_own_module(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", *WORDS, "rounds=2", "scenario.arms=[swarm]")
    assert summary["cohorts"] == {
        "own": {"devices": 5, "parameters": LARGE},
        "small": {"devices": 5, "parameters": SMALL},
    }
    loaded = swarm.load(tmp_path / "run")
    assert isinstance(loaded, LoadedRun)
    accuracy = loaded.final_devices("swarm")["accuracy"]
    cohort_N = cohort_of_each(Settings.parse(config(*WORDS)))
    wanted = [("own", "small")[cohort] for cohort in cohort_N]
    assert loaded.final_devices("swarm")["cohort"].tolist() == wanted
    assert list(loaded.devices)[:4] == ["arm", "round", "device", "cohort"]
    assert page_data(loaded)["cohorts"] == wanted
    widths = []
    for device in range(10):
        state = loaded.state_dict("swarm", device)
        widths.append(len(state["1.bias"]))
        MLP((64,), 10, [widths[-1]]).load_state_dict(state)
        right = loaded.predict("swarm", device).argmax(1) == loaded.dataset("test")[1]
        assert right.mean() == pytest.approx(accuracy[device], abs=1e-6)
    assert sorted(set(widths)) == [16, 64]
    assert widths.count(16) == 5


# --- the best round -------------------------------------------------------------------------------


def test_the_best_round_is_found_by_the_mean_over_a_cohort(tmp_path: Path) -> None:
    words = (*WORDS, "rounds=4", "scenario.arms=[swarm,isolated,centralised]", "optimizer.lr=2",
             "early_stopping.metric=loss_cohort_small", "early_stopping.patience=1")  # fmt: skip
    with pytest.warns(UserWarning, match="the best round is chosen by the test samples"):
        run(tmp_path / "run", *words)
    loaded = swarm.load(tmp_path / "run")
    for arm, key in (("swarm", "loss_cohort_small"), ("centralised", "loss_mean")):
        facts, rows = loaded.final(arm)["early_stopping"], loaded.arm(arm)
        assert (facts["metric"], facts["better"]) == (key, "lower")
        assert facts["best_round"] == rows["round"][rows[key].idxmin()]
        assert facts["best"] == rows[key].min()


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("accuracy_cohort_smal", "such as accuracy_cohort_own or accuracy_cohort_small (did you"
         " mean accuracy_cohort_small?)"),
        ("consensus_accuracy_cohort_small", "is not measured in this run; valid: validation_score"),
        ("accuracy_cohort_large", "over a cohort, such as accuracy_cohort_own or"),
    ],
)  # fmt: skip
def test_a_mean_over_no_cohort_decides_nothing(metric: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        prepared(*WORDS, f"early_stopping.metric={metric}")


# --- what is refused ------------------------------------------------------------------------------

SMALL_MODEL = "model: {hidden: [16]}"
REFUSED = {
    "cohorts={a: {devices: 0.7, model: softmax}, b: {devices: 0.6, model: softmax}}": "asks for 6 devices, and 3 of 10",
    "cohorts={a: {devices: 1.5, model: softmax}}": "cohorts.a.devices=1.5: must be",
    "cohorts={a: {devices: [1, 1], model: softmax}}": "must list different devices out of 0 to 9",
    "cohorts={a: {devices: [1, 2], model: softmax}, b: {devices: [2], model: softmax}}": "lists the device 2, which the cohort a",
    "cohorts={a: {devices: [1], placement: hubs, model: softmax}}": "cohorts.a.placement=hubs: must be random beside a list",
    "cohorts={own: {devices: 1, model: softmax}}": "with a letter first, and not own",
    "cohorts={a: {devices: 1}}": "cohorts.a={devices: 1}: needs devices",
    "cohorts={a: {devices: 1, model: sofmax}}": "cohorts.a.model=sofmax: no such option (did you mean softmax?)",
    "cohorts={a: {devices: 1, model: {hiden: [3]}}}": "cohorts.a.model.hiden=[3]: no such key (did you mean hidden?)",
    "cohorts={a: {devices: 1, model: {hidden: [0]}}}": "cohorts.a.model.hidden=[0]: must be",
    "cohorts={a: {devices: 1, model: cnn}}": "have no parameter in common, so TrainThenAverage has nothing to average",
    "cohorts={a: {devices: 1, model: softmax}}": "have different depths",
    "cohorts={a: {devices: 1, colour: red, model: softmax}}": "cohorts.a.colour=red: no such key",
}
BESIDE = {
    "protocol=choco": "must be a protocol that averages numbers one by one",
    "protocol=scaffold": "must be a protocol that averages numbers one by one",
    "protocol=push_sum": "must be a protocol that averages numbers one by one",
    "secure_sum=bonawitz": "secure_sum=bonawitz: must be none with cohorts",
    "personal=fedrep": "must be none, or one that treats every number by itself",
    "compute.compile=true": "compute.compile=true: must be false with cohorts",
}


@pytest.mark.parametrize("words", REFUSED)
def test_cohorts_that_cannot_be_are_refused_in_a_sentence(words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(REFUSED[words])):
        prepared("devices=10", words)


@pytest.mark.parametrize("words", BESIDE)
def test_what_does_not_go_together_with_cohorts_is_refused(words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(BESIDE[words])):
        prepared(*WORDS, words)


@pytest.mark.parametrize("personal", ["ditto", "apfl", "pfedme", "fine_tune"])
def test_a_second_model_has_the_shape_of_the_first(personal: str) -> None:
    words = (*WORDS, f"personal={personal}", "data.local_test=0.3", "rounds=2")
    ready = prepared(*words)
    cohorts = experiment(*words).model.cohorts
    assert cohorts is not None
    has_NP = cohorts.holds_NG[:, cohorts.union.group_P.numpy()]
    with simulation(ready) as running:
        list(running.records(2))
        own_NP = running.engine.snapshot()["personal.model"].numpy()
    assert not own_NP[~has_NP].any()
    assert own_NP[has_NP].any()


def test_a_cohort_of_nobody_and_one_with_the_runs_own_model_are_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"cohorts\.a: no device has this model"):
        prepared("devices=10", "cohorts={a: {devices: 0, model: softmax}}")
    for same in ("{}", "{hidden: [64]}", "mlp"):
        with pytest.warns(UserWarning, match=r"cohorts\.a\.model: this is the run's own model"):
            prepared("model.hidden=[64]", f"cohorts={{a: {{devices: 2, model: {same}}}}}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared(*WORDS)


def test_models_without_anything_in_common_may_learn_alone() -> None:
    alone = "cohorts={a: {devices: 5, model: {cnn: {channels: [2]}}}}"
    values = records(prepared("devices=10", "protocol=none", "topology=none", alone, "rounds=1"))
    assert values[-1].values["accuracy_cohort_a"] > 0
