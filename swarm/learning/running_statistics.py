"""Running statistics: buffers that change while a module learns, such as the mean and the variance
that BatchNorm (Ioffe & Szegedy, arXiv 1502.03167) predicts with.

They belong to a device like its parameters do, and are entries of its row. Devices send and average
them, or keep their own (FedBN, Li et al., arXiv 2102.07623).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from swarm.common.errors import ConfigError, meant
from swarm.common.plugin import called
from swarm.common.rows import Layout, ParameterSpec, trainable
from swarm.learning.buffers import buffers_kept, same
from swarm.learning.kernels.noise import seeded

NO_BATCH_NORM = "no_batch_norm"
"""The value of ``share`` by which devices keep all of their BatchNorm layers for themselves."""
BODY, HEAD = "body", "head"
"""The values of ``share`` by which devices send all but the last layer, or that layer alone."""
WORDS = ("all", BODY, HEAD, NO_BATCH_NORM)


def entries(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of ``module`` by name, of which a row may be made."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def changed_buffers(module: nn.Module, inputs: Tensor) -> list[str]:
    """Return the names of the buffers that ``forward`` changes, in the mode in which ``module``
    is."""
    with torch.no_grad(), buffers_kept(module), seeded(0, inputs.device):
        before = {name: buffer.clone() for name, buffer in module.named_buffers()}
        module(inputs.clone())
        after = dict(module.named_buffers())
        return [name for name, value in before.items() if not same(after[name], value)]


def running_statistics(module: nn.Module, inputs: Tensor) -> list[ParameterSpec]:
    """Return the running statistics of ``module``, which is in training mode, as entries of a row.

    They are the buffers that ``forward`` changes: with the parameters as they are, or with all that
    learns moved a little, as a layer that starts at zero hides what will change behind it.

    Raises :class:`ConfigError` for one that a row cannot hold.
    """
    if not any(True for _ in module.buffers()):
        return []
    changed = set(changed_buffers(module, inputs))
    with _moved(module):
        changed |= set(changed_buffers(module, inputs))
    variances = set()
    for name, part in module.named_modules():
        own = [f"{name}.{buffer}".lstrip(".") for buffer, _ in part.named_buffers(recurse=False)]
        if isinstance(part, _NormBase) and changed & set(own):
            # its mean may stay for these few samples, as of a channel that is 0 for all of them
            changed.update(own)
            variances.add(f"{name}.running_var".lstrip("."))
    found = []
    for name, buffer in module.named_buffers():
        if name not in changed:
            continue
        if buffer.is_complex() or buffer.dtype == torch.bool:
            kind = str(buffer.dtype).removeprefix("torch.")
            why = f"changes its buffer {name} while learning, whose {kind} values no row can hold"
            raise ConfigError("/model", called(module), f"{why}; use floating-point numbers")
        counts = not buffer.is_floating_point()
        least = 0.0 if name in variances else None
        found.append(ParameterSpec(name, tuple(buffer.shape), 0, True, counts, least))
    return found


@contextmanager
def _moved(module: nn.Module) -> Iterator[None]:
    """A context in which all that learns of ``module`` is a little away from where it starts."""
    draw = torch.Generator().manual_seed(0)
    learning = trainable(module).values()
    before = [p.detach().clone() for p in learning]
    try:
        with torch.no_grad():
            for p in learning:
                p.add_(0.1 * torch.randn(p.shape, generator=draw).to(p))
        yield
    finally:
        with torch.no_grad():
            for p, old in zip(learning, before, strict=True):
                p.copy_(old)


def layout_of(
    module: nn.Module,
    statistics: Sequence[ParameterSpec],
    buffers: Literal["average", "local"],
    share: str | Sequence[str],
) -> Layout:
    """Return the layout of ``module`` in a row: what devices send comes first, and what each keeps
    for itself comes last.

    Args:
        module: The module.
        statistics: Its running statistics. Those that are whole numbers count steps, and always
            stay on the device.
        buffers: Whether devices average the others, or keep their own.
        share: ``all``; ``no_batch_norm``, which keeps all parameters and statistics of BatchNorm
            layers on the device; ``body``, which keeps the last layer that has parameters (FedPer,
            Arivazhagan et al., arXiv 1912.00818); ``head``, which sends that layer alone
            (LG-FedAvg, Liang et al., arXiv 2001.01523); or patterns of the names of what is sent,
            in which ``*`` stands for any text.

    Raises :class:`ConfigError` for patterns that no name matches, and where nothing would be sent.
    """
    names = [name for name, p in module.named_parameters() if p.requires_grad]
    local = {s.name for s in statistics if buffers == "local" or s.counts}
    if share == NO_BATCH_NORM:
        local |= _of_batch_norm(module, [*names, *(s.name for s in statistics)])
    elif share in (BODY, HEAD):
        every = [*names, *(s.name for s in statistics)]
        head = _head(module, names, every, str(share))
        local |= head if share == BODY else set(every) - head
    elif share != "all":
        patterns = [share] if isinstance(share, str) else share
        local |= set(names) - _matching(names, patterns)
    if not set(names) - local:
        raise ConfigError("share", share, "leaves no parameter that devices send each other")
    return Layout.of(module, statistics, local)


def _of_batch_norm(module: nn.Module, names: Sequence[str]) -> set[str]:
    layers = [
        f"{name}.".lstrip(".")
        for name, part in module.named_modules()
        if isinstance(part, _NormBase)
    ]
    found = {name for name in names if any(name.startswith(layer) for layer in layers)}
    if not found:
        valid = f"must be all: {called(module)} has no BatchNorm layer"
        raise ConfigError("share", NO_BATCH_NORM, valid)
    return found


def _head(module: nn.Module, names: Sequence[str], every: Sequence[str], share: str) -> set[str]:
    """Those of ``every`` that belong to the last layer among ``names``: the module whose parameter
    is named last. A parameter of the whole module is a layer of its own."""
    layer = names[-1].rpartition(".")[0]
    found = {name for name in every if layer and name.startswith(f"{layer}.")} or {names[-1]}
    if not set(names) - found:
        valid = f"must be all: {called(module)} has one layer with parameters that learn,"
        raise ConfigError("share", share, f"{valid} {layer or names[-1]}")
    return found


def _matching(names: Sequence[str], patterns: Sequence[str]) -> set[str]:
    """The names that one of ``patterns`` matches, each of which must match one."""
    found: set[str] = set()
    for pattern in patterns:
        those = {name for name in names if fnmatchcase(name, pattern)}
        if not those:
            shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
            valid = f"matches no parameter of the model, which has {shown}"
            if pattern in WORDS:
                valid = "must stand alone, and not in a list"
            elif pattern.isidentifier():
                valid = f"is none of {', '.join(WORDS)}{meant(pattern, WORDS)}, and {valid}"
            raise ConfigError("share", pattern, valid)
        found |= those
    return found
