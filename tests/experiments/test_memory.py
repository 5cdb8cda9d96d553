"""Memory: stated before it is used, refused where it cannot be enough, and a sentence where it runs
out all the same.
"""

from __future__ import annotations

import errno
import gc
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

import swarm
from swarm.common.errors import ConfigError
from swarm.common.system.machine import ran_out_of_memory
from swarm.experiments.runs.memory import MemoryRanOutError, running_out
from swarm.simulation.experiment import Experiment
from swarm.simulation.footprint import Footprint, footprint
from tests.conftest import SMALL, composed
from tests.support import config, experiment, prepared, simulation

# --- what will be needed --------------------------------------------------------------------------


def parts(*overrides: str) -> dict[str, int]:
    return {part.name: part.bytes for part in footprint(experiment(*overrides)).parts}


SLOTS = {
    "adam's moments": (("optimizer=adam",), "what the optimizer keeps", 2 * 4),
    "trackers": (("protocol=gradient_tracking",), "what the protocol keeps", 2 * 4),
    "errors": (("compressor=top_k",), "what compression left out", 4),
    "late messages": (("delay=constant", "network.max_delay=3"), "messages under way", 4),
    "float64": (("compute.dtype=float64",), "the devices' parameters", 8),
}


@pytest.mark.parametrize(("options", "name", "each"), SLOTS.values(), ids=SLOTS)
def test_every_part_is_counted_by_its_numbers(
    options: tuple[str, ...], name: str, each: int
) -> None:
    e = experiment(*options)
    numbers = e.settings.devices * e.model.layout.width * (e.communication.messages.depth or 1)
    assert parts(*options)[name] == each * numbers


def test_what_runs_hold_at_once_grows_with_them() -> None:
    small, large = footprint(experiment("devices=12")), footprint(experiment("devices=48"))
    assert small.total < large.total
    assert footprint(experiment("devices=12", "model.hidden=[256]")).total > small.total


def test_rows_of_earlier_rounds_are_let_go() -> None:
    """Of a plain swarm one array of all devices' parameters is in memory between two rounds."""
    with simulation(prepared("topology=ring")) as running:
        e = running.experiment
        size = e.settings.devices * e.model.layout.width * e.dtype.itemsize
        for _ in running.engine.advance(2):
            pass
        assert [n for n in storages().values() if n == size] == [size]


def storages() -> dict[int, int]:
    """The sizes in bytes of all memory that tensors hold, views of nothing included."""
    gc.collect()
    held = (each.untyped_storage() for each in gc.get_objects() if type(each) is torch.Tensor)
    return {memory.data_ptr(): memory.nbytes() for memory in held}


def test_as_many_devices_as_fit_do_fit() -> None:
    """The number that is named in the refusal is the largest that is not refused."""
    needed = footprint(experiment("devices=40"))
    growing = sum(part.bytes for part in needed.parts if part.grows and not part.there) / 40
    for devices in (1, 20, 39, 40, 41, 120):
        free = int(needed.to_come + (devices - 40) * growing) + 100
        fits = needed.fitting(40, free)
        assert fits == devices
        assert (
            needed.to_come + (fits - 40) * growing <= free < needed.to_come + (fits - 39) * growing
        )
    assert needed.fitting(40, 0) == 0
    assert Footprint(()).total == 0


def test_too_large_a_swarm_is_refused_by_what_takes_the_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("swarm.experiments.runs.memory.available_bytes", lambda: 140 << 20)
    prepared()
    text = (
        r"devices=12: would need about .* of it for replay memories, .* at most \d devices would fit, or"
        r" a smaller replay\.size"
    )
    with pytest.raises(ConfigError, match=text):
        prepared("update=online", "replay=ring", "replay.size=1000000")


def test_every_refusal_is_worded_alike_and_the_parts_are_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For the parameters alone, for the whole swarm, and for the actors."""
    counted: list[int] = []

    def counting(e: Experiment) -> Footprint:
        counted.append(1)
        return footprint(e)

    monkeypatch.setattr("swarm.experiments.runs.memory.footprint", counting)
    prepared("engine=ray", "engine.actors=2")
    assert len(counted) == 1
    said = (
        r"would need (about|at least) [\d,.]+ [GM]iB.*, and [\d,.]+ [GM]iB are free; at most [\d,]+"
        r" (devices|actors) would fit"
    )
    actors = ("engine=ray", "engine.actors=per_device", "devices=60")
    for place, key, options in (
        (
            "simulation.experiment.checks.model",
            "devices=2000000",
            ("scenario=consensus", "devices=2000000", "topology=ring"),
        ),
        (
            "experiments.runs.memory",
            "devices=12",
            ("update=online", "replay=ring", "replay.size=1000000"),
        ),
        ("experiments.runs.memory", "engine.actors=60", actors),
    ):
        free = 2 << 30 if place == "experiments.runs.memory" and options is actors else 140 << 20
        monkeypatch.setattr(f"swarm.{place}.available_bytes", lambda free=free: free)
        with pytest.raises(ConfigError, match=f"^{key}: {said}"):
            prepared(*options)


def test_where_not_even_one_actor_fits_fewer_devices_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("swarm.experiments.runs.memory.available_bytes", lambda: 64 << 20)
    with pytest.raises(ConfigError, match=r"^devices=12: .*; not one device would fit$"):
        prepared("engine=ray", "engine.actors=2")


@pytest.mark.filterwarnings("ignore")
def test_a_run_begins_with_what_it_will_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swarm.run(config(), tmp_path / "run")
    assert re.match(
        r"memory: about [\d.,]+ [GM]iB, [\d.,]+ [GM]iB of it for .+; .* are free\n",
        capsys.readouterr().out,
    )


# --- where it runs out ----------------------------------------------------------------------------


def test_every_library_s_word_for_it_is_known() -> None:
    with pytest.raises(MemoryError) as numpy_s:
        np.empty(1 << 60, np.uint8)
    with pytest.raises(RuntimeError) as torch_s:
        torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(pa.ArrowMemoryError) as arrow_s:
        pa.allocate_buffer(1 << 60)
    its_own = OSError(errno.ENOMEM, "Cannot allocate memory")
    for error in (MemoryError(), numpy_s.value, torch_s.value, arrow_s.value, its_own):
        assert ran_out_of_memory(error)
    for error in (
        RuntimeError("shapes differ"),
        ValueError("memory"),
        OSError(errno.ENOSPC, "No space left"),
    ):
        assert not ran_out_of_memory(error)


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="a bug"), running_out("anywhere"):
        raise RuntimeError("a bug")


LIBRARIES: list[Callable[[], object]] = [
    lambda: torch.empty(1 << 60, dtype=torch.uint8),
    lambda: np.empty(1 << 60, np.uint8),
    lambda: pa.allocate_buffer(1 << 60),
]


@pytest.mark.parametrize("allocate", LIBRARIES, ids=["torch", "numpy", "pyarrow"])
def test_before_the_start_it_is_a_sentence(
    allocate: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: object) -> None:
        allocate()

    monkeypatch.setattr("swarm.data.generated.digits.Digits.load", load)
    with pytest.raises(
        MemoryRanOutError, match=r"memory ran out before the start.* fewer or smaller samples"
    ):
        prepared()


PROGRAM = """if True:
    import json, resource, sys
    from pathlib import Path
    import torch
    import swarm.simulation.engine.local
    from swarm.cli.main import main

    folder = sys.argv[1]
    played = swarm.simulation.engine.local.LocalEngine._play

    def limited(self, round):
        if round == 3:  # what there is by now, and a little
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (1 << 20), resource.RLIM_INFINITY))
            torch.empty(64 << 20)
        return played(self, round)

    swarm.simulation.engine.local.LocalEngine._play = limited
    sys.exit(main(json.loads(sys.argv[2]) + [f"hydra.run.dir={folder}"]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS holds on Linux")
def test_a_run_that_runs_out_says_what_would_fit_and_goes_on_later(tmp_path: Path) -> None:
    options = [*SMALL, "model=softmax", "checkpoint.every=2"]
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "run"), json.dumps(options)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 1, ran.stderr
    (said,) = [line for line in ran.stderr.splitlines() if not line.startswith("warning")]
    assert re.fullmatch(
        r"error: memory ran out \(resume=.*/run goes on .*\): about .* MiB were expected .* would"
        r" fit.*",
        said,
    ), ran.stderr
    resumed = swarm.resume(tmp_path / "run", {}).summary
    swarm.run(composed(*options), tmp_path / "whole")
    whole = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert resumed["arms"]["swarm"]["params_sha256"] == whole["arms"]["swarm"]["params_sha256"]


def test_copies_of_augmented_images_are_counted() -> None:
    images = ("data=digits", "data.flat=false", "train.batch=64", "train.local_steps=50")
    plain, changed = (parts(*images, f"augment={each}") for each in ("[]", "[flip]"))
    name = "a block of devices at work"
    one = 50 * 64 * 64 * 4  # steps, samples, pixels, bytes
    assert changed[name] - plain[name] == 2 * one * experiment(*images).blocks.size
