"""Every device's score at every evaluated round, a byte each, for the slider of the page."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swarm.results.load import Run

# bytes, and rounds, at most; a page is to stay below 8 MB
SCORES_KEPT, ROUNDS_KEPT = 1_500_000, 240
STEPS, MISSING = 254, 255


def device_history(run: Run) -> dict[str, Any] | None:
    """The scores of all arms' devices, or None without any.

    Returns:
        ``rounds``: those shown. ``arms``: by name, ``ids`` of devices; ``rounds`` at which the arm
        has scores; ``low`` and ``high`` of each; ``data``: bytes [rounds, devices] in base64,
        device by device within a round. A byte b means low + (high − low) · b / 254, and 255 that
        the device has no score then. ``note``: what is left out.
    """
    if run.score is None or run.score not in run.devices or run.devices.empty:
        return None
    rows = (
        run.devices[["arm", "round", "device", run.score]]
        .replace([np.inf, -np.inf], np.nan)
        .dropna()
    )
    ids = {arm: np.sort(rows.loc[rows["arm"] == arm, "device"].unique()) for arm in run.arms}
    ids = {arm: found for arm, found in ids.items() if len(found)}
    if not ids:
        return None
    rounds = np.sort(rows["round"].unique())
    devices = sum(map(len, ids.values()))
    kept = subsample(rounds, max(2, min(ROUNDS_KEPT, max(12, SCORES_KEPT // devices))))
    most = SCORES_KEPT // (len(kept) * len(ids))
    note = []
    if len(kept) < len(rounds):
        note.append(f"{len(kept)} of {len(rounds)} evaluated rounds are shown")
    if max(map(len, ids.values())) > most:
        note.append(
            f"{most:,} of {max(map(len, ids.values())):,} devices, evenly spaced, stand for all"
        )
        ids = {arm: subsample(found, most) for arm, found in ids.items()}
    rows = rows[rows["round"].isin(kept)]
    arms = {}
    for arm, chosen in ids.items():
        own = rows[(rows["arm"] == arm) & rows["device"].isin(chosen)]
        table = own.pivot_table(index="round", columns="device", values=run.score).reindex(
            columns=chosen
        )
        arms[arm] = _packed(table.index.to_numpy(), table.to_numpy(float), chosen)
    return {"rounds": [int(r) for r in kept], "arms": arms, "note": "; ".join(note)}


def _packed(
    rounds: NDArray[np.int64], score_RN: NDArray[np.float64], ids: NDArray[np.int64]
) -> dict[str, Any]:
    low_R, high_R = np.nanmin(score_RN, axis=1), np.nanmax(score_RN, axis=1)
    # One device with R² = -50 must not take the steps of all the others; it is shown at the low
    # end.
    low_R = np.maximum(low_R, np.minimum(-1.0, np.nanquantile(score_RN, 0.2, axis=1)))
    low_R = np.array([f"{v:.6g}" for v in low_R]).astype(float)
    high_R = np.maximum(np.array([f"{v:.6g}" for v in high_R]).astype(float), low_R)
    span_R = np.where(high_R > low_R, high_R - low_R, 1.0)
    share_RN = np.clip((score_RN - low_R[:, None]) / span_R[:, None], 0.0, 1.0)
    byte_RN = np.where(
        np.isnan(share_RN), MISSING, np.rint(STEPS * np.nan_to_num(share_RN))
    ).astype(np.uint8)
    consecutive = len(ids) > 0 and ids[0] == 0 and ids[-1] == len(ids) - 1
    return {
        "ids": None if consecutive else ids.tolist(),
        "n": len(ids),
        "rounds": rounds.tolist(),
        "low": low_R.tolist(),
        "high": high_R.tolist(),
        "data": packed(byte_RN),
    }


def packed(values: NDArray[Any]) -> str:
    """The bytes of an array, little-endian, in base64."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(np.ascontiguousarray(little).tobytes()).decode("ascii")


def subsample(values: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of the values, evenly spaced, the first and the last among them."""
    return (
        values
        if len(values) <= most
        else values[np.linspace(0, len(values) - 1, most, dtype=np.int64)]
    )
