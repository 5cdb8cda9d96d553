"""The W&B mirror: offline runs that can be uploaded, nothing on the terminal, and no run lost to
its failures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from swarm.common.errors import ConfigError
from swarm.results.track import Fanout, JsonlSink, read_jsonl, wandb_names
from swarm.results.track.wandb import WandbTracker
from swarm.results.track.wandb_files import run_id
from tests.docs.pages import blocks
from tests.processes import ended
from tests.support import config

pytest.importorskip("wandb")

SCRIPT = """
import sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from swarm.results.track import Fanout, JsonlSink, read_jsonl
from swarm.results.track.wandb import WandbTracker

folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
tracker = WandbTracker(folder, "a run/1", {"devices": 3, "model": {"widths": [64]}})
sink = Fanout(JsonlSink(folder / "metrics.jsonl"), [tracker], warn=lambda text: print("WARNING", text))
for arm in ("swarm", "isolated"):
    sink.start(arm, 4, first)
    for r in range(first, last + 1):
        sink.record({"arm": arm, "round": r, "virtual_s": 2.0 * r, "accuracy_mean": r / 4, "loss_mean": float("nan"),
                     "_device_accuracy": np.linspace(0, 1, 3)})
    sink.finish(arm, {"accuracy_mean": last / 4, "rounds": last, "diverged": None})
sink.close()
"""


def child(folder: Path, first: int, last: int) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(first), str(last)],
        capture_output=True, text=True, timeout=120, env=environment, cwd=folder, check=True,
    )  # fmt: skip


def inspected(part: Path) -> list[dict[str, Any]]:
    """The records of an offline run's transaction log, read back with W&B's own tool: what
    ``wandb leet inspect`` starts after some seconds of importing.
    """
    from wandb.util import get_core_path

    (log,) = part.glob("*.wandb")
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file"]
    text = subprocess.run(
        [*command, str(log), str(part.parent)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=part,
    ).stdout
    return [json.loads(line) for line in text.splitlines()]


def history(part: Path) -> list[dict[str, Any]]:
    """The rounds in an offline run's log."""
    return [record["history"]["item"] for record in inspected(part) if "history" in record]


def laid_over(part: Path, kind: str) -> dict[str, Any]:
    """What an offline run ends with as its ``summary``, or has as its ``config``."""
    records = inspected(part)
    updates = [r["run"]["config"] if kind == "config" else r["summary"] for r in records if r["type"] in ("run", "summary")
               and (r["type"] == "run") == (kind == "config")]  # fmt: skip
    return {key: value for update in updates for key, value in update["update"].items()}


def by_arm(folder: Path) -> dict[str, Path]:
    """The one offline run of each arm."""
    found = {}
    for arm, name in json.loads((folder / "wandb.json").read_text()).items():
        (found[arm],) = (part for part in (folder / "wandb").glob(f"*offline-run-*-{name}*"))
    return found


def begun(part: Path) -> dict[str, Any]:
    """What an offline run says of itself: its name, project, group, tags and so on."""
    return dict(next(record["run"] for record in inspected(part) if record["type"] == "run"))


def outside(script: str, *arguments: str, **said: str) -> None:
    """Runs a script in a process of its own, in which the environment says of W&B what is
    ``said``.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")} | said
    subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, timeout=180, env=environment,
                   cwd=Path(__file__).parents[3], check=True)  # fmt: skip


ENVIRONMENT = {"WANDB_PROJECT": "their-project", "WANDB_ENTITY": "their-team", "WANDB_RUN_GROUP": "their group",
               "WANDB_TAGS": "one, two"}  # fmt: skip


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small comparison with a page, whose rates are chosen."""
    script = """
import sys
from pathlib import Path
from tests.support import run
run(Path(sys.argv[1]), "tracker=wandb", "rounds=3", "devices=12", "report=true", "optimizer.lr=auto", "lr_search.lrs=[0.03,0.3]",
    "lr_search.rounds=1", "scenario.arms=[swarm,isolated,centralised,fedavg]")
Path(sys.argv[1], "imported").write_text(" ".join(name for name in sys.modules if "launch" in name))
"""
    folder = tmp_path_factory.mktemp("mirrored") / "run"
    outside(script, str(folder), **ENVIRONMENT)
    return folder


def test_each_arm_logs_what_it_ran_with(mirrored: Path) -> None:
    """Its own topology, protocol and number of devices, the rate chosen for it, and in the end what
    the swarm gained.
    """
    folder = mirrored
    summary = json.loads((folder / "summary.json").read_text())
    parts = by_arm(folder)
    configs = {arm: laid_over(part, "config") for arm, part in parts.items()}
    assert set(configs) == {"swarm", "isolated", "centralised", "fedavg", "report"}
    for arm in ("swarm", "isolated", "centralised", "fedavg"):
        assert configs[arm]["arm"] == arm
        assert configs[arm]["optimizer"]["lr"] == summary["arms"][arm]["lr"]
        assert configs[arm]["devices"] == (1 if arm == "centralised" else 12)
        assert "swarm-sim" in configs[arm]["versions"]
    classes = {
        arm: [c[key]["_target_"].rpartition(".")[2] for key in ("topology", "protocol")]
        for arm, c in configs.items()
    }
    assert classes["swarm"] == ["SmallWorld", "TrainThenAverage"] == classes["report"]
    assert classes["isolated"] == classes["centralised"]
    assert "SmallWorld" not in classes["isolated"]
    assert "TrainThenAverage" not in classes["isolated"]
    assert classes["fedavg"] == [classes["isolated"][0], "FedAvg"]
    assert configs["report"]["optimizer"]["lr"] == "auto"  # the run's own config, as it was given
    assert summary["gap_closed"] is not None
    for arm in ("swarm", "report"):
        assert laid_over(parts[arm], "summary")["gap_closed"] == pytest.approx(
            summary["gap_closed"]
        )
    for arm in ("isolated", "centralised", "fedavg"):
        assert "gap_closed" not in laid_over(parts[arm], "summary")
        assert [row["round"] for row in history(parts[arm])] == [0, 1, 2, 3]


def test_a_start_leaves_out_what_takes_long(mirrored: Path) -> None:
    """W&B Launch is not imported, and one run of all has the list of the installed packages."""
    assert "wandb" not in (mirrored / "imported").read_text()
    listed = [arm for arm, part in by_arm(mirrored).items() if list(part.rglob("requirements.txt"))]
    assert listed == ["swarm"]


def test_a_run_is_called_by_its_options_its_seed_and_its_arm(mirrored: Path) -> None:
    """And its project, entity, group and tags are those of the environment, since the config says
    none.
    """
    for arm, part in by_arm(mirrored).items():
        facts = begun(part)
        assert facts["display_name"] == f"small_world · dpsgd · seed 0 · {arm}"
        assert facts["job_type"] == arm
        told = [facts[key] for key in ("project", "entity", "run_group")]
        assert told == ["their-project", "their-team", "their group"]
        assert facts["tags"] == ["one", "two"]


def test_every_option_that_is_not_the_default_is_part_of_the_name() -> None:
    values = config(
        "topology=ring", "optimizer=momentum", "data=gaussian", "partition.alpha=3", "seed=7"
    )
    name = wandb_names.title(values, {"topology": "ring", "devices": "12", "seed": "7"})
    assert name == "ring · dpsgd · gaussian · momentum · devices 12 · seed 7"
    own = {**values, "protocol": {"_target_": "my_plugins.Talks"}}
    assert wandb_names.title(own).startswith("ring · Talks · gaussian")
    long = wandb_names.of_arm("x" * 500, "swarm")
    assert len(long) == 128
    assert long.endswith("x… · swarm")


def test_the_config_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {**ENVIRONMENT, "WANDB_MODE": "disabled"}.items():
        monkeypatch.setenv(key, value)
    said = {"mode": "online", "project": "p", "entity": "e", "group": "g", "tags": ["t"]}
    tracker = WandbTracker(tmp_path, "r", {}, **said)
    assert {key: getattr(tracker, key) for key in said} == said
    assert WandbTracker(tmp_path, "r", {}, mode="offline", tags=[]).tags == []
    assert WandbTracker(tmp_path, "r", {}).mode == "disabled"
    for key in ENVIRONMENT:
        monkeypatch.setenv(key, "")
    monkeypatch.setenv("WANDB_MODE", "online")
    plain = WandbTracker(tmp_path, "r", {})
    found = (plain.mode, plain.project, plain.entity, plain.group, plain.tags)
    assert found == ("online", "swarm", None, "r", [])


@pytest.mark.parametrize(
    ("variable", "value", "valid"),
    [
        ("WANDB_MODE", "onlin", "must be online, offline or disabled"),
        ("WANDB_PROJECT", "a/b", "must be the name of a W&B project"),
        ("WANDB_RUN_GROUP", "g" * 129, "must be a name of at most 128 characters"),
        ("WANDB_TAGS", f"a,{'b' * 65}", "must list tags of at most 64 characters"),
    ],
)
def test_an_environment_that_cannot_be_is_named(
    variable: str, value: str, valid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"{variable}=.*in the environment {valid}"):
        WandbTracker(tmp_path, "r", {})


def test_an_arm_without_a_record_has_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It diverged at once, or was interrupted; and a report without a picture is none."""
    import wandb

    made: list[str] = []
    monkeypatch.setattr(wandb, "init", lambda **options: made.append(options["job_type"]))
    tracker = WandbTracker(tmp_path, "r", {})
    tracker.start("swarm", 1, 0)
    tracker.finish("swarm", {"accuracy_mean": 0.5})
    tracker.start("isolated", 1, 0)
    tracker.attach([])
    tracker.close()
    assert made == []
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    monkeypatch.setenv("WANDB_RUN_ID", "r")
    tracker.attach([tmp_path / "curves.png"])  # an agent of W&B wants one run
    assert made == []


def test_an_agent_of_wandb_starts_the_command_that_the_page_shows(tmp_path: Path) -> None:
    """Its words are made by W&B's own code; the one W&B run is the one that the agent has begun."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    (block,) = [b for b in blocks("docs/sweeps.md", "yaml") if b.file == "wandb_sweep.yaml"]
    sweep = yaml.safe_load(block.code)
    chosen = {"topology": "torus", "optimizer.lr": 0.25, "seed": 2}
    assert sweep["parameters"].keys() == chosen.keys()
    macros = create_sweep_command_args({"args": {key: {"value": v} for key, v in chosen.items()}})
    macros |= {"interpreter": [], "program": []}
    words = [
        word
        for part in create_sweep_command(sweep["command"])
        for word in (macros[part[2:-1]] if part.startswith("${") else [part])
    ]
    words[words.index("tracker.mode=online")] = "tracker.mode=offline"
    small = [
        "rounds=1",
        "model=softmax",
        "scenario.arms=[isolated,swarm]",
    ]
    said = {"WANDB_SWEEP_ID": "the-sweep", "WANDB_RUN_ID": "the-run", "WANDB_PROJECT": "theirs"}
    done = ended(*words, *small, f"hydra.run.dir={tmp_path / 'run'}", **said)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run/wandb.json").read_text()) == {"swarm": "the-run"}
    (part,) = (tmp_path / "run/wandb").glob("offline-run-*")
    facts = begun(part)
    assert [facts[key] for key in ("run_id", "sweep_id", "project")] == [
        "the-run",
        "the-sweep",
        "theirs",
    ]
    assert facts["display_name"] == "torus · dpsgd · softmax · seed 2 · swarm"
    assert sweep["metric"]["name"] in history(part)[-1]


@pytest.mark.parametrize("page", ["docs/results.md", "docs/sweeps.md"])
def test_the_upload_that_a_page_shows_asks_nothing(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell's part with a stand-in for ``wandb`` that notes its words, then W&B's own command
    line with these words: nobody is asked, and all runs would be uploaded.
    """
    from click.testing import CliRunner
    from wandb.cli import beta_sync
    from wandb.cli.cli import cli

    (line,) = [
        text
        for block in blocks(page, "bash")
        for text in block.code.splitlines()
        if "wandb sync" in text
    ]
    home = "outputs/2026-01-02/run" if "outputs" in line else "multirun/topologies"
    for name in ("wandb/offline-run-1-a", "wandb/replaced-offline-run-0-a", "a=1/wandb/offline-run-2-b c",
                 "superseded/wandb/offline-run-3-d", "wandb/run-4-online"):  # fmt: skip
        part = tmp_path / home / name
        part.mkdir(parents=True)
        (part / "run.wandb").touch()
    (tmp_path / "wandb").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>{tmp_path}/words\n')
    (tmp_path / "wandb").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    subprocess.run(["sh", "-c", line], check=True, timeout=60)
    words = (tmp_path / "words").read_text().splitlines()
    uploaded: list[Path] = []
    monkeypatch.setattr(beta_sync.wbauth, "authenticate_session", lambda **_: True)
    monkeypatch.setattr(beta_sync.term, "confirm", lambda *_: pytest.fail("it asks"))
    monkeypatch.setattr(beta_sync, "_do_sync", lambda files, **_: uploaded.extend(files))
    monkeypatch.setattr(beta_sync, "new_printer", lambda: None)
    fake = SimpleNamespace(ensure_service=lambda: None, settings=SimpleNamespace(base_url=""),
                           asyncer=SimpleNamespace(run=lambda do: do()))  # fmt: skip
    monkeypatch.setattr(beta_sync.wandb_setup, "singleton", lambda: fake)
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    expected = {"offline-run-1-a", "offline-run-2-b c"}
    if "superseded" not in line:
        expected.add("offline-run-3-d")
    assert {file.parent.name for file in uploaded} == expected


def test_what_the_swarm_gained_reaches_a_run_that_was_over_before_the_resume(
    tmp_path: Path,
) -> None:
    """The process died after the swarm's arm; the next one runs the controls."""
    script = """
import sys
from pathlib import Path
from swarm.results.track import Fanout, JsonlSink
from swarm.results.track.wandb import WandbTracker

folder = Path(sys.argv[1])
def arm(name):
    sink.configure(name, {"arm": name, "devices": 3})
    sink.start(name, 1, 0)
    for r in range(2):
        sink.record({"arm": name, "round": r, "accuracy_mean": r / 4})
    sink.finish(name, {"accuracy_mean": 0.25, "rounds": 1, "diverged": None})

sink = Fanout(JsonlSink(folder / "metrics.jsonl"), [WandbTracker(folder, "r", {})])
arm("swarm")
sink.close()
sink = Fanout(JsonlSink(folder / "metrics.jsonl"), [WandbTracker(folder, "r", {})])
sink.configure("swarm", {"arm": "swarm", "devices": 3})
arm("isolated")
facts = {"accuracy_mean": 0.25, "rounds": 1, "diverged": None}
sink.conclude({"gap_closed": 0.5, "arms": {"swarm": facts, "isolated": facts}})
sink.close()
"""
    outside(script, str(tmp_path))
    parts = by_arm(tmp_path)
    assert set(parts) == {"swarm", "isolated"}
    assert laid_over(parts["swarm"], "summary")["gap_closed"] == 0.5
    assert laid_over(parts["swarm"], "config")["devices"] == 3
    assert [row["round"] for row in history(parts["swarm"])] == [0, 1]


def test_offline_runs_are_complete_silent_and_survive_a_resume(tmp_path: Path) -> None:
    done = child(tmp_path, 0, 2)
    assert done.stdout == ""
    assert done.stderr == ""
    parts = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(parts) == 2
    assert len(history(parts[0])) == 3

    # Resumed at round 3: the same ids, each offline run whole again, the superseded parts gone.
    assert child(tmp_path, 3, 4).stderr == ""
    again = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert {p.name.split("-", 3)[3] for p in again} == {p.name.split("-", 3)[3] for p in parts}
    assert len(again) == 2
    rounds = history(again[-1])
    assert [row["round"] for row in rounds] == [0, 1, 2, 3, 4]
    assert rounds[-1]["virtual_s"] == 8.0
    assert "loss_mean" not in rounds[0]  # NaN is no value


def test_a_tracker_that_cannot_start_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def broken(**_: Any) -> None:
        raise wandb.errors.CommError("the service did not start")

    monkeypatch.setattr(wandb, "init", broken)
    warnings: list[str] = []
    sink = Fanout(
        JsonlSink(tmp_path / "metrics.jsonl"),
        [WandbTracker(tmp_path, "r", {})],
        warn=warnings.append,
    )
    for arm in ("swarm", "isolated"):
        sink.start(arm, 1, 0)
        sink.record({"arm": arm, "round": 0})
        sink.finish(arm, {})
    sink.close()
    assert len(warnings) == 1
    assert "did not start" in warnings[0]
    assert len(read_jsonl(tmp_path / "metrics.jsonl")) == 2


def test_online_without_a_key_fails_instead_of_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    monkeypatch.setattr(wandb, "login", lambda **_: False)
    tracker = WandbTracker(tmp_path, "r", {}, mode="online")
    tracker.start("swarm", 1, 0)
    with pytest.raises(RuntimeError, match="API key"):
        tracker.record({"arm": "swarm", "round": 0})


@pytest.mark.parametrize("said", [None, ("WANDB_MODE", "disabled"), ("WANDB_DISABLED", "true")])
def test_disabled_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: tuple[str, str] | None
) -> None:
    """By the config, or in the environment, where W&B's own users say it."""
    if said is not None:
        monkeypatch.setenv(*said)
    tracker = WandbTracker(tmp_path, "r", {}, mode="disabled" if said is None else None)
    tracker.start("swarm", 1, 0)
    tracker.record({"arm": "swarm", "round": 0})
    tracker.finish("swarm", {})
    tracker.conclude({"gap_closed": 0.5, "arms": {"swarm": {"rounds": 1}}})
    tracker.attach([tmp_path / "curves.png"])
    tracker.close()
    assert not list(tmp_path.iterdir())


def test_ids_are_stable_slugs_that_never_collide() -> None:
    assert run_id("2026-01-02_03-04-05", "swarm") == "2026-01-02_03-04-05-swarm"
    names = ["a/b", "a b", "a-b", "ä-b", "x" * 90, "x" * 91]
    ids = {run_id(name, "swarm") for name in names}
    assert len(ids) == len(names)
    assert all(
        len(i) <= 64 and set(i) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_") for i in ids
    )


def test_the_id_is_kept_in_the_run_folder(tmp_path: Path) -> None:
    """A moved folder stays the same run; another folder of the same name is another run."""
    first = tmp_path / "one"
    first.mkdir()
    known = WandbTracker(first, "a-run", {})._id("swarm")
    assert WandbTracker(first, "a-run", {})._id("swarm") == known
    assert WandbTracker(first, "a-run", {})._id("isolated") != known
    moved = first.rename(tmp_path / "moved")
    assert WandbTracker(moved, "another-name", {})._id("swarm") == known
    first.mkdir()
    assert WandbTracker(first, "a-run", {})._id("swarm") != known
    (first / "wandb.json").write_text("[1")
    assert len(WandbTracker(first, "x" * 200, {})._id("swarm")) <= 64


def test_pictures_page_config_and_versions_go_along(mirrored: Path) -> None:
    folder = mirrored
    ids = json.loads((folder / "wandb.json").read_text())
    (part,) = (folder / "wandb").glob(f"offline-run-*-{ids['report']}")
    names = {path.name for path in part.rglob("*")}
    assert {"config.yaml", "summary.json", "report.html", "curves.png", "graph.png"} <= names
    media = {path.name.split("_")[0] for path in (part / "files" / "media").rglob("*.*")}
    assert {"curves", "graph", "report"} <= media
    (arm,) = (folder / "wandb").glob(f"offline-run-*-{ids['swarm']}")
    text = json.dumps(inspected(arm))
    assert "versions" in text
    assert "swarm-sim" in text
    assert "accuracy_p10" in text  # quantiles over devices


def test_only_what_was_not_uploaded_is_replaced_and_only_once_the_new_part_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one second W&B gives the new part the old one's name, or that name and ``-1``, and a
    run does not know which.
    """
    import wandb

    parts = tmp_path / "wandb"
    for name in ("2-the-id", "2-the-id-1", "1-the-id", "1-another"):
        (parts / f"offline-run-{name}").mkdir(parents=True)
    (parts / "offline-run-1-the-id" / "run.wandb.synced").touch()
    (tmp_path / "wandb.json").write_text('{"swarm": "the-id"}')
    for own in ("offline-run-2-the-id", "offline-run-2-the-id-1"):
        monkeypatch.setattr(wandb, "init", lambda own=own, **_: (parts / own).mkdir())
        tracker = WandbTracker(tmp_path, "r", {})
        tracker._init("swarm", replaces=True)
        assert (parts / f"replaced-{own}").is_dir()  # a crash from here on loses nothing
        tracker._drop_replaced("swarm")
        assert {part.name for part in parts.iterdir()} == {
            own,
            "offline-run-1-the-id",
            "offline-run-1-another",
        }
        (parts / own).rename(parts / "offline-run-2-the-id-1")


def test_two_parts_in_one_second_leave_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With W&B itself, whose names of folders have only seconds, and whose service keeps the
    directory it was started in.
    """
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        for _ in range(3):
            WandbTracker(Path("r"), "r", {}).attach([Path("r/table.csv")])
        (part,) = Path("r/wandb").glob("*-run-*")
        assert [*part.glob("run-*.wandb")]


def test_files_are_kept_without_a_word_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also on a thread of the tracker's own, where the streams are those of the main thread."""
    (tmp_path / "table.csv").write_text("round\n1\n")
    with ThreadPoolExecutor(1) as thread:
        thread.submit(WandbTracker(tmp_path, "r", {}).attach, [tmp_path / "table.csv"]).result()
    assert [*tmp_path.glob("wandb/*/files/table.csv")]
    assert capfd.readouterr() == ("", "")


def test_a_run_is_the_group_and_an_arm_the_job_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    given: dict[str, Any] = {}
    monkeypatch.setattr(wandb, "init", lambda **options: given.update(options))
    WandbTracker(tmp_path, "r", {})._init("swarm")
    assert {key: given[key] for key in ("group", "job_type", "name")} == {
        "group": "r",
        "job_type": "swarm",
        "name": "r · swarm",
    }
