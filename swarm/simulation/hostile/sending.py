"""What hostile devices send in place of their rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

from swarm.common.plugin import returned, shape_of
from swarm.common.rng import Keys
from swarm.communication.aggregation.base import Neighbourhoods
from swarm.communication.attack.base import Attacking, MessageAttack, attacked

if TYPE_CHECKING:
    from swarm.simulation.experiment.cohorts.cohorts import Cohorts
    from swarm.simulation.experiment.communication import Communication
    from swarm.simulation.phases.base import Phase
    from swarm.simulation.shard import Shard


Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draft:
    """The rows of a shard's devices before hostile ones replace theirs.

    Attributes:
        rows: As the protocol sends them.
        changed: After the transforms of messages.
    """

    rows: Tensor
    changed: Tensor


def memory_name(phase: Phase) -> str:
    """The array of a checkpoint with the rows that hostile devices remember."""
    return f"history.attack.{phase.number}"


def memory_of(phase: Phase) -> dict[str, tuple[int, ...]]:
    """The shape, for one device, of the rows that hostile devices remember from round to round."""
    attack = phase.communication.message_attack
    if attack is None or not attack.memory or not phase.sends:
        return {}
    return {memory_name(phase): (attack.memory, phase.width)}


def sent_rows(phase: Phase, shard: Shard, round: int) -> Draft:
    """The rows that a phase sends, those of hostile devices replaced in ``changed``."""
    draft, shard.draft = shard.draft or phase.draft(shard, round), None
    attack = phase.communication.message_attack
    if attack is None:
        return draft
    return replace(draft, changed=_attacked(attack, phase, shard, round, draft.changed))


def _attacked(
    attack: MessageAttack, phase: Phase, shard: Shard, round: int, rows: Tensor
) -> Tensor:
    """``rows``, ``[n, M]`` or a row for each link ``[n, d, M]``, as the devices send them."""
    c, known = phase.communication, shard.known
    shard.known, earlier = None, None
    assert c.hostile_N is not None
    at_n = np.flatnonzero(c.hostile_N[shard.devices])
    index = torch.as_tensor(at_n, device=rows.device)
    if attack.memory:
        earlier = _earlier(shard.in_flight[memory_name(phase)], round, rows)[index]
    if not len(at_n):
        return rows
    links = rows.shape[1] if rows.ndim > 2 else 1
    some = rows[index].reshape(len(at_n) * links, rows.shape[-1])
    keys = Keys(c.settings.seed, f"attack.{phase.number}")
    device_n = np.repeat(shard.devices[at_n], links)
    if phase.cohorts is None:
        found = attacked(attack, some, Attacking(device_n, round, keys, known, earlier))
    else:
        acting = Attacking(device_n, round, keys, known, earlier)
        found = _of_each_cohort(attack, phase.cohorts, some, acting)
    return rows.index_copy(0, index, found.reshape(len(at_n), *rows.shape[1:]))


def _of_each_cohort(
    attack: MessageAttack, cohorts: Cohorts, rows_nM: Tensor, acting: Attacking
) -> Tensor:
    """What hostile devices send in place of their union rows ``[n, M]``: what the attack makes of
    the numbers that each has, where colluders know anything of them."""
    earlier_nM = rows_nM if acting.earlier_nM is None else acting.earlier_nM

    def change(own_mc: Tensor, earlier_mc: Tensor, device_m: Ints) -> Tensor:
        place = cohorts.place_in(int(cohorts.cohort_N[device_m[0]]), rows_nM)
        known = None if acting.known is None else acting.known.of(place)
        earlier = None if acting.earlier_nM is None else earlier_mc
        own = replace(acting, device_n=device_m, known=known, earlier_nM=earlier)
        found = attacked(attack, own_mc, own)
        if known is None or known.there_M is None:
            return found
        return torch.where(known.there_M.to(found.device), found, own_mc)

    return cohorts.changed(change, acting.device_n, rows_nM, earlier_nM)


def _earlier(past: Tensor, round: int, rows: Tensor) -> Tensor:
    """The rows of ``past.shape[1]`` rounds ago, or of the first round, in whose place ``rows``
    come."""
    depth = past.shape[1]
    place = (round - 1) % depth
    found = rows if round == 1 else past[:, place if round > depth else 0].clone()
    past[:, place] = rows
    return found


def with_link_attack(communication: Communication, found: Neighbourhoods) -> Neighbourhoods:
    """``found``, in which every honest device hears from its hostile neighbours what they make for
    it alone.

    Raises :class:`~swarm.common.plugin.PluginError` for an attack that makes no such row.
    """
    attack, hostile_N = communication.link_attack, communication.hostile_N
    if attack is None or hostile_N is None:
        return found
    route, matrix = found.route, found.route.matrix
    columns, rows = matrix.indices.copy(), []
    places: list[int] = []
    unmeasured = replace(found, losses=None)  # they are those of the rows that come out
    for r in np.flatnonzero(~hostile_N[found.device_R]).tolist():
        entries = np.arange(matrix.indptr[r], matrix.indptr[r + 1])
        bad = entries[hostile_N[route.sender_m[matrix.indices[entries]]]]
        if not len(bad):
            continue
        heard = unmeasured.heard(r)
        row_M = attack.message(heard, hostile_N[heard.sender_K])
        fits = isinstance(row_M, Tensor) and row_M.shape == heard.own_M.shape
        if not fits or row_M.dtype != heard.own_M.dtype:
            said, needed = f"returns {shape_of(row_M)}", f"{shape_of(heard.own_M)} are needed"
            raise returned("attack", attack, "message()", said, needed)
        columns[bad] = matrix.shape[1] + len(places) + np.arange(len(bad))
        places += bad.tolist()
        rows.append(row_M.expand(len(bad), -1))
    if not rows:
        return found
    before = matrix.indices[places]
    shape = matrix.shape[0], matrix.shape[1] + len(places)
    wide = csr_array((matrix.data, columns, matrix.indptr), shape=shape)
    route = replace(
        route,
        matrix=wide,
        sender_m=np.concatenate([route.sender_m, route.sender_m[before]]),
        age_m=np.concatenate([route.age_m, route.age_m[before]]),
    )
    payload_mM = torch.cat([found.payload_mM, *rows])
    return replace(found, route=route, payload_mM=payload_mM)
