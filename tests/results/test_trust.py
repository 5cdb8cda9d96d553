"""A folder that somebody else has written runs no code: not when it is read, and on resume only if
the user says so.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

import swarm
from swarm.cli.commands import publish
from swarm.cli.commands.report import main as report
from swarm.cli.main import main
from swarm.common.errors import ConfigError, SwarmError
from swarm.config.build import option
from swarm.experiments.claims.plan import defaults
from swarm.results.load import load_partial
from swarm.results.trust import key_file
from swarm.simulation import checkpoint
from tests.conftest import SMALL, composed

RAN = "ran"  # a file in the current folder, made by importing the plug-in
CODE = f"""
from pathlib import Path
from swarm.communication.topology.regular import Ring

Path("{RAN}").touch()


class Mine(Ring):
    def __init__(self, devices: int) -> None:
        super().__init__(devices)
"""
OWN = (
    *SMALL,
    "devices=9",
    "rounds=2",
    "topology=ring",
    "topology._target_=mine.Mine",
    "plugins=[mine.py]",
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a plug-in in it; no other test's plug-in of that name is loaded."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    (place / "mine.py").write_text(CODE)
    sys.modules.pop("mine", None)
    return place


def ran() -> bool:
    """Whether the plug-in was imported since this was asked last. It can be imported again."""
    sys.modules.pop("mine", None)
    there = Path(RAN).exists()
    Path(RAN).unlink(missing_ok=True)
    return there


def edit(folder: Path, **changes: Any) -> None:
    """Change a config as by hand."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))


def files(folder: Path) -> dict[str, bytes]:
    """What is in a folder, but for the lock that every resume takes first."""
    there = (file for file in folder.rglob("*") if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(folder)): file.read_bytes() for file in there}


@pytest.mark.parametrize("plugins", [True, False])
def test_a_copy_of_ones_own_run_needs_no_trust(here: Path, plugins: bool) -> None:
    """The signature does not say where the folder is: it goes with it.

    Without plug-ins there is none, and none is needed.
    """
    assert (
        main([*(OWN if plugins else OWN[:4]), "tracker=none", "report=false", "hydra.run.dir=r"])
        == 0
    )
    shutil.copytree("r", "elsewhere/copy")
    assert (Path("elsewhere/copy") / ".signature").exists() == plugins
    sys.modules.pop("mine", None)
    assert main(["resume=elsewhere/copy", "rounds=5"]) == 0
    Path("elsewhere/copy/.signature").unlink(missing_ok=True)
    assert main(["resume=elsewhere/copy", "rounds=6"]) == (2 if plugins else 0)


@pytest.mark.parametrize("trust", ["yes", "no", 1, None])
def test_trust_is_yes_or_no(tmp_path: Path, trust: Any) -> None:
    """A text would count as true, the word no as well."""
    with pytest.raises(
        ConfigError, match=f"^trust={str(trust).replace('None', 'null')}: must be true or false: "
    ):
        swarm.resume(tmp_path, {}, trust=trust)


@pytest.fixture
def mine(here: Path) -> Path:
    """``r``: a run with a plug-in, made by this user's own command."""
    assert main([*OWN, "hydra.run.dir=r"]) == 0
    assert ran()
    return Path("r")


# --- nothing but resume ---------------------------------------------------------------------------


def _plain(folder: Path) -> None:
    edit(folder, plugins=["mine.py"])


def _scenario(folder: Path) -> None:
    edit(folder, plugins=["mine.py"], scenario={"_target_": "mine.Mine"})


def _tracker_and_engine(folder: Path) -> None:
    edit(
        folder,
        plugins=["mine.py"],
        tracker={"_target_": "mine.Mine"},
        engine={"_target_": "mine.Mine"},
    )


def _claim(folder: Path) -> None:
    _scenario(folder)
    (folder / "runs/a").mkdir(parents=True)


def _our_claim(folder: Path) -> None:
    edit(folder, **defaults())
    edit(
        folder,
        plugins=["mine.py"],
        scenario=option("scenario", "drift"),
        engine={"_target_": "mine.Mine"},
    )
    (folder / "runs").mkdir()


def _inside_a_claim(folder: Path) -> None:
    scenario = option("scenario", "drift")
    edit(folder, **defaults())
    edit(folder, scenario=scenario | {"settings": [*scenario["settings"], "plugins=[mine.py]"]})
    (folder / "runs").mkdir()


def _suite(folder: Path) -> None:
    shutil.copytree(folder, folder / "drift")
    _our_claim(folder / "drift")
    edit(folder, plugins=["mine.py"], scenario=option("scenario", "all"))


READERS: dict[str, Callable[[Path], object]] = {
    "draw": lambda folder: report([str(folder)]),
    "compare": lambda folder: report([str(folder), "other", "--csv", "both.csv"]),
    "load": swarm.load,
    "salvage": load_partial,
    "publish": lambda folder: publish.main([str(folder)]),
    "resume": lambda folder: swarm.resume(folder, {}),
}
FOLDERS = [_plain, _scenario, _tracker_and_engine, _claim, _our_claim, _inside_a_claim, _suite]


@pytest.fixture(scope="session")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sent") / "run"
    assert main([*SMALL, "devices=9", "rounds=2", f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.mark.parametrize("make", FOLDERS, ids=lambda make: make.__name__.strip("_"))
@pytest.mark.parametrize("finished", [True, False])
def test_nobody_who_reads_a_folder_runs_its_code(
    sent: Path, here: Path, make: Callable[[Path], None], finished: bool
) -> None:
    shutil.copytree(sent, "r")
    shutil.copytree(sent, "other")
    make(Path("r"))
    if not finished:
        Path("r/summary.json").unlink()
    for name, read in READERS.items():
        with suppress(SwarmError):
            read(Path("r"))
        assert (name, ran()) == (name, False)


def test_a_run_with_plug_ins_is_drawn_without_them(mine: Path) -> None:
    assert report(["r"]) == 0
    assert Path("r/report.html").exists()
    assert not ran()


# --- resume ---------------------------------------------------------------------------------------


def test_own_runs_go_on_without_a_word(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert main(["resume=r", "rounds=3"]) == 0
    assert ran()
    assert capfd.readouterr().err == ""
    shutil.move("r", "elsewhere")
    assert main(["resume=elsewhere", "rounds=4"]) == 0


def _unsigned(folder: Path) -> None:
    (folder / ".signature").unlink()


def _other_config(folder: Path) -> None:
    with (folder / "config.yaml").open("a") as file:
        file.write("# not a setting, but not what was written either\n")


def _other_place(folder: Path) -> None:
    Path("below").mkdir()
    shutil.copy("mine.py", "below")
    os.chdir("below")


def _other_user(folder: Path) -> None:
    shutil.move(key_file(), "key")


def _nonsense(folder: Path) -> None:
    (folder / ".signature").write_bytes(b"\xff" * 40 + b"\n" * 20)


@pytest.mark.parametrize(
    "change",
    [_unsigned, _other_config, _other_place, _other_user, _nonsense],
    ids=lambda f: f.__name__.strip("_"),
)
def test_what_is_not_ones_own_is_refused_until_trusted(
    mine: Path, change: Callable[[Path], None], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    shutil.rmtree("r")
    assert main([*OWN, "hydra.run.dir=r"]) == 0
    folder = Path("r").resolve()
    change(folder)
    before = files(folder)
    ran()
    capfd.readouterr()
    assert main([f"resume={folder}", "rounds=3"]) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"error: plugins=mine.py: is code that {folder}/config.yaml names, and ")
    assert "--trust runs it" in said
    assert said.count("\n") == 1
    assert not ran()
    assert files(folder) == before
    with pytest.raises(ConfigError, match=r"plugins=mine\.py"):
        swarm.resume(folder, {"rounds": 3})
    assert main([f"resume={folder}", "rounds=3", "--trust"]) == 0
    assert ran()
    assert main([f"resume={folder}", "rounds=4"]) == 0, "once is enough"


def test_python_can_trust_too(mine: Path) -> None:
    _unsigned(mine)
    assert swarm.resume("r", {"rounds": 3}, trust=True).summary["rounds"] == 3


def test_code_that_lies_in_the_folder_is_never_ones_own(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("box").mkdir()
    shutil.move("mine.py", "box")
    assert main([*OWN, "plugins=[box/mine.py]", "hydra.run.dir=r"]) == 0
    shutil.move("box/mine.py", "r")
    shutil.rmtree("box")  # Python may have compiled the module
    shutil.move("r", "box")
    for rounds in (3, 4):
        ran()
        assert main(["resume=box", f"rounds={rounds}"]) == 2
        assert "it lies in that folder" in capfd.readouterr().err
        assert not ran()
        assert main(["resume=box", f"rounds={rounds}", "--trust"]) == 0


def test_a_cluster_that_a_folder_names_is_not_asked(
    here: Path, sent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs a Ray cluster runs code in its drivers. One that is typed is the user's own."""
    asked: list[str] = []
    monkeypatch.setattr("swarm.simulation.engine.ray.engine.require_answer", asked.append)
    shutil.copytree(sent, "r")
    foreign = option("engine", "ray") | {
        "block": yaml.safe_load(Path("r/config.yaml").read_text())["engine"]["block"]
    }
    edit(Path("r"), engine=foreign | {"address": "10.0.0.1:6379"})
    with pytest.raises(
        ConfigError, match=r"engine\.address=10\.0\.0\.1:6379: is code that r/config\.yaml names"
    ):
        swarm.resume("r", {"engine.prefork": False})
    assert asked == []
    assert swarm.resume("r", {"engine.address": "10.0.0.2:6379"}).summary["rounds"] == 2
    assert swarm.resume("r", {"engine.address": "auto"}).summary["rounds"] == 2
    assert swarm.resume("r", {"engine": "local"}).summary["rounds"] == 2
    assert asked == ["10.0.0.2:6379", "auto"]
    assert swarm.resume("r", {"engine.prefork": False}, trust=True).summary["rounds"] == 2
    assert asked[2:] == ["10.0.0.1:6379"]


def test_trust_goes_with_resume(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*OWN, "--trust", "hydra.run.dir=r"]) == 2
    assert "--trust is for the plug-ins of a run folder" in capfd.readouterr().err
    assert not Path("r").exists()


# --- the key --------------------------------------------------------------------------------------


def test_runs_without_plug_ins_need_no_key(
    here: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(here / "state"))
    assert main([*SMALL, "devices=9", "rounds=1", "hydra.run.dir=r"]) == 0
    assert main(["resume=r", "rounds=2"]) == 0
    assert not Path("state").exists()
    assert not Path("r/.signature").exists()
    assert not [w for w in recwarn if "--trust" in str(w.message)]


def test_the_key_is_private(mine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert main([*OWN, "hydra.run.dir=own"]) == 0
    assert key_file().stat().st_mode & 0o777 == 0o600
    assert len(key_file().read_bytes()) == 32
    assert [file.name for file in key_file().parent.iterdir()] == ["key"]
    key_file().chmod(0o644)
    with pytest.raises(ConfigError, match="must be a file of 32 bytes that only you can read"):
        swarm.resume("own", {"rounds": 3})


@pytest.mark.parametrize("kind", ["link", "short", "folder"])
def test_a_key_that_is_none_is_not_used(
    kind: str, here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    key_file().parent.mkdir(parents=True)
    if kind == "link":
        Path("key").write_bytes(b"k" * 32)
        Path("key").chmod(0o600)
        key_file().symlink_to(Path("key").resolve())
    elif kind == "short":
        key_file().touch(0o600)
    else:
        key_file().mkdir()
    with pytest.warns(UserWarning, match="r cannot be signed"):
        assert main([*OWN, "hydra.run.dir=r"]) == 0
    assert not Path("r/.signature").exists()
    with pytest.raises(ConfigError, match="no command of yours has signed that folder"):
        swarm.resume("r", {"rounds": 3})


def test_without_a_home_a_sentence_says_what_follows(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(here / "file"))
    with pytest.warns(UserWarning, match=r"r cannot be signed .*: resume= will need --trust"):
        assert main([*OWN, "hydra.run.dir=r"]) == 0
    assert main(["resume=r", "rounds=3"]) == 2
    with pytest.warns(UserWarning, match="cannot be signed"):
        assert main(["resume=r", "rounds=3", "--trust"]) == 0


@pytest.mark.parametrize("where", [".signature", "config.yaml"])
def test_a_crash_beside_the_signature_costs_no_trust(
    mine: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkpoint.write_bytes

    def crash(path: Path, data: bytes) -> None:
        if path.name == where:
            raise KeyboardInterrupt
        real(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "write_bytes", crash)
        assert main(["resume=r", "rounds=3"]) == 130
    assert main(["resume=r", "rounds=3"]) == 0
    assert main(["resume=r", "rounds=4"]) == 0


# --- many runs ------------------------------------------------------------------------------------


def test_a_sweep_goes_on_by_the_command_that_names_its_plug_ins(here: Path) -> None:
    """Also one from before there were signatures: what the user types is the user's own."""
    words = ["-m", *OWN, "seed=0,1", "hydra.sweep.dir=s"]
    assert main(words) == 0
    for job in Path("s").glob("seed=*/"):
        (job / ".signature").unlink()
        (job / "summary.json").unlink()
    assert main(["resume=s/seed=0"]) == 2
    assert main(words) == 0
    assert len([*Path("s").glob("seed=*/summary.json")]) == 2


def test_a_job_that_names_another_cluster_is_not_let_in(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["-m", *SMALL, "devices=9", "rounds=2", "seed=0,1", "hydra.sweep.dir=s"]
    assert main(words) == 0
    asked: list[str] = []
    monkeypatch.setattr("swarm.simulation.engine.ray.engine.require_answer", asked.append)
    job = Path("s/seed=0")
    (job / "summary.json").unlink()
    block = yaml.safe_load((job / "config.yaml").read_text())["engine"]["block"]
    edit(job, engine=option("engine", "ray") | {"block": block, "address": "10.0.0.1:6379"})
    assert main(words) == 1
    assert asked == []


def test_a_typed_setting_admits_no_plug_in_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``engine=local`` beside ``resume`` is the user's own, and says nothing of a plug-in called
    ``local``.
    """
    folder = tmp_path / "run"
    swarm.run(composed(*SMALL), folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "plugins": ["local"]}))
    (folder / "local.py").write_text("raise SystemExit('ran')")
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match="plugins=local: is code that"):
        swarm.resume(Path(), {"engine": "local", "rounds": 5})
