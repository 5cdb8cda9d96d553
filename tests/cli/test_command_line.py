"""What the command does with Hydra's command line when nothing is wrong, and when a run ends
badly.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from swarm.common.errors import ConfigError, DivergedError
from swarm.config.composing.compose import compose
from swarm.config.settings import sections

from .conftest import Command, FakeRunner

ROOT = Path(__file__).parents[2]


def test_a_run_gets_the_composed_config_and_its_folder(
    command: Command, runner: FakeRunner
) -> None:
    done = command("devices=7", "topology=ring", "hydra.run.dir=here/it/is")
    assert done.code == 0
    assert done.err == ""
    made = ["config.yaml", "summary.json"]  # nothing of Hydra's own
    assert done.new == ["here", "here/it", "here/it/is", *(f"here/it/is/{name}" for name in made)]
    ((cfg, folder),) = runner.of("run")
    assert (cfg.devices, cfg.topology._target_, folder) == (
        7,
        "swarm.communication.topology.regular.Ring",
        Path("here/it/is").absolute(),
    )
    assert "hydra" not in cfg
    assert len(runner.of("check")) == 1


def test_two_runs_get_two_folders(command: Command, runner: FakeRunner) -> None:
    command()
    command()
    first, second = (folder for _, folder in runner.of("run"))
    assert first != second
    assert first.relative_to(Path.cwd()).parts[0] == "outputs"


def test_a_sweep_runs_every_combination(command: Command, runner: FakeRunner) -> None:
    assert (
        command("-m", "topology=ring,star", "devices=range(4,6)", "hydra.sweep.dir=sweep").code == 0
    )
    runs = [
        (cfg.topology._target_.rsplit(".", 1)[1], cfg.devices, folder.name)
        for cfg, folder in runner.of("run")
    ]
    assert runs == [
        (cls, devices, f"topology={cls.lower()},devices={devices}")
        for cls in ("Ring", "Star")
        for devices in (4, 5)
    ]
    assert len(runner.of("check")) == 4


def test_what_hydra_itself_puts_into_a_new_folder_is_no_obstacle(
    command: Command, runner: FakeRunner
) -> None:
    hydra = ["hydra.output_subdir=.hydra", "hydra/job_logging=default"]
    assert command("hydra.run.dir=new", *hydra).code == 0
    assert command("-m", "seed=1,2", "hydra.sweep.dir=sweep", *hydra).code == 0
    assert (Path("new/.hydra/config.yaml").is_file(), Path("new/swarm.log").is_file()) == (
        True,
        True,
    )
    assert (
        command("-m", "seed=3,4", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${seed}").code == 0
    )  # beside the others
    assert len(runner.of("run")) == 5


@pytest.mark.parametrize(
    ("subdir", "names"),
    [
        ("${hydra:job.num}", ["0", "1"]),
        ("${hydra.job.override_dirname}", ["devices=4,seed=0", "devices=5,seed=0"]),
        ("${devices}/x", ["4/x", "5/x"]),
    ],
)
def test_a_sweep_names_its_folders_as_it_is_told(
    subdir: str, names: list[str], command: Command, runner: FakeRunner
) -> None:
    done = command(
        "-m", "devices=4,5", "seed=0", "hydra.sweep.dir=sweep", f"hydra.sweep.subdir={subdir}"
    )
    assert (done.code, done.err) == (0, "")
    assert [
        str(folder.relative_to(Path.cwd() / "sweep")) for _, folder in runner.of("run")
    ] == names


def test_a_sweep_over_all_options_of_a_group(command: Command, runner: FakeRunner) -> None:
    assert command("-m", "optimizer=glob(*)").code == 0
    assert len(runner.of("run")) == len(list((ROOT / "conf/optimizer").glob("*.yaml")))


MINE = """
defaults: [config, _self_]
hydra:
  %s
"""
PARAMS = "sweeper: {params: {seed: '1,2', devices: 9}}"


@pytest.mark.parametrize(
    ("yaml", "words"),
    [
        ("", ["hydra.mode=MULTIRUN", "seed=1,2"]),
        ("", ["hydra.sweeper.params.seed=1,2", "devices=9"]),
        ("", ["+hydra.sweeper.params.seed='1,2'", "-m", "devices=9"]),
        ("", ["hydra.sweeper.params={seed: 'range(1,3)', devices: 9}"]),
        ("", ["hydra.sweeper.params={seed: '5,6'}", "seed=1,2"]),
        ("mode: MULTIRUN", ["seed=1,2"]),
        (PARAMS, []),
        (PARAMS.replace("1,2", "5,6"), ["seed=1,2"]),
        (f"mode: MULTIRUN\n  {PARAMS}", ["devices=9"]),
    ],
)
def test_hydras_other_ways_to_ask_for_a_sweep(
    yaml: str, words: list[str], command: Command, runner: FakeRunner
) -> None:
    """``hydra.mode`` and ``hydra.sweeper.params``, in a yaml and as words, work like ``-m``; a word
    about a key wins over the params.
    """
    if yaml:
        Path("mine").mkdir()
        Path("mine/mine.yaml").write_text(MINE % yaml)
        words = ["--config-dir", "mine", "--config-name", "mine", *words]
    done = command(*words, "hydra.sweep.dir=s")
    assert (done.code, done.err) == (0, "")
    runs = [(cfg.seed, folder.name) for cfg, folder in runner.of("run")]
    assert runs == [(1, "seed=1"), (2, "seed=2")]


def test_a_typed_mode_wins_over_params(command: Command, runner: FakeRunner) -> None:
    one = "hydra.mode=RUN"
    assert command("hydra.sweeper.params.seed=3", one, "hydra.run.dir=x").code == 0
    assert [(cfg.seed, folder.name) for cfg, folder in runner.of("run")] == [(3, "x")]
    done = command("hydra.sweeper.params.seed=1,2", one)
    assert "seed=1,2: is several values: -m makes one run of each" in done.sentence


def test_the_version_is_ours(command: Command) -> None:
    done = command("devices=3", "--version")
    assert (done.code, done.out) == (0, f"swarm-sim {version('swarm-sim')}\n")


def test_a_sweep_goes_on_after_a_failed_job_and_ends_with_its_code(
    command: Command, runner: FakeRunner
) -> None:
    runner.raises = DivergedError(3, 5)
    done = command("-m", "seed=1,2")
    assert done.code == DivergedError.exit_code
    assert len(runner.of("run")) == 2
    assert done.err.count("device 3 diverged") == 2


def test_an_error_of_the_run_is_one_line_and_its_code(command: Command, runner: FakeRunner) -> None:
    runner.raises = ConfigError("k", 3, "must be\neven")
    done = command("hydra.run.dir=x")
    assert (done.code, done.err) == (2, "error: k=3: must be even\n")
    assert done.new == []  # Hydra had made the folder


def test_a_bug_keeps_its_traceback(command: Command, runner: FakeRunner) -> None:
    runner.raises = ZeroDivisionError("oops")
    done = command()
    assert done.code == 1
    assert "Traceback" in done.err
    assert "_maybe_raise" in done.err


def test_an_interrupt_says_how_to_go_on(
    command: Command, runner: FakeRunner, tmp_path: Path
) -> None:
    (tmp_path / "x").mkdir()
    runner.raises = KeyboardInterrupt()
    assert (done := command("hydra.run.dir=x")).code == 130
    assert done.err == "interrupted\n"  # nothing was written: there is nothing to go on with
    old = tmp_path / "old"
    old.mkdir()
    (old / "config.yaml").touch()
    assert (done := command("resume=old")).code == 130
    assert done.err == "interrupted; go on with resume=old\n"


def test_an_interrupt_ends_a_whole_sweep(command: Command, runner: FakeRunner) -> None:
    runner.raises = KeyboardInterrupt()
    assert command("-m", "seed=1,2,3").code == 130
    assert len(runner.of("run")) == 1


def test_an_interrupt_before_the_start(command: Command, runner: FakeRunner) -> None:
    runner.check_raises = lambda cfg: KeyboardInterrupt()
    done = command()
    assert (done.code, done.err, done.new) == (130, "interrupted before the run started\n", [])


def test_resume_hands_plain_overrides_to_the_runner(
    command: Command, runner: FakeRunner, tmp_path: Path
) -> None:
    (tmp_path / "old run").mkdir()
    done = command(
        "resume='old run'",
        "rounds=200",
        "engine.shards=2",
        "tracker.tags=[a,'b c']",
        "tracker.mode=disabled",
    )
    assert (done.code, done.err) == (0, "")
    expected = {
        "rounds": 200,
        "engine.shards": 2,
        "tracker.tags": ["a", "b c"],
        "tracker.mode": "disabled",
    }
    assert runner.calls == [("resume", (Path("old run"), expected))]


def test_config_dir_adds_options(command: Command, runner: FakeRunner, tmp_path: Path) -> None:
    (tmp_path / "mine/topology").mkdir(parents=True)
    (tmp_path / "mine/topology/bowtie.yaml").write_text("_target_: x.Bowtie\nwaist: 2\n")
    assert command("--config-dir", "mine", "topology=bowtie", "topology.waist=3").code == 0
    ((cfg, _),) = runner.of("run")
    assert cfg.topology == {"_target_": "x.Bowtie", "waist": 3}


def test_help_and_cfg(command: Command) -> None:
    shown = command("--help")
    assert shown.code == 0
    for text in ("resume=", "topology=small_world: ", "ring", "devices=100", "seed=1"):
        assert text in shown.out
    job = command("--cfg", "job", "devices=5", "topology=ring")
    assert job.code == 0
    assert job.new == []
    cfg = OmegaConf.create(job.out)
    assert (cfg.devices, cfg.topology._target_) == (5, "swarm.communication.topology.regular.Ring")


def test_help_has_a_line_for_each_key_and_says_what_it_is(command: Command) -> None:
    """Also for those of the options that the words choose."""
    out = command("--help", "topology=geometric", "fleet=terminals", "devices=7").out
    lines = {line.split("=")[0].strip(): line for line in out.splitlines() if "=" in line}
    values = compose(["topology=geometric", "fleet=terminals"])
    keys = [f"topology.{key}" for key in values.topology if key != "_target_"]
    keys += [f"fleet.classes.phone.{key}" for key in values.fleet.classes.phone]
    keys += [
        f"{key}.{name}"
        for key in ("train", "network", "evaluate", "compute")
        for name in values[key]
    ]
    for key in [*keys, "devices", "rounds", "lr_search.lrs", "plugins", "data.local_test"]:
        said = lines[key].strip().partition("  ")[2]
        assert len(said.split()) > 1, lines[key]
    assert lines["devices"].split() == ["devices=7", "number", "of", "devices"]
    for group in sections():
        assert f"\n  {group} " in out
    assert "+experiment=NAME" in out


def test_help_beside_resume_is_help(command: Command, runner: FakeRunner) -> None:
    assert "Keys, set by KEY=VALUE" in command("--help", "resume=.").out
    assert not runner.of("resume")


def test_debug_shows_where_a_refusal_comes_from(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARM_DEBUG", "1")
    done = command("devices=0")
    assert done.code == 2
    assert "Traceback" in done.err


@pytest.mark.parametrize(
    "argv", [["--help"], ["devces=5"], ["devices=0"], ["-m", "devices=1,0"], ["--cfg", "job"]]
)
def test_nothing_heavy_is_imported_before_it_is_needed(argv: list[str], tmp_path: Path) -> None:
    """``--help`` and refusals answer at once: torch alone takes seconds."""
    checked = argv if argv[0] != "-m" else ["-m", "devices=0,1"]
    script = (
        "import sys; from swarm.cli.main import main; code = main(sys.argv[1:]);heavy = {'torch',"
        " 'wandb', 'matplotlib', 'pandas', 'sklearn', 'scipy', 'numpy'} & set(sys.modules);assert"
        " not heavy, heavy; sys.exit(code)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, *checked],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "AssertionError" not in done.stderr, done.stderr
    assert done.returncode == (0 if argv[0].startswith("--") else 2)


def test_the_script_of_a_clone_runs_from_any_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "run_swarm.py", "devices=0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: devices=0: must be a whole number from 1 to 10,000,000\n"
    assert list(tmp_path.iterdir()) == []
