"""Checks that compressors, transforms and aggregators keep the promises of their kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swarm.common.rng import Keys
from swarm.communication.aggregation.base import Aggregator, Heard
from swarm.communication.aggregation.pre_aggregator import PreAggregated
from swarm.communication.aggregation.robust import StackRule
from swarm.communication.aggregation.stack import Stack
from swarm.communication.attack.base import Attacking, Known, attacked
from swarm.communication.compression.base import Draw
from swarm.communication.transform.base import Sending
from swarm.config.explain import shown
from swarm.experiments.checks.trial import fail, first_of
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.experiment import Experiment

_FAR = 1e6  # the distance of hostile rows; the others are about a hundred from one another


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
    """Raises :class:`ContractError` if equal rows are not combined into the same row, or what a
    device receives depends on the devices that are combined beside it."""
    e = first_of(prepared)
    rule, own_M = e.communication.aggregator, _rows(e)[0]
    if isinstance(rule, StackRule):
        _require_own_rows_only(made, path, "combines", rule.combine_stack, _stack(_rows(e)))
    for others in (0, 1, 4):
        weight_K = torch.full((others,), 1 / (others + 1), dtype=e.dtype)
        sender_K, age_K = np.arange(1, others + 1), np.zeros(others, np.int64)
        rows_KM = own_M.repeat(others, 1)
        loss_n = torch.ones(others + 1) if rule.own_validation else None
        heard = Heard(own_M, 1 / (others + 1), rows_KM, weight_K, sender_K, age_K, loss_n)
        if not torch.allclose(rule.combine(heard), own_M, rtol=1e-4, atol=1e-5):
            what = f"makes another row of {others + 1} equal rows; it must make the same row"
            raise fail(made, path, what)
    _require_borne(made, path, rule, _rows(e))


def _require_borne(made: Any, path: str, rule: Aggregator, rows_nM: Tensor) -> None:
    """Raises :class:`ContractError` if ``rule.bears(n)`` is no number of neighbours, or so many
    hostile rows, far from all others and of no use as models, take a device with them."""
    for n in (1, 3, 5, 9):
        bears = rule.bears(n)
        if isinstance(bears, bool) or not isinstance(bears, int | np.integer) or bears < 0:
            what = f"returns {shown(bears)} from bears({n}); it must be a number of rows"
            raise fail(made, path, what)
        if bears > n - 1:
            what = f"bears {bears} hostile rows of {n}; a device's own row is honest, so it must be"
            raise fail(made, path, f"{what} at most {n - 1}")
        heard = _attacked(rule, rows_nM[:n], int(bears))
        moved = float((rule.combine(heard) - heard.own_M).double().norm())
        if bears and not moved < _FAR / 100:
            what = f"says that it bears {bears} hostile rows of {n}, and such rows at a"
            far = f"distance of {_FAR:.0e} move a device by {moved:.1e}; bears() must return fewer"
            raise fail(made, path, f"{what} {far}")


def _attacked(rule: Aggregator, rows_nM: Tensor, bears: int) -> Heard:
    """What a device hears whose last ``bears`` neighbours are hostile."""
    n, rows_KM, loss_n = len(rows_nM), rows_nM[1:].clone(), None
    rows_KM[len(rows_KM) - bears :] += _FAR / rows_nM.shape[1] ** 0.5
    if rule.own_validation:
        loss_n = torch.ones(n)
        loss_n[n - bears :] = _FAR
    weight_K = rows_nM.new_full((n - 1,), 1 / n)
    return Heard(
        rows_nM[0], 1 / n, rows_KM, weight_K, np.arange(1, n), np.zeros(n - 1, np.int64), loss_n
    )


def check_pre_aggregator(prepared: PreparedRun, made: Any, path: str) -> None:
    """Raises :class:`ContractError` if the mixtures of a device depend on other devices, equal rows
    are not mixed into the same row, or there are more or fewer mixtures than it says."""
    e = first_of(prepared)
    rule, rows_nM = e.communication.aggregator, _rows(e)
    assert isinstance(rule, PreAggregated)
    (before,) = rule.before
    stack = _stack(rows_nM)
    _require_own_rows_only(made, path, "mixes", lambda s: before(s).rows_nGM, stack, axis=1)
    found = before(stack)
    if found.n != before.rows(stack.n):
        what = f"makes {found.n} mixtures of {stack.n} rows, and rows() says {before.rows(stack.n)}"
        raise fail(made, path, what)
    equal = replace(stack, rows_nGM=stack.own_GM.repeat(stack.n, 1, 1))
    if not torch.allclose(before(equal).rows_nGM, stack.own_GM, rtol=1e-4, atol=1e-5):
        raise fail(made, path, "makes another row of equal rows; it must make the same row")


def _stack(rows_NM: Tensor) -> Stack:
    """Five rows each of four devices."""
    rows_nGM = torch.stack([rows_NM.roll(k, 0)[:4] for k in range(5)])
    weight_nG, device_G = rows_nGM.new_full((5, 4), 0.2), np.arange(4)
    loss_nG = np.linspace(1.0, 2.0, 20).reshape(5, 4)
    return Stack(rows_nGM, rows_nGM[0], weight_nG, 1, device_G, loss_nG)


def _require_own_rows_only(
    made: Any,
    path: str,
    does: str,
    combine: Callable[[Stack], Tensor],
    stack: Stack,
    axis: int = 0,
) -> None:
    """Raises :class:`ContractError` if the result of a device, along ``axis``, has other bits where
    it is in a stack by itself, or the given rows are changed in place."""
    before = stack.rows_nGM.clone()
    together = combine(stack)
    if not torch.equal(stack.rows_nGM, before):
        raise fail(made, path, "changes the rows that it is given; it must return new ones")
    for g in range(len(stack.device_G)):
        assert stack.loss_nG is not None
        alone = Stack(
            stack.rows_nGM[:, g : g + 1].contiguous(),
            stack.own_GM[g : g + 1],
            stack.weight_nG[:, g : g + 1],
            stack.f,
            stack.device_G[g : g + 1],
            stack.loss_nG[:, g : g + 1],
        )
        if not torch.equal(combine(alone).select(axis, 0), together.select(axis, g)):
            what = f"{does} the rows of a device in another way where others are beside it"
            raise fail(made, path, what)
