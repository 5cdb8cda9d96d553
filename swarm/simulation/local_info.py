"""Measures models on the validation samples of a shard's devices, for protocols that need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm.communication.protocol.local_info import LocalInfo, ranks
from swarm.simulation.evaluation import OwnSamples

if TYPE_CHECKING:
    from swarm.simulation.shard import Shard


def local_info(shard: Shard) -> LocalInfo:
    """What the devices of ``shard`` know of themselves; they can measure models if the protocol
    requires it."""
    e, device = shard.experiment, shard.experiment.device
    held, hardware = e.data.split.local_validation, e.communication.fleet.hardware
    samples_n = torch.as_tensor(e.data.split.sizes_N[shard.devices], device=device)
    validation_n = torch.zeros_like(samples_n)
    if held is not None:
        validation_n = torch.as_tensor(held.sizes_N[shard.devices], device=device)
    flops_n = None
    if hardware is not None:
        flops_n = torch.as_tensor(hardware.flops[shard.devices], device=device).to(e.dtype)
    if not e.communication.protocol.requirements.own_validation:
        return LocalInfo(samples_n, validation_n, flops_n)
    return LocalInfo(samples_n, validation_n, flops_n, _Measure(shard))


class _Measure:
    """Measures models block by block, so that a result depends on the model, the device and its
    block only, and not on how the swarm is cut into shards."""

    def __init__(self, shard: Shard) -> None:
        held = shard.experiment.data.split.local_validation
        assert held is not None, "checked before the start"
        self.shard = shard
        slices = [rows for _, rows in shard.experiment.blocks.slices(shard.blocks)]
        self.blocks = [(rows, OwnSamples.of(held, shard.devices[rows])) for rows in slices]

    def __call__(self, rows_AP: Tensor, device_A: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and accuracy ``[A]`` of the models ``rows_AP`` on the samples of ``device_A``.

        A block measures one model of each of its devices at a time. A device that has no further
        model to measure measures its own again, so that all products have the same shape.
        """
        x_nP, loader = self.shard.state.x, self.shard.batch_loader
        if rows_AP.shape[1:] != x_nP.shape[1:]:
            raise ValueError(
                f"state.local measures rows of {x_nP.shape[1]} parameters, and these have"
                f" {tuple(rows_AP.shape[1:])}"
            )
        rank_A = ranks(device_A)
        evaluator, rows_AP = self.shard.evaluator, rows_AP.to(x_nP)
        wide = torch.float64 if x_nP.device.type != "mps" else x_nP.dtype
        loss_A = x_nP.new_full((len(rows_AP),), torch.nan, dtype=wide)
        accuracy_A = loss_A.clone()
        for rows, own in self.blocks:
            here_A = (device_A >= rows.start) & (device_A < rows.stop)
            for rank in range(int(rank_A[here_A].max()) + 1 if here_A.any() else 0):
                some = torch.nonzero(here_A & (rank_A == rank)).squeeze(1)
                at = device_A[some] - rows.start
                x_BP = x_nP[rows].clone()
                x_BP[at] = rows_AP[some]
                found = evaluator.examine_local(x_BP, own, loader.x_S, loader.y_S)
                loss_A[some] = found.loss_B[at].to(loss_A)
                if evaluator.loss.classification:
                    answers_B = own.count_B.to(loss_A) * loader.y_S[:1].numel()
                    accuracy_A[some] = (found.hits_BC.sum(1) / answers_B)[at].to(loss_A)
        return loss_A, accuracy_A
