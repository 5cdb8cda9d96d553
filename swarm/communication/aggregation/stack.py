"""Rows of several devices that combine equally many each, one above the other, and the arithmetic
of rules on them.

A device's result must be the same bits whichever devices share its stack. So all of this is done
number by number, or by a sum along one row, and no matrix product is taken, whose order of adding
may depend on its shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from swarm.communication.aggregation.base import Draws, Heard, Neighbourhoods

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Usable = Callable[[int, int], int | None]
"""From the number of rows and how many of them are left out to f; None: the device keeps its row"""
AT_ONCE = 2**19  # numbers of a stack: fewer cost more calls, more leave a core's cache
_ADDED = 2**16  # numbers whose squares are added up in the rows' dtype: more would lose digits
_BITS = 62  # of a number that says which rows are chosen


def devices_at_once(rows: int, width: int) -> int:
    """Return of how many devices with so many rows of ``width`` numbers a stack is."""
    return max(1, AT_ONCE // (rows * width))


@dataclass(frozen=True)
class Stack:
    """The rows that G devices combine, n of each.

    Rows that are not finite are not among them.

    Attributes:
        rows_nGM: The rows, each device's own first, then those that it heard in the order of their
            senders. After bucketing they are means, and the own row has no place of its own.
        own_GM: The row that each device trusts, its own.
        weight_nG: The mixing weights of the rows, in the dtype of the rows.
        f: How many of the n rows are assumed to be hostile.
        device_G: The devices' ids.
        loss_nG: The losses of the rows as models on each device's own validation samples; None
            unless the rule has ``own_validation``.
        draws: The random draws of the rule in this round.
        place_G: The devices' numbers among those that are combined.
        own_first: Whether the first of the rows is the device's own, or a mixture around it.
        sender_nG: The ids of the devices whose rows they are, where the rule remembers them.
        memory_GN: What each of the devices remembers of all N devices; it may be written into.
    """

    rows_nGM: Tensor
    own_GM: Tensor
    weight_nG: Tensor
    f: int
    device_G: Ints
    loss_nG: Floats | None = None
    draws: Draws = field(default_factory=Draws)
    place_G: Ints = field(default_factory=lambda: np.zeros(1, np.int64))
    own_first: bool = True
    sender_nG: Ints | None = None
    memory_GN: Tensor | None = None

    @property
    def n(self) -> int:
        """The number of rows of each device."""
        return len(self.rows_nGM)

    def mean_of(self, chosen_mG: Ints) -> Tensor:
        """Return the mean of m rows of each device, ``[G, M]``, given their numbers ``[m, G]``.

        It is x + (1/m) Σ_k (x_k − x), where x is the first of them: the mean of equal rows is that
        row, and the mean of one row is the row itself, to the bit.
        """
        many, devices = chosen_mG.shape
        at_A = torch.as_tensor((chosen_mG * devices + np.arange(devices)).ravel())
        flat_AM = self.rows_nGM.view(-1, self.rows_nGM.shape[2])
        rows_mGM = flat_AM.index_select(0, at_A.to(flat_AM.device)).view(many, devices, -1)
        first_GM, others = rows_mGM[0], rows_mGM[1:].sub_(rows_mGM[0])
        if many == 1:
            return first_GM
        total_GM = others[0]
        for other_GM in others[1:]:
            total_GM += other_GM
        return total_GM.div_(many).add_(first_GM)

    def toward(self, centre_GM: Tensor, apart_nGM: Tensor, weight_nG: Floats) -> Tensor:
        """Return c + Σ_j w_j (x_j − c), ``[G, M]``: each device's centre c, moved towards the rows
        with these weights, given the differences x_j − c.

        It is c to the bit where all rows with a weight are c.
        """
        # those of no weight are left out, as they may be too far for a difference
        device_E, row_E = np.nonzero(weight_nG.T)
        weight_E = torch.as_tensor(weight_nG[row_E, device_E]).to(apart_nGM)
        many_G = np.bincount(device_E, minlength=len(centre_GM))
        at_E = row_E * len(centre_GM) + device_E
        return _sums(apart_nGM.flatten(0, 1), at_E, weight_E, many_G).add_(centre_GM)

    def means(self, chosen_AmG: Ints, alike_AG: Bools) -> Tensor:
        """Return the means of A choices of m rows of each device, ``[A, G, M]``, given the numbers
        of the rows ``[A, m, G]`` and which choices are of equal rows.

        A choice that a device makes several times, in any order, is added up once. The mean of
        equal rows is that row, to the bit.
        """
        choices, many, devices = chosen_AmG.shape
        chosen_AmG = np.sort(chosen_AmG, 1)
        first_AG = _first_alike(chosen_AmG, self.n)
        choice_S, device_S = np.nonzero(first_AG == np.arange(choices)[:, None])
        number_AG = np.zeros((choices, devices), np.int64)
        number_AG[choice_S, device_S] = np.arange(len(choice_S))
        at_Sm = chosen_AmG[choice_S, :, device_S] * devices + device_S[:, None]
        weight_Sm = np.full(at_Sm.shape, 1 / many)
        weight_Sm[alike_AG[choice_S, device_S]] = np.eye(1, many)
        flat_RM = self.rows_nGM.flatten(0, 1)
        weight_E = torch.as_tensor(weight_Sm.ravel()).to(flat_RM)
        found_SM = _sums(flat_RM, at_Sm.ravel(), weight_E, np.full(len(at_Sm), many))
        at_A = torch.as_tensor(number_AG[first_AG, np.arange(devices)].ravel())
        return found_SM.index_select(0, at_A.to(flat_RM.device)).view(choices, devices, -1)

    def squared_distances(self) -> Floats:
        """Return ‖x_a − x_b‖² of all pairs of rows, ``[n, n, G]``; infinity where it is no
        number of the rows' dtype."""
        n, devices, width = self.rows_nGM.shape
        a, b = np.triu_indices(n, 1)
        found = np.zeros((n, n, devices))
        for start in range(0, width, _ADDED):
            part_nGM = self.rows_nGM[:, :, start : start + _ADDED]
            # one pass over the rows of a device, without their differences in memory
            apart_GE = torch.stack([torch.pdist(rows_nM) for rows_nM in part_nGM.unbind(1)])
            found[a, b] += apart_GE.T.double().square_().cpu().numpy()
        found[b, a] = found[a, b]
        return found


def _first_alike(chosen_AmG: Ints, rows: int) -> Ints:
    """Return, for each choice of a device, the first one of the same rows, ``[A, G]``; the choices
    are of numbers below ``rows``. Of very many rows each choice is taken to be another."""
    choices, _, devices = chosen_AmG.shape
    if rows > _BITS:
        return np.broadcast_to(np.arange(choices)[:, None], (choices, devices))
    rows_of_AG = np.left_shift(1, chosen_AmG).sum(1)  # one bit for each row
    found: Ints = (rows_of_AG[:, None] == rows_of_AG).argmax(1)
    return found


def _sums(rows_RM: Tensor, at_E: Ints, weight_E: Tensor, many_S: Ints) -> Tensor:
    """Return weighted sums of rows, ``[S, M]``, given the numbers and the weights of the rows of
    the first sum in the order in which they are added, then those of the second; ``many_S`` says
    how many each has."""
    offset_S = torch.as_tensor(np.cumsum(many_S) - many_S, device=rows_RM.device)
    at = torch.as_tensor(at_E, device=rows_RM.device)
    # a bag of rows is added up in one pass, without a copy of the rows
    return functional.embedding_bag(at, rows_RM, offset_S, mode="sum", per_sample_weights=weight_E)


def squared_lengths(rows: Tensor) -> Floats:
    """Return the sum of squares along the last axis of ``rows``."""
    flat = _several(rows)
    found = np.zeros(len(flat))
    for part in torch.split(flat, _ADDED, 1):
        found += torch.linalg.vector_norm(part, dim=1).double().square_().cpu().numpy()
    return found[: rows[..., 0].numel()].reshape(rows.shape[:-1])


def row_sums(rows: Tensor) -> Floats:
    """Return the sums along the last axis of ``rows``, in float64."""
    total = _several(rows).sum(1)[: rows[..., 0].numel()]
    return np.asarray(total.double().cpu().numpy().reshape(rows.shape[:-1]))


def _several(rows: Tensor) -> Tensor:
    """``rows`` as ``[R, M]``, where a single row stands twice.

    torch adds the numbers of each row in one order, except those of a tensor with one row only,
    which threads may share.
    """
    flat = rows.reshape(-1, rows.shape[-1])
    return flat.expand(2, -1) if len(flat) == 1 else flat


def ordered_sum(value_nG: Floats) -> Floats:
    """Return the sum over the first axis, one value after the other."""
    total: Floats = value_nG[0].copy()
    for each in value_nG[1:]:
        total += each
    return total


def smallest(value_nG: Floats, count: int) -> Ints:
    """Return the places of the ``count`` smallest of n values of each device, ``[count, G]``, from
    the smallest on; of equal values the first."""
    return np.argsort(value_nG, axis=0, kind="stable")[:count]


def single(heard: Heard, usable: Usable) -> Stack | None:
    """Return what one device heard as a stack; None if the device keeps its row."""
    finite_K = torch.isfinite(heard.rows_KM).all(1)
    rows_nM = torch.cat([heard.own_M.unsqueeze(0), heard.rows_KM[finite_K]])
    total, n = len(heard.rows_KM) + 1, len(rows_nM)
    f = usable(total, total - n)
    if total == 1 or f is None or not torch.isfinite(heard.own_M).all():
        return None
    weight_n = torch.cat([heard.weight_K.new_empty(1), heard.weight_K[finite_K]])
    weight_n[0] = heard.own_weight + float(heard.weight_K[~finite_K].sum())
    loss_nG = None
    if heard.loss_n is not None:
        kept_n = torch.cat([finite_K.new_ones(1), finite_K])
        loss_nG = _comparable(heard.loss_n[kept_n].double().cpu().numpy())[:, None]
    return Stack(
        rows_nM.unsqueeze(1),
        heard.own_M.unsqueeze(0),
        weight_n.unsqueeze(1),
        f,
        np.array([heard.device]),
        loss_nG,
        heard.draws,
    )


def stacks(found: Neighbourhoods, usable: Usable) -> Iterator[Stack]:
    """Yield the rows of all devices that do not keep theirs, in stacks of a bounded size."""
    matrix, device = found.route.matrix, found.own_RM.device
    finite_m, own_finite_R = _finite(found.payload_mM), _finite(found.own_RM)
    message_E = np.flatnonzero(~found.own_E)
    kept_E = message_E[finite_m[matrix.indices[message_E]]]
    devices, weight = len(found.device_R), matrix.data.astype(np.float64)
    total_R = 1 + np.bincount(found.receiver_E[message_E], minlength=devices)
    n_R = 1 + np.bincount(found.receiver_E[kept_E], minlength=devices)
    heard_R = np.bincount(found.receiver_E[kept_E], weight[kept_E], devices)
    all_R = np.bincount(found.receiver_E, weight, devices)
    first_R = np.cumsum(n_R - 1) - (n_R - 1)
    losses = None if found.loss_E is None else found.loss_E.double().cpu().numpy()
    for total, n in np.unique(np.stack([total_R, n_R], 1)[own_finite_R & (total_R > 1)], axis=0):
        f = usable(int(total), int(total - n))
        if f is None:
            continue
        same_R = own_finite_R & (total_R == total) & (n_R == n)
        at_R = np.flatnonzero(same_R)
        many = devices_at_once(int(n), found.own_RM.shape[1])
        for start in range(0, len(at_R), many):
            at_G = at_R[start : start + many]
            entry_KG = kept_E[first_R[at_G] + np.arange(n - 1)[:, None]]
            column_A = torch.as_tensor(matrix.indices[entry_KG].ravel(), device=device)
            rows_nGM = found.own_RM.new_empty(int(n), len(at_G), found.own_RM.shape[1])
            at = torch.as_tensor(at_G, device=device)
            torch.index_select(found.own_RM, 0, at, out=rows_nGM[0])
            heard_AM = rows_nGM[1:].view(-1, rows_nGM.shape[2])
            torch.index_select(found.payload_mM, 0, column_A, out=heard_AM)
            sender_KG = found.route.sender_m[matrix.indices[entry_KG]]
            if found.complete is not None:
                found.complete(rows_nGM[1:], rows_nGM[0], sender_KG)
            weight_nG = np.concatenate([(all_R - heard_R)[at_G][None], weight[entry_KG]])
            loss_nG = None
            if losses is not None:
                own_G = len(found.own_E) + at_G
                loss_nG = _comparable(losses[np.concatenate([own_G[None], entry_KG])])
            stack = Stack(
                rows_nGM,
                rows_nGM[0],
                torch.as_tensor(weight_nG, device=device).to(rows_nGM.dtype),
                f,
                found.device_R[at_G],
                loss_nG,
                found.draws,
                at_G,
            )
            yield from _with_memory(found, stack, matrix.indices[entry_KG])


def _with_memory(found: Neighbourhoods, stack: Stack, column_KG: Ints) -> Iterator[Stack]:
    """Yield the stack with what its devices remember, and keep what they remember after it."""
    if found.memory_RN is None:
        yield stack
        return
    sender_nG = np.concatenate([stack.device_G[None], found.route.sender_m[column_KG]])
    at_G = torch.as_tensor(stack.place_G, device=found.memory_RN.device)
    memory_GN = found.memory_RN[at_G]
    yield replace(stack, sender_nG=sender_nG, memory_GN=memory_GN)
    found.memory_RN[at_G] = memory_GN


def _finite(rows_nM: Tensor) -> npt.NDArray[np.bool_]:
    """Whether all numbers of each row are finite, ``[n]``."""
    # the sum of a row is not finite if one of its numbers is not; large numbers may overflow
    finite_n = torch.isfinite(rows_nM.sum(1))
    unsure = torch.nonzero(~finite_n).squeeze(1)
    if len(unsure):
        finite_n[unsure] = torch.isfinite(rows_nM[unsure]).all(1)
    return np.asarray(finite_n.cpu().numpy())


def _comparable(loss: Floats) -> Floats:
    """Losses in which one that is not a number is the worst."""
    return np.where(np.isnan(loss), np.inf, loss)
