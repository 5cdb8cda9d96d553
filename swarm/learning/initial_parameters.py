"""What devices start from: the model's own initialisation, or a device's parameters saved
earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.common.rows import Layout
from swarm.common.system.files import content
from swarm.learning.buffers import Constants


def read_start(
    init: str, module: nn.Module, layout: Layout, constants: Constants, dtype: torch.dtype
) -> Tensor:
    """The common first row ``[P]``: ``init`` is ``common``, ``independent``, or the path of a
    ``.safetensors`` file.

    The file is what ``safetensors.torch.save_model``, or ``save_file`` of ``module.state_dict()``,
    writes: tied parameters under one of their names or under all of them, and buffers, or none, as
    long as they are the module's own. Raises :class:`ConfigError` for any other.
    """
    if init in ("common", "independent"):
        return layout.pack(dict(module.named_parameters())).to(dtype)
    path = Path(init)
    if path.suffix != ".safetensors":
        raise ConfigError(
            "init",
            init,
            "must be common, independent, or a .safetensors file with one device's parameters",
        )
    try:
        values = load(
            content(
                path, _most(module), "what this model's parameters take", key="init", shown=init
            )
        )
    except SafetensorError as error:
        raise ConfigError("init", init, f"is no readable safetensors file ({error})") from None
    try:
        parameters = _parameters(values, layout, constants)
    except ValueError as error:
        raise ConfigError("init", init, str(error)) from None
    try:
        row = layout.pack(parameters).to(dtype)
    except ValueError as error:
        raise ConfigError("init", init, f"does not fit the model: {error}") from None
    if not torch.isfinite(row).all():
        raise ConfigError("init", init, "holds numbers that are not finite")
    return row


def _parameters(
    values: Mapping[str, Tensor], layout: Layout, constants: Constants
) -> dict[str, Tensor]:
    """The file's parameters by slot.

    ``ValueError`` for what is missing, is too much, or contradicts the module.
    """
    names = {
        s.name: [s.name, *(name for name, slot in layout.ties if slot == s.name)]
        for s in layout.slots
    }
    known = {name for each in names.values() for name in each} | constants.values.keys()
    if any(not set(each) & values.keys() for each in names.values()) or values.keys() - known:
        raise ValueError(f"holds {sorted(values)}, the model has {[s.name for s in layout.slots]}")
    found = {}
    for slot, each in names.items():
        there = [name for name in each if name in values]
        found[slot] = values[there[0]]
        if not found[slot].dtype.is_floating_point:
            kind = str(found[slot].dtype).removeprefix("torch.")
            raise ValueError(f"holds {there[0]} as {kind}; parameters are floating-point numbers")
        for other in there[1:]:
            if not torch.equal(values[other], found[slot]):
                pair = f"{there[0]} and {other}"
                raise ValueError(
                    f"holds different numbers in {pair}, which are one parameter of the model"
                )
    for name in values.keys() & constants.values.keys():
        own = constants.values[name]
        if own.shape != values[name].shape or not torch.equal(values[name].to(own), own):
            why = "which its constructor makes and no file changes; save the start without it"
            raise ValueError(f"holds another buffer {name} than the model's, {why}")
    return found


def _most(module: nn.Module) -> int:
    """Bytes that a file with a module's parameters and buffers may have, each number in 16 bytes at
    most.
    """
    numbers = sum(t.numel() for t in (*module.parameters(), *module.buffers()))
    return 16 * numbers + (64 << 20)


def save_start(path: str | Path, state_dict: Mapping[str, Tensor]) -> None:
    """Save one device's ``state_dict``, a run's or a module's, as a file that ``init=`` takes."""
    save_file(
        {name: value.detach().clone().contiguous() for name, value in state_dict.items()}, path
    )
