"""The scripts of examples/: each runs as it stands, and comes to what it says."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import swarm

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
Run = Callable[[str], str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``run(name)`` runs a script into the folder of the test and returns what it printed."""

    def call(name: str) -> str:
        (script,) = [script for script in EXAMPLES if script.stem == name]
        monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path)])
        runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out

    return call


def test_a_swarm_in_ten_lines(run: Run, tmp_path: Path) -> None:
    said = run("ten_lines")
    arms = dict(re.findall(r"^(\w+) +accuracy (0\.\d+)  bytes", said, re.MULTILINE))
    assert list(arms) == ["swarm", "isolated", "centralised", "fedavg"]
    assert float(arms["isolated"]) < float(arms["swarm"]) < float(arms["centralised"])
    assert (tmp_path / "run/report.html").is_file()


def test_a_model_of_ones_own(run: Run, tmp_path: Path) -> None:
    assert re.search(r"^accuracy 0\.[89]", run("own_model"), re.MULTILINE)
    assert swarm.load(tmp_path / "run").state_dict("swarm", 3)["gate.weight"].shape == (16, 64)


def test_a_protocol_of_ones_own(run: Run) -> None:
    apart = re.findall(r"^step .*, devices (\S+) apart", run("own_protocol"), re.MULTILINE)
    assert len(apart) == 3
    assert sorted(map(float, apart), reverse=True) == list(map(float, apart))


def test_a_metric_of_ones_own(run: Run, tmp_path: Path) -> None:
    said = re.search(
        r"^top 3: (0\.\d+), the first alone: (0\.\d+)$", run("own_metric"), re.MULTILINE
    )
    assert said
    assert float(said[1]) > float(said[2]) > 0.8
    assert swarm.load(tmp_path / "run").score == "top_3"


def test_data_of_ones_own(run: Run) -> None:
    rows = re.findall(r"^ *([a-z]{3})  0\.\d+ +0\.\d+$", run("own_data"), re.MULTILINE)
    assert rows == ["ann", "bob", "cho", "dee", "eve", "fay", "gus", "hal"]


def test_accuracy_against_bytes(run: Run, tmp_path: Path) -> None:
    run("accuracy_against_bytes")
    sent = [
        swarm.load(tmp_path / graph).final("swarm")["bytes_total"]
        for graph in ("ring", "hypercube", "complete")
    ]
    assert sent == sorted(sent)
    assert (tmp_path / "accuracy_against_bytes.png").is_file()


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_each_is_short_says_how_it_is_run_and_is_tested(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert text.count("\n") <= 40
    assert f"\n    python examples/{script.name} [FOLDER]\n" in text
    assert f'run("{script.stem}")' in Path(__file__).read_text(encoding="utf-8")
