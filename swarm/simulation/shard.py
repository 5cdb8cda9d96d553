"""The device side of a round: the devices that one process hosts, each a row.

A shard owns whole blocks. Everything it computes depends on (block, round) only, never on which
other blocks it owns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.communication.attack.base import Known
from swarm.communication.protocol.base import Links, RoundInfo, Rows, State
from swarm.communication.protocol.local_info import LocalInfo
from swarm.communication.returned import require_state, slots_of
from swarm.communication.routing import Route
from swarm.simulation.evaluation import (
    Asked,
    BlockEvaluation,
    OwnSamples,
    OwnValidation,
)
from swarm.simulation.hostile.sending import Draft
from swarm.simulation.metrics.looking import LooksAtBlocks
from swarm.simulation.metrics.practice import PracticeMetric
from swarm.simulation.metrics.returned import one_each
from swarm.simulation.metrics.views import BlockView
from swarm.simulation.phases.transport import Payload
from swarm.simulation.replicas import loader_of

if TYPE_CHECKING:
    from swarm.simulation.experiment import Experiment
    from swarm.simulation.phases.base import Phase

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Shard:
    """The devices of ``blocks``, one row each.

    Attributes:
        devices: Their ids, ``[n]``.
        state: What they send of their parameters, and the protocol's slots.
        local_nQ: What they keep for themselves, the last part of a row: ``[n, Q]``.
        in_flight: What is kept of their messages from round to round, a row for each device.
        optimizer_slots: The optimizer's slots, ``[n, P]`` each.
        kept: What they learn for themselves beside the shared model, a row for each device.
        payload: The rows that a phase has collected, until it is applied.
        draft: The rows that it is going to send, once colluders have looked at them.
        known: What colluders know of these rows.
        listener: Called with a phase, a round and the rows that devices send, as others read them.
    """

    def __init__(self, experiment: Experiment, blocks: Ints) -> None:
        self.experiment = e = experiment
        self.blocks = blocks
        self.devices = np.concatenate([e.blocks.devices_of(int(b)) for b in blocks])
        n, c = len(self.devices), e.communication
        rows = e.model.first_rows(self.devices)
        links = self._links()
        self.state = State(rows)
        self._hold(rows)
        self.state.slots, self.state.links = slots_of(c.protocol, self.state.x, links), links
        self.in_flight = {name: rows.new_zeros(n, *shape) for name, shape in c.in_flight.items()}
        self.optimizer_slots = {name: torch.zeros_like(rows) for name in e.model.optimizer.slots}
        self.kept = e.model.first_kept(rows)
        self.batch_loader = loader_of(
            e, self.devices, [rows for _, rows in e.blocks.slices(blocks)]
        )
        self.evaluator = e.evaluator(e.metrics.outputs)
        self.state.local = self._local_info()
        self.payload: Payload | None = None
        self.draft: Draft | None = None
        self.known: Known | None = None
        self.listener: Callable[[Phase, int, Tensor], None] | None = None

    def _links(self) -> Links | None:
        e = self.experiment
        if e.communication.links is None:
            return None
        ids, weight = (
            torch.as_tensor(each[self.devices], device=e.device) for each in e.communication.links
        )
        own = torch.as_tensor(self.devices, device=e.device)
        return Links(ids, weight.to(e.dtype), own)

    def _hold(self, rows_nP: Tensor) -> None:
        """Take whole rows ``[n, P]``: what is sent becomes the state, and the rest stays here, in
        memory of its own, as a view would keep the first rows of all devices for ever."""
        sent = self.experiment.communication.layout.width
        self.local_nQ = rows_nP[:, sent:].clone()
        self.state.x = rows_nP[:, :sent].contiguous()

    def whole(self, rows: Rows, sent_nM: Tensor | None = None) -> Tensor:
        """Whole rows ``[B, P]`` of some of the devices, given as a range of rows or as their
        numbers; ``sent_nM`` stands for all devices' state."""
        sent = self.state.x if sent_nM is None else sent_nM
        if not self.local_nQ.shape[1]:
            return sent[rows]
        return torch.cat([sent[rows], self.local_nQ[rows]], 1)

    def personal(self, rows: Rows) -> Tensor:
        """The whole rows ``[B, P]`` that some of the devices answer with on their own data."""
        kept = {name: values[rows] for name, values in self.kept.items()}
        return self.experiment.model.personal.model(self.whole(rows), kept)

    def keep(self, rows: Rows, learnt_BP: Tensor) -> Tensor:
        """Keep the last part of whole rows that some devices have learnt; returns the part that is
        sent."""
        if not self.local_nQ.shape[1]:
            return learnt_BP
        sent = self.state.x.shape[1]
        self.local_nQ[rows] = learnt_BP[:, sent:]
        return learnt_BP[:, :sent]

    def finite(self) -> tuple[Bools, Bools]:
        """Whether all numbers of each device's shared model are finite, ``[n]``, and all that it
        keeps beside that, ``[n]``."""
        # the sum of a row is not finite if one of its numbers is not
        total_n = self.state.x.sum(1)
        if self.local_nQ.shape[1]:
            total_n = total_n + self.local_nQ.sum(1)
        kept_n = torch.zeros_like(total_n)
        for rows in self.kept.values():
            kept_n = kept_n + rows.flatten(1).sum(1)
        shared, kept = torch.isfinite(torch.stack([total_n, kept_n])).cpu().numpy()
        return shared, kept

    def _local_info(self) -> LocalInfo:
        """What the devices know of themselves; they can measure models if the protocol requires
        it."""
        e, device = self.experiment, self.experiment.device
        held, hardware = e.data.split.local_validation, e.communication.fleet.hardware
        samples_n = torch.as_tensor(e.data.split.sizes_N[self.devices], device=device)
        validation_n = torch.zeros_like(samples_n)
        if held is not None:
            validation_n = torch.as_tensor(held.sizes_N[self.devices], device=device)
        flops_n = None
        if hardware is not None:
            flops_n = torch.as_tensor(hardware.flops[self.devices]).to(device, e.dtype)
        if not e.communication.own_validation:
            return LocalInfo(samples_n, validation_n, flops_n)
        own = OwnValidation(self)
        return LocalInfo(samples_n, validation_n, flops_n, own.loss, own.accuracy)

    # --- for the phases of a round ----------------------------------------------------------------

    def take_payload(self) -> Payload:
        """Return the rows that the phase has collected, and forget them."""
        payload, self.payload = self.payload, None
        assert payload is not None, "a phase collects before it applies"
        return payload

    def outgoing(self, route: Route) -> list[Tensor]:
        """The payload rows that other shards need, one array ``[rows, M]`` for each of the route's
        multicasts."""
        assert self.payload is not None, "a phase collects before rows are carried"
        return [self.payload.take(rows) for rows, _ in route.multicasts]

    @contextmanager
    def present_only(self, round: int, call: str) -> Iterator[None]:
        """Restore the state of devices that are not online in ``round`` after the ``with`` block,
        in which the protocol's ``call`` receives messages.

        Raises :class:`~swarm.common.plugin.PluginError` as :meth:`require_state` does.
        """
        online = self.experiment.communication.network.online(round)
        if online is None or online[self.devices].all():
            yield
            self.require_state(call)
            return
        away = torch.as_tensor(np.flatnonzero(~online[self.devices]), device=self.state.x.device)
        x, slots = self.state.x[away], {name: rows[away] for name, rows in self.state.slots.items()}
        yield
        self.require_state(call)
        self.state.x = self.state.x.index_copy(0, away, x)
        self.state.slots = {
            name: rows.index_copy(0, away, slots[name]) for name, rows in self.state.slots.items()
        }

    def require_state(self, call: str) -> None:
        """Raises :class:`~swarm.common.plugin.PluginError` if the protocol's method ``call`` has
        left anything but rows in the state."""
        e = self.experiment
        shape = len(self.devices), e.communication.layout.width
        require_state(e.communication.protocol, call, self.state, shape, e.dtype)

    def partial_means(
        self, rows_nM: Tensor | None, shares_N: Floats, squares: bool = False
    ) -> Iterator[tuple[int, Tensor]]:
        """For each block, in order, Σ_i share_i · row_i over its devices in float64, ``[M]``. Their
        sum over all blocks is the weighted mean over all devices.

        ``rows_nM`` are the rows to average; None takes the whole rows of the devices. With
        ``squares`` the mean of the squares of all numbers comes after that, ``[2M]``.
        """
        rows = self.whole(slice(None)) if rows_nM is None else rows_nM
        shares = torch.as_tensor(shares_N[self.devices], device=rows.device).unsqueeze(0)
        wide = torch.float64 if rows.device.type != "mps" else rows.dtype
        hostile = self.experiment.communication.hostile_N is not None
        for block, s in self.experiment.blocks.slices(self.blocks):
            # copied, as sums depend on how memory is aligned
            part = rows[s].to(wide, copy=True)
            if hostile:  # whose rows need not be finite, also where they do not count
                part[shares[0, s] == 0] = 0.0
            if squares:
                part = torch.cat([part, part.square()], 1)
            yield block, (shares[:, s].to(wide) @ part).squeeze(0)

    def receive_mean(
        self, phase: int, mean_M: Tensor, shares_N: Floats, sent_G: Bools | None = None
    ) -> None:
        """Hand every device the same averaged row ``[M]``, also those that are away, which would
        fetch it before they learn again. Where devices have several models, it is the sum over
        all with the weights ``shares_N``, and each takes the mean over those who have its numbers,
        or with ``sent_G`` what a rule has made of these groups of numbers."""
        cohorts = self.experiment.model.cohorts
        if cohorts is None:
            rows = mean_M.to(self.state.x).expand(len(self.devices), -1).contiguous()
        else:
            rows = cohorts.received(self, mean_M, shares_N, sent_G)
        self.experiment.communication.protocol.receive(phase, self.state, rows)
        self.require_state("receive")

    # --- look -------------------------------------------------------------------------------------

    def evaluate(self, samples: Asked, blocks: set[int]) -> Iterator[tuple[int, BlockEvaluation]]:
        """Evaluate the devices of the chosen ``blocks`` on these samples, or look at them as the
        metric ``samples`` does."""
        if samples is None:
            yield from self._evaluate_local(blocks)
            return
        if isinstance(samples, str):
            yield from self._look(self.experiment.metrics.looking(samples), blocks)
            return
        x_T, y_T = self.batch_loader.samples(samples)
        hostile_N = self.experiment.communication.hostile_N
        for block, rows in self.experiment.blocks.slices(self.blocks):
            if block in blocks:
                voter_B = None
                if hostile_N is not None:
                    voter_B = torch.as_tensor(~hostile_N[self.devices[rows]], device=x_T.device)
                evaluator = self.evaluator.of(self.devices[rows])
                yield block, evaluator.examine(self.whole(rows), x_T, y_T, voter_B)

    def _evaluate_local(self, blocks: set[int]) -> Iterator[tuple[int, BlockEvaluation]]:
        held, loader = self.experiment.data.split.local_test, self.batch_loader
        assert held is not None, "asked only of devices that have some"
        for block, rows in self.experiment.blocks.slices(self.blocks):
            if block in blocks:
                own = OwnSamples.of(held, self.devices[rows])
                evaluator, x_BP = self.evaluator.of(self.devices[rows]), self.personal(rows)
                yield block, evaluator.examine_local(x_BP, own, loader.x_S, loader.y_S)

    def _look(
        self, metric: LooksAtBlocks, blocks: set[int]
    ) -> Iterator[tuple[int, BlockEvaluation]]:
        """What ``metric`` sees of each of the chosen ``blocks``."""
        e = self.experiment
        for block, rows in e.blocks.slices(self.blocks):
            if block in blocks:
                view = BlockView(self, rows)
                width = metric.width(e)
                found = one_each(metric, metric.look(view), len(view.devices_B), width, "look()")
                yield block, BlockEvaluation.values_only(found, e.data.outputs)

    def row_values(self, mean_P: Tensor) -> Floats:
        """The values of the metrics of parameters, ``[n, metrics]``, given the mean model
        ``mean_P``: of the parameters that devices send."""
        metrics, mean_M = self.experiment.metrics.rows, mean_P[: self.state.x.shape[1]]
        out = np.empty((len(self.devices), len(metrics)))
        for at, rows, mean in self._with_mean(mean_M.to(self.state.x.device)):
            for column, metric in enumerate(metrics):
                own = self._practised(at) if isinstance(metric, PracticeMetric) else rows
                found = one_each(metric, metric.value(own, mean), len(own))
                out[at, column] = found.double().cpu().numpy()[:, 0]
        return out

    def _with_mean(self, mean_M: Tensor) -> Iterator[tuple[slice | Ints, Tensor, Tensor]]:
        """The devices of each block and shape: their places, what they send of their parameters,
        and the mean model of that shape."""
        cohorts = self.experiment.model.cohorts
        for _, s in self.experiment.blocks.slices(self.blocks):
            if cohorts is None:
                yield s, self.state.x[s], mean_M
                continue
            for piece in cohorts.pieces(self.devices[s], mean_M.device):
                rows = cohorts.own(piece.cohort, self.state.x[s][piece.place_m])
                at = s.start + piece.place_m.cpu().numpy()
                yield at, rows, cohorts.own(piece.cohort, mean_M)

    def _practised(self, at: slice | Ints) -> Tensor:
        """How many samples of each class some of the devices have met, ``[B, C]``."""
        return torch.as_tensor(self.batch_loader.progress.practised_nC[at]).double()

    def snapshot(self) -> dict[str, Tensor]:
        """Everything that a later :meth:`restore` needs, a row for each device; not copied."""
        return {
            "x": self.whole(slice(None)),
            **self.batch_loader.snapshot(),
            **{f"protocol.{k}": v for k, v in self.state.slots.items()},
            **{f"optimizer.{k}": v for k, v in self.optimizer_slots.items()},
            **{f"personal.{k}": v for k, v in self.kept.items()},
            **{f"wire.{k}": v for k, v in self.in_flight.items()},
        }

    def restore(self, rows: Mapping[str, Tensor]) -> None:
        """Go back to the state that :meth:`snapshot` returned.

        The shard owns these arrays afterwards; they replace the old ones one by one."""
        device = self.experiment.device
        self._hold(rows["x"].to(device))
        self.state.now = RoundInfo(0, 0.0, np.zeros(len(self.devices), np.int64))
        self.batch_loader.restore(rows)
        kept = {"protocol": self.state.slots, "optimizer": self.optimizer_slots}
        kept |= {"personal": self.kept, "wire": self.in_flight}
        for group, arrays in kept.items():
            for name in arrays:
                arrays[name] = rows[f"{group}.{name}"].to(device)
        self.experiment.model.personal.resumed(self.kept, self.experiment.settings.rounds)
