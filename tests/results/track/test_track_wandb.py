"""The W&B mirror: offline runs that can be uploaded, nothing on the terminal, and no run lost to
its failures.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from swarm.common.errors import ConfigError
from swarm.results.track import Fanout, JsonlSink, read_jsonl, wandb_names
from swarm.results.track.wandb import WandbTracker
from tests.docs.pages import blocks
from tests.processes import ended
from tests.results.track.wandb_runs import (
    ENVIRONMENT,
    by_arm,
    history,
    inspected,
    laid_over,
)
from tests.support import config

pytest.importorskip("wandb")


def begun(part: Path) -> dict[str, Any]:
    """What an offline run says of itself: its name, project, group, tags and so on."""
    return dict(next(record["run"] for record in inspected(part) if record["type"] == "run"))


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
