"""The device side of a round: some devices living together, as rows.

A shard owns whole blocks. Everything it computes depends on (block, round) only, never on which other blocks live here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.evaluation import BlockEvaluation, Examiner
from swarm.experiment import Experiment
from swarm.learn.learner import Batch
from swarm.protocol.base import State
from swarm.routing import Route

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
SAMPLES_AT_ONCE = 1 << 18  # stream positions drawn in one vectorised call


@dataclass(frozen=True)
class Learnt:
    """What a shard's devices report of a round, in the order of ``Shard.devices``."""

    loss_n: Floats
    seen_n: Floats
    score_n: Floats
    steps_n: Ints
    finite_n: npt.NDArray[np.bool_]


class Shard:
    """The devices of ``blocks``, one row each."""

    def __init__(self, experiment: Experiment, blocks: Ints) -> None:
        self.experiment = e = experiment
        self.blocks = blocks
        self.devices = np.concatenate([e.blocks.devices_of(int(b)) for b in blocks])
        n = len(self.devices)
        rows = e.first_rows(self.devices)
        self.state = State(rows, {name: torch.zeros_like(rows) for name in e.protocol.slots})
        self.optimizer_slots = {name: torch.zeros_like(rows) for name in e.optimizer.slots}
        self.steps_n = np.zeros(n, np.int64)
        data = e.plan.dataset
        self.x_S = torch.as_tensor(data.x).to(e.device)
        self.x_S = self.x_S.to(e.dtype) if self.x_S.is_floating_point() else self.x_S
        y = torch.as_tensor(data.y).to(e.device)
        self.y_S = y if data.classes else y.to(e.dtype).reshape(len(y), -1)
        self._rows = [rows for _, rows in e.blocks.slices(blocks)]
        self.examiner = Examiner(e.learner.kernel, e.loss, e.outputs)

    # --- learn -------------------------------------------------------------------------------------------------------

    def learn(self, round: int) -> Learnt:
        """Every device predicts its next samples, is scored, and takes its local steps."""
        e, lr = self.experiment, self.experiment.rate(round)
        start, n = e.protocol.start(self.state), len(self.devices)
        loss, seen, score = found = start.new_zeros(3, n)
        for rows, batch in self._batches():
            slots = {name: values[rows] for name, values in self.optimizer_slots.items()}  # changed in place
            learnt, scores = e.learner.train(start[rows], slots, batch, lr)
            self.state.x[rows] = e.protocol.learned(self.state.x[rows], start[rows], learnt)
            loss[rows] = scores.loss_B
            if scores.seen_B is not None and scores.score_B is not None:
                seen[rows], score[rows] = scores.seen_B, scores.score_B
        steps_n = e.local_steps_N[self.devices]
        self.steps_n = self.steps_n + steps_n
        self.state.scratch.clear()
        finite = torch.isfinite(self.state.x.sum(1)).cpu().numpy()  # a sum with a NaN or an infinity in it is not
        losses, seen_n, score_n = found.double().cpu().numpy()
        return Learnt(losses, seen_n, score_n, steps_n, finite)

    def _batches(self) -> Iterator[tuple[slice, Batch]]:
        """Each block with its next samples.

        Positions of many blocks are drawn in one call, integers being the same in any company. What is computed with has
        the shape that its own block gives it.
        """
        e = self.experiment
        steps_n = e.local_steps_N[self.devices]
        together = max(1, SAMPLES_AT_ONCE // (e.blocks.size * int(steps_n.max()) * e.stream.batch))
        for i in range(0, len(self._rows), together):
            some = self._rows[i : i + together]
            group = slice(some[0].start, some[-1].stop)
            compiled = (
                e.settings.compute.compile
            )  # for a number of steps: all blocks take the same, some of them masked
            longest = int((e.local_steps_N if compiled else steps_n[group]).max())
            draw = e.stream.draw(self.devices[group], self.steps_n[group], longest)
            sample = torch.as_tensor(draw.sample_BKb, device=e.device)
            target = e.loss.encode(self._gather(self.y_S, sample), e.outputs, e.dtype)
            done = torch.as_tensor(self.steps_n[group], device=e.device)
            begins = [rows.start - group.start for rows in some]
            least, most = (of.reduceat(steps_n[group], begins) for of in (np.minimum, np.maximum))
            most = np.full_like(most, longest) if compiled else most
            new = np.logical_or.reduceat(draw.first_BKb.reshape(len(sample), -1).any(1), begins)
            for rows, begin, k, fewest, fresh in zip(some, begins, most.tolist(), least.tolist(), new, strict=True):
                part = slice(begin, begin + rows.stop - rows.start)
                first = torch.as_tensor(draw.first_BKb[part, :k], device=e.device) if fresh else None
                active = torch.as_tensor(np.arange(k) < steps_n[rows, None], device=e.device) if fewest < k else None
                yield rows, Batch(self._gather(self.x_S, sample[part, :k]), target[part, :k], first, active, done[part])

    @staticmethod
    def _gather(values_S: Tensor, sample_BKb: Tensor) -> Tensor:
        return values_S.index_select(0, sample_BKb.reshape(-1)).view(*sample_BKb.shape, *values_S.shape[1:])

    # --- exchange ----------------------------------------------------------------------------------------------------

    def outgoing(self, phase: int, route: Route) -> dict[int, Tensor]:
        """The payload rows that other shards need, one array for each of them."""
        rows = self.experiment.protocol.send(phase, self.state)
        return {other: rows[torch.as_tensor(index, device=rows.device)] for other, index in route.outbox.items()}

    def keep(self, phase: int) -> None:
        """A round without links: every device receives its own payload row."""
        protocol = self.experiment.protocol
        protocol.receive(phase, self.state, protocol.send(phase, self.state))

    def mix(self, phase: int, route: Route, inbox: dict[int, Tensor]) -> None:
        """Average own and received payload rows with the mixing weights."""
        own = self.experiment.protocol.send(phase, self.state)
        if not inbox and np.array_equal(route.own_rows, np.arange(len(own))):
            payload = own
        else:
            payload = own.new_empty(route.matrix.shape[1], own.shape[1])
            payload[torch.as_tensor(route.own)] = own[torch.as_tensor(route.own_rows)]
            for other, columns in route.inbox.items():
                payload[torch.as_tensor(columns)] = inbox[other]
        self.experiment.protocol.receive(phase, self.state, _product(route, payload))

    def partial_means(self, phase: int | None, shares_N: Floats) -> dict[int, Tensor]:
        """For each block, Σ_i share_i · row_i over its devices in float64: the terms of a mean over the whole swarm.

        ``phase`` None takes the parameters, otherwise the protocol's payload of that phase.
        """
        rows = self.state.x if phase is None else self.experiment.protocol.send(phase, self.state)
        shares = torch.as_tensor(shares_N[self.devices], device=rows.device).unsqueeze(0)
        wide = torch.float64 if rows.device.type != "mps" else rows.dtype
        return {
            block: (shares[:, s].to(wide) @ rows[s].to(wide)).squeeze(0)
            for block, s in self.experiment.blocks.slices(self.blocks)
        }

    def receive_mean(self, phase: int, mean_P: Tensor) -> None:
        """Every device receives the same averaged row."""
        rows = mean_P.to(self.state.x).repeat(len(self.devices), 1)  # never the mean itself: rows are written to
        self.experiment.protocol.receive(phase, self.state, rows)

    # --- look --------------------------------------------------------------------------------------------------------

    def evaluate(self, samples: Ints, blocks: set[int]) -> Iterator[tuple[int, BlockEvaluation]]:
        """The devices of the chosen blocks on the samples with these ids."""
        index = torch.as_tensor(samples, device=self.x_S.device)
        x_T, y_T = self.x_S[index], self.y_S[index]
        for block, rows in self.experiment.blocks.slices(self.blocks):
            if block in blocks:
                yield block, self.examiner.examine(self.state.x[rows], x_T, y_T)

    def squared_distances(self, mean_P: Tensor) -> Floats:
        """‖x_i − x̄‖² of every device."""
        out = np.empty(len(self.devices))
        for _, s in self.experiment.blocks.slices(self.blocks):
            out[s] = (self.state.x[s] - mean_P.to(self.state.x)).square().sum(1).double().cpu().numpy()
        return out

    def snapshot(self) -> dict[str, Tensor]:
        """All that has to be kept to go on later, a row for each device."""
        return {
            "x": self.state.x,
            "steps": torch.as_tensor(self.steps_n),
            **{f"protocol.{k}": v for k, v in self.state.slots.items()},
            **{f"optimizer.{k}": v for k, v in self.optimizer_slots.items()},
        }

    def restore(self, rows: dict[str, Tensor]) -> None:
        """The opposite of :meth:`snapshot`."""
        device = self.experiment.device
        self.state.x = rows["x"].to(device)
        self.steps_n = rows["steps"].numpy()
        self.state.slots = {k: rows[f"protocol.{k}"].to(device) for k in self.state.slots}
        self.optimizer_slots = {k: rows[f"optimizer.{k}"].to(device) for k in self.optimizer_slots}


def _product(route: Route, payload: Tensor) -> Tensor:
    """Sparse matrix times rows, each output row summed in the order of its columns."""
    if payload.device.type == "cpu":
        return torch.from_numpy(route.matrix @ payload.numpy())
    m = route.matrix
    pieces = (torch.as_tensor(v, device=payload.device) for v in (m.indptr, m.indices, m.data))
    crow, column, value = pieces
    out: Tensor = torch.sparse_csr_tensor(crow, column, value.to(payload.dtype), m.shape) @ payload
    return out
