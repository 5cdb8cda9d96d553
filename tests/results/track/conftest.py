"""What the tests of W&B share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.results.track.wandb_runs import ENVIRONMENT, outside


@pytest.fixture(scope="session")
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
