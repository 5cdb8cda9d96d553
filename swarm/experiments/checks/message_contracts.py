"""Checks that compressors, transforms and aggregators keep the promises of their kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swarm.common.rng import Keys
from swarm.communication.aggregation.base import Heard
from swarm.communication.attack.base import Attacking, Known, attacked
from swarm.communication.compression.base import Draw
from swarm.communication.transform.base import Sending
from swarm.experiments.checks.trial import fail, first_of
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.experiment import Experiment


def _rows(e: Experiment) -> Tensor:
    """Nine random rows ``[9, P]`` to try a plug-in on."""
    drawn = Keys(0, "contract").generator().standard_normal((9, e.communication.layout.width))
    return torch.as_tensor(drawn, dtype=e.dtype)


def _require_own_row_only(
    made: Any, path: str, does: str, change: Callable[[Tensor, list[int]], Tensor], v_nM: Tensor
) -> None:
    """Refuse a ``change`` whose result for a device's row depends on the rows beside it."""
    together = change(v_nM.clone(), list(range(len(v_nM))))
    for some in ([0], [8, 3], [2, 4, 6]):
        if not torch.equal(change(v_nM[some], some), together[some]):
            what = f"{does} a device's row differently when other rows stand beside it"
            raise fail(made, path, f"{what}: the result must depend on that row only")


def check_compressor(prepared: PreparedRun, made: Any, path: str) -> None:
    """Raises :class:`ContractError` if a packet depends on other rows, or is not smaller than its
    row."""
    e = first_of(prepared)
    compressor, width = e.communication.compressor, e.communication.layout.width
    if compressor is None:
        return

    def pack(rows: Tensor, some: list[int]) -> Tensor:
        return compressor(rows, Draw(Keys(0, "contract"), np.array(some), 3))

    _require_own_row_only(made, path, "packs", pack, _rows(e))
    bits, before = compressor.bits(width), width * e.communication.number_bits
    if bits >= before:
        raise fail(made, path, f"makes {bits} bits of {before}; it must make fewer")


def check_transform(prepared: PreparedRun, made: Any, path: str) -> None:
    """Raises :class:`ContractError` if a changed row depends on other rows, or the given rows are
    changed in place."""
    e = first_of(prepared)
    (transform,) = e.communication.transforms

    def change(rows: Tensor, some: list[int]) -> Tensor:
        before = rows.clone()
        found = transform(rows, Sending(np.array(some), 3, Keys(0, "contract")))
        if not torch.equal(rows, before):
            raise fail(made, path, "changes the rows that it is given; it must return new ones")
        return found

    _require_own_row_only(made, path, "changes", change, _rows(e))


def check_attack(prepared: PreparedRun, made: Any, path: str) -> None:
    """Raises :class:`ContractError` if the row of a hostile device depends on those of others, or
    the given rows are changed in place."""
    e = first_of(prepared)
    attack = e.communication.message_attack
    if attack is None:
        return
    known = Known(_rows(e)[0].double(), _rows(e)[1].double().abs())

    def change(rows: Tensor, some: list[int]) -> Tensor:
        before = rows.clone()
        attacking = Attacking(np.array(some), 3, Keys(0, "contract"), known, 2 * rows)
        found = attacked(attack, rows, attacking)
        if not torch.equal(rows, before):
            raise fail(made, path, "changes the rows that it is given; it must return new ones")
        return found.nan_to_num()

    _require_own_row_only(made, path, "attacks with", change, _rows(e))


def check_aggregator(prepared: PreparedRun, made: Any, path: str) -> None:
    """Raises :class:`ContractError` if equal rows are not combined into the same row."""
    e = first_of(prepared)
    rule, own_M = e.communication.aggregator, _rows(e)[0]
    for others in (0, 1, 4):
        weight_K = torch.full((others,), 1 / (others + 1), dtype=e.dtype)
        sender_K, age_K = np.arange(1, others + 1), np.zeros(others, np.int64)
        rows_KM = own_M.repeat(others, 1)
        heard = Heard(own_M, 1 / (others + 1), rows_KM, weight_K, sender_K, age_K)
        if not torch.allclose(rule.combine(heard), own_M, rtol=1e-4, atol=1e-5):
            what = f"makes another row of {others + 1} equal rows; it must make the same row"
            raise fail(made, path, what)
