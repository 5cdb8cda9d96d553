"""The metrics of conf/metric and of a user's own: their values, and where they arrive."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.config.build import load_plugins, option
from swarm.experiments.checks.check_plugin import ContractError, check_plugin
from swarm.experiments.runs.arms import run_arms, work_ahead
from swarm.experiments.sweep.gather import SweepResults, gather
from swarm.experiments.sweep.job import Job
from swarm.experiments.sweep.tables import cells
from swarm.results import columns
from swarm.results.columns import for_trackers
from swarm.results.folder import Folder
from swarm.results.report import write_report
from swarm.results.report.compare import Comparison
from swarm.results.report.html.page_data import page_data
from swarm.results.report.html.table import table
from swarm.results.track import print_summary
from swarm.results.track.base import Fanout, Tracker, device_scores
from swarm.results.track.jsonl import JsonlSink
from swarm.simulation.engine.local import LocalEngine
from swarm.simulation.loop import Simulation
from swarm.simulation.metrics.base import (
    Column,
    Metric,
    StreamCounts,
    StreamMetric,
    Task,
)
from swarm.simulation.metrics.chosen import chosen
from tests.simulation.metrics.values import NEW, values
from tests.support import experiment, logged, prepared, run

OWN = Path(__file__).with_name("user_metrics.py")
CLASSES = Task(True, 4)


def test_only_what_is_listed_is_measured_and_rates_are_chosen_all_the_same(tmp_path: Path) -> None:
    words = ("optimizer.lr=auto", "lr_search.lrs=[0.03,0.3]", "rounds=2", "report=true")
    final = run(tmp_path / "run", "metrics=[macro_f1]", *words)["arms"]["swarm"]
    assert final["macro_f1_mean"] > 0
    assert not {"accuracy_mean", "loss_mean", "consensus_distance"} & final.keys()
    assert not any("macro" in key for key in values("metrics=[auc]", "evaluate.accuracy=false")[-1])


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs with metrics of a user's own."""
    folders = []
    for seed in (0, 1):
        metrics = [
            "standard",
            option("metric", "macro_f1"),
            {"_target_": "user_metrics.TopTwo"},
            {"_target_": "user_metrics.Norm", "power": 1},
            {"_target_": "user_metrics.Imbalance"},
            {"_target_": "user_metrics.Slowest"},
        ]
        folders.append(tmp_path_factory.mktemp("runs") / str(seed))
        words = (f"seed={seed}", "rounds=2", "report=true", f"plugins=[{OWN}]")
        run(folders[-1], *words, metrics=metrics)
    return folders


def test_a_metric_of_ones_own_arrives_everywhere(
    mine: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    last = logged(mine[0])[-1]
    expected = {
        "top_two_mean",
        "consensus_top_two",
        "norm_mean",
        "norm_p90",
        "imbalance",
        "slowest",
    }
    assert expected <= last.keys()
    assert not {"imbalance", "slowest"} & logged(mine[0])[0].keys(), "before the first round"
    read = swarm.load(mine[0])
    assert {column.key for column in read.columns} > expected
    assert expected <= read.final("swarm").keys()
    assert {"top_two", "macro_f1"} <= {*read.devices.columns}
    assert not {"norm"} & {*read.devices.columns}
    write_report(mine[0])
    page = (mine[0] / "report.html").read_text()
    for text in ("slowest learner", "<th>slowest learner</th>",
                 "top-2 accuracy, mean over devices", "<th>top-2 accuracy</th>", "busiest sender",
                 "norm of the parameters, 1", "macro F1, worst decile"):  # fmt: skip
        assert text in page
    assert "<th>busiest sender</th>" not in page, "it is for pages and sweeps only"
    both = Comparison.of(mine)
    both.print()
    shown = capsys.readouterr().out
    assert "top-2" in shown
    assert "slowest\nlearner" in [column.header for column in both.table().columns]
    assert "busiest" not in shown
    assert {"top_two_mean", "imbalance"} <= {*both.rows().columns}
    assert "top-2 accuracy" in json.dumps([column.label for column in both.merged().columns])


def test_what_a_run_prints_at_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "run", "rounds=1", NEW)
    assert "macro F1" in capsys.readouterr().out


def test_a_tracker_gets_what_is_meant_for_it(mine: list[Path]) -> None:
    read = swarm.load(mine[0])
    sent = for_trackers(logged(mine[0])[-1], read.columns)
    assert {"top_two_mean", "slowest", "bytes_total"} <= sent.keys()
    assert "imbalance" not in sent


def test_a_sweep_shows_it(mine: list[Path]) -> None:
    found = swept(mine)
    assert found.main.mean == "accuracy_mean"
    assert {"top_two_mean", "norm_mean", "imbalance", "slowest"} <= {*found.table.columns}
    assert {"top-2 accuracy", "busiest sender", "slowest learner"} <= {*cells(found, full=True)[0]}


def test_each_device_of_a_stream_has_its_value(tmp_path: Path) -> None:
    words = ("rounds=2", "update=online", "partition=iid", "train.batch=2", f"plugins=[{OWN}]")
    run(tmp_path / "run", *words, metrics=["standard", {"_target_": "user_metrics.Slowest"}])
    read = swarm.load(tmp_path / "run")
    each = read.final_devices("swarm")
    assert each["slowest"].tolist() == each["prequential_accuracy"].tolist()
    assert read.final("swarm")["slowest"] == each["slowest"].min()


def test_without_the_usual_metrics_drift_has_no_recovery(tmp_path: Path) -> None:
    words = ("rounds=2", "update=online", "partition=iid", "train.batch=2", "drift=label_swap")
    final = run(tmp_path / "run", *words, "metrics=[macro_f1]")["arms"]["swarm"]
    assert not {"prequential_accuracy", "stream_accuracy", "recovery_rounds"} & final.keys()
    assert final["forgetting"] is None


def test_a_view_of_the_counters_cannot_be_changed() -> None:
    seen: list[StreamCounts] = []

    class Meddler(StreamMetric):
        name, label = "meddler", "meddler"

        def value(self, counts: StreamCounts) -> float | None:
            seen.append(counts)
            return None

    made = experiment("rounds=1")
    object.__setattr__(made.metrics, "all", (Meddler(),))
    with Simulation(made, LocalEngine(3, 1)) as running:
        list(running.records(1))
    with pytest.raises(ValueError, match="read-only"):
        seen[0].scores_N[0] = 1


def swept(folders: list[Path]) -> SweepResults:
    found = gather([Job(f.name, {"seed": f.name}, f, state="finished") for f in folders])
    assert found is not None
    return found


@pytest.fixture(scope="module")
def led(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose list begins with a metric that wants to be the main score."""
    folder = tmp_path_factory.mktemp("led") / "0"
    metrics = [{"_target_": "user_metrics.FirstOfAll"}, "standard"]
    run(folder, "rounds=2", "report=true", f"plugins=[{OWN}]", metrics=metrics)
    return folder


def test_the_first_that_can_be_is_the_main_score_everywhere(
    led: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read = swarm.load(led)
    assert read.score == "first_of_all"
    page = page_data(read)
    assert (page["first"], page["scoreLabel"]) == ("first_of_all_mean", "top-2 score")
    assert page["frames"] is not None, "each device's score is drawn"
    html = (led / "report.html").read_text()
    assert "<th>top-2 score mean</th>" in html
    assert html.count("<th>top-2 score") == 1
    final = read.final("swarm")
    print_summary({"arms": {"swarm": final}}, columns=read.columns)
    Comparison.of([led]).print()
    shown = capsys.readouterr().out
    assert shown.count("top-2") == 2
    assert "accuracy" not in shown
    assert shown.count(f"{final['first_of_all_mean']:.3f}") == 2
    found = swept([led])
    assert found.score == "first_of_all"
    assert "first_of_all_mean" not in found.table, "not once more beside the score"
    assert found.table["first_of_all"].iloc[0] == final["first_of_all_mean"]
    assert cells(found, full=True)[0][1:3] == ["top-2 score", "worst decile"]


def test_a_score_that_is_listed_later_stays_behind(mine: list[Path], tmp_path: Path) -> None:
    assert swarm.load(mine[0]).score == "accuracy"
    metrics = ["standard", {"_target_": "user_metrics.FirstOfAll"}]
    run(tmp_path / "run", "rounds=1", f"plugins=[{OWN}]", metrics=metrics)
    read = swarm.load(tmp_path / "run")
    assert (read.score, read.main and read.main.label) == ("accuracy", "accuracy")


def test_of_an_error_the_worst_is_the_largest(tmp_path: Path) -> None:
    metrics = [{"_target_": "user_metrics.Error"}, "standard"]
    run(tmp_path / "run", "rounds=1", f"plugins=[{OWN}]", metrics=metrics)
    read = swarm.load(tmp_path / "run")
    assert read.main is not None
    assert (read.main.worst_decile, read.main.worst) == ("error_p90", "error_max")
    row = swept([tmp_path / "run"]).table.iloc[0]
    assert row["worst_decile"] == read.final("swarm")["error_p90"]


def test_trackers_get_each_devices_main_score(tmp_path: Path) -> None:
    got: list[dict[str, Any]] = []

    class Listener(Tracker):
        def record(self, record: dict[str, Any]) -> None:
            got.append(record)

    ready = prepared("rounds=1", "scenario.arms=[swarm]", "data=linear_regression", "partition=iid")
    with Folder.create(tmp_path / "run", ready.settings) as home:
        sink = Fanout(JsonlSink(home.path / "metrics.jsonl"), [Listener()])
        with work_ahead(ready, home) as ahead:
            run_arms(ready, home, sink, lambda _: None, ahead)
    assert {*device_scores(got[-1])} == {"device_r2"}


def test_the_page_of_a_folder_of_before_has_the_usual_columns(
    mine: list[Path], tmp_path: Path
) -> None:
    shutil.copytree(mine[0], tmp_path / "run")
    (tmp_path / "run" / columns.FILE).unlink()
    heads = re.findall("<th>([^<]*)</th>", table(swarm.load(tmp_path / "run")))
    assert heads[:8] == ["arm", "accuracy mean", "worst decile", "worst device", "consensus",
                         "ensemble", "own distribution", "prequential"]  # fmt: skip
    now = re.findall("<th>([^<]*)</th>", table(swarm.load(mine[0])))
    own = {"macro F1", "top-2 accuracy", "norm of the parameters, 1", "slowest learner"}
    assert [head for head in now if head not in own] == heads


def test_folders_of_before_have_the_usual_columns(mine: list[Path], tmp_path: Path) -> None:
    assert columns.read(tmp_path) == columns.DEFAULTS
    first = [asdict(column) for column in columns.USUAL if "stream" not in column.key]
    for each in first:  # as the first version wrote them
        del each["main"], each["head"], each["sparse"]
        each["shown"] = [surface for surface in each["shown"] if surface != "details"]
    (tmp_path / columns.FILE).write_text(json.dumps({"columns": first}))
    found = {column.key: column for column in columns.read(tmp_path)}
    assert found == {column.key: column for column in columns.DEFAULTS}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": "red"}, r"`columns\.0\.colour` is not known"),
        ({"main": "first"}, r"`columns\.0\.main` must be 'score' or 'distance'"),
    ],
)
def test_columns_that_are_damaged_are_refused_in_a_sentence(
    change: dict[str, str], said: str, tmp_path: Path
) -> None:
    column = asdict(Column("a", "b", shown=()))
    (tmp_path / columns.FILE).write_text(json.dumps({"columns": [column | change]}))
    with pytest.raises(ConfigError, match=said):
        columns.read(tmp_path)


def test_a_report_imports_no_code_of_the_runs(mine: list[Path]) -> None:
    script = (
        "import sys, swarm; from swarm.results.report import write_report;"
        f"write_report({str(mine[1])!r}); assert 'user_metrics' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=mine[1])
    assert "top-2 accuracy" in (mine[1] / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["metrics=[macro_f1]", "data=linear_regression", "partition=iid"],
         "metrics=macro_f1: measures classes, and the targets of these data are numbers"),
        (["metrics=[standard,auc,auc]"], "metrics=auc: there is another metric called auc"),
        (["metrics=[acu]"], "metrics=acu: no such option .did you mean auc"),
        (["metrics=standard"], r"metrics=standard: must be a list of metrics; metrics=\[standard\]$"),
        (["metrics=auc"], r"metrics=auc: must be a list of metrics; metrics=\[standard,auc\]"),
        (["metrics=[3]"], "metrics=3: must be a name"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared(*words)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Taken", "records have a key awake of their own"),
        ("Unsaid", r"its over_devices\(\) has the key lost_total; it must be one of its columns"),
        ("Misshapen", r"its value\(\) returns .*; one value for each of the \d+ devices"),
    ],
)
def test_a_metric_that_is_wrong_is_named(name: str, said: str) -> None:
    load_plugins([str(OWN)])
    with pytest.raises(ConfigError, match=said):
        check_plugin(f"user_metrics.{name}")


def test_check_plugin_knows_metrics() -> None:
    load_plugins([str(OWN)])
    check_plugin("user_metrics.TopTwo")
    check_plugin("user_metrics.Norm", power=1)
    check_plugin("user_metrics.Imbalance")
    check_plugin("user_metrics.Slowest")
    with pytest.raises(ContractError, match="measures other numbers"):
        check_plugin("user_metrics.LooksAround")
    with pytest.raises(ContractError, match="changes the devices that it measures: a run that"):
        check_plugin("user_metrics.Meddles")


def test_the_metrics_of_one_run_share_no_key() -> None:
    nodes = [option("metric", name) for name in ("macro_f1", "fairness")]
    found = chosen(nodes, CLASSES)
    keys = [column.key for column in found.columns]
    assert len(keys) == len(set(keys))
    assert all(isinstance(metric, Metric) for metric in found.all)
