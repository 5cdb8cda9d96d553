"""From a user's ``nn.Module`` to a kernel: what is accepted, and which mathematics runs it."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from swarm.data.dataset import chunks
from swarm.errors import ConfigError
from swarm.learn.dense import Dense
from swarm.learn.kernel import Functional, Kernel, PerDevice
from swarm.learn.losses import Loss
from swarm.learn.stacked import Stacked
from swarm.models.sequence import SequenceModel
from swarm.rng import derive
from swarm.state import Layout


def initialised(make: Callable[[], nn.Module], seed: int, device: int = 0) -> nn.Module:
    """A module whose own initialisation drew from a generator seeded by (seed, device); torch's global one is restored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "init", device))
        return make()


def check_module(module: nn.Module, inputs: Tensor, outputs: tuple[int, ...]) -> None:
    """Refuse, by name, a module that cannot be run over rows: no parameters, buffers it changes, noise of its own, or
    an output that is not ``[b, *outputs]``: a number for each class, for each position where those have labels.
    ``inputs`` are a few samples ``[b, *features]``."""
    name = type(module).__name__
    if not any(True for _ in module.parameters()):
        raise ConfigError("_target_", name, "has no parameters to learn")
    if any(not p.dtype.is_floating_point for p in module.parameters()):
        raise ConfigError("_target_", name, "has parameters that are not floating point")
    frozen = [n for n, p in module.named_parameters() if not p.requires_grad]
    if frozen:
        raise ConfigError(
            "_target_", name, f"freezes {frozen[0]}; all parameters learn here, keep what is fixed in a buffer"
        )
    module.train()
    before = {n: b.clone() for n, b in module.named_buffers()}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            generator = torch.get_rng_state()
            out, again = module(inputs), module(inputs)
            noisy = not torch.equal(generator, torch.get_rng_state())
    except Exception as error:  # a user's module may fail in any way; its own words are the best explanation
        raise ConfigError("_target_", name, f"fails on samples of shape {list(inputs.shape[1:])}: {error}") from error
    changed = [n for n, b in module.named_buffers() if not torch.equal(b, before[n])]
    if changed:
        raise ConfigError(
            "_target_",
            name,
            f"changes its buffer {changed[0]} while learning (BatchNorm does); use LayerNorm or GroupNorm",
        )
    if noisy or (isinstance(out, Tensor) and isinstance(again, Tensor) and not torch.equal(out, again)):
        raise ConfigError(
            "_target_",
            name,
            "draws noise of its own, which no seed here reaches, or changes from call to call; set its dropout to 0",
        )
    expected = (inputs.shape[0], *outputs)
    if not isinstance(out, Tensor) or tuple(out.shape) != expected:
        shape = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ConfigError(
            "_target_", name, f"returns {shape} for {expected[0]} samples; the data needs {list(expected)}"
        )

    if not _answers_alone(module, inputs[:1], out[:1]):
        raise ConfigError(
            "_target_",
            name,
            "answers differently in other company (a norm over the batch does); use LayerNorm or GroupNorm",
        )


def _answers_alone(module: nn.Module, inputs: Tensor, expected: Tensor) -> bool:
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return torch.allclose(module(inputs), expected, rtol=1e-3, atol=1e-4)
    except ValueError:  # BatchNorm's own complaint about a single sample
        return False


def check_tokens(module: nn.Module, x: npt.NDArray[np.generic]) -> None:
    """Refuse samples ``[S, T]`` that a sequence model has no embedding for. In a block the devices' tables lie one behind the
    other: a token beyond its own would be looked up in the next device's."""
    if not isinstance(module, SequenceModel):
        return
    for rows in chunks(x):
        token = np.asarray(x[rows], np.float64)
        if token.min() < 0 or (token != np.floor(token)).any():
            raise ConfigError("/model", type(module).__name__, "needs tokens 0, 1, …; the data have other numbers")
    known, largest = module.embed.num_embeddings, int(np.asarray(x).max())
    if largest >= known:
        raise ConfigError("vocabulary", known, f"must be at least {largest + 1}: the data have tokens up to {largest}")


def kernel_for(module: nn.Module, loss: Loss, inputs: Tensor, block: int) -> Kernel:
    """The fastest mathematics that can run the module: by hand, vectorised by ``torch.func``, or device by device.

    A block of one device gains nothing from vectorising, nor does an operation that vmap can only loop over.
    """
    dense = Dense.match(module, loss)
    if dense is not None:
        return dense
    stacked = Stacked.match(module, loss, inputs)
    if stacked is not None:
        return stacked
    if block == 1:
        return PerDevice(module, loss)
    rows = Layout.of(module).pack(dict(module.named_parameters())).detach().repeat(2, 1)
    functional = Functional(module, loss)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="There is a performance drop")
            functional.outputs(functional.layout.views(rows), inputs.expand(2, *inputs.shape))
    except (RuntimeError, UserWarning):  # fused recurrent layers have no batching rule
        return PerDevice(module, loss)
    return functional
