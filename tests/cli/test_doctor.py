"""``run_swarm.py doctor``: says what is missing and what to do, and its exit code says whether a
run would work.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from swarm.cli.commands import doctor
from swarm.cli.main import COMMANDS, main
from swarm.data.fetch.fetch import ALL


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWARM_OVERRIDES", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWARM_DATA", str(tmp_path / "data"))


def told(*overrides: str) -> tuple[int, str]:
    file = io.StringIO()
    code = doctor.main(overrides, Console(file=file, width=200))
    return code, file.getvalue()


def line(text: str, what: str) -> str:
    return next(" ".join(row.split()) for row in text.splitlines() if row.startswith(what))


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_each_command_says_how_it_is_used(
    name: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main([name, flag])
    except SystemExit as end:  # argparse's
        code = int(end.code or 0)
    assert code == 0
    assert capsys.readouterr().out.startswith(f"usage: python run_swarm.py {name} ")


def test_a_machine_that_can_run_says_so_and_writes_nothing(tmp_path: Path) -> None:
    code, text = told()
    assert code == 0
    assert text.endswith("run_swarm.py would work\n")
    assert line(text, "torch") == f"torch ok {importlib.metadata.version('torch')}"
    assert "GiB free" in line(text, "memory")
    assert "100 devices, 100 rounds" in line(text, "the default run")
    assert list(tmp_path.iterdir()) == []


def test_data_sets_that_are_missing_come_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    (tmp_path / "data" / "flights").mkdir(parents=True)
    code, text = told()
    assert code == 0  # a default run needs none of them
    assert line(text, "flights").startswith("flights ok")
    for name in set(ALL) - {"flights"}:
        assert f"python -m swarm.data.fetch {name}" in line(text, name)


def test_a_package_that_is_missing_or_too_old_fails_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "pyarrow":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0.0" if name == "torch" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    code, text = told()
    assert code == 1
    assert "missing not installed; pip install 'pyarrow>=15'" in line(text, "pyarrow")
    assert "missing 1.0.0; pip install 'torch>=2.8'" in line(text, "torch")
    assert text.endswith("run_swarm.py would not work: pyarrow, torch\n")


def test_an_extra_that_is_missing_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    find: Any = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == "tensorboardX" else find(name, *a),
    )
    code, text = told()
    assert code == 0
    assert "pip install '.[tensorboard]'" in line(text, "tracker=tensorboard")


def test_a_folder_that_cannot_be_written_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *a, **k: False)
    code, text = told()
    assert code == 1
    assert "cannot be written" in line(text, "this folder")


def test_a_run_of_ones_own_is_checked_instead() -> None:
    code, text = told("devices=7", "scenario.arms=[swarm]")
    assert code == 0
    assert "7 devices, 100 rounds; arms swarm" in line(text, "the run")
    code, text = told("data=shakespeare")
    assert code == 1
    assert "python -m swarm.data.fetch shakespeare" in line(text, "the run")


def test_settings_of_the_environment_are_checked_as_a_run_has_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SWARM_OVERRIDES", "devices=7 rounds=2")
    code, text = told("devices=9", "scenario.arms=[swarm]")
    assert code == 0
    assert "7 devices, 2 rounds; arms swarm" in line(text, "the run")
    assert text.endswith("run_swarm.py scenario.arms=[swarm] devices=7 rounds=2 would work\n")
    assert capsys.readouterr().err == "SWARM_OVERRIDES adds: devices=7 rounds=2\n"
    monkeypatch.setenv("SWARM_OVERRIDES", "devices=0")
    code, text = told()
    assert code == 1
    assert "devices=0" in line(text, "the run")
    monkeypatch.setenv("SWARM_OVERRIDES", "resume=first")
    assert main(["doctor"]) == 2


def test_where_the_run_would_go_is_looked_at_and_a_run_to_go_on_with_is_refused(
    tmp_path: Path,
) -> None:
    code, text = told("hydra.run.dir=/proc/x")
    assert code == 1
    assert "hydra.run.dir=/proc/x: must be a folder that can be written" in line(text, "the run")
    assert main(["doctor", "resume=nowhere"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_knows_it(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "devices=0"]) == 1
    assert "devices=0" in capfd.readouterr().out
    assert main(["doctor", "--fix"]) == 2
    shown = capfd.readouterr()
    said = "error: --fix: settings are written KEY=VALUE, such as devices=100; a value with blanks"
    assert shown.err.startswith(said)
    assert shown.out == ""
