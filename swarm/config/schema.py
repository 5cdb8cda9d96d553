"""A file as a type: its schema, the one reader of JSON and YAML, and the seal of what was written.

What cannot be read, or does not hold what its schema says, is a :class:`ConfigError` of one
sentence that names the file and the field. Keys that a schema does not name are passed through:
scenarios add their own to a summary, and later versions theirs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from swarm.common.errors import ConfigError
from swarm.config.explain import shown

SEAL = "seal"
MOST_VALUES = 100_000  # of a YAML file
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Number = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Schema(BaseModel):
    """Named keys have exactly these types, nothing is converted; other keys may be there."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Closed(Schema):
    """A file of which no other keys are known: one with another name is a damaged one."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def read_json(file: Path, schema: type[Schema], key: str) -> dict[str, Any]:
    """A JSON file that is one object and fits ``schema``.

    Raises :class:`ConfigError` on ``key`` and the file, which says what is wrong with it and where.
    """
    try:
        value = json.loads(_content(file, key), parse_constant=_refuse)
    except (ValueError, RecursionError):  # also of text that is not UTF-8
        value = None
    return checked(value, schema, file, key, "JSON")


def read_yaml(file: Path, schema: type[Schema], key: str) -> dict[str, Any]:
    """A YAML file that is one mapping and fits ``schema``. Raises as :func:`read_json`."""
    try:
        value = yaml.safe_load(_content(file, key).decode("utf-8"))
        _require_few(value)
    except ConfigError:
        raise
    except (
        Exception
    ):  # PyYAML lets through whatever its parts stumble over, from IndexError to RecursionError
        value = None
    return checked(value, schema, file, key, "YAML")


def _require_few(value: object) -> None:
    """Raises ValueError for more values than any config has: a few aliases in YAML stand for
    billions of them.
    """
    left, waiting = MOST_VALUES, [value]
    while waiting:
        item = waiting.pop()
        left -= 1
        if isinstance(item, dict | list):
            if len(item) > left:
                raise ValueError(f"more than {MOST_VALUES} values")
            waiting.extend(item.values() if isinstance(item, dict) else item)
        if left < len(waiting):
            raise ValueError(f"more than {MOST_VALUES} values")


def checked(
    value: object, schema: type[Schema], file: Path, key: str, form: str = "JSON"
) -> dict[str, Any]:
    """``value`` if it is a mapping that fits ``schema``.

    Raises :class:`ConfigError` on ``key`` and ``file``.
    """
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ConfigError(key, file, f"damaged; must be one {form} mapping")
    if (said := complaint(value, schema)) is not None:
        raise ConfigError(key, file, f"damaged; {said}")
    return value


def complaint(value: Mapping[str, Any], schema: type[Schema]) -> str | None:
    """What is wrong with ``value``: ``\\`arms.swarm.rounds\\` must be a valid integer, and is
    high``; None if nothing is.
    """
    try:
        schema.model_validate_json(
            json.dumps(value, default=str, ensure_ascii=False).encode("utf-8", "replace")
        )
    except ValidationError as error:
        return _sentence(error.errors()[0])
    except (
        RecursionError,
        ValueError,
        TypeError,
    ):  # of YAML alone: lists that hold themselves, keys that are lists
        return "what it holds cannot be written as JSON"
    return None


def _sentence(error: ErrorDetails) -> str:
    field = ".".join(map(str, error["loc"]))
    said = error["msg"].removeprefix("Value error, ")
    # of a whole mapping, which names its key itself
    if error["type"] == "value_error" and said.startswith("`"):
        return f"{said} (in `{field}`)" if field else said
    if error["type"] == "missing":
        return f"`{field}` is missing"
    if error["type"] == "extra_forbidden":
        return f"`{field}` is not known"
    return f"`{field}` {said.replace('Input should', 'must')}, and is {shown(error['input'])}"


def _refuse(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity, which are no JSON


def _content(file: Path, key: str) -> bytes:
    """The bytes of a regular file: a pipe or a device in its place could be read without end."""
    try:
        if not file.exists():
            raise ConfigError(key, file.parent, f"has no {file.name}")
        if not file.is_file():
            raise ConfigError(key, file, "damaged; must be a file")
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(key, file, f"cannot be read: {error.strerror or error}") from None


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """``value`` with the hash of all that is in it: whatever changes on the disk, but for spaces,
    is noticed.
    """
    return {**value, SEAL: _hash(value)}


def require_seal(value: Mapping[str, Any], file: Path, key: str) -> None:
    """Raises :class:`ConfigError` on ``key`` and ``file`` where the seal is missing, or not that of
    the rest.
    """
    if value.get(SEAL) != _hash({name: item for name, item in value.items() if name != SEAL}):
        raise ConfigError(
            key, file, f"is damaged: its `{SEAL}` is not the hash of the rest, as it was written"
        )


def _hash(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
