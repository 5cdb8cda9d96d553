"""A plug-in that fails in the middle of a run ends it with one sentence, after which the folder can
be resumed; a tracker that fails ends nothing.
"""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import swarm
from swarm.common.plugin import PluginError
from tests.experiments.checks.test_faulty_plugins import FAULTY, ROOT, settings


@pytest.mark.parametrize(
    ("section", "name", "how", "said"),
    [
        (
            "protocol",
            "Talks",
            "raises in round 3",
            "its send raises ZeroDivisionError: of all things",
        ),
        ("protocol", "Talks", "exits in round 3", r"its send calls sys.exit\(0\)"),
        ("topology", "Late", "raises", "its graph raises RuntimeError: the sun went down"),
        ("topology", "Late", "none", r"its graph\(12\) returns None"),
        ("topology", "Late", "exits", r"its graph calls sys.exit\(0\)"),
        ("scenario", "Chooses", "judge raises", "its conclude raises KeyError: 'accuracy'"),
        (
            "scenario",
            "Chooses",
            "judge nan",
            "its conclude returns a float as share; summary.json holds finite numbers",
        ),
        (
            "scenario",
            "Chooses",
            "judge none",
            "its conclude returns None; a dict of names is needed",
        ),
    ],
)
def test_in_a_run_it_is_a_sentence_and_the_folder_can_be_resumed(
    tmp_path: Path, section: str, name: str, how: str, said: str
) -> None:
    cfg = settings(section, name, {"how": how}, "rounds=14", "evaluate.accuracy=false")
    with pytest.raises(PluginError, match=said) as caught:
        swarm.run(cfg, tmp_path / "run")
    assert caught.value.exit_code == 1
    assert re.search(r"faulty\.py, line \d+\)$", str(caught.value))
    assert not (tmp_path / "run/summary.json").exists()
    # it goes on from its checkpoint, and there it is again
    with pytest.raises(PluginError, match=said):
        swarm.resume(tmp_path / "run", {})


@pytest.mark.parametrize("how", ["late", "record"])
def test_a_tracker_never_ends_a_run(tmp_path: Path, how: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = swarm.run(settings("tracker", "Tracks", {"how": how}), tmp_path / "run")
    assert result.summary["rounds"] == 4


def test_the_warning_says_what_a_tracker_did_and_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swarm.run(settings("tracker", "Tracks", {"how": "configure"}), tmp_path / "run")
    said = r"faulty.Tracks stopped: its configure raises KeyError: 'arm_name' \(\S+faulty\.py, line \d+\)\."
    assert re.search(said, " ".join(capsys.readouterr().out.split()))


def test_on_the_command_line_sys_exit_is_no_success(tmp_path: Path) -> None:
    words = [
        f"plugins=[{FAULTY}]",
        "protocol._target_=faulty.Talks",
        "+protocol.how=exits in round 3",
    ]
    words += [
        "topology=ring",
        "devices=6",
        "rounds=4",
        "optimizer.lr=0.1",
        "tracker=none",
        "report=false",
    ]
    words += ["scenario.arms=[swarm]", f"hydra.run.dir={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_swarm.py"), *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    said = r"error: protocol=\S+: its send calls sys.exit\(0\), .*faulty.py, line \d+\)\n"
    assert re.fullmatch(said + r"when it is mended, go on with resume=run\n", done.stderr)
