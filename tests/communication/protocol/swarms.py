"""Small swarms for the theorems: quadratics with known minima, plug-ins of the tests, and what
local steps make of a row.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from tests.support import config

HERE = Path(__file__).parent
LR = 0.05
Rows = npt.NDArray[np.float64]


def planned(*overrides: str, protocol: dict[str, Any] | str, **sections: Any) -> PreparedRun:
    """A run in float64 with the tests' plug-ins allowed; ``protocol`` is an option's name or a
    section.
    """
    named = isinstance(protocol, str)
    values = config(
        *([f"protocol={protocol}"] if named else []), "compute.dtype=float64",
        f"plugins=[{HERE / 'quadratic.py'}, {HERE / 'still.py'}]", *overrides,
    )  # fmt: skip
    return PreparedRun.prepare(
        Settings.parse({**values, **sections, **({} if named else {"protocol": protocol})})
    )


def quadratics(*overrides: str, protocol: dict[str, Any] | str, **sections: Any) -> PreparedRun:
    """Eight devices; device i has the loss a_i (x − b_i)², so a local step at rate γ is x ← x −
    2γa_i (x − b_i).
    """
    return planned(
        "devices=8", "engine.block=8", "partition=natural", "train.batch=1", f"optimizer.lr={LR}", *overrides, protocol=protocol,
        data={"_target_": "quadratic.Quadratics"}, model={"_target_": "quadratic.Slope"}, **sections,
    )  # fmt: skip


def curves(ready: PreparedRun) -> tuple[Rows, Rows]:
    """a and b of every device."""
    root_a = ready.dataset.x[ready.split.sample, 0].astype(np.float64)
    return root_a**2, ready.dataset.y[ready.split.sample, 0].astype(np.float64) / root_a


def descended(start: Rows, a: Rows, b: Rows, steps: int, pull: float = 0.0) -> Rows:
    """Where ``steps`` steps on a(x − b)² + (pull/2)(x − start)² end: z + (1 − γ(2a + pull))^K
    (start − z), z the minimum.
    """
    z = (2 * a * b + pull * start) / (2 * a + pull)
    return np.asarray(z + (1 - LR * (2 * a + pull)) ** steps * (start - z))
