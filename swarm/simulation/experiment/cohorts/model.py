"""The models of an arm whose devices have several of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.common.rows import trainable
from swarm.communication.protocol.distillation import Distillation
from swarm.config.plug_in_lists import OWN
from swarm.config.settings import Settings
from swarm.learning.buffers import Constants
from swarm.learning.cohorts.distiller import MixedDistiller
from swarm.learning.cohorts.learner import MixedLearner
from swarm.learning.cohorts.parts import parts_of
from swarm.learning.cohorts.saved import COHORT, cohort_facts, layout_facts
from swarm.learning.cohorts.union import Shape, union_or_apart
from swarm.learning.distillation import Distiller
from swarm.learning.initial_parameters import read_start
from swarm.learning.learner import Learner
from swarm.simulation.experiment.cohorts.cohorts import Cohorts
from swarm.simulation.experiment.cohorts.members import cohort_of_each
from swarm.simulation.experiment.data import Data
from swarm.simulation.experiment.model import Model

Ints = npt.NDArray[np.int64]


class MixedModel(Model):
    """The models of all cohorts. Rows are union rows: ``layout``, ``start``, :meth:`first_rows` and
    :meth:`learner` are about these. All else is said of the run's own model, such as the FLOP of a
    local step, in which computation is counted.

    Attributes:
        cohorts: Which device has which model.
    """

    cohorts: Cohorts

    def __init__(
        self, settings: Settings, data: Data, dtype: torch.dtype, device: torch.device
    ) -> None:
        number_N = cohort_of_each(settings)
        counts = np.bincount(number_N, minlength=1 + len(settings.cohorts)).tolist()
        own, *others = (
            model_of_cohort(settings, name, max(1, count), data, dtype, device)
            for name, count in zip([None, *settings.cohorts], counts, strict=True)
        )
        vars(self).update(vars(own))
        self.settings = settings
        models, names = [own, *others], [OWN, *settings.cohorts]
        there = np.unique(number_N)
        self.cohorts = cohorts = Cohorts(
            tuple(names[c] for c in there),
            tuple(models[c] for c in there),
            union_or_apart([_shape(names[c], models[c]) for c in there]),
            np.searchsorted(there, number_N),
        )
        lead = cohorts.models[cohorts.lead]
        lead.start = read_start(settings.init, lead.template, lead.layout, lead.constants, dtype)
        self.layout = cohorts.union.layout
        self.start = self._common_start()
        self.constants = _all_constants(cohorts)

    def _common_start(self) -> Tensor:
        """The union row ``[P]``: of numbers that several cohorts have, those of the largest one."""
        start_P = torch.zeros(self.layout.width, dtype=self.dtype)
        models, places = self.cohorts.models, self.cohorts.union.place_Cc
        for c in np.argsort([model.layout.width for model in models], kind="stable").tolist():
            start_P[places[c]] = models[c].start
        # where widths are equal, the lead comes last, so that a file for it is taken as it is
        start_P[places[self.cohorts.lead]] = self.lead.start
        return start_P

    @property
    def lead(self) -> Model:
        """The largest model."""
        return self.cohorts.models[self.cohorts.lead]

    @property
    def each(self) -> Sequence[Model]:
        """The models of all cohorts."""
        return self.cohorts.models

    def of_lead(self, row_P: Tensor) -> Tensor:
        """The numbers of the largest model in a union row, ``[P]``."""
        return self.cohorts.own(self.cohorts.lead, row_P)

    def of_device(self, device: int) -> Model:
        """The model of a device's cohort."""
        own: Model = self.cohorts.models[self.cohorts.cohort_N[device]]
        return own

    def own_row(self, row_P: Tensor, device: int) -> Tensor:
        """The numbers of a device's own model in its union row ``[P]``."""
        return self.cohorts.own(int(self.cohorts.cohort_N[device]), row_P)

    def module(self, device: int = 0) -> nn.Module:
        """A new module of the shape that the device has, initialised from (seed, device)."""
        return self.of_device(device).module(device)

    def learner(self, block: int) -> Learner:
        """A learner that trains blocks of up to ``block`` devices at once."""
        learners = [model.learner(block) for model in self.cohorts.models]
        cohorts = self.cohorts
        return MixedLearner(learners, self._places, cohorts.cohort_N, cohorts.lead)

    def distiller(self, block: int, settings: Distillation) -> Distiller:
        """See :meth:`Model.distiller`."""
        each = [model.distiller(block, settings) for model in self.cohorts.models]
        return MixedDistiller(each, self._places, self.cohorts.cohort_N)

    @property
    def _places(self) -> list[Tensor]:
        """Where the numbers of each cohort lie in a union row, on the device that computes."""
        return [place.to(self.device) for place in self.cohorts.union.place_Cc]

    def first_rows(self, devices: Ints) -> Tensor:
        """The union rows ``[n, P]`` that these devices start from, 0 where a device has no number;
        a smaller model starts as the corner of the largest one unless each is drawn by itself."""
        rows_nP = torch.zeros(len(devices), self.layout.width, dtype=self.dtype, device=self.device)
        for piece in self.cohorts.pieces(devices, self.device):
            place = self.cohorts.union.place_Cc[piece.cohort].to(self.device)
            if self.settings.init == "independent":
                some = devices[piece.place_m.cpu().numpy()]
                first = self.cohorts.models[piece.cohort].first_rows(some)
            else:
                first = self.start.to(self.device)[place].repeat(len(piece.place_m), 1)
            rows_nP[piece.place_m[:, None], place] = first
        return rows_nP

    @property
    def facts(self) -> dict[str, Any]:
        """See :attr:`Model.facts`; of the union row, and of the rows of all cohorts."""
        pairs = zip(self.cohorts.names, self.cohorts.models, strict=True)
        shapes = [_shape(name, model) for name, model in pairs]
        return {**layout_facts(self.layout), "cohorts": cohort_facts(shapes, self.cohorts.union)}

    @property
    def arrays(self) -> dict[str, Tensor]:
        """See :attr:`Model.arrays`."""
        return {COHORT: torch.as_tensor(self.cohorts.cohort_N)}

    def relative_work_of(self, devices: Ints) -> npt.NDArray[np.float64]:
        """FLOP of a local step of these devices, over those of the run's own model."""
        return self.cohorts.step_flops_N[devices] / self.step_flops

    def prediction_share_of(self, devices: Ints) -> npt.NDArray[np.float64]:
        """FLOP of predicting a mini-batch of these devices, over a local step's of the run's own
        model."""
        return self.cohorts.prediction_flops_N[devices] / self.step_flops


def model_of_cohort(
    settings: Settings,
    cohort: str | None,
    count: int,
    data: Data,
    dtype: torch.dtype,
    device: torch.device,
) -> Model:
    """The model of one cohort with ``count`` devices, or with None the run's own.

    Raises :class:`ConfigError` on the cohort's own keys."""
    drawn = settings.init if settings.init in ("common", "independent") else "common"
    compute = settings.compute.model_copy(update={"compile": False})
    update = {"cohorts": {}, "devices": count, "init": drawn, "compute": compute}
    if cohort is None:
        return Model(settings.model_copy(update=update), data, dtype, device)
    update["model"] = settings.cohorts[cohort].model
    try:
        return Model(settings.model_copy(update=update), data, dtype, device)
    except ConfigError as error:
        key = error.key.removeprefix("/")
        if key.partition(".")[0] == "model":
            raise ConfigError(f"cohorts.{cohort}.{key}", error.value, error.valid) from error
        valid = f"{error.valid} (in the cohort {cohort})"
        raise ConfigError(error.key, error.value, valid) from error


def _shape(name: str, model: Model) -> Shape:
    last = list(trainable(model.template))[-1].rpartition(".")[0]
    return Shape(name, model.layout, last, parts_of(model.template))


def _all_constants(cohorts: Cohorts) -> Constants:
    """The constants of all cohorts, as ``NAME OF THE COHORT/NAME``."""
    values = {
        f"{name}/{key}": value
        for name, model in zip(cohorts.names, cohorts.models, strict=True)
        for key, value in model.constants.values.items()
    }
    saved = [
        f"{name}/{key}"
        for name, model in zip(cohorts.names, cohorts.models, strict=True)
        for key in model.constants.saved
    ]
    return Constants(values, tuple(saved))


def model_of(settings: Settings, data: Data, dtype: torch.dtype, device: torch.device) -> Model:
    """Return the model of all devices, or the models of all cohorts.

    Raises :class:`ConfigError` for models that cannot be built, or have no common rows."""
    kind = MixedModel if settings.cohorts else Model
    return kind(settings, data, dtype, device)
