"""From a user's ``nn.Module`` to a kernel: checks of the module, and the choice of its kernel."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from swarm.common.arrays import chunks
from swarm.common.errors import ConfigError, counted
from swarm.common.plugin import called, fault_of, is_plugin, place, where
from swarm.common.rng import derive
from swarm.common.rows import Layout, trainable
from swarm.common.system.machine import ran_out_of_memory
from swarm.learning.buffers import buffers_kept, same
from swarm.learning.kernels.batched import BatchedKernel
from swarm.learning.kernels.dense import Dense
from swarm.learning.kernels.kernel import Functional, Kernel, PerDevice
from swarm.learning.kernels.losses import Loss
from swarm.learning.kernels.noise import draws_noise, seeded
from swarm.learning.models.sequence import sequence_model_in
from swarm.learning.running_statistics import changed_buffers, entries

EXTRA = "_extra_state"  # ends the keys of a state_dict that come from get_extra_state


def initialised(make: Callable[[], nn.Module], seed: int, device: int = 0) -> nn.Module:
    """Return ``make()``, with torch's CPU generator seeded by (seed, device) meanwhile and restored
    afterwards.
    """
    with seeded(derive(seed, "init", device)):
        return make()


def check_module(module: nn.Module, inputs: Tensor, outputs: tuple[int, ...]) -> None:
    """Refuse a module that cannot be run with the parameters of many devices.

    It must have parameters. It may change its buffers, and draw random numbers from torch, only
    while it learns (in training mode). It must return ``[b, *outputs]`` for ``inputs``, a few
    samples ``[b, *features]``: a number for each class, and for each position if positions have
    labels. Raises :class:`ConfigError` that names the module.
    """
    _require_parameters(module)
    module.train()
    out = _require_pure(module, inputs)
    expected = (inputs.shape[0], *outputs)
    if not isinstance(out, Tensor) or tuple(out.shape) != expected:
        shape = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
        hint = ", a prediction for each position, as gru or transformer make" * (len(outputs) == 2)
        why = (
            f"returns {shape} for {counted(expected[0], 'sample')}; the data needs"
            f" {list(expected)}{hint}"
        )
        raise refused(module, why)
    if not out.is_floating_point():
        kind = str(out.dtype).removeprefix("torch.")
        raise refused(
            module,
            f"returns {kind} numbers, which no loss has a gradient for; return floating-point ones",
        )
    if torch.isnan(out).any():
        count = int(torch.isnan(out).any(-1).sum())
        found = (
            f"returns NaN for {count} of {counted(out[..., 0].numel(), 'sample')} with its"
            " first parameters"
        )
        raise refused(
            module,
            f"{found}; look for a division by zero, or a logarithm or root of what is negative",
        )
    with buffers_kept(module):
        alone = _answers_alone(module, inputs[:1], out[:1])
    if not alone:
        raise refused(
            module,
            "gives a sample another output if the batch has other samples (a norm over the batch"
            " does); use LayerNorm or GroupNorm",
        )
    module.train()


def refused(module: nn.Module, why: str) -> ConfigError:
    """Make the error for a module that cannot be used: its name, the reason, and for a plug-in the
    file and line of its ``forward``.
    """
    at = place(module, "forward") if is_plugin(module) else ""
    return ConfigError("/model", called(module), why + (f" ({at})" if at else ""))


def require_real(module: nn.Module) -> nn.Module:
    """The module, which is refused if it holds complex numbers, such as the rotations of some
    position embeddings: made float32, they would lose their imaginary parts.
    """
    for what, held in (
        ("parameter", module.named_parameters()),
        ("buffer", module.named_buffers()),
    ):
        for name, value in held:
            if value.is_complex():  # no section adds its name to this one
                why = f"has the {what} {name} of complex numbers, and a run's are real"
                raise refused(module, f"{why}; two real ones hold the same").under("model")
    return module


def warn_of_type(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The module; a warning says so if it has parameters of a type of their own choice, which
    become numbers of ``dtype``, as all of a run are."""
    for name, value in module.named_parameters():
        if value.is_floating_point() and value.dtype not in (dtype, torch.float32):
            kinds = [str(each).removeprefix("torch.") for each in (value.dtype, dtype)]
            said = f"the parameter {name} of type {kinds[0]} becomes {kinds[1]}, as all numbers are"
            keeps = "; compute.dtype=float64 keeps it" * (value.dtype == torch.float64)
            warnings.warn(f"model={called(module)}: {said}{keeps}", stacklevel=2)
            break
    return module


def _require_parameters(module: nn.Module) -> None:
    """Refuse a module without parameters, parameters that a row cannot hold, and other state that
    neither a row nor a file can hold.
    """
    if not trainable(module):
        all_frozen = any(True for _ in module.parameters())
        why = "; all are frozen (requires_grad=False)" if all_frozen else ""
        raise refused(module, f"has no parameters to learn{why}")
    lazy = [name for name, p in module.named_parameters() if is_lazy(p)]
    if lazy:
        raise refused(
            module,
            f"leaves the shape of {lazy[0]} to its first call; give all sizes in the constructor",
        )
    for name, p in module.named_parameters():
        if not p.dtype.is_floating_point:
            kind = str(p.dtype).removeprefix("torch.")
            why = f"has the parameter {name} of type {kind}, and parameters are floating point"
            raise refused(module, f"{why}; register_buffer keeps a constant of another type")
    known: dict[int, str] = {}
    for name, p in module.named_parameters():
        other = known.setdefault(p.data_ptr(), name) if p.numel() else name
        if other != name:
            why = f"keeps {other} and {name} in the same memory, but as two parameters"
            raise refused(module, f"{why}; to tie them, assign the one parameter to both names")
    extra = [name for name in module.state_dict() if name.endswith(EXTRA)]
    if extra:
        raise refused(
            module,
            f"keeps a state of its own ({extra[0]}, by get_extra_state), which neither rows nor"
            " files can hold; use a buffer",
        )


def _require_pure(module: nn.Module, inputs: Tensor) -> object:
    """The outputs of ``forward``, which is refused if it fails, or is not a pure function of
    parameters, inputs and torch's generator. A module that draws noise or changes buffers while it
    learns is left in evaluation mode, in which it must do neither.
    """
    given = inputs.clone()
    writes = _writes(module)
    try:
        out, after = _tried(module, inputs)
        once = _attributes(module)
        again, after_again = _tried(module, given.clone())
        _warn_of_state(module, once)
        if changed_buffers(module, given) or draws_noise(module, given):
            if not all(same(after[name], after_again[name]) for name in after):
                raise refused(module, _NOISE)
            module.eval()
            _require_constant(module, given)
            out, again = _tried(module, given.clone())[0], _tried(module, given.clone())[0]
    except ConfigError:
        raise
    except (
        Exception,
        SystemExit,
    ) as error:  # a user's module may raise any error, whose text is the best explanation
        if ran_out_of_memory(error):
            raise
        fault = fault_of(error)
        said = fault.valid if isinstance(error, SystemExit) and fault else f"{error}{where(error)}"
        why = f"fails on samples of shape {list(inputs.shape[1:])}: {said}"
        raise ConfigError("/model", called(module), why) from error
    if not torch.equal(inputs, given):
        inputs.copy_(given)
        raise refused(
            module,
            "changes its input in place, which other devices read too; write x = x * 2 instead of"
            " x *= 2",
        )
    written = [name for name, count in _writes(module).items() if count != writes.get(name, count)]
    if written:
        raise refused(
            module,
            f"writes into its parameter {written[0]} in forward, as nn.Embedding(max_norm=…) does;"
            " only steps may change parameters, so scale a copy of it there",
        )
    if isinstance(out, Tensor) and isinstance(again, Tensor) and not same(out, again):
        raise refused(module, _NOISE)
    return out


def _writes(module: nn.Module) -> dict[str, int]:
    """How often each parameter was written. An actor makes its models in torch's inference mode, in
    which nobody counts that; the process that starts the actors has counted before.
    """
    return {name: p._version for name, p in module.named_parameters() if not p.is_inference()}


def _tried(module: nn.Module, inputs: Tensor) -> tuple[object, dict[str, Tensor]]:
    """The outputs of ``forward``, and the buffers after it; the module's own stay as they are."""
    with torch.no_grad(), buffers_kept(module), seeded(0, inputs.device):
        out = module(inputs)
        return out, {name: buffer.clone() for name, buffer in module.named_buffers()}


def _attributes(module: nn.Module) -> dict[str, object]:
    """The plain values among the attributes of a user's modules, and how long lists and the like
    are."""
    found: dict[str, object] = {}
    for name, part in module.named_modules():
        for key, value in vars(part).items() if is_plugin(part) else ():
            if isinstance(value, int | float | str):
                found[f"{name}.{key}".removeprefix(".")] = value
            elif isinstance(value, list | dict | set | deque) and not key.startswith("_"):
                found[f"{name}.{key}".removeprefix(".")] = len(value)
    return found


def _warn_of_state(module: nn.Module, once: dict[str, object]) -> None:
    """Warn of attributes that another call with the same inputs has changed."""
    twice = _attributes(module)
    if changed := [name for name, value in twice.items() if once.get(name, value) != value]:
        warnings.warn(
            f"model: {called(module)} changes its attribute {changed[0]} whenever it is called,"
            " which no checkpoint has and all devices share: if its outputs follow from that at any"
            " time, a resumed run has other numbers; a buffer (register_buffer) is part of each"
            " device's row",
            stacklevel=2,
        )


def _require_constant(module: nn.Module, inputs: Tensor) -> None:
    """Refuse a module that changes a buffer or draws noise while it predicts."""
    changed = changed_buffers(module, inputs)
    if changed:
        why = f"changes its buffer {changed[0]} while it predicts"
        raise refused(module, f"{why}; change it only where self.training is true")
    if draws_noise(module, inputs):
        raise refused(module, _NOISE)


_NOISE = (
    "draws noise that the run's seed does not control, or also when it predicts, or changes from"
    " call to call; draw noise from torch, and only where self.training is true"
)


def _answers_alone(module: nn.Module, inputs: Tensor, expected: Tensor) -> bool:
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            out = module(inputs)
            return out.shape == expected.shape and torch.allclose(
                out, expected, rtol=1e-3, atol=1e-4
            )
    except ValueError:  # BatchNorm's own complaint about a single sample
        return False
    except (Exception, SystemExit) as error:
        if ran_out_of_memory(error):
            raise
        why = f"fails on a single sample, though not on two: {error}{where(error)}"
        raise ConfigError("/model", called(module), why) from error


def check_tokens(module: nn.Module, x: npt.NDArray[np.generic]) -> None:
    """Refuse samples ``[S, T]`` with tokens that a sequence model has no embedding for.

    In a block the devices' embedding tables lie one behind the other, so that a token that is too
    large would be looked up in the next device's table. Raises :class:`ConfigError`.
    """
    sequence = sequence_model_in(module)
    if sequence is None:
        return
    for rows in chunks(x):
        token = np.asarray(x[rows], np.float64)
        if token.min() < 0 or (token != np.floor(token)).any():
            raise ConfigError(
                "/model", called(module), "needs tokens 0, 1, …; the data have other numbers"
            )
    known, largest = sequence.embed.num_embeddings, int(np.asarray(x).max())
    if largest >= known:
        raise ConfigError(
            "vocabulary",
            known,
            f"must be at least {largest + 1}: the data have tokens up to {largest}",
        )


def kernel_for(
    module: nn.Module, loss: Loss, inputs: Tensor, block: int, layout: Layout | None = None
) -> Kernel:
    """Return the fastest kernel that can run the module, for a few samples ``inputs`` and blocks of
    ``block`` devices, whose rows have this ``layout``; None: that of the module's parameters.

    :class:`PerDevice` is taken for blocks of one device, and for modules with an operation that
    ``vmap`` cannot batch or only loops over, as vectorising them gains nothing.
    """
    layout = layout or Layout.of(module)
    dense = Dense.match(module, loss, layout)
    if dense is not None:
        return dense
    noisy = draws_noise(module, inputs)
    stacked = None if noisy else BatchedKernel.match(module, loss, inputs, layout)
    if stacked is not None:
        return stacked
    if block == 1:
        return PerDevice(module, loss, noisy, layout)
    functional = Functional(module, loss, noisy, layout)
    rows = layout.pack(entries(module)).detach().repeat(2, 1)
    x, both = functional.layout.views(rows), inputs.expand(2, *inputs.shape)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="There is a performance drop")
            out = functional.outputs(x, both)
        with warnings.catch_warnings(), seeded(0, inputs.device):
            warnings.simplefilter("ignore")
            into = functional.layout.views(torch.zeros_like(rows))
            functional.gradients(into, x, out.shape[-1])(both, torch.zeros_like(out), 1.0)
    except Exception:  # vmap cannot batch fused recurrent layers, nor an `if` on a tensor's values
        return PerDevice(module, loss, noisy, layout)
    return functional
