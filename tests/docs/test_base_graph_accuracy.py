"""What ``benchmarks/base_graph_accuracy.py`` reads from runs, and what it concludes, on made-up ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import base_graph_accuracy as read
from benchmarks import papers, reproductions
from benchmarks.base_graph_accuracy import ALIKE, BASE, EXPONENTIAL, ONE_PEER, RING, UNLIKE

AS_PUBLISHED = {RING: 76.0, ONE_PEER: 79.0, EXPONENTIAL: 81.0} | {
    name: 80.8 + 0.2 * k for k, name in BASE.items()
}


def scores(unlike: dict[str, float], alike: float = 0.2, wide: float = 0.1) -> read.Scores:
    """Five seeds, whose differences scatter by ``wide``; where labels are alike, graphs differ by
    ``alike`` times as much."""
    found: read.Scores = {}
    for i, (name, mean) in enumerate(unlike.items()):
        noise = [
            wide * ((s * (2 * i + 3)) % 5 - 2) + 3 * s for s in range(5)
        ]  # 3 s: the seed's own
        found[UNLIKE, name] = {f"{s}": mean + noise[s] for s in range(5)}
        found[ALIKE, name] = {f"{s}": 88 + alike * (mean - 80) + noise[s] for s in range(5)}
    return found


def missed(*of: Any, **how: Any) -> list[str]:
    """The rows that are not reproduced, without the accuracies in brackets."""
    return [row.what for row in read.order(scores(*of, **how)) if not row.holds]


def test_the_published_order_is_reproduced() -> None:
    rows = read.order(scores(AS_PUBLISHED))
    assert len(rows) == 12
    assert all(row.holds for row in rows)
    (last,) = [row for row in rows if row.what.startswith("Base-5") and "ring" in row.what]
    assert last.what == "Base-5 (87.4%) over ring (82.0%)"
    assert last.ours.startswith("+5.4 [5.2, 5.6]")
    assert last.text().count("|") == 6


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({RING: 81.05}, "Base-2 (87.0%) over ring"),
        ({ONE_PEER: 81.5}, "Base-2 (87.0%) over one-peer exponential"),
        ({BASE[4]: 80.3}, "Base-5 (86.1%) over exponential (87.0%), with fewer links"),
    ],
)
def test_another_order_is_not(changed: dict[str, float], what: str) -> None:
    assert any(row.startswith(what) for row in missed(AS_PUBLISHED | changed))


def test_a_graph_that_is_worse_for_certain_is_not_as_good() -> None:
    """Half a point is room for chance, and not for a loss that every seed shows."""
    less = AS_PUBLISHED | {BASE[2]: 80.7}
    assert any(row.startswith("Base-3") for row in missed(less, wide=0.02))
    assert not any(row.startswith("Base-3") for row in missed(less, wide=0.3))


def test_chance_decides_nothing() -> None:
    """A row that is wide asks for more than a mean above 0."""
    wide = missed(AS_PUBLISHED, wide=8.0)
    assert {what.split()[0] for what in wide if "over ring" in what} >= {"exponential", "Base-2"}


def test_where_labels_are_alike_the_graph_must_matter_less() -> None:
    assert [row for row in missed(AS_PUBLISHED, alike=1.2) if row.startswith("α = 10")]


def test_accuracies_are_read_from_the_last_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Run:
        def __init__(self, last: float) -> None:
            self.last = last

        def arm(self, name: str) -> pd.DataFrame:
            assert name == "swarm"
            return pd.DataFrame({"accuracy_mean": [0.1, self.last, None]})

    def made(folder: Path) -> Iterator[tuple[dict[str, str], Any]]:
        graphs = {"topology": ["ring", "one_peer_exponential", "exponential"]}
        degrees = {"topology": ["base_graph"], "topology.k": ["1", "2", "3", "4"]}
        keys = graphs if folder.name == "graphs" else degrees
        keys = {**keys, "partition.alpha": [UNLIKE, ALIKE], "seed": ["0", "1", "2"]}
        for values in product(*keys.values()):
            value = dict(zip(keys, values, strict=True))
            yield (
                value,
                Run(0.5 + 0.1 * int(value.get("topology.k", 0)) + 0.001 * len(value["topology"])),
            )

    monkeypatch.setattr(read, "runs", made)
    monkeypatch.setattr(read, "IMAGES", tmp_path)
    rows = read.base_graph_accuracy(tmp_path)
    assert rows[0].what == "exponential (51.1%) over ring (50.4%)"
    assert rows[4].what == "Base-5 (91.0%) over ring (50.4%)"
    assert rows[5].what == "Base-2 (61.0%) over one-peer exponential (52.0%)"
    assert (tmp_path / "base_graph_accuracy.png").stat().st_size > 5000


def test_how_far_devices_are_drawn_apart_has_its_known_cases() -> None:
    """On a graph that does not change it is the mean of (λ/(1 − λ))² over all eigenvalues but 1."""
    angle_K = 2 * np.pi * np.arange(1, 9) / 9
    ring_K = (1 + 2 * np.cos(angle_K)) / 3
    expected = np.mean((ring_K / (1 - ring_K)) ** 2)
    assert read.drift(papers.mixings("ring", 9)) == pytest.approx(expected)
    assert read.drift(papers.mixings("complete", 9)) == pytest.approx(0, abs=1e-20)
    exact, swaps = np.full((4, 4), 0.25), np.eye(4)  # every other round: 0 after one, 1 after two
    assert read.drift([exact, swaps]) == pytest.approx(0.5)


def test_a_long_one_is_run_only_if_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(name: str, folder: Path) -> None:
        ran.append(name)

    monkeypatch.setattr(reproductions, "run", run)
    monkeypatch.setattr(reproductions, "written", lambda *_: None)
    for name in reproductions.COMMANDS:
        monkeypatch.setattr(reproductions, name, lambda _: [papers.near("", 1, 1, 1)])
    monkeypatch.setattr(sys, "argv", ["reproductions"])
    assert reproductions.main() == 0
    assert {*reproductions.COMMANDS} - {*ran} == reproductions.LONG
    monkeypatch.setattr(sys, "argv", ["reproductions", "--only", *reproductions.LONG])
    assert reproductions.main() == 0
    assert ran[-1] == "base_graph_accuracy"


def test_what_is_refused_has_said_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is printed after the command's own sentence, such as that data are not fetched."""
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=2))
    with pytest.raises(SystemExit) as end:
        reproductions.run("base_graph_accuracy", tmp_path)
    assert end.value.code == 2
