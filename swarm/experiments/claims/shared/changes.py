"""What a condition of a claim changes, written shorter than as on the command line."""

from __future__ import annotations

from typing import Any


def custom(group: str, cls: type, **options: Any) -> dict[str, Any]:
    """The changes that choose ``cls`` for a ``group``, a class of the claim's own file, such as a
    source of data, with these ``options``: what ``data=custom data._target_=my_claim.MyData
    data.per_device=40`` says."""
    target = f"{cls.__module__}.{cls.__qualname__}"
    given = {f"{group}.{name}": value for name, value in options.items()}
    return {group: "custom", f"{group}._target_": target, **given}
