"""The trial of a model before a run: its kernel's outputs and gradients are compared with those of
plain PyTorch on the module itself.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.common.plugin import called, fault_of, is_ours, of_torch, where
from swarm.common.rows import BlockParameters, Layout, trainable
from swarm.common.system.machine import ran_out_of_memory
from swarm.learning.buffers import copied
from swarm.learning.kernels.kernel import Kernel
from swarm.learning.kernels.losses import Loss
from swarm.learning.kernels.module import refused
from swarm.learning.running_statistics import entries

LARGE = 5_000_000  # a model with more parameters is tried with one device instead of two


def check_learning(
    module: nn.Module, kernel: Kernel, loss: Loss, inputs: Tensor, target_Cb: Tensor
) -> None:
    """Refuse a module for which the kernel computes wrong outputs or gradients.

    Such a module computes with something else than its registered parameters, or its output does
    not depend on them. ``inputs`` are ``[b, *features]``, and ``target_Cb`` is what the loss makes
    of their labels. A parameter that does not influence the output has a gradient of zero, and a
    warning names it; another one says that the outputs are probabilities where the loss takes their
    softmax. Raises :class:`ConfigError` for such a module, and for one that fails.
    """
    layout = kernel.layout
    rows_BP = _near(layout.pack(entries(module)).detach())
    otherwise = refused(
        module,
        "computes something else when it is given the parameters of another device: forward must"
        " read each parameter where it is registered (self.NAME) at every call, and keep no list or"
        " copy of them",
    )
    try:
        found = [_by_torch(module, layout, row_P, loss, inputs, target_Cb) for row_P in rows_BP]
        out_BCb = torch.stack([each[0] for each in found])
        if not _close(_outputs(kernel, rows_BP, inputs), out_BCb):
            raise otherwise
        if not _close(
            _gradients(kernel, rows_BP, inputs, target_Cb),
            torch.stack([each[1] for each in found]),
        ):
            raise otherwise
    except ConfigError:
        raise
    except Exception as error:
        fault = fault_of(error)
        if fault is None and (
            ran_out_of_memory(error) or is_ours(module) or not of_torch(error, "swarm.learning")
        ):
            raise
        said = fault.valid if fault else f"fails: {type(error).__name__}: {error}{where(error)}"
        raise refused(module, f"cannot take a step: {' '.join(said.split())}") from error
    if found[0][2]:
        _say_unused(module, found[0][2])
    if loss.gives_probabilities:
        _say_probabilities(module, found[0][3], out_BCb)


def _near(row_P: Tensor) -> Tensor:
    """Random parameters of two devices ``[2, P]``, or of one of a large model, close to these."""
    draw = torch.Generator().manual_seed(0)
    count = 1 if len(row_P) > LARGE else 2
    noise_B2P = torch.randn(count, 2, len(row_P), generator=draw, dtype=row_P.dtype).to(
        row_P.device
    )
    return row_P * (1 + 0.1 * noise_B2P[:, 0]) + 0.01 * noise_B2P[:, 1]


def _by_torch(
    module: nn.Module, layout: Layout, row_P: Tensor, loss: Loss, inputs: Tensor, target_Cb: Tensor
) -> tuple[Tensor, Tensor, list[str], str]:
    """Outputs ``[C, b]``, the gradient ``[P]`` of the summed loss, the names of the parameters
    without influence and autograd's name of the last operation, on a copy of the module.
    """
    one = copied(module)
    parameters, buffers = trainable(one), dict(one.named_buffers())
    with torch.no_grad():
        for name, value in layout.state_dict(row_P).items():
            if name in parameters or name in buffers:
                {**parameters, **buffers}[name].copy_(value)
    predicted = _predicted(one, inputs) if layout.statistics else None
    with torch.enable_grad():
        answer = one(inputs.clone())
        if not answer.requires_grad:
            raise refused(
                module,
                "returns what does not depend on its parameters, so nothing would be learnt:"
                " something in forward cuts the graph (detach, .data, no_grad, .item(), NumPy,"
                " argmax or rounding)",
            )
        out = answer.reshape(-1, answer.shape[-1]).T
        residual = loss.grad_outputs(
            out.detach().unsqueeze(0).clone(), target_Cb.unsqueeze(0).clone()
        )[0]
        found = torch.autograd.grad(
            out, list(parameters.values()), residual.to(out), allow_unused=True
        )
    unused = [name for name, gradient in zip(parameters, found, strict=True) if gradient is None]
    values = (
        torch.zeros_like(p) if g is None else g.to_dense() if g.is_sparse else g
        for p, g in zip(parameters.values(), found, strict=True)
    )
    held = dict(zip(parameters, values, strict=True))
    # the kernel's running statistics after the step are compared in the place of their gradients
    after = {s.name: one.get_buffer(s.name) for s in layout.statistics}
    out = out.detach() if predicted is None else predicted
    return out, layout.pack({**held, **after}), unused, answer.grad_fn.name()


def _predicted(module: nn.Module, inputs: Tensor) -> Tensor:
    """The outputs ``[C, b]`` of a module in evaluation mode; it is in training mode afterwards."""
    with torch.no_grad():
        answer = module.eval()(inputs.clone())
    module.train()
    found: Tensor = answer.reshape(-1, answer.shape[-1]).T
    return found


def _outputs(kernel: Kernel, rows_BP: Tensor, inputs: Tensor) -> Tensor:
    """The outputs ``[B, C, b]`` by the kernel."""
    x = BlockParameters(kernel.layout, len(rows_BP), rows_BP)
    x.load(rows_BP)
    with torch.no_grad():
        return kernel.outputs(x.views, inputs.expand(len(rows_BP), *inputs.shape).clone()).clone()


def _gradients(kernel: Kernel, rows_BP: Tensor, inputs: Tensor, target_Cb: Tensor) -> Tensor:
    """The gradients ``[B, P]`` of the summed loss by the kernel; in the places of running
    statistics their values after the step."""
    count = len(rows_BP)
    x, into = (
        BlockParameters(kernel.layout, count, rows_BP),
        BlockParameters(kernel.layout, count, rows_BP),
    )
    x.load(rows_BP)
    into.load(torch.zeros_like(rows_BP))
    both, target = (each.expand(count, *each.shape).clone() for each in (inputs, target_Cb))
    with torch.no_grad():
        kernel.gradients(into.views, x.views, target_Cb.shape[-1])(both, target, 1.0)
    for entry in kernel.layout.statistics:
        into.views[entry.name].copy_(x.views[entry.name])
    return into.rows()


def _say_unused(module: nn.Module, names: list[str]) -> None:
    others = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    warnings.warn(
        f"model={called(module)}: the parameter {names[0]}{others} takes no part in the output and"
        " is never changed by learning, though it is sent and averaged like the others",
        stacklevel=4,
    )


def _say_probabilities(module: nn.Module, last: str, out_BCb: Tensor) -> None:
    """Warn of outputs of which cross-entropy takes a softmax although they went through one, or
    through a sigmoid. The logarithms of probabilities are as good as other outputs.
    """
    sums = out_BCb.sum(1)
    by = "softmax" if bool((out_BCb >= 0).all()) and _close(sums, torch.ones_like(sums)) else ""
    by = "sigmoid" if last.startswith("Sigmoid") else by
    if by:
        warnings.warn(
            f"model={called(module)}: its outputs are probabilities, of which cross-entropy takes"
            f" the softmax once more, so that it learns slowly; leave out the {by} at its end",
            stacklevel=4,
        )


def _close(found: Tensor, expected: Tensor) -> bool:
    """Whether both are equal to rounding; True if ``expected`` is not finite, as it then cannot be
    compared.
    """
    if not torch.isfinite(expected).all():
        return True
    scale = max(1.0, float(expected.abs().max()) if expected.numel() else 1.0)
    return found.shape == expected.shape and torch.allclose(
        found.to(expected), expected, rtol=1e-3, atol=1e-4 * scale
    )
