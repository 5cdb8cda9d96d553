"""One arm of a scenario, ready to run: every plug-in built and checked, nothing of the swarm's size
allocated yet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.common.names import named, telling, titled
from swarm.common.plugin import called
from swarm.common.ranges import no_room, size_text
from swarm.common.rng import Keys
from swarm.common.rows import Blocks, Layout
from swarm.common.system.machine import available_bytes
from swarm.communication.compression.base import Compressor, NoCompression, bits_of
from swarm.communication.messages import MessageSchedule, Traffic
from swarm.communication.mixing import Mixing
from swarm.communication.network.base import (
    Churn,
    Clock,
    Delay,
    Network,
    NoChurn,
    NoClock,
    NoDelay,
    NoOutage,
    Outage,
)
from swarm.communication.network.fleet import Fleet, hardware_of
from swarm.communication.protocol.base import Links, Phase, Protocol
from swarm.communication.returned import check_protocol, shares_of, slots_of, width_of
from swarm.communication.topology.base import Topology, check_period, graph_of
from swarm.communication.topology.graph import Graph
from swarm.config.build import build
from swarm.config.explain import shown
from swarm.config.settings import Settings
from swarm.data.dataset import Dataset, DeviceSplit, label_mixes
from swarm.data.stream.stream import Stream
from swarm.learning.buffers import Constants
from swarm.learning.initial_parameters import read_start
from swarm.learning.kernels.flops import flops_of_prediction, flops_of_step
from swarm.learning.kernels.losses import Loss, PartialLabelLoss, loss_for
from swarm.learning.kernels.module import check_module, check_tokens, initialised, kernel_for
from swarm.learning.learner import Learner
from swarm.learning.optim.optimizer import Optimizer
from swarm.learning.optim.schedule import Schedule
from swarm.learning.update.policy import UpdatePolicy, check_policy
from swarm.learning.update.replay import Replay
from swarm.simulation.metrics.base import Task
from swarm.simulation.metrics.chosen import chosen

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class RunSpec:
    """What defines an arm, as plain data that can be sent to another process."""

    settings: Settings
    dataset: Dataset
    split: DeviceSplit


class Experiment:
    """A plan with its plug-ins built.

    Every process that hosts a shard builds its own from the same plan.
    """

    def __init__(self, plan: RunSpec, policy: UpdatePolicy | None = None) -> None:
        self.spec = plan
        self.settings = s = plan.settings
        self.dtype = DTYPES[s.compute.dtype]
        self.device = _device(s.compute.device)
        data = plan.dataset
        self.features: tuple[int, ...] = tuple(data.x.shape[1:])
        self.outputs = data.classes or (data.y.shape[1] if data.y.ndim > 1 else 1)
        unit_T1 = (
            None
            if data.target is None
            else torch.as_tensor(data.target.span[:, None]).to(self.device, self.dtype)
        )
        self.loss: Loss = loss_for(s.train.loss, data.classes, unit_T1)
        if data.observed_labels is not None:
            self.loss = PartialLabelLoss()
        self._require_room()
        owners = plan.split.names if plan.split.owned else None
        self.topology: Topology = self._build(
            s.topology, Topology, "topology", devices=s.devices, seed=s.seed, owner_names=owners
        )
        check_period(self.topology)
        names = telling(plan.split.names or self.topology.node_names)
        self.names = names if names is not None and len(names) == s.devices else None
        self.protocol: Protocol = self._build(s.protocol, Protocol, "protocol", seed=s.seed)
        check_protocol(self.protocol)
        schedule: Schedule = self._build(s.schedule_plug_in, Schedule, "schedule")
        self.optimizer: Optimizer = self._build(
            s.optimizer, Optimizer, "optimizer", schedule=schedule
        )
        if policy is None:
            policy = self._build(s.update, UpdatePolicy, "update")
        self.policy: UpdatePolicy = policy
        self.replay: Replay = self._build(s.replay, Replay, "replay")
        module, sample = self._checked_module(), self._sample()
        self.layout = Layout.of(module)
        self.protocol.bind(self.layout)
        if self.protocol.requirements.common_init and s.init == "independent":
            valid = (
                f"must be common (or a file) with {called(self.protocol)}, whose server has one"
                " model from the start"
            )
            raise ConfigError("init", s.init, valid)
        self.constants = Constants.of(module)
        self.start = read_start(s.init, module, self.layout, self.constants, self.dtype)
        self.stream = Stream(plan.split, s.train.batch, Keys(s.seed, "stream"))
        self.fleet: Fleet = self._build(s.fleet, Fleet, "fleet", devices=s.devices, seed=s.seed)
        self.network = self._network()
        self.blocks = self._blocks()
        self.learner = Learner(
            kernel_for(module, self.loss, sample, self.blocks.size),
            self.loss,
            self.optimizer,
            self.outputs,
            s.train.clip_norm,
            s.compute.compile,
        )
        self.compressor = self._compressor()
        exchanging = [
            number for number, phase in enumerate(self.protocol.phases) if phase != "learn"
        ]
        if self.network.lines is not None and exchanging:
            self.network = replace(self.network, bits=float(max(map(self.bits, exchanging))))
        self.messages = MessageSchedule(
            self.topology,
            s.mixing,
            self.protocol,
            self.network,
            self.compressor is not None,
            s.devices,
        )
        self.most_links = self.messages.most_links if "per_edge" in self.protocol.phases else 0
        self.check_compressor()
        check_policy(
            self.policy, self.replay, self.stream, s.train.local_epochs, data.known_labels()[1]
        )
        self._require_fit()
        self.metrics = chosen(s.metrics, self._task(), s.plugins)

    def _task(self) -> Task:
        """What the metrics are told of this arm."""
        data, looked = self.spec.dataset, self.settings.evaluate
        return Task(
            self.loss.classification,
            self.outputs,
            self.loss.classification and data.y.ndim > 1,
            looked.accuracy,
            None if looked.label is None else data.class_of(looked.label),
            looked.local,
            looked.ensemble,
        )

    def _build(self, node: dict[str, Any], expect: type, section: str, **context: Any) -> Any:
        return build(node, expect, section, self.settings.plugins, **context)

    @property
    def number_bits(self) -> int:
        """Bits of a number of the run's dtype."""
        return self.dtype.itemsize * 8

    def module(self, device: int = 0) -> nn.Module:
        """A fresh model, initialised from (seed, device)."""
        make = partial(
            self._build,
            self.settings.model,
            nn.Module,
            "model",
            features=self.features,
            outputs=self.outputs,
        )
        return initialised(make, self.settings.seed, device).to(self.dtype)

    def _sample(self) -> Tensor:
        """Two samples, to try a model on."""
        x = torch.as_tensor(self.spec.dataset.x[self.spec.dataset.train[:2]])
        return x.to(self.device, self.dtype if x.is_floating_point() else x.dtype)

    @cached_property
    def step_flops(self) -> float:
        """FLOP of a device's local step."""
        # asked for in the middle of a run, and its parameters need a gradient
        with torch.inference_mode(False):
            return flops_of_step(
                self.module().to(self.device), self._sample(), self.settings.train.batch
            )

    @cached_property
    def prediction_share(self) -> float:
        """FLOP of predicting a mini-batch without learning from it, as a share of a local
        step's.
        """
        with torch.inference_mode(False):
            module, sample = self.module().to(self.device), self._sample()
            return flops_of_prediction(module, sample, self.settings.train.batch) / self.step_flops

    def _checked_module(self) -> nn.Module:
        """A model that can learn from these data."""
        module, data = self.module().to(self.device), self.spec.dataset
        try:
            check_tokens(module, data.x)
            check_module(
                module,
                self._sample(),
                (*data.y.shape[1:], data.classes) if data.classes else (self.outputs,),
            )
        except ConfigError as error:
            raise error.under("model") from None
        return module

    def _compressor(self) -> Compressor | None:
        found: Compressor = self._build(
            self.settings.compressor,
            Compressor,
            "compressor",
            layout=self.layout,
            number_bits=self.number_bits,
        )
        return None if isinstance(found, NoCompression) else found

    def _require_room(self) -> None:
        """Refuse parameters that cannot fit before anything is made: of one device, then of all.

        For this the model is made without memory, on torch's meta device. A module of the user's
        own is passed over: it need not know of that device, and may keep what it made there. Once
        everything is built, :func:`swarm.experiments.runs.memory.require_memory` counts all that a
        run takes, for every model.
        """
        target, n = str(self.settings.model.get("_target_")), self.settings.devices
        if not target.startswith(("swarm.", "torch.")):
            return
        try:
            with torch.device("meta"):
                one = sum(p.numel() * p.element_size() for p in self.module().parameters())
        except (RuntimeError, TypeError) as error:
            raise ConfigError(
                "model", target, f"cannot be made: {shown(str(error).splitlines()[0])}"
            ) from error
        free = available_bytes() if self.device.type == "cpu" else None
        if free is not None and one * n > free:
            if one > free:
                need = f"at least {size_text(one)} for one device's parameters"
                raise no_room("model", target, need, free, "a smaller model would fit")
            need = f"at least {size_text(n * one)} for parameters alone"
            raise no_room("devices", n, need, free, f"at most {free // one:,} devices fit")

    def first_rows(self, devices: npt.NDArray[np.int64]) -> Tensor:
        """The rows ``[n, P]`` that these devices start from: the same for all, or each drawn from
        its own key.
        """
        if self.settings.init == "independent":
            rows = [self.layout.pack(dict(self.module(int(d)).named_parameters())) for d in devices]
            return torch.stack(rows).to(self.device)
        return self.start.repeat(len(devices), 1).to(self.device)

    @cached_property
    def label_mix_WNC(self) -> npt.NDArray[np.float64]:
        """Each device's share of labels in each concept, which its own-distribution accuracy is
        weighted by.
        """
        return label_mixes(self.spec.dataset, self.spec.split)

    def _network(self) -> Network:
        s = self.settings
        graph, hardware = (
            graph_of(self.topology, self.topology.phase(1), s.devices),
            hardware_of(self.fleet, s.devices),
        )
        context = {
            "devices": s.devices,
            "seed": s.seed,
            "device_names": self.names,
            "tick": s.network.round_seconds,
            "degree_N": graph.degree_in + graph.degree_out,
            "longest_edge": self._longest_edge(graph),
            "compute_N": (
                None if hardware is None else self.local_steps_N * self.step_flops / hardware.flops
            ),
        }
        churn: Churn = self._build(s.churn, Churn, "churn", **context)
        outage: Outage = self._build(s.outage, Outage, "outage", **context)
        clock: Clock = self._build(s.clock, Clock, "clock", **context)
        delay: Delay = self._build(s.delay, Delay, "delay", **context)
        return Network(
            s.devices,
            s.seed,
            s.network.round_seconds,
            s.network.drop,
            s.network.symmetric,
            s.network.max_delay,
            None if isinstance(delay, NoDelay) else delay,
            None if isinstance(churn, NoChurn) else churn,
            None if isinstance(outage, NoOutage) else outage,
            None if isinstance(clock, NoClock) else clock,
            None if hardware is None else hardware.lines,
        )

    def _longest_edge(self, graph: Graph) -> float | None:
        """In the graph's unit; None where edges have no lengths, infinity where it changes."""
        if graph.length_E is None:
            return None
        return float(graph.length_E.max(initial=0.0)) if self.topology.period == 1 else math.inf

    def check_compressor(self) -> None:
        """Raises :class:`ConfigError` where there is nothing that the compressor could work on."""
        if self.compressor is None:
            return
        name = str(self.settings.compressor["_target_"]).rpartition(".")[2]
        if "per_edge" in self.protocol.phases or "server" in self.protocol.phases:
            each = "per_edge" in self.protocol.phases
            way = "each neighbour a message of its own" if each else "through a server"
            raise ConfigError(
                "compressor",
                name,
                f"must be none with {called(self.protocol)}, which sends"
                f" {way}:"
                " compressors work on one message that goes to all neighbours",
            )
        if self.protocol.requirements.own_error_feedback and self.compressor.feedback:
            raise ConfigError(
                "compressor.feedback",
                True,
                f"must be false with {called(self.protocol)}, which sends what was left "
                "out later by itself; doing so twice diverges",
            )
        if self.protocol.requirements.no_compression:
            raise ConfigError(
                "compressor",
                name,
                f"must be none with {called(self.protocol)}, which needs the exact numbers of its "
                "messages: what compression leaves out would add up, or be taken for something"
                " else",
            )
        for number, phase in enumerate(self.protocol.phases):
            if phase in ("mix", "messages"):
                try:
                    bits_of(self.compressor, width_of(self.protocol, number, self.layout.width))
                except ConfigError as error:
                    raise error.under("compressor") from None

    @cached_property
    def links(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None:
        """Everybody's neighbours and their weights, ``[N, most_links]`` each, for protocols with a
        row for each link.
        """
        return self.messages.links() if "per_edge" in self.protocol.phases else None

    @cached_property
    def slots(self) -> dict[str, tuple[int, ...]]:
        """The shape of each of the protocol's slots, for one device."""
        links = None
        if "per_edge" in self.protocol.phases:
            of_nobody = np.zeros((0, self.most_links))
            ids, weight = (
                torch.as_tensor(of_nobody.astype(np.int64)),
                torch.as_tensor(of_nobody, dtype=self.dtype),
            )
            links = Links(ids, weight, ids.new_empty(0))
        nobody = torch.empty(0, self.layout.width, dtype=self.dtype)
        return {
            name: tuple(rows.shape[1:])
            for name, rows in slots_of(self.protocol, nobody, links).items()
        }

    @cached_property
    def in_flight(self) -> dict[str, tuple[int, ...]]:
        """The shapes, for one device, of what the wire remembers: messages under way, and what
        compression left out.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for number, phase in enumerate(self.protocol.phases):
            if phase in ("mix", "messages"):
                width = width_of(self.protocol, number, self.layout.width)
                if self.messages.depth:
                    shapes[f"history.{number}"] = (self.messages.depth, width)
                if self.compressor is not None and self.compressor.feedback:
                    shapes[f"error.{number}"] = (width,)
        return shapes

    @cached_property
    def progress(self) -> dict[str, tuple[int, ...]]:
        """The shapes, for one device, of the whole numbers that say how far it is in its stream and
        what it remembers.
        """
        found: dict[str, tuple[int, ...]] = {"steps": (), "met": (), "lately": ()}
        if self.replay.size:
            classes = self.spec.dataset.known_labels()[1]
            found |= {"kept": (self.replay.size,), "offered": (classes,), "largest": (classes,)}
        return found

    def graph(self, round: int) -> Graph:
        """The graph of ``round`` (counted from 1)."""
        return self.messages.graph(round)

    def mixing(self, round: int) -> Mixing:
        """The mixing weights of ``round`` (counted from 1) if every message arrives."""
        return self.messages.mixing(round)

    def active(self, round: int) -> npt.NDArray[np.bool_] | None:
        """Who learns and is heard in ``round``, ``[N]``; None: everybody."""
        return self.messages.participants(round, self.settings.seed)

    def mean_shares(self, phase: Phase, round: int) -> npt.NDArray[np.float64]:
        """Each device's weight in a mean over all: the protocol's own for ``mean``, equal ones for
        complete-graph mixing.
        """
        n = self.settings.devices
        if phase != "server":
            return np.full(n, 1.0 / n)
        shares, active = shares_of(self.protocol, self.stream.sizes_N), self.active(round)
        if active is None:
            return shares
        heard = np.where(active, shares, 0.0)
        return heard / heard.sum() if heard.any() else shares

    def traffic(self, number: int, round: int) -> Traffic:
        """What phase ``number`` of the protocol puts on the wire: one message a directed edge, or
        for ``mean`` one up and one down a participant (a server in the middle), as far as they are
        not lost."""
        phase = self.protocol.phases[number]
        return self.messages.traffic(phase, round, self.bits(number), self.settings.seed)

    def bits(self, number: int) -> int:
        """Bits of one message of phase ``number``."""
        phase, width = (
            self.protocol.phases[number],
            width_of(self.protocol, number, self.layout.width),
        )
        if self.compressor is not None and phase in ("mix", "messages"):
            return bits_of(self.compressor, width)
        return width * self.number_bits

    def _require_fit(self) -> None:
        """Refuse a fleet with a device that what it keeps, and a gradient, do not fit into."""
        if self.fleet.hardware is None:
            return
        memory_N = self.fleet.hardware.memory
        needed = (self.kept_numbers + self.layout.width) * self.dtype.itemsize
        needed += self.replay_bytes
        if needed > memory_N.min():
            small = int(memory_N.argmin())
            who = titled(small, named(self.names, small))
            valid = (
                f"{who} has {memory_N[small]:.3g} bytes of memory; model, optimiser and replay need"
                f" {needed:.3g}"
            )
            raise ConfigError(
                "fleet",
                self.settings.fleet["_target_"].rpartition(".")[2],
                f"{valid}; take a smaller model",
            )

    @property
    def replay_bytes(self) -> int:
        """What the samples of a full replay memory take up on a device: features in the run's
        dtype, and 8 bytes a label.
        """
        data = self.spec.dataset
        return int(self.replay.size * (data.x[0].size * self.dtype.itemsize + data.y[0].size * 8))

    @cached_property
    def local_steps_N(self) -> npt.NDArray[np.int64]:
        """Local steps of each device in a round."""
        train = self.settings.train
        if train.local_steps is not None:
            return np.full(self.settings.devices, train.local_steps, dtype=np.int64)
        assert train.local_epochs is not None
        return self.stream.steps_of_epochs(train.local_epochs)

    def rate(self, round: int) -> float:
        """The learning rate of round ``round``."""
        return self.optimizer.rate(round - 1, self.settings.schedule_rounds)

    @property
    def kept_numbers(self) -> int:
        """How many numbers of one device a checkpoint holds."""
        own = [*self.slots.values(), *self.in_flight.values()]
        return (1 + len(self.optimizer.slots)) * self.layout.width + sum(
            math.prod(shape) for shape in own
        )

    def _blocks(self) -> Blocks:
        size = self.settings.engine.get("block", "auto")
        if size == "auto":
            clock = self.network.clock
            return Blocks.auto(
                self.settings.devices, self.layout.width, 1.0 if clock is None else clock.share
            )
        return Blocks.of_size(self.settings.devices, int(size))


def _device(name: str) -> torch.device:
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there[name]:
        valid = ", ".join(n for n, ok in there.items() if ok)
        raise ConfigError(
            "compute.device", name, f"is not there; this machine and torch build have: {valid}"
        )
    return torch.device(name)
