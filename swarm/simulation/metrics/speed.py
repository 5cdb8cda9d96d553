"""How fast sequence models learn and write on this machine, and how much they keep between two
tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from swarm.common.ranges import number
from swarm.config.choices import choice
from swarm.learning.batch import Batch
from swarm.learning.kernels.flops import counter
from swarm.learning.models.sequence import SequenceModel, State, state_bytes
from swarm.simulation.metrics.base import Floats
from swarm.simulation.metrics.column import RECORDED, Column
from swarm.simulation.metrics.looking import SwarmMetric
from swarm.simulation.metrics.record import COHORT

if TYPE_CHECKING:
    from swarm.simulation.experiment import Experiment
    from swarm.simulation.experiment.model import Model
    from swarm.simulation.metrics.views import SwarmView

Work = Callable[[], object]
TIMES = 4  # turns of writing for each turn of training, which takes far longer


class Speed(SwarmMetric):
    """Tokens a second of one device that learns, and of one that writes, measured on this machine.

    It is measured once, after the last round. *Training* is one local step on the run's mini-batch,
    of one device by itself. *Inference* is writing token by token: the model reads a training
    sample of T tokens, and then writes ``tokens`` more, each time the most probable one. Seconds
    are processor time of one thread. The models of all cohorts take turns, ``turns`` times, and
    figures are medians over the turns. A ratio is the median over the turns of the seconds of the
    run's own model over those of the cohort's: what else the machine does hits both alike.

    These numbers are other ones each time, so that no two runs agree in them. The bytes that a
    model keeps after T tokens, and the FLOP of the next token, do not depend on the machine.

    Raises :class:`~swarm.common.errors.ConfigError` for numbers below 1.
    """

    name = "speed"
    label = "speed"
    target_kind = "classes"

    def __init__(self, turns: int = 5, tokens: int = 32) -> None:
        number("turns", turns, 1, 1000)
        number("tokens", tokens, 1, 100_000)
        self.repeats, self.tokens = turns, tokens

    def columns(self) -> tuple[Column, ...]:
        """Two speeds and their ratios, which are timed, then bytes and FLOP."""
        own = "times the run's own model"
        found = []
        for what in ("training", "inference"):
            key, label = f"speed_{what}", f"tokens a second, {what}"
            found += [
                Column(key, label, "", "higher", RECORDED, timed=True),
                Column(f"{key}_ratio", f"{label}, {own}", "", "higher", RECORDED, timed=True),
            ]
        state = Column("speed_state_bytes", "bytes kept between two tokens", "", "lower", RECORDED)
        flops = Column("speed_token_flops", "FLOP of writing a token", "", "lower", RECORDED)
        return (*found, state, flops)

    def why_not_in(self, experiment: Experiment) -> str | None:
        """As :meth:`Metric.why_not_in`; models must be able to write token by token, and compute on
        the processor, whose time is measured."""
        valid = "must be left out of metrics"
        if experiment.device.type != "cpu":
            kind = experiment.device.type
            return f"{valid} with compute.device={kind}, as it measures time of the processor"
        for model in experiment.model.each:
            if not isinstance(model.template, SequenceModel):
                which = choice("model", model.settings.model)
                why = f"with model={which}: only gru, mcsd and transformer write token by token"
                return f"{valid} {why}"
        return None

    def measured(self, view: SwarmView) -> dict[str, float]:
        """No numbers before the last round. Without cohorts they are those of the run's own model;
        with cohorts those of each cohort follow, under the keys of its name."""
        if not view.last:
            return {}
        e = view.experiment
        data, models = e.data.dataset, list(e.model.each)
        ids = np.resize(data.train, e.settings.train.batch)
        x, y = torch.as_tensor(data.x[ids]), torch.as_tensor(data.y[ids])
        with _one_thread(), torch.inference_mode(False):
            modules = [made for m in models if isinstance(made := m.module(), SequenceModel)]
            found = self.of(modules, [local_step(e, m, x, y) for m in models], x)
        values = dict(found[0])
        names = () if e.model.cohorts is None else e.model.cohorts.names
        for name, each in zip(names, found, strict=False):
            values |= {f"{key}{COHORT}{name}": value for key, value in each.items()}
        return values

    def of(
        self, models: Sequence[SequenceModel], steps: Sequence[Work], x: Tensor
    ) -> list[dict[str, float]]:
        """The numbers of each of C models, given what one local step of each is, and a mini-batch
        ``[b, T]``."""
        with torch.inference_mode():
            writing = [Writing(model, x[0], self.tokens) for model in models]
            trained_CT = taken_turns(steps, self.repeats)
            written_CT = taken_turns(writing, TIMES * self.repeats)
        return [
            {
                "speed_training": float(x.numel() / np.median(trained_CT[c])),
                "speed_training_ratio": float(np.median(trained_CT[0] / trained_CT[c])),
                "speed_inference": float(self.tokens / np.median(written_CT[c])),
                "speed_inference_ratio": float(np.median(written_CT[0] / written_CT[c])),
                "speed_state_bytes": float(state_bytes(writing[c].state)),
                "speed_token_flops": writing[c].token_flops(),
            }
            for c in range(len(models))
        ]


class Writing:
    """A model that has read the tokens ``[T]``, and writes ``count`` more when it is called."""

    def __init__(self, model: SequenceModel, read_T: Tensor, count: int) -> None:
        self.model, self.count = model.eval(), count
        self.state: list[State] = model.empty(1)
        for token in read_T[:, None]:
            scores_1C, self.state = model.step(token, self.state)
        self.first = scores_1C.argmax(-1)

    def __call__(self) -> Tensor:
        """Write, always from the same state; returns the last token, ``[1]``."""
        token, state = self.first, self.state
        for _ in range(self.count):
            scores_1C, state = self.model.step(token, state)
            token = scores_1C.argmax(-1)
        return token

    def token_flops(self) -> float:
        """FLOP of the first token that is written."""
        with torch.inference_mode(), counter() as counted:
            self.model.step(self.first, self.state)
        return float(counted.get_total_flops())


def taken_turns(work: Sequence[Work], count: int) -> Floats:
    """Seconds of processor time of each of C tasks that take turns ``count`` times, ``[C, T]``;
    every other turn goes backwards, so that nobody always follows the same one."""
    for each in work:
        each()  # what is only done once, such as asking for memory
    found = np.empty((len(work), count))
    for turn in range(count):
        for place in range(len(work)) if turn % 2 == 0 else reversed(range(len(work))):
            begin = time.thread_time()
            work[place]()
            found[place, turn] = time.thread_time() - begin
    return found


def local_step(e: Experiment, model: Model, x: Tensor, y: Tensor) -> Work:
    """A function that takes one local step of one device with this model on the mini-batch ``x``
    ``[b, T]``, which changes nothing in the run."""
    learner, row_1P = model.learner(1), model.first_rows(np.zeros(1, np.int64))
    target = model.loss.encode(y.reshape(1, 1, -1), e.data.outputs, e.dtype)
    batch = Batch(x[None, None], target, None, None, torch.zeros(1, dtype=torch.int64))
    slots = {name: torch.zeros_like(row_1P) for name in model.optimizer.slots}
    rate = model.rate(1)
    return lambda: learner.train(row_1P, slots, batch, rate)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
