"""What drift does to a run: recovery, forgetting and backward transfer, from its records."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

LIVED, TESTED = "stream_accuracy", "accuracy_concept_"
"""What recovery is defined on, and how forgetting's keys begin: a number for each concept."""
BEFORE = 5
"""Rounds before a change whose accuracy is what a device recovers to."""
ENOUGH = 0.95
"""Share of it that counts as recovered."""


def facts(records: pd.DataFrame) -> dict[str, Any]:
    """``recovery_rounds``, ``forgetting`` and ``backward_transfer`` of an arm with these records;
    nothing without drift, and no ``recovery_rounds`` where the run's list of metrics leaves out the
    accuracy of each round.
    """
    if "concept" not in records or records["concept"].isna().all():
        return {}
    lived = records[records["concept"].notna()]
    columns = [f"{TESTED}{c}" for c in range(sum(n.startswith(TESTED) for n in records.columns))]
    measured = lived.dropna(subset=columns) if columns else lived.iloc[:0]
    accuracy_RC = measured[columns].to_numpy(np.float64)
    recovered = {}
    if LIVED in lived:
        each = lived[LIVED].to_numpy(np.float64), lived["concept"].to_numpy(np.int64)
        recovered = {"recovery_rounds": recovery(*each)}
    return {
        **recovered,
        **transfer(accuracy_RC, measured["concept"].to_numpy(np.int64)),
    }


def recovery(accuracy_R: Floats, concept_R: npt.NDArray[np.int64]) -> list[int | None]:
    """For each change of concept: how many rounds until a round's prequential accuracy is back at
    95% of its mean over the five rounds before the change; 0 where it never falls below, None where
    the next change, or the end, comes first."""
    changes = [*(np.flatnonzero(np.diff(concept_R)) + 1).tolist(), len(concept_R)]
    found: list[int | None] = []
    for at, until in itertools.pairwise(changes):
        before = float(np.nanmean(accuracy_R[max(0, at - BEFORE) : at]))
        back = np.flatnonzero(accuracy_R[at:until] >= ENOUGH * before)
        found.append(int(back[0]) if len(back) else None)
    return found


def transfer(accuracy_RC: Floats, concept_R: npt.NDArray[np.int64]) -> dict[str, float | None]:
    """Means over the concepts that devices have left, of test accuracy a_c(t) on concept c after
    round t of T:

    *forgetting* max_{t<T} a_c(t) − a_c(T) from when c was first lived in (Chaudhry et al., ECCV
    2018), and *backward transfer* a_c(T) − a_c(t_c), t_c when c was last lived in (Lopez-Paz &
    Ranzato, NeurIPS 2017). None where no concept was left.
    """
    lost, gained = [], []
    for c in range(accuracy_RC.shape[1]):
        lived = np.flatnonzero(concept_R == c)
        if len(lived) and lived[-1] < len(concept_R) - 1:
            lost.append(accuracy_RC[lived[0] : -1, c].max() - accuracy_RC[-1, c])
            gained.append(accuracy_RC[-1, c] - accuracy_RC[lived[-1], c])
    return {
        "forgetting": float(np.mean(lost)) if lost else None,
        "backward_transfer": float(np.mean(gained)) if gained else None,
    }
