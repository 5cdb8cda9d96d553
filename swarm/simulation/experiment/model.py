"""The model that every device of an arm trains: its module, loss, optimizer and first
parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.common.rows import Layout, frozen_parameters, size_of
from swarm.communication.protocol.distillation import Distillation
from swarm.config.build import build
from swarm.config.explain import shown
from swarm.config.settings import Settings
from swarm.learning.buffers import Constants
from swarm.learning.cohorts.saved import layout_facts
from swarm.learning.distillation import Distiller, distillation_loss
from swarm.learning.initial_parameters import read_start
from swarm.learning.kernels.flops import flops_of_prediction, flops_of_step
from swarm.learning.kernels.losses import (
    Loss,
    PartialLabelLoss,
    Weighted,
    class_weights,
    loss_for,
)
from swarm.learning.kernels.module import initialised, kernel_for, require_real, warn_of_type
from swarm.learning.learner import Learner
from swarm.learning.losses.base import SampleLoss
from swarm.learning.losses.own import KEY, OwnLoss, check_loss, own_loss
from swarm.learning.models.base import Wrapped
from swarm.learning.optim.grid import GridLearner
from swarm.learning.optim.optimizer import Optimizer
from swarm.learning.optim.schedule import Schedule
from swarm.learning.personal.base import Personal
from swarm.learning.running_statistics import entries, layout_of, running_statistics
from swarm.simulation.experiment.checks.model import checked_module, require_batch, require_room
from swarm.simulation.experiment.data import Data

if TYPE_CHECKING:
    from swarm.simulation.experiment.cohorts.cohorts import Cohorts


class Model:
    """The model of one device, which is the same for all devices.

    Attributes:
        loss: The loss that training minimises.
        test_loss: The loss that devices are tested by, in which all classes count alike.
        optimizer: How a local step follows from a gradient.
        personal: What a device learns for itself beside the model that it shares.
        layout: How the parameters and running statistics lie in a row ``[P]``.
        template: The module whose constant buffers and frozen parameters all devices share.
        constants: The template's buffers and frozen parameters, which no step changes.
        start: The row ``[P]`` that devices start from, if all start from the same.
        grid: What numbers their parameters may be; None: any.
        cohorts: Which device has which model; None where all have this one.
    """

    cohorts: Cohorts | None = None

    def __init__(
        self, settings: Settings, data: Data, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.settings, self.data, self.dtype, self.device = settings, data, dtype, device
        self.test_loss = self._loss()
        self.loss = self._weighted()
        require_room(self)
        schedule: Schedule = self._build(settings.schedule_plug_in, Schedule, "schedule")
        self.optimizer: Optimizer = self._build(
            settings.optimizer, Optimizer, "optimizer", schedule=schedule
        )
        self.personal: Personal = self._build(settings.personal, Personal, "personal")
        self.template = module = checked_module(self)
        statistics = running_statistics(module, self.sample())
        require_batch(self, module, statistics)
        self.layout: Layout = layout_of(module, statistics, settings.buffers, settings.share)
        self.constants = Constants.of(module, [s.name for s in statistics])
        self.start = read_start(settings.init, module, self.layout, self.constants, dtype)
        self.grid = self.optimizer.grid(self.layout, self.start, settings.seed)
        if self.grid is not None:
            self.start = self.grid.nearest(self.start[None])[0]

    def _build(self, node: dict[str, Any], expect: type, section: str, **context: Any) -> Any:
        return build(node, expect, section, self.settings.plugins, **context)

    def _loss(self) -> Loss:
        data = self.data.dataset
        span_T1 = None
        if data.target is not None:
            span_T1 = torch.as_tensor(data.target.span[:, None]).to(self.device, self.dtype)
        asked = self.settings.train.loss
        if isinstance(asked, dict):
            own = own_loss(self._build(asked, SampleLoss, KEY), data.classes, span_T1)
            check_loss(own, self.data.outputs, self.dtype, self.device)
            return own
        loss = loss_for(asked, data.classes, span_T1)
        return loss if data.observed_labels is None else PartialLabelLoss()

    def _weighted(self) -> Loss:
        """The loss with the weights of classes that are asked for."""
        asked, data = self.settings.train.class_weights, self.data.dataset
        if asked is None:
            return self.test_loss
        if not data.classes:
            valid = "must be null with numeric targets"
            raise ConfigError("train.class_weights", shown(asked), valid)
        labels = data.y[data.train].astype(np.int64)
        # these losses count a target as often as its numbers say
        own = self.test_loss if isinstance(self.test_loss, OwnLoss) else PartialLabelLoss()
        return Weighted(own, class_weights(asked, labels, data.classes))

    @property
    def lead(self) -> Model:
        """The largest model of the swarm, which is this one unless there are cohorts."""
        return self

    @property
    def each(self) -> Sequence[Model]:
        """All models of the swarm."""
        return (self,)

    def of_lead(self, row_P: Tensor) -> Tensor:
        """The numbers of the largest model in a row of the swarm, ``[P]``."""
        return row_P

    def of_device(self, device: int) -> Model:
        """The model that a device has."""
        return self

    def own_row(self, row_P: Tensor, device: int) -> Tensor:
        """The numbers of a device's own model in its row ``[P]``."""
        return row_P

    # --- the module -------------------------------------------------------------------------------

    def module(self, device: int = 0) -> nn.Module:
        """A new module, initialised from (seed, device)."""
        make = partial(
            self._build,
            self.settings.model,
            nn.Module,
            "model",
            features=self.data.features,
            outputs=self.data.outputs,
        )
        made = require_real(initialised(make, self.settings.seed, device))
        return warn_of_type(made, self.dtype).to(self.dtype)

    def sample(self) -> Tensor:
        """Two samples ``[2, *features]``, to try a module on."""
        data = self.data.dataset
        x = torch.as_tensor(data.x[data.train[:2]])
        return x.to(self.device, self.dtype if x.is_floating_point() else x.dtype)

    def learner(self, block: int) -> Learner:
        """A learner that trains blocks of up to ``block`` devices at once."""
        train = self.settings.train
        kernel = kernel_for(self.template, self.loss, self.sample(), block, self.layout)
        if self.grid is not None:
            grid, clip = self.grid, train.clip_norm
            return GridLearner(kernel, self.loss, self.optimizer, self.data.outputs, clip, grid)
        own = self.data.privacy.learner(
            kernel, self.loss, self.optimizer, self.data.outputs, self.settings.seed
        )
        if own is not None:
            return own
        return Learner(
            kernel,
            self.loss,
            self.optimizer,
            self.data.outputs,
            train.clip_norm,
            self.settings.compute.compile,
        )

    def distiller(self, block: int, settings: Distillation) -> Distiller:
        """What trains blocks of up to ``block`` devices on predictions that they exchange."""
        loss = distillation_loss(self.loss.classification, settings.temperature)
        kernel = kernel_for(self.template, loss, self.sample(), block, self.layout)
        sends = settings.send == "probabilities"
        return Distiller(kernel, loss, self.data.outputs, sends)

    def first_rows(self, devices: npt.NDArray[np.int64]) -> Tensor:
        """The rows ``[n, P]`` that these devices start from: all the same, or each drawn with a key
        of its own.
        """
        if self.settings.init == "independent":
            rows = [self.layout.pack(entries(self.module(int(d)))) for d in devices]
            drawn = torch.stack(rows)
            return (drawn if self.grid is None else self.grid.nearest(drawn)).to(self.device)
        return self.start.repeat(len(devices), 1).to(self.device)

    def rate(self, round: int) -> float:
        """The learning rate of ``round`` (counted from 1)."""
        return self.optimizer.rate(round - 1, self.settings.schedule_rounds)

    def rates(self, round: int) -> npt.NDArray[np.float64] | None:
        """The learning rate of each device in ``round``, ``[N]``; None: all have :meth:`rate`."""
        table = self.data.table
        if table is None or "lr" not in table.columns:
            return None
        base_N = np.where(np.isnan(table.columns["lr"]), self.optimizer.lr, table.columns["lr"])
        return base_N * self.optimizer.factor(round - 1, self.settings.schedule_rounds)

    # --- its cost ---------------------------------------------------------------------------------

    @cached_property
    def step_flops(self) -> float:
        """FLOP of a device's local step."""
        # a run is in inference mode, and these parameters need a gradient
        with torch.inference_mode(False):
            module = self.module().to(self.device)
            return flops_of_step(module, self.sample(), self.settings.train.batch)

    @cached_property
    def prediction_share(self) -> float:
        """FLOP of predicting a mini-batch without learning from it, as a share of a local
        step's.
        """
        with torch.inference_mode(False):
            module = self.module().to(self.device)
            predicted = flops_of_prediction(module, self.sample(), self.settings.train.batch)
            return predicted / self.step_flops

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint holds of how parameters lie in a row, and of where they may be."""
        grid = {} if self.grid is None else {"grid": self.grid.sha256}
        return {**layout_facts(self.layout), **grid}

    @property
    def arrays(self) -> dict[str, Tensor]:
        """What a checkpoint holds of which device has which model."""
        return {}

    def relative_work_of(self, devices: npt.NDArray[np.int64]) -> float | npt.NDArray[np.float64]:
        """FLOP of a local step of these devices, over :attr:`step_flops`."""
        return 1.0

    def prediction_share_of(
        self, devices: npt.NDArray[np.int64]
    ) -> float | npt.NDArray[np.float64]:
        """FLOP of predicting a mini-batch of these devices, over :attr:`step_flops`."""
        return self.prediction_share

    @property
    def numbers(self) -> int:
        """The number of numbers that a device keeps for its models and their optimizers."""
        own = sum(math.prod(shape) for shape in self.kept.values())
        return (1 + len(self.optimizer.slots)) * self.layout.width + own

    @cached_property
    def frozen_bytes(self) -> int:
        """The bytes that a device takes for parameters that never change, as it stores them."""
        if isinstance(self.template, Wrapped):
            return self.template.frozen_bytes()
        return size_of(frozen_parameters(self.template))

    @cached_property
    def kept(self) -> dict[str, tuple[int, ...]]:
        """The shape, for one device, of each of the rows that it keeps for itself."""
        found = self.first_kept(torch.empty(0, self.layout.width, dtype=self.dtype))
        return {name: tuple(rows.shape[1:]) for name, rows in found.items()}

    def first_kept(self, x_NP: Tensor) -> dict[str, Tensor]:
        """What devices with these first rows keep for themselves at the start."""
        return self.personal.init(x_NP, tuple(self.optimizer.slots))
