"""Streams that drift: what changes, when, and that everything else stays."""

from __future__ import annotations

import numpy as np
import pytest

from swarm.common.rng import Keys
from swarm.data.dataset import DeviceSplit, concept_exposure, label_mixes
from swarm.data.generated.drifting import SEA, Hyperplane
from swarm.data.stream.concept_schedule import ConceptSchedule
from swarm.results import continual
from tests.support import prepared, records, run

KEYS = Keys(0, "drift")
STREAM = (
    "update=online",
    "topology=complete",
    "partition=iid",
    "devices=6",
    "train.batch=4",
    "train.local_steps=3",
    "scenario.arms=[swarm]",
)


def line(
    kind: str, concepts: int = 3, width: float = 0.2, periods: int = 2, phase: float = 0.0
) -> ConceptSchedule:
    return ConceptSchedule(KEYS, kind, concepts, width, periods, phase)  # type: ignore[arg-type]


def concepts(timeline: ConceptSchedule, count: int = 600, device: int = 0) -> np.ndarray:
    index = np.arange(count)
    return timeline.concept((index + 0.5) / count, np.full(count, device), index)


def test_sudden_changes_are_equally_far_apart() -> None:
    assert np.array_equal(concepts(line("sudden")), np.repeat([0, 1, 2], 200))


def test_recurring_concepts_come_back() -> None:
    assert np.array_equal(concepts(line("recurring")), np.tile(np.repeat([0, 1, 2], 100), 2))


def test_a_gradual_change_rises_in_probability() -> None:
    found = np.stack([concepts(line("gradual", concepts=2), device=i) for i in range(400)])
    share = found.mean(0)
    index = np.arange(600)
    wanted = np.clip((((index + 0.5) / 600) - 0.5) / 0.2 + 0.5, 0, 1)
    assert abs(share - wanted).max() < 5 * 0.5 / np.sqrt(400)
    assert share[:230].max() == 0
    assert share[370:].min() == 1


def test_devices_out_of_phase_change_at_different_times() -> None:
    when = [
        int(np.argmax(concepts(line("sudden", concepts=2, phase=0.4), device=i) == 1))
        for i in range(300)
    ]
    assert min(when) >= 600 * 0.3 - 1
    assert max(when) <= 600 * 0.7 + 1
    assert np.std(when) == pytest.approx(600 * 0.4 / np.sqrt(12), rel=0.15)
    assert (
        len({int(np.argmax(concepts(line("sudden", concepts=2), device=i) == 1)) for i in range(5)})
        == 1
    )


def test_swapped_labels_are_a_permutation_and_everything_else_stays() -> None:
    drifting, steady = prepared(*STREAM, "drift=label_swap", "drift.concepts=3"), prepared(*STREAM)
    a, b = drifting.dataset, steady.dataset
    assert a.concept is not None
    size = len(b.x)
    assert np.array_equal(a.x[:size], b.x)
    for c in range(3):
        ids = np.flatnonzero(a.concept[:size] == c)
        becomes = {(int(was), int(now)) for was, now in zip(b.y[ids], a.y[ids], strict=True)}
        assert len(becomes) == len({was for was, _ in becomes}) == len({now for _, now in becomes})
        assert sum(was != now for was, now in becomes) == (0 if c == 0 else 4)
    test = a.test[len(b.test) :]
    assert np.array_equal(a.concept[test], np.repeat([1, 2], len(b.test)))
    assert np.array_equal(a.x[test], np.concatenate([b.x[b.test]] * 2))
    assert np.array_equal(drifting.split.sample, steady.split.sample)


def test_turned_features_keep_their_distances() -> None:
    drifting, steady = prepared(*STREAM, "drift=rotation"), prepared(*STREAM)
    a, b = drifting.dataset, steady.dataset
    assert a.concept is not None
    turned = np.flatnonzero(a.concept[: len(b.x)] == 1)
    assert np.array_equal(a.y[: len(b.y)], b.y)
    assert np.allclose(a.x[turned] @ a.x[turned].T, b.x[turned] @ b.x[turned].T, atol=1e-3)
    assert not np.allclose(a.x[turned], b.x[turned], atol=0.1)
    same = np.flatnonzero(a.concept[: len(b.x)] == 0)
    assert np.array_equal(a.x[same], b.x[same])


def test_sea_is_what_its_paper_says() -> None:
    data = SEA(devices=5, per_device=400, noise=0.0).load()
    assert data.concept is not None
    theta = np.array([8, 9, 7, 9.5])[data.concept]
    total = (5 * (data.x[:, 0].astype(np.float64) + 1)) + 5 * (data.x[:, 1].astype(np.float64) + 1)
    clear = abs(total - theta) > 1e-4
    assert np.array_equal(data.y[clear], (total <= theta)[clear].astype(np.int64))
    noisy = SEA(devices=5, per_device=400, noise=0.1).load()
    assert (noisy.y[data.train] != data.y[data.train]).mean() == pytest.approx(0.1, abs=0.02)
    assert np.array_equal(noisy.y[data.test], data.y[data.test])


def test_a_hyperplane_turns_by_its_angle() -> None:
    data = Hyperplane(
        devices=4, features=2, concepts=2, angle=90.0, per_device=4000, noise=0.0
    ).load()
    assert data.concept is not None
    normal = []
    for c in range(2):
        x, y = data.x[data.concept == c].astype(np.float64), data.y[data.concept == c]
        normal.append((x * (2 * y - 1)[:, None]).mean(0))
    cosine = normal[0] @ normal[1] / np.linalg.norm(normal[0]) / np.linalg.norm(normal[1])
    assert cosine == pytest.approx(0, abs=0.05)


def test_devices_are_measured_on_the_world_they_live_in() -> None:
    holdings = DeviceSplit(np.arange(10), np.array([0, 6, 10]), ordered=True)
    concept = np.array([0, 0, 0, 1, 1, 1, 0, 1, 1, 1])
    assert concept_exposure(concept, holdings, np.array([0, 0]), np.array([2, 2])).tolist() == [
        [1, 0],
        [1, 0],
    ]
    assert concept_exposure(concept, holdings, np.array([4, 2]), np.array([2, 2])).tolist() == [
        [0.5, 0.5],
        [0.5, 0.5],
    ]
    assert concept_exposure(concept, holdings, np.array([6, 4]), np.array([2, 2])).tolist() == [
        [0, 1],
        [0, 1],
    ]


def test_own_labels_are_those_of_the_present_concept() -> None:
    """A device that only ever meets one digit is scored on that digit, whatever it is called at the
    moment.
    """
    alone = (
        "partition=pathological",
        "partition.classes_per_device=1",
        "devices=10",
        "topology=none",
        "protocol=none",
    )
    options = (o for o in STREAM if not o.startswith(("partition", "devices", "topology")))
    ready = prepared(
        *options, *alone, "drift=label_swap", "drift.pairs=5", "optimizer.lr=0.5", "rounds=10"
    )
    mix_WNC = label_mixes(ready.dataset, ready.split)
    assert np.array_equal(mix_WNC.max(2), np.ones((2, 10)))
    assert (mix_WNC[0].argmax(1) != mix_WNC[1].argmax(1)).all()
    *_, last = records(ready)
    assert last.devices is not None
    assert last.devices["own_accuracy"].min() == 1.0


def test_accuracy_is_that_on_the_present_concept() -> None:
    ready = prepared(
        *STREAM,
        "drift=label_swap",
        "drift.pairs=5",
        "rounds=14",
        "evaluate.every=1",
        "optimizer.lr=0.3",
    )
    found = [record.values for record in records(ready)][1:]
    settled = [
        b
        for a, b, c in zip(found, found[1:], found[2:], strict=False)
        if a["concept"] == c["concept"]
    ]
    assert {v["concept"] for v in settled} == {0, 1}
    for v in settled:
        assert v["accuracy_mean"] == pytest.approx(v[f"accuracy_concept_{v['concept']}"], abs=1e-12)


def test_a_change_is_seen_recovered_from_and_forgotten_over(tmp_path: object) -> None:
    summary = run(
        tmp_path / "run",  # type: ignore[operator]
        "data=digits_like", "data.per_device=320", *STREAM, "topology=complete", "rounds=26", "evaluate.every=1",
        "drift=label_swap", "drift.pairs=5", "optimizer.lr=0.5", "optimizer=sgd",
    )  # fmt: skip
    facts = summary["arms"]["swarm"]
    assert len(facts["recovery_rounds"]) == 1
    assert facts["forgetting"] > 0.3
    assert facts["backward_transfer"] < -0.3
    assert facts["accuracy_mean"] > facts["accuracy_concept_0"] + 0.3


def test_recovery_and_transfer_by_hand() -> None:
    accuracy = np.array([0.5, 0.8, 0.8, 0.2, 0.5, 0.77, 0.9, 0.1, 0.2])
    concept = np.array([0, 0, 0, 1, 1, 1, 1, 0, 0])
    assert continual.recovery(accuracy, concept) == [2, None]
    table = np.array([[0.95, 0.1], [0.9, 0.1], [0.6, 0.8], [0.5, 0.9]])
    found = continual.transfer(table, np.array([0, 0, 1, 1]))
    assert found == {"forgetting": pytest.approx(0.45), "backward_transfer": pytest.approx(-0.4)}
    assert continual.transfer(table, np.zeros(4, np.int64)) == {
        "forgetting": None,
        "backward_transfer": None,
    }


def test_fading_forgets_old_rounds() -> None:
    found = [r.values for r in records(prepared(*STREAM, "rounds=6", "evaluate.fading=0.5"))][1:]
    seen = score = 0.0
    for v in found:
        seen, score = 0.5 * seen + v["seen"], 0.5 * score + v["stream_accuracy"] * v["seen"]
        assert v["faded_accuracy"] == pytest.approx(score / seen)
