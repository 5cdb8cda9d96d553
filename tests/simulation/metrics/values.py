"""Metrics of small runs."""

from __future__ import annotations

from typing import Any

from tests.support import prepared, records

NEW = "metrics=[standard,macro_f1,auc,calibration,balanced_accuracy,fairness]"


def values(*overrides: str) -> list[dict[str, Any]]:
    rows = [row.values for row in records(prepared("rounds=2", *overrides))]
    return [{k: v for k, v in row.items() if not k.startswith("wall_s")} for row in rows]
