"""Numbers, names and counts without measure: one sentence, before anything is written, and before
memory or patience ends.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import swarm
from swarm.common.errors import ConfigError
from tests.conftest import SMALL, composed

from .conftest import Command, FakeRunner

LONG = "x" * 256


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            "network.round_seconds=1e-320",
            "network.round_seconds=1e-320: is too close to 0; a number other than 0 must have a size",
        ),
        (
            "data.validation=1e-320",
            "data.validation=1e-320: is too close to 0; a number other than 0 must have a size from 1e-18",
        ),
        (
            "data.test=1e308",
            "data.test=1e308: is too far from 0; a number other than 0 must have a size from 1e-18 to 1e+18",
        ),
        (
            "protocol=fedadam protocol.tau=" + "1" + "0" * 30,
            "protocol.tau=1e+30: is too far from 0; a number other than 0",
        ),
        (
            "data=leaf_synthetic data.most=" + "1" + "0" * 30,
            "data.most=1" + "0" * 30 + ": must be a whole number of",
        ),
        (
            "lr_search.lrs=[1e-320]",
            "lr_search.lrs=1e-320: is too close to 0; a number other than 0",
        ),
        ("privacy=device_level privacy.delta=1e-300", "privacy.delta=1e-300: is too close to 0; a"),
        (
            "privacy=device_level privacy.delta=0",
            "privacy.delta=0: must be a probability from 1e-18 to below 1, such as 1e-5",
        ),
        ("plugins=['a\\0b']", "plugins=['a\\x00b']: must be text that UTF-8 can write"),
    ],
)
def test_beyond_all_measure(argv: str, said: str, command: Command) -> None:
    assert command(*(word.replace("\\0", "\0") for word in argv.split())).sentence.startswith(said)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            "seed=range(0,1000000000)",
            "seed=range(0,1000000000): stands for more than 10,000 values",
        ),
        (
            "seed=shuffle(range(0,1000000000))",
            "seed=shuffle(range(0,1000000000)): stands for more than 10,000 values",
        ),
        (
            "optimizer.lr=range(0,1e400)",
            "optimizer.lr=range(0,1e400): stands for more than 10,000 values",
        ),
        (
            "optimizer.lr=range(1e30,1e31,1)",
            "optimizer.lr=range(1e30,1e31,1): stands for more than 10,000 values",
        ),
        (
            "optimizer.lr=range(0,nan)",
            "optimizer.lr=range(0,nan): cannot be expanded: not all of its numbers are finite",
        ),
        (
            "seed=range(0,1000) devices=range(1,101)",
            "the values of devices, seed make 100,000 runs together; at most",
        ),
    ],
)
def test_a_sweep_without_end_is_counted_and_not_begun(
    argv: str, said: str, command: Command, runner: FakeRunner
) -> None:
    assert command("-m", *argv.split()).sentence.startswith(said)
    assert runner.calls == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (f"hydra.run.dir={LONG}", "hydra.run.dir=xxx"),
        (f"hydra.run.dir={'abc/' * 1000}x", "hydra.run.dir=abc/abc"),
        (f"resume={LONG}", "resume=xxx"),
        (f"--config-dir {LONG}", "--config-dir=xxx"),
        (f"-m seed=1,2 hydra.sweep.dir={LONG}", "hydra.sweep.dir=xxx"),
        ("hydra.run.dir=caf\udce9", "hydra.run.dir=caf\\udce9: must be text that UTF-8 can write"),
        ("resume=caf\udce9", "resume=caf\\udce9: must be text that UTF-8 can write"),
    ],
)
def test_names_that_no_file_can_have(
    argv: str, said: str, command: Command, runner: FakeRunner
) -> None:
    found = command(*argv.split()).sentence
    assert found.startswith(said)
    assert "bytes" in found or "UTF-8" in found


def test_many_words_of_other_letters_name_a_folder(command: Command, runner: FakeRunner) -> None:
    """Bytes count, not letters: 100 of three bytes each."""
    assert command("-m", f"init='{'試' * 100}',common", "hydra.sweep.dir=s").code == 0
    assert sorted(len(p.name.encode()) < 255 for p in Path("s").glob("init*")) == [True, True]


@pytest.mark.skipif(os.name != "posix", reason="names are bytes there only")
def test_a_current_folder_whose_name_is_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables and pages could not be written there: it is said before the run, by the command line
    and from Python.
    """
    place = os.fsencode(tmp_path) + b"/caf\xe9"
    try:
        os.mkdir(place)  # noqa: PTH102  a name of bytes
    except OSError:
        pytest.skip("this file system takes text only")
    monkeypatch.chdir(os.fsdecode(place))
    with pytest.raises(
        ConfigError,
        match=r"hydra.run.dir=run: must lead through folders whose names are text in UTF-8",
    ):
        swarm.run(composed(*SMALL), "run")
    assert os.listdir(place) == []  # noqa: PTH208
