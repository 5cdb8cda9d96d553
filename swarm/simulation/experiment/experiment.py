"""One arm of a scenario, ready to run: every plug-in is built and checked, but nothing of the
swarm's size is allocated yet.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from swarm.common.errors import ConfigError
from swarm.common.names import Maybe
from swarm.common.plugin import called
from swarm.common.rows import Blocks
from swarm.config.choices import choice
from swarm.learning.privacy.accountant import Accountant
from swarm.learning.privacy.mechanism import ArmFacts
from swarm.learning.update.policy import UpdatePolicy
from swarm.simulation.cost import Deadline, deadline_of
from swarm.simulation.evaluation import BlockEvaluator
from swarm.simulation.experiment.checks.validate import validate
from swarm.simulation.experiment.cohorts.evaluation import MixedEvaluator
from swarm.simulation.experiment.cohorts.model import model_of
from swarm.simulation.experiment.communication import Communication
from swarm.simulation.experiment.data import Data
from swarm.simulation.experiment.early_stopping import StoppingRule, stopping_rule
from swarm.simulation.experiment.spec import RunSpec
from swarm.simulation.hostile.poison import Poison, facts_of
from swarm.simulation.metrics import chosen
from swarm.simulation.metrics.base import OutputMetric, Task

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Experiment:
    """An arm with its plug-ins built.

    Attributes:
        spec: The settings, data set and split that define the arm.
        data: What devices learn from.
        model: What each device trains.
        communication: How devices exchange messages.
        deadline: How many local steps devices have time for; None: there is no limit.
        poison: How hostile devices change their samples; None if they do not.
        blocks: Which devices train together.
        learner: Trains the devices of a block.
        distiller: Trains them on predictions that they exchange; None if they exchange none.
        metrics: The metrics of the arm.
        stopping: How its best round is found, and when it ends early; None: not at all.
    """

    def __init__(self, spec: RunSpec, policy: UpdatePolicy | None = None) -> None:
        """Build the parts of ``spec``; ``policy`` is its update policy, if that is built already.

        Raises :class:`ConfigError` for parts that cannot be built, or that do not go together."""
        self.spec, self.settings = spec, spec.settings
        self.dtype = DTYPES[self.settings.compute.dtype]
        self.device = _device(self.settings.compute.device)
        self.data = Data(spec, policy)
        self.model = model_of(self.settings, self.data, self.dtype, self.device)
        self.communication = Communication(self.settings, self.data, self.model)
        self.deadline: Deadline | None = deadline_of(self)
        self.poison = self._poison()
        self.blocks = self._blocks()
        self.learner = self.model.learner(self.blocks.size)
        given = self.communication.protocol.distillation
        self.distiller = None if given is None else self.model.distiller(self.blocks.size, given)
        validate(self)
        self.metrics = chosen.chosen(self.settings.metrics, self.task, self.settings.plugins)
        chosen.check(self)
        self.stopping: StoppingRule | None = stopping_rule(self)

    @property
    def names(self) -> Maybe | None:
        """The names of the devices; None where they have numbers only."""
        return self.communication.names

    @property
    def kept_numbers(self) -> int:
        """The number of a device's numbers in a checkpoint: of its model, optimizer and
        messages."""
        return self.model.numbers + self.communication.kept_numbers

    def evaluator(self, metrics: Sequence[OutputMetric] = ()) -> BlockEvaluator:
        """What predicts samples with the rows of devices, and measures these ``metrics``."""
        loss, outputs = self.model.test_loss, self.data.outputs
        found = [BlockEvaluator(one.kernel, loss, outputs, metrics) for one in self.learner.each]
        cohorts = self.model.cohorts
        return found[0] if cohorts is None else MixedEvaluator(found, cohorts)

    @property
    def task(self) -> Task:
        """The facts about this arm that metrics are built with."""
        data, looked = self.data.dataset, self.settings.evaluate
        classification = self.model.loss.classification
        return Task(
            classification,
            self.data.outputs,
            classification and data.y.ndim > 1,
            looked.accuracy,
            None if looked.label is None else data.class_of(looked.label),
            looked.local,
            looked.ensemble,
            self.data.split.local_test is not None,
            self.model.test_loss.gives_probabilities,
            self.poison is not None and self.poison.triggered is not None,
            self.data.policy.streams,
            data.tokens is not None,
            self.settings.seed,
            data.target,
        )

    @cached_property
    def accountant(self) -> Accountant | None:
        """What devices spend of their privacy; None where there is nothing to count."""
        privacy = self.data.privacy
        return privacy.accountant_for(self.arm_facts) if privacy.counted else None

    @property
    def arm_facts(self) -> ArmFacts:
        """What a mechanism of privacy knows of this arm."""
        c, rate_N = self.communication, self.data.stream.rate_N
        sending = [phase for phase in c.phases if phase.sends]
        return ArmFacts(
            np.ones(self.settings.devices) if rate_N is None else rate_N,
            c.honest_N,
            c.topology.phase,
            c.pairs,
            c.graph(1).directed,
            bool(sending) and all(phase.through_server for phase in sending),
            c.protocol.sends_parameters,
            called(c.protocol),
            choice("topology", self.settings.topology),
        )

    def _poison(self) -> Poison | None:
        c, data = self.communication, self.data.dataset
        if c.data_attack is None or c.hostile_N is None:
            return None
        facts = facts_of(data)
        c.data_attack.check_samples(facts)
        return Poison(c.data_attack, facts, c.hostile_N, data, self.settings.seed)

    def noise_share(self, round: int) -> float:
        """The share of the noise that each device adds in ``round`` where each is protected as a
        whole: all of it, or 1/√m where others see only the mean over m devices."""
        if not self.data.privacy.hidden_in_mean:
            return 1.0
        active = self.communication.active(round)
        count = self.settings.devices if active is None else int(active.sum())
        return 1.0 / math.sqrt(max(count, 1))

    def _blocks(self) -> Blocks:
        size, devices = self.settings.engine.get("block", "auto"), self.settings.devices
        if size != "auto":
            return Blocks.of_size(devices, int(size))
        clock = self.communication.network.clock
        share = 1.0 if clock is None else clock.share
        if self.model.cohorts is not None:  # those of a cohort in a block train together
            share *= max(self.model.cohorts.devices_of_each.values()) / devices
        return Blocks.auto(devices, self.model.layout.width, share)


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
    if name == "cuda":  # read when the first product is computed
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return torch.device(name)
