"""The noise that a module draws from torch's generator while it learns, such as that of dropout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from swarm.common.system.generators import seeded_torch
from swarm.learning.buffers import buffers_kept

CPU = torch.device("cpu")


@contextmanager
def seeded(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """A context in which torch's generators, that of ``device`` among them, start from ``seed``;
    afterwards they are as they were."""
    accelerators = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=accelerators), seeded_torch():
        # torch.manual_seed would also note a stack trace for each kind of accelerator, for ever
        torch.default_generator.manual_seed(seed)
        if accelerators:
            torch.cuda.manual_seed(seed)
        yield


def draws_noise(module: nn.Module, inputs: Tensor) -> bool:
    """Whether ``forward``, in the mode in which ``module`` is, draws from torch's generator."""
    with torch.no_grad(), buffers_kept(module), seeded(0, inputs.device):
        before = _states(inputs.device)
        module(inputs.clone())
        after = _states(inputs.device)
    return not all(map(torch.equal, before, after))


def _states(device: torch.device) -> list[Tensor]:
    """The states of torch's generators: that of the CPU, and that of ``device``."""
    found = [torch.get_rng_state()]
    return [*found, torch.cuda.get_rng_state(device)] if device.type == "cuda" else found
