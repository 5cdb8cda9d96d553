"""The initial parameters of devices: the model's own initialisation, or a file with one device's
parameters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from swarm.common.errors import ConfigError, meant
from swarm.common.names import listed
from swarm.common.rows import Layout, frozen_parameters
from swarm.common.system.files import content
from swarm.learning.buffers import Constants
from swarm.learning.models.base import ReadsFiles
from swarm.learning.running_statistics import entries

PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
"""The usual endings of files that torch.save writes. Reading one may run the code in it."""
_TOKENIZER = "tokenizer_sha256"


def read_start(
    init: str, module: nn.Module, layout: Layout, constants: Constants, dtype: torch.dtype
) -> Tensor:
    """Return the common initial row ``[P]``.

    ``init`` is ``common`` or ``independent``, which both give the parameters of ``module``, or the
    path of a ``.safetensors`` file. Such a file is written by ``safetensors.torch.save_model``, or
    by ``save_file`` of ``module.state_dict()``. It may have tied parameters under one or all of
    their names, running statistics or none, and no other buffers or those of the module. Frozen
    parameters in it replace those of ``module``. Raises :class:`ConfigError` for any other
    ``init``, and for a file that does not fit the model.
    """
    if init in ("common", "independent"):
        return layout.pack(entries(module)).to(dtype)
    path = Path(init)
    if path.is_dir() and path.suffix != ".safetensors":
        valid = (
            "is a folder; a device of a run is saved in Python by swarm.save_start(FILE,"
            " swarm.load(FOLDER).state_dict('swarm', 0)), for init=FILE"
        )
        raise ConfigError("init", init, valid)
    if path.suffix != ".safetensors":
        valid = "must be common, independent, or a .safetensors file with one device's parameters"
        valid += meant(init, ("common", "independent"))
        if path.suffix in PICKLED:
            valid += (
                "; such a file is made of a state_dict in Python:"
                " swarm.save_start('start.safetensors', torch.load(FILE, weights_only=True))"
            )
        raise ConfigError("init", init, valid)
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
        _load_frozen(module, values)
    except ValueError as error:
        raise ConfigError("init", init, str(error)) from None
    try:
        row = layout.pack({**entries(module), **parameters}).to(dtype)
    except ValueError as error:
        raise ConfigError("init", init, f"does not fit the model: {error}") from None
    if not torch.isfinite(row).all():
        raise ConfigError("init", init, "holds numbers that are not finite")
    return row


def _parameters(
    values: Mapping[str, Tensor], layout: Layout, constants: Constants
) -> dict[str, Tensor]:
    """The file's parameters by slot.

    Raises ``ValueError`` for a name that is missing or unknown, and for a value that contradicts
    the module.
    """
    names = {
        s.name: [s.name, *(name for name, slot in layout.ties if slot == s.name)]
        for s in layout.slots
    }
    known = {name for each in names.values() for name in each} | constants.values.keys()
    optional = {s.name for s in layout.statistics}
    lacking = [s for s, each in names.items() if s not in optional and not {*each} & values.keys()]
    strange = sorted(values.keys() - known)
    if prefix := _prefix(values, known):
        raise ValueError(
            f"has names that begin with {prefix}, as those of a wrapped model do; save it without:"
            f" {{name.removeprefix({prefix!r}): value for name, value in state.items()}}"
        )
    if lacking or strange:
        wrong = [f"lacks {listed(lacking)}"] if lacking else []
        wrong += [f"holds {listed(strange)}, which the model does not have"] if strange else []
        raise ValueError("; it ".join(wrong))
    found = {}
    for slot, each in names.items():
        there = [name for name in each if name in values]
        if not there:
            continue
        found[slot] = values[there[0]]
        if not found[slot].dtype.is_floating_point and slot not in optional:
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
        if isinstance(own, nn.Parameter):
            continue
        if own.shape != values[name].shape or not torch.equal(values[name].to(own), own):
            why = "which its constructor makes and no file changes; save the start without it"
            raise ValueError(f"holds another buffer {name} than the model's, {why}")
    return found


def _prefix(values: Mapping[str, Tensor], known: Collection[str]) -> str | None:
    """What all names of a file have in front of names of the model, such as DataParallel's
    ``module.``; None if there is no such prefix."""
    prefix = next(iter(values), "").partition(".")[0] + "."
    if values.keys() & known or not values:
        return None
    inside = all(name.removeprefix(prefix) in known for name in values)
    return prefix if inside else None


def _load_frozen(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Give the frozen parameters of ``module`` the values that the file has for them.

    Raises ``ValueError`` for other shapes, and for numbers that are not finite or no
    floating-point numbers."""
    for name, parameter in frozen_parameters(module).items():
        value = values.get(name)
        if value is None:
            continue
        if value.shape != parameter.shape:
            shapes = f"{list(value.shape)}, and the model's is {list(parameter.shape)}"
            raise ValueError(f"holds {name} of shape {shapes}")
        if not value.dtype.is_floating_point or not torch.isfinite(value).all():
            raise ValueError(f"holds {name} with values that are no finite floating-point numbers")
        if isinstance(module, ReadsFiles):  # all modules of the process share what was read
            if not torch.equal(value.to(parameter), parameter):
                raise ValueError(f"holds another {name} than the file that the model reads it from")
            continue
        with torch.no_grad():
            parameter.copy_(value)


def _most(module: nn.Module) -> int:
    """The bytes that a file with a module's parameters and buffers may have: 16 for each number,
    and 64 MiB.
    """
    numbers = sum(t.numel() for t in (*module.parameters(), *module.buffers()))
    return 16 * numbers + (64 << 20)


def save_start(
    path: str | Path, state_dict: Mapping[str, Tensor], tokenizer: str | Path | None = None
) -> None:
    """Save a ``state_dict``, of a run's device or of a module, as a file that ``init=`` takes.

    With ``tokenizer``, the ``tokenizer.json`` of the run's folder, the file says with which tokens
    its parameters were learnt: as the base of ``model=lora`` it is then refused with others.

    Raises :class:`ConfigError` if it holds anything but tensors, as a checkpoint does of which the
    ``state_dict`` is a part, and for a ``tokenizer`` that cannot be read.
    """
    for name, value in state_dict.items():
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise ConfigError(
                f"state_dict[{name!r}]",
                kind,
                "must be a tensor; of a checkpoint that holds more, give the part that is the"
                " module's state_dict",
            )
    metadata = None
    if tokenizer is not None:
        data = content(Path(tokenizer), 64 << 20, "what a vocabulary takes", key="tokenizer")
        metadata = {_TOKENIZER: hashlib.sha256(data).hexdigest()}
    values = {name: value.detach().clone().contiguous() for name, value in state_dict.items()}
    save_file(values, path, metadata)


def saved_tokenizer(data: bytes) -> str | None:
    """The hash of the ``tokenizer`` that a readable safetensors file was saved with; None where it
    says none."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    found: str | None = header.get("__metadata__", {}).get(_TOKENIZER)
    return found
