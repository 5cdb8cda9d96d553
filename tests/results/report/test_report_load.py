"""A run folder loads whether or not its run finished; anything else is one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from swarm.cli.commands.report import main
from swarm.common.errors import ConfigError
from swarm.experiments.sweep import plan
from swarm.results.load import SWEEP, load_numbers, load_partial
from swarm.results.report import load, write_report
from swarm.results.report.html.page import page
from tests.support import run as small

MakeRun = Callable[..., Path]


def test_a_finished_run(make_run: MakeRun) -> None:
    run = load(make_run(rounds=20))
    assert run.summary is not None
    assert run.arms == ["swarm", "isolated", "centralised", "fedavg"]
    assert run.score == "accuracy"
    swarm = run.arm("swarm")
    assert swarm["round"].tolist() == list(range(21))
    evaluated = swarm["accuracy_mean"].notna()
    assert swarm["round"][evaluated].tolist() == [0, 5, 10, 15, 20]
    rows = run.final_devices("isolated")
    assert rows["device"].tolist() == list(range(100))
    assert rows["accuracy"].mean() == pytest.approx(run.final("isolated")["accuracy_mean"])
    assert run.final("swarm")["accuracy_mean"] == run.summary["arms"]["swarm"]["accuracy_mean"]


def test_an_unfinished_run_with_a_torn_line(make_run: MakeRun) -> None:
    folder = make_run(rounds=12, arms=("swarm", "isolated"), finished=False)
    text = (folder / "metrics.jsonl").read_bytes()
    (folder / "metrics.jsonl").write_bytes(text[:-40])
    (folder / "devices.parquet").unlink()
    (folder / "graph.json").unlink()
    run = load(folder)
    assert run.summary is None
    assert run.graph is None
    assert run.devices.empty
    assert run.arm("isolated")["round"].max() == 11
    final = run.final("isolated")
    assert final["round"] == 11
    # of round 10
    assert final["accuracy_mean"] == run.arm("isolated")["accuracy_mean"].dropna().iloc[-1]


def test_a_run_that_has_just_begun(make_run: MakeRun) -> None:
    folder = make_run(finished=False)
    (folder / "metrics.jsonl").unlink()
    run = load(folder)
    assert run.arms == []
    assert run.score is None


def test_columns_of_nulls_and_numbers_are_numbers(make_run: MakeRun) -> None:
    folder = make_run(rounds=5)
    records = [
        {"arm": "a", "round": 0, "x": None, "y": None},
        {"arm": "a", "round": 1, "x": 0.5, "y": None},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    metrics = load(folder).metrics
    assert np.isnan(metrics["x"][0])
    assert metrics["x"].dtype == np.float64
    assert metrics["y"].isna().all()


@pytest.mark.parametrize("what", ["missing", "file", "empty"])
def test_not_a_run_folder(tmp_path: Path, what: str) -> None:
    path = tmp_path / what
    if what == "file":
        path.write_text("x")
    if what == "empty":
        path.mkdir()
    with pytest.raises(ConfigError, match="must be a folder that a run has written"):
        load(path)


DAMAGE = [
    ("config.yaml", b"a: [1"),
    ("config.yaml", b"!!python/object/apply:os.getcwd []"),
    ("summary.json", b'{"arms": '),
    ("summary.json", b"[]"),
    ("summary.json", b'{"arms": []}'),
    ("summary.json", b'{"arms": {"swarm": {"accuracy_mean": "high"}}}'),
    ("summary.json", b'{"gap_closed": "much"}'),
    (
        "summary.json",
        b'{"arms": {"swarm": {"accuracy_mean": "high"}, "isolated": {"accuracy_mean": 0.5}}}',
    ),
    ("summary.json", b'{"arms": {"swarm": {"prequential_accuracy": "high"}}}'),
    ("summary.json", b'{"arms": {"swarm": {"diverged": 1}}}'),
    ("summary.json", b'{"arms": {"swarm": {"recovery_rounds": 1}}}'),
    ("summary.json", b'{"topology": "ring"}'),
    ("metrics.jsonl", b'{"arm": "swarm", "round": 0, "lr": "x"}\n'),
    ("metrics.jsonl", b'nonsense\n{"arm": "swarm", "round": 0}\n'),
    ("metrics.jsonl", b'{"round": 0}\n'),
    (
        "metrics.jsonl",
        b'{"arm": "swarm", "round": 0, "lr": 1}\n{"arm": "swarm", "round": 1, "lr": "x"}\n',
    ),
    ("metrics.jsonl", b'{"arm": "swarm", "round": 0, "accuracy_mean": "high"}\n'),
    ("metrics.jsonl", b'{"arm": "swarm", "round": 0, "accuracy_mean": [1]}\n'),
    ("devices.parquet", b"PAR1 nonsense"),
    ("graph.json", b'{"n": 3, "edges": [[0, 3]], "pos": null}'),
    ("graph.json", b'{"n": 3, "edges": [[0, 1]], "pos": [[0, 0]]}'),
    ("graph.json", b"[" * 100_000),
]


@pytest.mark.parametrize(("name", "content"), DAMAGE)
def test_damage_names_the_file(make_run: MakeRun, name: str, content: bytes) -> None:
    folder = make_run(rounds=5)
    (folder / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "content"), DAMAGE)
def test_of_a_damaged_run_the_rest_is_salvaged(
    make_run: MakeRun, name: str, content: bytes
) -> None:
    folder = make_run(rounds=5)
    (folder / name).write_bytes(content)
    run = load_partial(folder)
    assert len(run.notes) == 1
    assert name in run.notes[0]
    if name != "metrics.jsonl":
        assert run.arms == ["swarm", "isolated", "centralised", "fedavg"]
    shown = page(run)
    assert "Not shown: " in shown
    assert name in shown


@pytest.mark.parametrize("left", [None, b""])
def test_a_finished_run_that_has_lost_its_records_says_so(
    make_run: MakeRun, left: bytes | None
) -> None:
    folder = make_run(rounds=5)
    (folder / "metrics.jsonl").unlink()
    if left is not None:
        (folder / "metrics.jsonl").write_bytes(left)
    [note] = load_partial(folder).notes
    assert note == f"{folder / 'metrics.jsonl'}: has no record, though the run is finished"


def test_the_numbers_alone_are_those_of_the_run(make_run: MakeRun) -> None:
    """A sweep reads no more, and so not the results of single devices."""
    folder = make_run(rounds=5)
    whole = load(folder)
    (folder / "devices.parquet").write_bytes(b"damaged")
    found = load_numbers(folder)
    pd.testing.assert_frame_equal(found.metrics, whole.metrics)
    assert found.summary == whole.summary
    assert (found.columns, found.presentation) == (whole.columns, whole.presentation)
    (folder / "metrics.jsonl").write_text("nonsense\n{}\n")
    with pytest.raises(ConfigError, match="damaged; line 1"):
        load_numbers(folder)


def test_one_bad_line_costs_one_line(make_run: MakeRun) -> None:
    folder = make_run(rounds=5, arms=("swarm",))
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join([*lines[:3], "\0\0\0\n", *lines[4:]]))
    run = load_partial(folder)
    assert run.arm("swarm")["round"].tolist() == [0, 1, 2, 4, 5]
    assert "1 of 6 lines are damaged, the first is 4" in run.notes[0]


def test_an_unfinished_run_has_the_devices_of_its_checkpoints(tmp_path: Path) -> None:
    small(tmp_path / "run", "devices=9", "rounds=4", "scenario.arms=[swarm,isolated]")
    whole = load(tmp_path / "run")
    (tmp_path / "run" / "devices.parquet").unlink()
    (tmp_path / "run" / "summary.json").unlink()
    parts = load(tmp_path / "run")
    assert parts.devices.sort_values(["arm", "round", "device"])["accuracy"].tolist() == (
        whole.devices.sort_values(["arm", "round", "device"])["accuracy"].tolist()
    )
    assert "swarm at round 4 of 4" in page(parts)


def test_scores_of_devices_that_are_text_are_damage(make_run: MakeRun) -> None:
    folder = make_run(rounds=5)
    devices = load(folder).devices
    devices.assign(accuracy="high").to_parquet(folder / "devices.parquet")
    with pytest.raises(ConfigError, match="`accuracy` must be numbers"):
        load(folder)
    run = load_partial(folder)
    assert run.devices.empty
    assert len(write_report(run)) == 3


@pytest.fixture
def swept(make_run: MakeRun, tmp_path: Path) -> Path:
    """A sweep's folder: two runs by their values, its own files, and what a tracker left there."""
    for seed in (0, 1):
        make_run(f"s/seed={seed}", rounds=5, arms=("swarm",), config={"seed": seed})
    (tmp_path / "s" / SWEEP).write_text("{}")
    (tmp_path / "s" / "summary.json").write_text('{"jobs": []}')
    (tmp_path / "s" / "wandb").mkdir()
    return tmp_path / "s"


def test_a_sweep_is_no_run_and_says_what_to_do(
    swept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written into it, and the command that it names compares the runs below."""
    assert plan.SWEEP == SWEEP
    monkeypatch.chdir(swept.parent)
    before = sorted(swept.iterdir())
    with pytest.raises(ConfigError, match="is a sweep"):
        load(swept)
    assert main(["s"]) == main(["s", str(swept / "seed=0")]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    said = shown.err.splitlines()
    assert len(said) == 2
    assert said[0].startswith(
        "error: run folder=s: is a sweep, many runs; python run_swarm.py report s/*=*/ compares"
        " them"
    )
    assert "table.md and sweep.png" in said[0]
    assert sorted(swept.iterdir()) == before
    pattern = said[0].split("python run_swarm.py report ")[1].split()[0]
    assert main(sorted(map(str, Path().glob(pattern)))) == 0
    assert "seed=1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "names", [[], ["summary.json"], ["summary.json", "devices.parquet", "graph.json"]]
)
def test_a_folder_without_a_run_s_files_is_refused(
    make_run: MakeRun, names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What a summary says of curves that are gone would be an empty page."""
    folder = make_run(rounds=5)
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()
    assert main([str(folder)]) == 2
    assert "must be a folder that a run has written" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_what_is_missing_is_not_called_damaged(make_run: MakeRun) -> None:
    folder = make_run(rounds=5, finished=False)
    (folder / "config.yaml").unlink()
    run = load_partial(folder)
    assert run.notes == (f"config.yaml={folder}: has no config.yaml",)
    assert "? devices" not in page(run)
    (folder / "config.yaml").write_text("[")
    assert "damaged" in load_partial(folder).notes[0]


def test_records_that_cannot_be_read_are_named(make_run: MakeRun) -> None:
    folder = make_run(rounds=5)
    (folder / "metrics.jsonl").unlink()
    (folder / "metrics.jsonl").mkdir()
    with pytest.raises(ConfigError, match=r"metrics\.jsonl: damaged; must be a file"):
        load(folder)
    assert "metrics.jsonl: damaged; must be a file" in load_partial(folder).notes[0]
