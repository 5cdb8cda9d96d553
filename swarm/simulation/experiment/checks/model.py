"""Checks of the model that devices train: that its parameters fit into memory, and that its module
can learn from the data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from swarm.common.errors import ConfigError, counted
from swarm.common.ranges import no_room, size_text
from swarm.common.rows import ParameterSpec, frozen_parameters, size_of, trainable
from swarm.common.system.machine import available_bytes
from swarm.config.explain import shown
from swarm.learning.buffers import buffers_kept
from swarm.learning.kernels.module import check_module, check_tokens
from swarm.learning.kernels.without_memory import without_memory
from swarm.learning.models.base import ReadsFiles

if TYPE_CHECKING:
    from swarm.simulation.experiment.model import Model

# of one device's parameters that learn, and of the frozen ones, which all devices share, by what
# makes a module: the arms and trials of a run have the same
_BYTES: dict[tuple[str, torch.dtype], tuple[int, int]] = {}


def require_room(model: Model) -> None:
    """Refuse parameters that do not fit into memory, of one device or of all, before anything is
    allocated.

    For this the model is made on torch's meta device, without memory. A user's own module is not
    checked here: it may not support that device, and may keep what it made there. Once everything
    is built, :func:`swarm.experiments.runs.memory.require_memory` counts all that a run takes, for
    every model. Raises :class:`ConfigError` about ``model`` or ``devices``.
    """
    settings, data = model.settings, model.data
    target, n = str(settings.model.get("_target_")), settings.devices
    if not target.startswith(("swarm.", "torch.")):
        return
    made_of = json.dumps([settings.model, data.features, data.outputs], default=str)
    key = (made_of, model.dtype)
    if key not in _BYTES:
        try:
            with without_memory():
                module = model.module()
        except (RuntimeError, TypeError) as error:
            why = f"cannot be made: {shown(str(error).splitlines()[0])}"
            raise ConfigError("model", target, why) from error
        _BYTES[key] = size_of(trainable(module)), size_of(frozen_parameters(module))
    one, frozen = _BYTES[key]
    free = available_bytes() if model.device.type == "cpu" else None
    if free is None or one * n + frozen <= free:
        return
    if one + frozen > free:
        need = f"at least {size_text(one + frozen)} for one device's parameters"
        raise no_room("model", target, need, free, "a smaller model would fit")
    need = f"at least {size_text(n * one + frozen)} for parameters alone"
    fits = f"at most {counted((free - frozen) // one, 'device')} would fit"
    raise no_room("devices", n, need, free, fits)


def checked_module(model: Model) -> nn.Module:
    """A module that has passed the checks that it can learn from these data.

    Raises :class:`ConfigError` about ``model`` for one that cannot."""
    module, data = model.module().to(model.device), model.data.dataset
    answers = (*data.y.shape[1:], data.classes) if data.classes else (model.data.outputs,)
    try:
        check_tokens(module, data.x)
        check_module(module, model.sample(), answers)
        if isinstance(module, ReadsFiles):
            module.require_tokens(None if data.tokens is None else data.tokens.json)
    except ConfigError as error:
        raise error.under("model") from None
    return module


def require_batch(model: Model, module: nn.Module, statistics: Sequence[ParameterSpec]) -> None:
    """Refuse mini-batches of one sample for a module that needs several to learn."""
    if not statistics or model.settings.train.batch > 1:
        return
    try:
        with torch.no_grad(), buffers_kept(module):
            module(model.sample()[:1])
    except ValueError as error:
        valid = f"must be at least 2 with this model, which fails on one sample: {error}"
        raise ConfigError("train.batch", 1, valid) from None
