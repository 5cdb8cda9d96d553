"""What a sweep has left in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def summary() -> dict[str, Any]:
    return dict(json.loads(Path("s/summary.json").read_text()))
