"""Estimates the memory that a run will take at its peak, part by part, from what is known before
the start.

The estimate leaves out the Python process with everything imported (about 0.4 GiB).
``benchmarks/memory.py`` compares the sums with what runs really take; docs/performance.md has the
figures.
"""

from __future__ import annotations

import math
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from swarm.common.rows import frozen_parameters, size_of
from swarm.learning.kernels.dense import Dense
from swarm.learning.kernels.noise import seeded
from swarm.learning.learner import BENCHES_OF_COHORTS
from swarm.learning.privacy.clipped import NUMBERS_AT_ONCE
from swarm.simulation.batch_loader import SAMPLES_AT_ONCE as POSITIONS_AT_ONCE
from swarm.simulation.evaluation import OWN_SAMPLES_AT_ONCE, SAMPLES_AT_ONCE
from swarm.simulation.experiment import Experiment
from swarm.simulation.footprint.parts import Footprint, Part
from swarm.simulation.metrics.chosen import held_bytes

REST = 40 << 20  # bytes that every run needs: files being written, tables, the page
ACCOUNTING = 48 << 20  # bytes of the package that counts ε
AUTOGRAD = 64 << 20  # bytes that torch loads for models whose gradients are not written by hand
COUNTERS = 500  # bytes a device: counters, draws, and the results of a round
EDGE = 90  # bytes a directed link: the graph, its weights, and the routes made of them
POSITION = 20  # bytes a sample id while it is drawn
CHOSEN = 100  # bytes more a sample id where devices choose its class
MEASURED = 30  # bytes a device, evaluation and further metric
RESULT = 60  # bytes a device and evaluation: its results, in the run's files and their table


def footprint(experiment: Experiment) -> Footprint:
    """The parts of an experiment's memory, without those of no size."""
    counted = _Counted(experiment)
    parts = [*counted.kept(), *counted.passing(), *counted.fixed()]
    return Footprint(tuple(part for part in parts if part.bytes > 0))


class _Counted:
    """The sums behind :func:`footprint`."""

    def __init__(self, experiment: Experiment) -> None:
        self.e = experiment
        self.n, self.width, self.item = (
            experiment.settings.devices,
            experiment.model.layout.width,
            experiment.dtype.itemsize,
        )

    # --- by device --------------------------------------------------------------------------------

    def kept(self) -> list[Part]:
        """The parts that are kept from round to round, and that a checkpoint holds."""
        e, row = self.e, self.n * self.width * self.item
        of_messages = {name: math.prod(shape) for name, shape in e.communication.in_flight.items()}
        history = sum(n for name, n in of_messages.items() if name.startswith("history"))
        left = sum(of_messages.values()) - history
        slots = sum(math.prod(shape) for shape in e.communication.slots.values())
        memory = math.prod(e.data.progress["kept"]) if "kept" in e.data.progress else 0
        return [
            Part("the devices' parameters", row, "a smaller model"),
            # joined to whole rows where they are averaged or saved
            Part(
                "parameters that are kept apart",
                row * bool(e.model.layout.local),
                "a smaller model, or share=all",
            ),
            Part(
                "what the optimizer keeps",
                len(e.model.optimizer.slots) * row,
                "a smaller model or optimizer=sgd",
            ),
            Part(
                "what devices learn for themselves",
                sum(math.prod(shape) for shape in e.model.kept.values()) * self.n * self.item,
                "a smaller model or personal=none",
            ),
            Part(
                "what the protocol keeps",
                slots * self.n * self.item,
                "a smaller model or protocol=dpsgd",
            ),
            Part("messages under way", history * self.n * self.item, "a smaller network.max_delay"),
            Part(
                "what compression left out", left * self.n * self.item, "compressor.feedback=false"
            ),
            Part(
                "replay memories", 2 * 8 * memory * self.n, "a smaller replay.size"
            ),  # before and after a round
            Part("what devices practise", self._practised()),
            Part("counters", COUNTERS * self.n),
        ]

    def _practised(self) -> int:
        """Bytes for the samples by class, and for what devices have met, hold and wish for."""
        e, classes = self.e, self.e.data.classes_practised
        return 8 * (6 * self.n * classes + len(e.data.split.sample) * bool(classes))

    def passing(self) -> list[Part]:
        """The parts for what a phase of a round holds at most, and for the devices' results."""
        phases = self.e.communication.phases
        numbers = max((phase.held_numbers() for phase in phases), default=0)
        return [
            *self._looked_at(),
            Part("the messages of a round", int(numbers * self.item), "a smaller model"),
            Part(
                "the results of devices",
                (RESULT + MEASURED * self._further()) * self._results(),
                "a smaller evaluate.devices or a larger evaluate.every",
            ),
        ]

    def _looked_at(self) -> list[Part]:
        """What metrics hold while they are computed, those that say so."""
        less, held = "leaving it out of metrics", partial(held_bytes, e=self.e)
        return [Part(f"the metric {m.name}", held(m), less) for m in self.e.metrics.all]

    def _further(self) -> int:
        """Values of each device beside those that every evaluation has."""
        return self.e.metrics.numbers(self.e.data.outputs) + len(self.e.metrics.local)

    def _results(self) -> int:
        """Rows of the table of devices' results."""
        s = self.e.settings
        if not s.evaluate.accuracy:
            return 0
        return min(s.evaluate.devices or self.n, self.n) * (2 + (s.rounds - 1) // s.evaluate.every)

    # --- for all devices --------------------------------------------------------------------------

    def fixed(self) -> list[Part]:
        """The parts that depend on the data, the graph, the model and the block size."""
        e, data = self.e, self.e.data.dataset
        x = data.x
        cast = x.dtype.kind == "f" and x.dtype.itemsize != self.item
        looked_at = (
            max(len(data.test), len(data.validation))
            * x[:1].nbytes
            // (2 if cast and self.item == 4 else 1)
        )
        if e.model.loss.classification:  # votes: of a block, of all blocks, and while counted
            looked_at += 3 * 8 * e.data.outputs * data.y[data.test].size
        links = self.e.communication.messages.graph(1).src_E
        ids = len(e.data.split.sample) + len(data.train) + self._held_out
        loaded = x.nbytes + data.y.nbytes + 8 * ids
        smaller = "a smaller train.batch, train.local_steps or engine.block"
        return [
            Part(
                "the rest of the program",
                REST
                + AUTOGRAD * (not isinstance(e.learner.kernel, Dense))
                + ACCOUNTING * e.data.privacy.counted,
                grows=False,
            ),
            Part("the data", loaded, grows=False, there=True),
            Part(
                "the data in the run's dtype",
                x.size * self.item * cast + data.y.nbytes,
                grows=False,
            ),
            Part("the samples of an evaluation", looked_at, grows=False),
            Part("links", EDGE * len(links), "a topology with fewer links", each=True),
            Part(
                "the model and its means",
                4 * self.width * self.item + 3 * 8 * self.width,
                grows=False,
                each=True,
            ),
            Part("frozen parameters", self._frozen, grows=False, there=True, each=True),
            # as bytes, and while these are made
            Part("frozen parameters as they are saved", 2 * e.model.constants.size, grows=False),
            Part(
                "a block of devices at work",
                max(self._learning(), self._looking(), self._exchanging()),
                smaller,
                grows=False,
                each=True,
            ),
            Part("drawing samples", self._drawing(), grows=False, each=True),
        ]

    @property
    def _frozen(self) -> int:
        """Bytes of the parameters that all devices share."""
        return size_of(frozen_parameters(self.e.model.template))

    def _drawing(self) -> int:
        e = self.e
        steps = int(e.data.local_steps_N.max()) * e.data.stream.batch
        each = POSITION + self._answers * self.item  # with its target
        each += CHOSEN if e.data.goal is not None else 0
        return each * min(self.n * steps, max(POSITIONS_AT_ONCE, e.blocks.size * steps))

    def _learning(self) -> int:
        e, batch = (
            self.e,
            self.e.data.stream.batch + self.e.data.replay.drawn(self.e.data.stream.batch),
        )
        steps, block = int(e.data.local_steps_N.max()), e.blocks.size
        drawn = 1 if e.data.split.replicas else block  # replicas have the same samples
        sample, outputs = e.data.dataset.x[:1].size * self.item, self._answers * self.item
        copies = e.data.augment.copies(e.data.features)
        # features, targets, predictions and their scores
        round = int(steps * batch * (drawn * copies * sample + block * 6 * outputs))
        rows = (2 if e.model.optimizer.plain else 5) * block * self.width * self.item
        if e.model.kept:  # as much as of another optimizer, and both models
            rows = 7 * block * self.width * self.item
        if e.model.cohorts is not None:  # what each cohort keeps for blocks of its sizes
            rows += BENCHES_OF_COHORTS * self.item * e.model.cohorts.numbers_at_once(e.blocks)
        answers = batch * (self._answers // e.data.outputs)
        together = e.learner.kernel.at_once(block, answers, learning=True)
        made = 3 * together * e.learner.kernel.made_numbers * self.item  # with gradients
        made += together * self.width * self.item if e.learner.kernel.copies_rows else 0
        return round + rows + made + self._private() + together * batch * self._activations

    def _private(self) -> int:
        """Bytes for the gradients of single samples and for noise."""
        e, row = self.e, self.width * self.item
        rows = {"sample": 1, "device": 3}.get(e.data.privacy.unit or "", 0) * e.blocks.size * row
        if e.data.privacy.unit != "sample":
            return rows
        if isinstance(e.learner.kernel, Dense):
            batch = e.blocks.size * e.data.stream.batch
            return rows + 3 * batch * self._activations
        # parameters, gradients, and what the kernel makes of both
        return rows + 4 * max(NUMBERS_AT_ONCE * self.item, row)

    def _exchanging(self) -> int:
        phases = self.e.communication.phases
        return max(phase.bytes_at_work(self.e, self._activations) for phase in phases)

    def _looking(self) -> int:
        e = self.e
        each = math.prod(e.data.dataset.y.shape[1:]) if e.model.loss.classification else 1
        many = min(max(1, SAMPLES_AT_ONCE // each), len(e.data.dataset.test))
        rows = e.blocks.size * self.width * self.item
        samples = len(e.data.dataset.test) * each
        kept = sum(m.state(1, e.data.outputs, samples).nbytes for m in e.metrics.outputs)
        together, block = e.learner.kernel.at_once(e.blocks.size, many, False), e.blocks.size
        rows += together * e.learner.kernel.made_numbers * self.item
        predicted = many * (together * self._activations + block * 4 * self._answers * self.item)
        return rows + max(predicted + block * kept, self._looking_at_own(each))

    def _looking_at_own(self, each: int) -> int:
        """Bytes while a block is looked at on held-out samples of its own, which its devices share
        with no other, with ``each`` labels a sample."""
        split, measures = self.e.data.split, self.e.communication.own_validation
        looked_at = (
            (split.local_test, bool(self.e.metrics.local)),
            (split.local_validation, measures),
        )
        longest = max(
            (int(held.sizes_N.max()) for held, used in looked_at if held and used), default=0
        )
        if not longest:
            return 0
        many = min(max(1, OWN_SAMPLES_AT_ONCE // each), longest)
        sample = self.e.data.dataset.x[:1].size * self.item + self.e.data.dataset.y[:1].nbytes
        block = self.e.blocks.size
        own = 8 * longest + many * (sample + 6 * self._answers * self.item)
        together = self.e.learner.kernel.at_once(block, many, learning=False)
        return block * own + together * many * self._activations

    @property
    def _held_out(self) -> int:
        """How many held-out samples devices have of their own."""
        split = self.e.data.split
        return sum(len(held.sample) for held in (split.local_test, split.local_validation) if held)

    @property
    def _answers(self) -> int:
        """The number of a model's outputs for one sample."""
        y, classification = self.e.data.dataset.y, self.e.model.loss.classification
        return self.e.data.outputs * (math.prod(y.shape[1:]) if classification else 1)

    @cached_property
    def _activations(self) -> int:
        """Bytes that a backward pass of the module needs of a forward pass over one sample."""
        with torch.inference_mode(False), torch.enable_grad():
            module = self.e.model.lead.module().to(self.e.device)
            return saved_bytes(module, self.e.model.sample())


def saved_bytes(module: nn.Module, sample: Tensor) -> int:
    """The bytes that autograd keeps of a forward pass, per sample on average, without the module's
    own parameters.
    """
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with seeded(0), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = module(sample.clone())
    del out
    return sum(kept.values()) // len(sample)
