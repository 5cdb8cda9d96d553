"""The device side of a round: some devices living together, as rows.

A shard owns whole blocks. Everything it computes depends on (block, round) only, never on which
other blocks live here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.gradient_correction import GradientCorrection
from swarm.common.rng import Keys
from swarm.communication.compression.base import Draw, packed
from swarm.communication.protocol.base import Inbox, Links, Phase, RoundInfo, Rows, State
from swarm.communication.returned import require_state, sent, slots_of, start_of
from swarm.communication.routing import Route
from swarm.learning.learner import PredictionScores
from swarm.learning.update.policy import BatchPlan, batch_plans_of
from swarm.simulation.batch_loader import BatchLoader
from swarm.simulation.evaluation import BlockEvaluation, BlockEvaluator, one_each
from swarm.simulation.experiment import Experiment

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TrainResult:
    """What a shard's devices report of a round, in the order of ``Shard.devices``."""

    loss_n: Floats
    scored_n: Floats
    score_n: Floats
    steps_n: Ints
    work_n: Floats  # what was computed, predictions included, in local steps on a mini-batch each
    finite_n: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Payload:
    """What n devices have to send, as :mod:`swarm.communication.messages` numbers it: ``packets``
    of this round, ``own`` as each keeps its own row, and ``past`` ``[n, depth, M]``, a ring in
    which round r has the place (r − 1) mod depth."""

    packets: Tensor
    own: Tensor
    past: Tensor | None
    rows_per_device: int
    round: int

    def take(self, index: Ints) -> Tensor:
        """The payload rows with these numbers."""
        if self.rows_per_device == 1:
            return self.packets[torch.as_tensor(index, device=self.packets.device)]
        out = self.packets.new_empty(len(index), self.packets.shape[1])
        row, part = index // self.rows_per_device, index % self.rows_per_device
        for each in np.unique(part).tolist():
            at = np.flatnonzero(part == each)
            out[torch.as_tensor(at)] = self._of(each)[torch.as_tensor(row[at], device=out.device)]
        return out

    def _of(self, part: int) -> Tensor:
        depth = 0 if self.past is None else self.past.shape[1]
        if part == 0 or part > depth or self.past is None:
            return self.own if part else self.packets
        return self.past[:, (self.round - 1 - part) % depth]

    def remember(self, senders: Ints | None) -> None:
        """Keep what was sent this round in the place of what is too old to arrive any more."""
        if self.past is None:
            return
        place = (self.round - 1) % self.past.shape[1]
        if senders is None:
            self.past[:, place] = self.packets
        else:
            rows = torch.as_tensor(senders, device=self.packets.device)
            self.past[rows, place] = self.packets[rows]


class Shard:
    """The devices of ``blocks``, one row each."""

    def __init__(self, experiment: Experiment, blocks: Ints) -> None:
        self.experiment = e = experiment
        self.blocks = blocks
        self.devices = np.concatenate([e.blocks.devices_of(int(b)) for b in blocks])
        n = len(self.devices)
        rows = e.first_rows(self.devices)
        links = self._links()
        self.state = State(rows, slots_of(e.protocol, rows, links), links=links)
        self.in_flight = {name: rows.new_zeros(n, *shape) for name, shape in e.in_flight.items()}
        self.optimizer_slots = {name: torch.zeros_like(rows) for name in e.optimizer.slots}
        self.batch_loader = BatchLoader(
            e, self.devices, [rows for _, rows in e.blocks.slices(blocks)]
        )
        self.evaluator = BlockEvaluator(e.learner.kernel, e.loss, e.outputs, e.metrics.outputs)

    def _links(self) -> Links | None:
        if self.experiment.links is None:
            return None
        ids, weight = (
            torch.as_tensor(each[self.devices], device=self.experiment.device)
            for each in self.experiment.links
        )
        own = torch.as_tensor(self.devices, device=self.experiment.device)
        return Links(ids, weight.to(self.experiment.dtype), own)

    # --- learn ------------------------------------------------------------------------------------

    def learn(self, round: int) -> TrainResult:
        """Every device that is awake predicts its next samples, is scored, and takes its local
        steps.
        """
        e, lr, n = self.experiment, self.experiment.rate(round), len(self.devices)
        active = e.active(round)
        active_n, share = (
            (None, 1.0) if active is None else (active[self.devices], float(active.mean()))
        )
        again = self.state.now.round == round
        taken_n, work_n = np.zeros(n, np.int64), np.zeros(n)
        loss, scored, score = found = self.state.x.new_zeros(3, n)
        self.batch_loader.begin(round)
        begin: tuple[Tensor, GradientCorrection | None] | None = None
        for plan in batch_plans_of(e.policy, round):
            steps_n = self.batch_loader.steps(plan, active_n)
            taken_n, work_n = steps_n * plan.learn, work_n + steps_n * self.batch_loader.work(plan)
            self.state.now = RoundInfo(round, lr, taken_n, share)
            if begin is None:  # once a phase, however many plans: a protocol may count its starts
                begin = start_of(e.protocol, self.state), e.protocol.gradient_correction(self.state)
            for rows, scores in self._train(plan, steps_n, lr, *begin):
                loss[rows] = scores.loss_B
                if scores.scored_B is not None and scores.score_B is not None:
                    scored[rows], score[rows] = scores.scored_B, scores.score_B
            self.batch_loader.end(plan, steps_n)
        if e.protocol.phases[-1] == "learn" and (again or e.protocol.phases.count("learn") == 1):
            self.state.round_buffers.clear()
        # a sum with a NaN or an infinity in it is not
        finite = torch.isfinite(self.state.x.sum(1)).cpu().numpy()
        losses, scored_n, score_n = found.double().cpu().numpy()
        return TrainResult(losses, scored_n, score_n, taken_n, work_n, finite)

    def _train(
        self,
        plan: BatchPlan,
        steps_n: Ints,
        lr: float,
        start: Tensor,
        correction: GradientCorrection | None,
    ) -> Iterator[tuple[Rows, PredictionScores]]:
        """What a plan asks for, block by block: the scores of each."""
        e = self.experiment
        for rows, batch in self.batch_loader.batches(plan, steps_n):
            if not plan.learn:
                yield rows, e.learner.score_only(start[rows], batch)
                continue
            slots = {name: values[rows] for name, values in self.optimizer_slots.items()}
            of_rows = None if correction is None else correction.of(rows)
            learnt, scores = e.learner.train(start[rows], slots, batch, lr, of_rows)
            some: Rows = rows
            # a compiled step takes those asleep along
            if isinstance(rows, slice) and not steps_n[rows].all():
                took = torch.as_tensor(np.flatnonzero(steps_n[rows]), device=learnt.device)
                some, learnt = rows.start + took, learnt[took]
            e.protocol.after_local_steps(self.state, some, start[some], learnt)
            self._require_state("after_local_steps")
            if not isinstance(rows, slice):
                for name, values in slots.items():  # those of a range were changed in place
                    self.optimizer_slots[name][rows] = values
            yield rows, scores

    # --- exchange ---------------------------------------------------------------------------------

    def pack(self, phase: int, round: int) -> None:
        """Make the payload rows of a phase."""
        e = self.experiment
        rows = sent(e.protocol, phase, self.state)
        if rows.ndim == 3:  # one for each neighbour
            flat = rows.reshape(-1, rows.shape[2])
            self._payload = Payload(flat, flat, None, 1, round)
            return
        packets, past = self._compressed(phase, round, rows), self.in_flight.get(f"history.{phase}")
        self._show_own_packet(packets)
        self._payload = Payload(
            packets, rows if e.messages.exact else packets, past, e.messages.rows_per_device, round
        )

    def _compressed(self, phase: int, round: int, rows: Tensor) -> Tensor:
        e = self.experiment
        if e.compressor is None:
            return rows
        name, draw = (
            f"error.{phase}",
            Draw(Keys(e.settings.seed, f"compressor.{phase}"), self.devices, round),
        )
        if not e.compressor.feedback:
            return packed(e.compressor, rows, draw)
        wanted = rows + self.in_flight[name]
        packets = packed(e.compressor, wanted, draw)
        left = wanted - packets
        silent = torch.as_tensor(e.messages.silent(round)[self.devices], device=rows.device)
        left[silent] = self.in_flight[name][silent]  # who sends nothing has left nothing out
        self.in_flight[name] = left
        return packets

    def outgoing(self, route: Route) -> dict[int, Tensor]:
        """The packed rows that other shards need, one array for each of them."""
        return {other: self._payload.take(index) for other, index in route.outbox.items()}

    def keep(self, phase: int, round: int) -> None:
        """A round of mixing without links: every device receives its own payload row."""
        protocol = self.experiment.protocol
        rows = sent(protocol, phase, self.state)
        self._show_own_packet(rows)
        with self._only_present(phase, round):
            protocol.receive(phase, self.state, rows)
        self._done(phase)

    def _show_own_packet(self, sent: Tensor) -> None:
        """Show the protocol its own messages as the others read them, if it asks for that."""
        if self.experiment.protocol.requirements.own_packet:
            self.state.round_buffers["sent"] = sent

    def _done(self, phase: int) -> None:
        """With the last phase of a round goes what lives within one only."""
        if phase == len(self.experiment.protocol.phases) - 1:
            self.state.round_buffers.clear()

    def mix(
        self, phase: int, kind: Phase, round: int, route: Route, inbox: dict[int, Tensor]
    ) -> None:
        """Take in own and received payload rows, as the exchange combines them."""
        own, e = self._payload, self.experiment
        device = own.packets.device
        if (
            not inbox
            and own.rows_per_device == 1
            and np.array_equal(route.own_rows, np.arange(len(own.packets)))
        ):
            payload = own.packets
        elif not inbox:  # all of it is here
            payload = own.take(route.own_rows)
        else:
            payload = own.packets.new_empty(route.matrix.shape[1], own.packets.shape[1])
            payload[torch.as_tensor(route.own)] = own.take(route.own_rows)
            for other, columns in route.inbox.items():
                payload[torch.as_tensor(columns)] = inbox[other]
        del self._payload
        with self._only_present(phase, round):
            if kind == "mix":
                received = _product(route, payload)
                if len(route.dst_R) < len(self.devices):  # nothing came for the others
                    received = own.own.index_copy(
                        0, torch.as_tensor(route.dst_R, device=device), received
                    )
                e.protocol.receive(phase, self.state, received)
            elif kind == "per_edge":
                rows = _product(route, payload)
                e.protocol.receive(
                    phase, self.state, rows.view(len(self.devices), e.most_links, rows.shape[1])
                )
            elif len(route.dst_R):
                assert route.src_R is not None
                assert route.age_R is not None
                about = (
                    torch.as_tensor(each, device=device)
                    for each in (route.dst_R, route.src_R, route.age_R)
                )
                rows = payload[
                    torch.as_tensor(route.matrix.indices.astype(np.int64), device=device)
                ]
                e.protocol.receive_messages(phase, self.state, Inbox(rows, *about))
        active = e.network.active(round)
        own.remember(None if active is None else np.flatnonzero(active[self.devices]))
        self._done(phase)

    @contextmanager
    def _only_present(self, phase: int, round: int) -> Iterator[None]:
        """What happens inside, where messages are taken in, does not happen to devices that are not
        there.
        """
        online = self.experiment.network.online(round)
        if online is None or online[self.devices].all():
            yield
            self._require_state(
                "receive_messages"
                if self.experiment.protocol.phases[phase] == "messages"
                else "receive"
            )
            return
        away = torch.as_tensor(np.flatnonzero(~online[self.devices]), device=self.state.x.device)
        x, slots = self.state.x[away], {name: rows[away] for name, rows in self.state.slots.items()}
        yield
        self._require_state(
            "receive_messages"
            if self.experiment.protocol.phases[phase] == "messages"
            else "receive"
        )
        self.state.x = self.state.x.index_copy(0, away, x)
        self.state.slots = {
            name: rows.index_copy(0, away, slots[name]) for name, rows in self.state.slots.items()
        }

    def _require_state(self, call: str) -> None:
        shape = len(self.devices), self.experiment.layout.width
        require_state(self.experiment.protocol, call, self.state, shape, self.experiment.dtype)

    def partial_means(self, phase: int | None, shares_N: Floats) -> Iterator[tuple[int, Tensor]]:
        """For each block, in their order, Σ_i share_i · row_i over its devices in float64: the
        terms of a mean over all.

        ``phase`` None takes the parameters, otherwise the protocol's payload of that phase.
        """
        rows = self.state.x
        if phase is not None:
            rows = sent(self.experiment.protocol, phase, self.state)
            self._show_own_packet(rows)
        shares = torch.as_tensor(shares_N[self.devices], device=rows.device).unsqueeze(0)
        wide = torch.float64 if rows.device.type != "mps" else rows.dtype
        for block, s in self.experiment.blocks.slices(self.blocks):
            yield block, (shares[:, s].to(wide) @ rows[s].to(wide)).squeeze(0)

    def receive_mean(self, phase: int, round: int, mean_M: Tensor) -> None:
        """Every device receives the same averaged row; those that are away would fetch it before
        they learn again.
        """
        active = self.experiment.active(round)
        if active is not None and not active.any():
            self._done(phase)
            return  # nobody said anything, so there is no mean
        rows = mean_M.to(self.state.x).expand(len(self.devices), -1).contiguous()
        self.experiment.protocol.receive(phase, self.state, rows)
        self._require_state("receive")
        self._done(phase)

    # --- look -------------------------------------------------------------------------------------

    def evaluate(self, samples: Ints, blocks: set[int]) -> Iterator[tuple[int, BlockEvaluation]]:
        """The devices of the chosen blocks on the samples with these ids."""
        index = torch.as_tensor(samples, device=self.batch_loader.x_S.device)
        x_T, y_T = self.batch_loader.x_S[index], self.batch_loader.y_S[index]
        for block, rows in self.experiment.blocks.slices(self.blocks):
            if block in blocks:
                yield block, self.evaluator.examine(self.state.x[rows], x_T, y_T)

    def row_values(self, mean_P: Tensor) -> Floats:
        """A column for each metric of parameters, block by block."""
        metrics = self.experiment.metrics.rows
        out = np.empty((len(self.devices), len(metrics)))
        for _, s in self.experiment.blocks.slices(self.blocks):
            for column, metric in enumerate(metrics):
                rows = self.state.x[s]
                found = one_each(metric, metric.value(rows, mean_P.to(rows.device)), len(rows))
                out[s, column] = found.double().cpu().numpy()
        return out

    def snapshot(self) -> dict[str, Tensor]:
        """All that has to be kept to go on later, a row for each device; not copied."""
        return {
            "x": self.state.x,
            **self.batch_loader.snapshot(),
            **{f"protocol.{k}": v for k, v in self.state.slots.items()},
            **{f"optimizer.{k}": v for k, v in self.optimizer_slots.items()},
            **{f"wire.{k}": v for k, v in self.in_flight.items()},
        }

    def restore(self, rows: Mapping[str, Tensor]) -> None:
        """The opposite of :meth:`snapshot`.

        The arrays are the shard's own from here on, and take the places of the old ones one by
        one."""
        device = self.experiment.device
        self.state.x, self.state.now = (
            rows["x"].to(device),
            RoundInfo(0, 0.0, np.zeros(len(self.devices), np.int64)),
        )
        self.batch_loader.restore(rows)
        kept = (
            ("protocol", self.state.slots),
            ("optimizer", self.optimizer_slots),
            ("wire", self.in_flight),
        )
        for group, arrays in kept:
            for name in arrays:
                arrays[name] = rows[f"{group}.{name}"].to(device)


def _product(route: Route, payload: Tensor) -> Tensor:
    """Sparse matrix times rows, each output row summed in the order of its columns."""
    if payload.device.type == "cpu":
        return torch.from_numpy(route.matrix @ payload.numpy())
    m = route.matrix
    pieces = (torch.as_tensor(v, device=payload.device) for v in (m.indptr, m.indices, m.data))
    crow, column, value = pieces
    out: Tensor = torch.sparse_csr_tensor(crow, column, value.to(payload.dtype), m.shape) @ payload
    return out
