"""What a device knows by itself: how much data it has, how fast it computes, and how well a model
does on validation samples of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from swarm.common.errors import counted

MeasureModels = Callable[[Tensor, Tensor, Tensor], Tensor]


def _undeclared(rows_mP: Tensor, model_A: Tensor, device_A: Tensor) -> Tensor:
    raise ValueError(
        "state.local measures models only for a protocol whose class says"
        " requirements = Requirements(own_validation=True)"
    )


def ranks(device_A: Tensor) -> Tensor:
    """The number of each entry among those of its device, from 0, in the order in which they
    stand, ``[A]``."""
    order = torch.argsort(device_A, stable=True)
    sorted_A = device_A[order]
    found = torch.empty_like(order)
    found[order] = torch.arange(len(order), device=order.device) - torch.searchsorted(
        sorted_A, sorted_A
    )
    return found


def _nobody() -> Tensor:
    return torch.zeros(0, dtype=torch.int64)


@dataclass(frozen=True)
class LocalInfo:
    """What the n devices of a shard know of themselves.

    Attributes:
        samples_n: The number of training samples of each device.
        validation_n: The number of its own validation samples (``data.local_validation``).
        flops_n: Its speed, in FLOP a second; None without a fleet.
        measure_loss: Gives the loss ``[A]`` of A models, each on the validation samples of one
            device, given rows, the number of each model among them, and the devices; :meth:`loss`
            calls it.
        measure_accuracy: Gives their accuracy; :meth:`accuracy` calls it.
    """

    samples_n: Tensor = field(default_factory=_nobody)
    validation_n: Tensor = field(default_factory=_nobody)
    flops_n: Tensor | None = None
    measure_loss: MeasureModels = _undeclared
    measure_accuracy: MeasureModels = _undeclared

    def loss(self, rows_AP: Tensor, device_A: Tensor | None = None) -> Tensor:
        """The mean loss of each of A models ``rows_AP`` on validation samples, ``[A]``.

        The samples are those of the device ``device_A``, a number of the shard's rows such as
        ``Inbox.dst_A``; None takes the model of row i with the samples of device i. A loss does not
        depend on what else is measured beside it. It needs ``Requirements.own_validation``.
        """
        return self.measure_loss(rows_AP, *self._numbers(rows_AP, device_A))

    def accuracy(self, rows_AP: Tensor, device_A: Tensor | None = None) -> Tensor:
        """The share of right answers, ``[A]``, as :meth:`loss` gives the loss; NaN of a
        regression."""
        return self.measure_accuracy(rows_AP, *self._numbers(rows_AP, device_A))

    def _numbers(self, rows_AP: Tensor, device_A: Tensor | None) -> tuple[Tensor, Tensor]:
        if device_A is None:
            device_A = torch.arange(len(self.samples_n), device=rows_AP.device)
        if len(device_A) != len(rows_AP):
            raise ValueError(
                f"state.local measures {counted(len(rows_AP), 'model')} on the samples of"
                f" {len(device_A)}"
                " devices; each model needs one device"
            )
        return torch.arange(len(rows_AP), device=rows_AP.device), device_A
