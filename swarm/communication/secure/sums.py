"""The arithmetic of secure sums: rows are weighted, encoded, masked and added up modulo 2^32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.errors import OutOfRangeError
from swarm.communication.aggregation.base import Neighbourhoods
from swarm.communication.secure.base import RowMasks, SumGroup
from swarm.communication.secure.fixed_point import FixedPoint
from swarm.communication.secure.rounds import SecureRounds

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]


def encoded(
    row_M: Tensor, weight: float, code: FixedPoint, largest: float, device: int, round: int
) -> Words:
    """The words of ``weight`` times a row of ``device``; a number that is none counts as 0, as its
    device has diverged, which the round loop says.

    Raises :class:`OutOfRangeError` for a finite number that is larger than ``largest``."""
    x_M = row_M.cpu().double().numpy()
    finite_M = np.isfinite(x_M)
    if not finite_M.all():
        x_M = np.where(finite_M, x_M, 0.0)
    size = float(np.abs(x_M).max(initial=0.0))
    if size > largest:
        raise OutOfRangeError(device, round, size, largest)
    return code.encoded(x_M * weight)


def server_part(
    group: SumGroup,
    masks: RowMasks,
    rows_nM: Tensor,
    device_n: Ints,
    weight_N: Floats,
    largest: float,
    round: int,
) -> Words:
    """What some devices contribute to the sum over all, modulo 2^32: their masked rows, less what
    is taken off for them at the end, ``[M]``.

    Whoever adds up knows Σ y_i only; a mask is taken off where its device is simulated, so that the
    work is spread over the shards. Modulo 2^32 the order makes no difference.
    """
    code = FixedPoint.for_sum(largest, 1.0, len(group.device_g))
    total_M = np.zeros(rows_nM.shape[1], np.uint32)
    place_n = np.searchsorted(group.device_g, device_n)
    for row, (device, place) in enumerate(zip(device_n.tolist(), place_n.tolist(), strict=True)):
        if place >= len(group.device_g) or group.device_g[place] != device:
            continue
        if group.alive_g[place]:
            y_M = encoded(rows_nM[row], float(weight_N[device]), code, largest, device, round)
            masks.put_on(place, y_M)
            total_M += y_M
        masks.take_off(place, total_M)
    return total_M


def server_mean(group: SumGroup, total_M: Floats, weight_N: Floats, largest: float) -> Tensor:
    """The weighted mean of the rows that have arrived, ``[M]``, given the sum of all parts."""
    code = FixedPoint.for_sum(largest, 1.0, len(group.device_g))
    words_M = np.mod(total_M, 2.0**32).astype(np.uint32)
    arrived = float(weight_N[group.device_g[group.alive_g]].sum())
    return torch.from_numpy(code.decoded(words_M) / arrived)


def neighbour_sums(found: Neighbourhoods, rounds: SecureRounds, round: int, phase: int) -> Tensor:
    """The rows that R devices receive, ``[R, M]``: each its own weighted row, and the secure sum of
    what its neighbours have weighted by W_ij; its own row where that sum cannot be recovered."""
    out_RM, largest = found.own_RM.clone(), rounds.plug_in.range
    for r, receiver in enumerate(found.device_R.tolist()):
        group = rounds.at_device(round, phase, receiver)
        if group is None or not group.recovered:
            continue
        heard = found.heard(r)
        weights = heard.weight_K.double().tolist()
        total_M, code = _sum_of(group, heard.rows_KM, weights, largest, round)
        sum_M = torch.from_numpy(code.decoded(total_M)).to(out_RM)
        out_RM[r] = heard.own_weight * heard.own_M + sum_M
    return out_RM


def _sum_of(
    group: SumGroup, rows_KM: Tensor, weights: Sequence[float], largest: float, round: int
) -> tuple[Words, FixedPoint]:
    """The words of the sum of K weighted rows, those of the devices of ``group`` that are alive, in
    their order."""
    bound = max(1.0, float(np.abs(weights).sum()))
    code = FixedPoint.for_sum(largest, bound, len(group.device_g))
    masks, total_M = group.masks(rows_KM.shape[1]), np.zeros(rows_KM.shape[1], np.uint32)
    alive = np.flatnonzero(group.alive_g).tolist()
    for row_M, weight, a in zip(rows_KM, weights, alive, strict=True):
        y_M = encoded(row_M, weight, code, largest, int(group.device_g[a]), round)
        masks.put_on(a, y_M)
        total_M += y_M
    for a in range(len(group.device_g)):
        masks.take_off(a, total_M)
    return total_M, code
