"""An accelerator that is not there: a torch device whose tensors lie in the memory of this process.

Its rules are those of ``cuda``: an operation refuses tensors of both devices, ``numpy()`` refuses
its tensors, and only indices and single numbers may come from the CPU. So code that would fail on
an accelerator fails here, on any machine. It says nothing about speed, nor about the numbers that
an accelerator's own kernels compute.

``torch.utils.backend_registration`` offers such a device since torch 2.10, as an experiment;
:func:`accelerator` is None without it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.library import Library
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map

NAME = "pretended"
_ATEN = torch.ops.aten
_INDEXING = (_ATEN.index.Tensor, _ATEN.index_put.default, _ATEN.index_put_.default,
             _ATEN._index_put_impl_.default)  # fmt: skip
_KEPT: list[Library] = []  # what is registered lasts as long as these


class _Far(Tensor):
    """A tensor of the accelerator: ``near`` has its numbers."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> _Far:
        with torch.inference_mode(False):  # a view of a tensor that is none would be refused
            made: Any = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
                cls, near.shape, near.stride(), near.storage_offset(),
                dtype=near.dtype, layout=near.layout, device=torch.device(NAME, 0),
            )  # fmt: skip
        made.near = near
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _played(func, *args, **(kwargs or {}))

    def data_ptr(self) -> int:
        """The place of its numbers."""
        return self.near.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        """The memory of its numbers."""
        return self.near.untyped_storage()

    def __deepcopy__(self, memo: dict[int, Any]) -> _Far:
        made = _Far(self.near.detach().clone()).requires_grad_(self.requires_grad)
        made.__dict__ |= {k: v for k, v in self.__dict__.items() if k != "near"}  # a parameter?
        memo[id(self)] = made
        return made  # type: ignore[return-value]

    def __repr__(self, **_: Any) -> str:
        return f"far from {self.near!r}"


def _near(value: Any) -> Any:
    return value.near if isinstance(value, _Far) else value


def _played(func: Any, *args: Any, **named: Any) -> Any:
    """Call an operation of torch on the numbers in this process's memory."""
    if torch.is_inference_mode_enabled() and func._can_decompose():
        found = func.decompose(*args, **named)  # as torch itself does outside of that mode
        if found is not NotImplemented:
            return found
    given = tree_leaves((args, named))
    far = [each for each in given if isinstance(each, _Far)]
    asked = named.get("device")
    if asked is not None:
        named = named | {"device": torch.device("cpu")}
    if func is _ATEN._to_copy.default:
        goes = NAME if asked is None and far else torch.device(asked or "cpu").type
        found = func(*map(_near, args), **named)
        return _Far(found) if goes == NAME else found
    if func is not _ATEN.copy_.default:
        _require_together(func, args, given, far)
    found = func(*tree_map(_near, args), **tree_map(_near, named))
    if not far if asked is None else torch.device(asked).type != NAME:
        return found
    known = {id(each.near): each for each in far}
    return tree_map(lambda x: known.get(id(x), _Far(x)) if type(x) is Tensor else x, found)


def _require_together(func: Any, args: Any, given: list[Any], far: list[_Far]) -> None:
    """Raises RuntimeError for tensors of both devices, but for single numbers and indices."""
    if func in _INDEXING and isinstance(args[0], _Far):
        given = [args[0], *args[2:]]
    here = [x for x in given if isinstance(x, Tensor) and not isinstance(x, _Far) and x.dim()]
    if far and here:
        shapes = f"{[list(x.shape) for x in far]} there, {[list(x.shape) for x in here]} here"
        raise RuntimeError(f"tensors of two devices in {func}: {shapes}")


def _backend() -> Any:
    """What torch asks of the modules of devices. Later tests keep and restore the random state of
    every device that there is."""

    class Backend(backend_registration._DummyBackendModule):
        def get_rng_state(self, device: Any = None) -> Tensor:
            return torch.empty(0, dtype=torch.uint8)

        def set_rng_state(self, state: Tensor, device: Any = None) -> None:
            pass

    return Backend()


@cache
def accelerator() -> torch.device | None:
    """The accelerator, registered for the rest of this process; None if torch cannot."""
    register = getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)
    if register is None:
        return None
    register(NAME, _backend())
    anything, aten = Library("_", "IMPL"), Library("aten", "IMPL")
    anything.fallback(lambda func, *args, **named: _played(func, *args, **named), "PrivateUse1")
    for name in ("empty.memory_format", "empty_strided"):
        packet, _, overload = name.partition(".")
        func = getattr(getattr(_ATEN, packet), overload or "default")
        aten.impl(name, _emptied(func), "PrivateUse1")
    aten.impl("_copy_from", _copied, "PrivateUse1")
    _KEPT.extend((anything, aten))
    return torch.device(NAME, 0)


def _emptied(func: Any) -> Any:
    def empty(*args: Any, **named: Any) -> Tensor:
        kept = {k: v for k, v in named.items() if k in ("dtype", "memory_format")}
        return _Far(func(*args, **kept))

    return empty


def _copied(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    _near(target).copy_(_near(source))
    return target
