"""What a process takes at most, data and their loading included, is what it has stated."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import swarm
from tests.support import config

TRAIN, TEST, SIDE = 30_000, 5_000, 28
PROGRAM = """if True:
    import json, sys
    from pathlib import Path
    from swarm.experiments import runner

    words, folder, found = json.loads(sys.argv[1]), sys.argv[2], []
    for seed in range(3):
        prepared = None  # a sweep keeps none
        prepared = runner.check({}, overrides=[*words, f"seed={seed}"])
        found.append(prepared.footprint)
    runner.run(prepared.settings, folder, prepared)
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(lines["VmHWM"].split()[0]) << 10
    said = [(each.total, each.program, each.loading) for each in found]
    print(json.dumps({"said": said, "peak": peak}))
"""


def made_up(folder: Path) -> None:
    """Images and labels in IDX files: 27 MB, and 110 MB as numbers."""
    draw = np.random.default_rng(0)
    for name, count in (("train", TRAIN), ("t10k", TEST)):
        pixels = draw.integers(256, size=count * SIDE * SIDE, dtype=np.uint8)
        head = struct.pack(">IIII", 0x803, count, SIDE, SIDE)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        head = struct.pack(">II", 0x801, count)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells the peak")
def test_several_runs_take_what_the_first_has_stated(tmp_path: Path) -> None:
    """The samples of an earlier run are gone when the next one loads its own, and loading makes no
    copy that is not stated: both together would be half as much again."""
    made_up(tmp_path)
    words = ["data=idx", f"data.path={tmp_path}", "devices=3", "topology=ring", "model=softmax"]
    words += ["rounds=1", "optimizer.lr=0.1", "scenario.arms=[swarm]", "tracker=none"]
    words += ["report=false", "evaluate.devices=1"]
    command = [sys.executable, "-c", PROGRAM, json.dumps(words), str(tmp_path / "run")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    total, program, loading = found["said"][0]
    assert loading > 5 * (TRAIN + TEST) * SIDE**2  # as bytes and as float32
    assert total >= program + loading
    assert found["peak"] <= 1.3 * total, found
    # the last run has the same data, and what earlier ones have left is small
    assert found["said"][-1][1] - program <= loading / 2, found


@pytest.mark.filterwarnings("ignore")
def test_what_was_loaded_is_counted_where_a_source_says_nothing(tmp_path: Path) -> None:
    from swarm.data.generated.digits import Digits

    prepared = swarm.check(config("data=digits"))
    data, held = prepared.dataset, prepared.footprint  # type: ignore[union-attr]
    assert held.loading == Digits().loading() > data.nbytes > data.x.nbytes + data.y.nbytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Digits, "loading", lambda self: None)
        assert swarm.check(config("data=digits")).footprint.loading == data.nbytes  # type: ignore[union-attr]
