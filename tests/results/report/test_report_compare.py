"""``python run_swarm.py report RUN RUN``: runs of the same data side by side, in a table, a page, a
picture and a CSV file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from matplotlib import image

from swarm.cli.commands.report import main
from swarm.results.report import Comparison, load
from tests.results.report.browser import BINARY, Browser
from tests.support import run as small

MakeRun = Callable[..., Path]
DIGITS = {"data": {"_target_": "swarm.data.generated.digits.Digits", "validation": 0.1}}
RING, TORUS = (
    {"topology": {"_target_": f"swarm.communication.topology.regular.{name}"}}
    for name in ("Ring", "Torus")
)


@pytest.fixture
def three(make_run: MakeRun) -> list[Path]:
    """Two finished runs and one that is still going."""
    return [
        make_run("a", rounds=20, devices=20, config=DIGITS | RING),
        make_run(
            "b", rounds=20, devices=20, config=DIGITS | TORUS | {"engine": {"_target_": "ray"}}
        ),
        make_run(
            "c",
            rounds=10,
            devices=20,
            config=DIGITS | TORUS | {"seed": 1, "rounds": 20},
            finished=False,
        ),
    ]


def test_labels_say_what_differs_and_nothing_else(three: list[Path]) -> None:
    comparison = Comparison.of(three)
    assert comparison.labels == ["ring, seed=0", "torus, seed=0", "torus, seed=1"]
    assert comparison.differing == {"seed": ["0", "0", "1"], "topology": ["ring", "torus", "torus"]}
    assert comparison.states() == ["finished", "finished", "unfinished (round 10 of 20)"]


def test_runs_that_differ_in_nothing_are_told_apart(make_run: MakeRun) -> None:
    folders = [make_run(name, rounds=5, devices=9, config=DIGITS) for name in ("x", "y")]
    assert Comparison.of(folders).labels == ["x", "y"]
    assert (
        Comparison.of([folders[0], folders[0]]).labels[0]
        != Comparison.of([folders[0], folders[0]]).labels[1]
    )


def test_options_of_the_same_choice_are_told_one_by_one(make_run: MakeRun) -> None:
    folders = [
        make_run(
            str(k),
            rounds=5,
            devices=9,
            config=DIGITS | {"topology": {"_target_": "SmallWorld", "k": k}},
        )
        for k in (4, 6)
    ]
    assert Comparison.of(folders).labels == ["topology.k=4", "topology.k=6"]


def test_the_command_writes_everything(
    three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = [tmp_path / name for name in ("c.html", "c.png", "c.csv")]
    options = [text for path in out for text in (f"--{path.suffix[1:]}", str(path))]
    assert main([*map(str, three), *options]) == 0
    shown = capsys.readouterr()
    assert "unfinished" in shown.out
    for folder in three:
        assert f"{load(folder).final('swarm')['accuracy_mean']:.3f}" in shown.out
    table = pd.read_csv(out[2])
    assert len(table) == 12
    mine = table[(table["run"] == "torus, seed=0") & (table["arm"] == "fedavg")].iloc[0]
    assert mine["accuracy_mean"] == load(three[1]).final("fedavg")["accuracy_mean"]
    assert mine["topology"] == "torus"
    assert image.imread(out[1]).shape[1] == 1560
    text = out[0].read_text()
    assert "3 runs compared" in text
    assert "unfinished (round 10 of 20)" in text
    assert not (tmp_path / "comparison.html").exists()


def test_curves_are_those_of_the_swarms(three: list[Path]) -> None:
    merged = Comparison.of(three).merged()
    assert merged.arms == ["ring, seed=0", "torus, seed=0", "torus, seed=1"]
    for folder, label in zip(three, merged.arms, strict=True):
        assert (
            merged.arm(label)["accuracy_mean"].tolist()[-1]
            == load(folder).arm("swarm")["accuracy_mean"].tolist()[-1]
        )
        own = load(folder).final_devices("swarm")
        assert merged.final_devices(label)["accuracy"].tolist() == own["accuracy"].tolist()
        assert len(own) == 20


def test_the_gap_is_that_of_the_swarm_and_the_decile_the_worst(three: list[Path]) -> None:
    comparison = Comparison.of(three[:2])
    rows = comparison.rows()
    expected = [(load(folder).summary or {})["gap_closed"] for folder in three[:2]]
    assert rows.dropna(subset="gap_closed")[["arm", "gap_closed"]].to_numpy().tolist() == [
        ["swarm", g] for g in expected
    ]
    final, gap = load(three[1]).final("swarm"), expected[1]
    shown = [list(column.cells)[1] for column in comparison.table().columns]
    assert shown[1:4] == [
        f"{final['accuracy_mean']:.3f}",
        f"{final['accuracy_p10']:.3f}",
        f"{100 * gap:.1f}%",
    ]


def test_runs_of_different_data_are_refused(
    make_run: MakeRun,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    first = make_run("a", rounds=5, devices=9, config=DIGITS)
    for name, data, said in (
        ("b", {"_target_": "swarm.data.generated.digits_like.DigitsLike"}, "data=digits_like: "),
        ("c", {**DIGITS["data"], "validation": 0.2}, "data.validation=0.2: "),
    ):
        other = make_run(name, rounds=5, devices=9, config={"data": data})
        assert main([str(first), str(other)]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert "only runs of the same data can be compared" in error
        assert error.count("\n") == 1
    other = make_run("d", rounds=5, devices=9, config=DIGITS)
    summary = json.loads((other / "summary.json").read_text())
    summary["data"]["test"] += 1  # the same options, but the file behind them has changed
    (other / "summary.json").write_text(json.dumps(summary))
    assert main([str(first), str(other)]) == 2
    assert "data.test found=181" in capsys.readouterr().err
    assert not (tmp_path / "comparison.html").exists()


def test_how_targets_are_scaled_makes_no_other_data(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Run folders made before there was the option compare with those made after it."""
    monkeypatch.chdir(tmp_path)
    first = make_run("a", rounds=5, devices=9, config=DIGITS)
    other = make_run(
        "b", rounds=5, devices=9, config={"data": {**DIGITS["data"], "target_scale": "standard"}}
    )
    assert main([str(first), str(other)]) == 0


def test_what_is_damaged_is_said_and_the_rest_shown(
    three: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (three[1] / "summary.json").write_text("{")
    (three[2] / "metrics.jsonl").unlink()
    assert main([*map(str, three)]) == 0
    shown = capsys.readouterr()
    assert "summary.json" in shown.err
    assert "no record yet, left out" in shown.err
    assert "torus, seed=1" not in shown.out
    assert (tmp_path / "comparison.html").exists()
    assert main([str(three[1])]) == 0
    assert "summary.json" in capsys.readouterr().err
    assert "Not shown" in (three[1] / "report.html").read_text()


@pytest.mark.parametrize("arguments", [["nowhere", "gone"], ["--jpg", "x"], [], ["."]])
def test_mistakes_are_one_sentence(
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    shown = capsys.readouterr()
    assert code == 2
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(BINARY is None, reason="needs Chromium (Debian: apt install chromium)")
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_of_real_runs_opens(tmp_path: Path, width: int) -> None:
    folders = [tmp_path / name for name in ("ring", "none")]
    for folder in folders:
        small(
            folder,
            "devices=9",
            f"topology={folder.name}",
            "protocol=dpsgd" if folder.name == "ring" else "protocol=none",
        )
    page = tmp_path / "c.html"
    assert main([*map(str, folders), "--html", str(page)]) == 0
    with Browser(tmp_path) as browser:
        browser.open(page, width)
        assert browser.errors == []
        assert browser.run("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--html", "gone/x.html"], "must be a file in a folder that exists"),
     (["--csv", "."], "must be a file in a folder that exists"),
     (["--html", "x", "--csv", "./x"], "must be another file than that of --html")],
)  # fmt: skip
def test_a_target_that_cannot_be_written_is_refused_first(
    options: list[str], said: str, three: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main([*map(str, three), *options]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert list(Path().iterdir()) == []


def test_a_label_holds_what_tells_the_runs_apart(make_run: MakeRun) -> None:
    """However many keys differ; without the list of arms, and as it is typed."""
    scenario = {"_target_": "scenarios.compare.Compare"}
    first = {"protocol": {"_target_": "swarm.communication.protocol.dpsgd.TrainThenAverage"},
             "optimizer": {"lr": "auto", "clip": None},
             "scenario": scenario | {"arms": ["swarm", "isolated"]}, "init": "common"}  # fmt: skip
    other = {"protocol": {"_target_": "swarm.communication.protocol.push_sum.PushSum"},
             "optimizer": {"lr": 0.3, "clip": [1, 2]},
             "scenario": scenario | {"arms": ["swarm"]}, "init": "x"}  # fmt: skip
    cases = (("a", 6, RING, first), ("b", 5, RING, first), ("c", 4, TORUS, other))
    folders = [
        make_run(name, rounds=n, devices=9, config=DIGITS | topology | settings | {"rounds": n})
        for name, n, topology, settings in cases
    ]
    comparison = Comparison.of(folders)
    assert comparison.labels == [
        "dpsgd, ring, init=common, rounds=6",
        "dpsgd, ring, init=common, rounds=5",
        "push_sum, torus, init=x, rounds=4",
    ]
    assert comparison.differing["scenario.arms"] == [
        "[swarm, isolated]",
        "[swarm, isolated]",
        "[swarm]",
    ]
    assert comparison.differing["optimizer.clip"] == ["null", "null", "[1, 2]"]
    many = [
        make_run(f"m{i}", rounds=5, devices=9, config=DIGITS | {f"k{k}": k == i for k in range(6)})
        for i in range(6)
    ]
    assert len(set(Comparison.of(many).labels)) == 6
    assert not {f"m{i}" for i in range(6)} & {
        label.split(", ")[-1] for label in Comparison.of(many).labels
    }


def test_runs_of_other_arms_alone_go_by_their_folders(make_run: MakeRun) -> None:
    folders = [
        make_run(
            name,
            rounds=5,
            devices=9,
            config=DIGITS | {"scenario": {"_target_": "C", "arms": [name]}},
        )
        for name in "xy"
    ]
    assert Comparison.of(folders).labels == ["x", "y"]


def test_one_run_has_a_name(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run("alone", rounds=5, devices=9, config=DIGITS)
    assert (
        main([str(folder), "--png", str(tmp_path / "x.png"), "--html", str(tmp_path / "x.html")])
        == 0
    )
    assert "alone" in capsys.readouterr().out
    assert "They differ in" not in (tmp_path / "x.html").read_text()


def test_one_run_given_twice_is_refused(
    make_run: MakeRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_run("a", rounds=5, devices=9, config=DIGITS)
    monkeypatch.chdir(tmp_path)
    assert main(["a", "./a/../a"]) == 2
    error = capsys.readouterr().err
    assert (
        error
        == "error: run folder=a/../a: is given twice, first as a; a comparison is of different"
        " runs\n"
    )
    assert not (tmp_path / "comparison.html").exists()


def test_a_run_that_learns_is_not_set_beside_one_that_does_not(
    make_run: MakeRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two that do not are compared, whatever data their configs name."""
    other = {"data": {"_target_": "swarm.data.linear.Linear"}}
    gossip = [make_run(name, rounds=5, devices=9, score=None, arms=("gossip",), config=data | topology)
              for name, data, topology in (("g", DIGITS, RING), ("h", other, TORUS))]  # fmt: skip
    learning = make_run("a", rounds=5, devices=9, config=DIGITS)
    monkeypatch.chdir(tmp_path)
    for folders, said in (
        ([learning, gossip[0]], "does not learn, and "),
        ([gossip[0], learning], "learns, and "),
    ):
        assert main(list(map(str, folders))) == 2
        error = capsys.readouterr().err
        assert f"run folder={folders[1]}: {said}{folders[0]} does" in error
        assert error.count("\n") == 1
    assert not (tmp_path / "comparison.html").exists()
    for folder in gossip:
        summary = json.loads((folder / "summary.json").read_text())
        summary["data"]["test"] = len(folder.name)
        (folder / "summary.json").write_text(json.dumps(summary))
    assert main(list(map(str, gossip))) == 0
    assert "compared · digits" not in (tmp_path / "comparison.html").read_text()


def test_a_folder_that_takes_no_file_is_said_first(
    three: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """In the form of every other mistake, and before the table is shown."""
    if not Path("/proc/self").is_dir():
        pytest.skip("needs /proc")
    assert main([*map(str, three), "--html", "/proc/x.html"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: --html=/proc/x.html: cannot be written: ")


def test_a_full_disk_is_one_sentence(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run("a", rounds=5, devices=9, config=DIGITS)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(folder / "curves.png.tmp"))

    monkeypatch.setattr("swarm.results.report.draw", full)
    monkeypatch.setattr("swarm.cli.commands.report.draw", full)
    assert main([str(folder)]) == main([str(folder), "--png", str(folder / "x.png")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert (
        first == f"error: run folder={folder}: curves.png in it cannot be written: No space left on"
        " device"
    )
    assert second == f"error: --png={folder}/x.png: cannot be written: No space left on device"
