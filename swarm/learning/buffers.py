"""A model's constants: the buffers and frozen parameters that never change while devices learn.

All devices of an arm share them, so they are not part of a row. They are saved once beside
an arm's checkpoints, each of which holds their hash. So a saved run has all that
``module.load_state_dict`` needs, and nobody has to import the model's code to read it.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from swarm.common.errors import CheckpointError
from swarm.common.rows import frozen_parameters

FILE = "buffers.safetensors"
MOST_BYTES = 256 << 20
"""Larger buffers are not saved with a run: they are mostly a frozen base that was read from a file.
"""


@dataclass(frozen=True)
class Constants:
    """A module's constant buffers and its frozen parameters by name.

    ``saved`` names the persistent ones, which are in the module's ``state_dict``.
    """

    values: Mapping[str, Tensor]
    saved: tuple[str, ...]

    @classmethod
    def of(cls, module: nn.Module, statistics: Iterable[str] = ()) -> Constants:
        """Return the buffers, without the running ``statistics``, and the frozen parameters of
        ``module`` as they are now; what has two names has both."""
        changing = {id(module.get_buffer(name)) for name in statistics}
        every = module.named_buffers(remove_duplicate=False)
        buffers = {name: buffer for name, buffer in every if id(buffer) not in changing}
        values = buffers | frozen_parameters(module)
        return cls(values, tuple(name for name in module.state_dict() if name in values))

    @cached_property
    def size(self) -> int:
        """The bytes of what is saved; 0 if that is more than ``MOST_BYTES``."""
        saved = [self.values[name] for name in self.saved]
        size = sum(tensor.numel() * tensor.element_size() for tensor in saved)
        return size if size <= MOST_BYTES else 0

    @cached_property
    def data(self) -> bytes | None:
        """The saved buffers as the bytes of a safetensors file; None if there are none, or if they
        take more than ``MOST_BYTES``.
        """
        tensors = {name: self.values[name].detach().cpu() for name in self.saved}
        if not tensors or (not self.size and any(each.numel() for each in tensors.values())):
            return None
        return bytes(save({name: tensor.clone().contiguous() for name, tensor in tensors.items()}))

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint holds of the buffers: their names, and the SHA-256 of :attr:`data`."""
        found = None if self.data is None else hashlib.sha256(self.data).hexdigest()
        return {"names": list(self.saved), "sha256": found}


def read(folder: Path, facts: Mapping[str, Any] | None) -> dict[str, Tensor]:
    """Read the buffers beside an arm's checkpoints.

    ``facts`` are the :attr:`Constants.facts` of a checkpoint; None means that an earlier version
    wrote it, which saved no buffers. If the buffers were too large to be saved, the result is empty
    and a warning names them.

    Raises :class:`CheckpointError` if the file is missing or damaged.
    """
    if not facts or not facts["names"]:
        return {}
    if facts["sha256"] is None:
        names = ", ".join(facts["names"])
        warnings.warn(
            f"the buffers and frozen parameters {names} are more than {MOST_BYTES >> 20} MiB, which"
            " a run does not keep; "
            "load_state_dict(…, strict=False) leaves those of the module as they are",
            stacklevel=3,
        )
        return {}
    path = folder / FILE
    try:
        if not path.is_file():  # a pipe in its place could be read without end
            raise CheckpointError("resume", path, "cannot be read: it is missing, or no file")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != facts["sha256"]:
            raise CheckpointError(
                "resume", path, "is damaged: its SHA-256 is not that of the checkpoint"
            )
        return dict(load(data))
    except OSError as error:
        raise CheckpointError("resume", path, f"cannot be read: {error.strerror}") from None
    except SafetensorError as error:
        raise CheckpointError("resume", path, f"is no safetensors file: {error}") from None


@contextmanager
def buffers_kept(module: nn.Module) -> Iterator[None]:
    """A context after which the buffers of ``module`` are what they were before."""
    before = {name: (buffer, buffer.clone()) for name, buffer in module.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, (buffer, value) in before.items():
                buffer.copy_(value)
                owner, _, own = name.rpartition(".")
                # forward may have put another tensor in its place
                module.get_submodule(owner)._buffers[own] = buffer


def same(a: Tensor, b: Tensor) -> bool:
    """Return whether both tensors are equal, where NaN equals NaN."""
    if a.shape != b.shape or torch.equal(a, b) or not a.is_floating_point():
        return a.shape == b.shape and torch.equal(a, b)
    return torch.equal(a.isnan(), b.isnan()) and torch.equal(a[~a.isnan()], b[~b.isnan()])


def copied(module: nn.Module, shared: dict[int, Any] | None = None) -> nn.Module:
    """A copy of a module; it has the very objects that ``shared`` has by their ids.

    Pruning and ``torch.nn.utils.weight_norm`` keep the tensor that they have computed last as an
    attribute, which Python does not copy; they compute it anew before each ``forward``.
    """
    known = dict(shared or {})
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                known[id(value)] = value.detach().clone()
    return copy.deepcopy(module, known)
