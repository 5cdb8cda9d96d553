"""Modules that are made without memory, for what is asked of their shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@contextmanager
def without_memory() -> Iterator[None]:
    """A block in which tensors, and so the parameters of a module, have shapes and no numbers: they
    are made on torch's meta device."""
    with torch.device("meta"), _NormalSkipped():
        yield


class _NormalSkipped(TorchFunctionMode):
    """Draws no normal numbers. On the meta device nothing is drawn in any case, but torch imports
    its compiler to find that out: two seconds and 200 MB, for every ``nn.Embedding``."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in (nn.init.normal_, Tensor.normal_):
            return args[0] if args else given["tensor"]
        return func(*args, **given)
