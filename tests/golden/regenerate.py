"""Write ``curves.json`` anew: only after a change that is meant to move the curves, and after
looking at both.

python tests/golden/regenerate.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.golden.curves import ARMS, curves


def main() -> None:
    """One thread, as the tests have."""
    torch.set_num_threads(1)
    text = json.dumps({arm: curves(arm) for arm in ARMS}, indent=1)
    Path(__file__).with_name("curves.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
