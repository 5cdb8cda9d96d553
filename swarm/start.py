"""Where devices start from: the model's own initialisation, or the parameters of a device saved earlier."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from swarm.errors import ConfigError
from swarm.files import content
from swarm.state import Layout


def read_start(init: str, module: nn.Module, layout: Layout, dtype: torch.dtype) -> Tensor:
    """The common first row ``[P]``: ``init`` is ``common``, ``independent``, or a ``.safetensors`` file's path."""
    if init in ("common", "independent"):
        return layout.pack(dict(module.named_parameters())).to(dtype)
    path = Path(init)
    if path.suffix != ".safetensors":
        raise ConfigError(
            "init", init, "must be common, independent, or a .safetensors file with one device's parameters"
        )
    try:
        values = load(content(path, _most(module), "what this model's parameters take", key="init", shown=init))
    except SafetensorError as error:
        raise ConfigError("init", init, f"is no readable safetensors file ({error})") from None
    missing = [s.name for s in layout.slots if s.name not in values]
    if missing or len(values) != len(layout.slots):
        raise ConfigError("init", init, f"holds {sorted(values)}, the model has {[s.name for s in layout.slots]}")
    try:
        row = layout.pack(values).to(dtype)
    except ValueError as error:
        raise ConfigError("init", init, f"does not fit the model: {error}") from None
    if not torch.isfinite(row).all():
        raise ConfigError("init", init, "holds numbers that are not finite")
    return row


def _most(module: nn.Module) -> int:
    """Bytes that a file with a module's parameters and buffers may have, each number in 16 bytes at most."""
    numbers = sum(t.numel() for t in (*module.parameters(), *module.buffers()))
    return 16 * numbers + (64 << 20)


def save_start(path: Path, state_dict: dict[str, Tensor]) -> None:
    """Save one device's ``state_dict`` as a file that ``init=`` takes."""
    save_file({name: value.contiguous() for name, value in state_dict.items()}, path)
