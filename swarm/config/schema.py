"""Schemas of files, the readers of JSON and YAML that check them, and the seal: a hash that a file
holds of its other content.

A file that cannot be read, or that does not fit its schema, raises a :class:`ConfigError` that
names the file and the field. Keys that a schema does not name are kept: scenarios add their own to
a summary, and later versions may add more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from swarm.common.errors import ConfigError
from swarm.common.system import yaml_text
from swarm.config.explain import shown

SEAL = "seal"
MOST_VALUES = 100_000  # in a YAML file
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Number = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Schema(BaseModel):
    """A mapping whose named keys have exactly these types; other keys may be there, and values are
    not converted.
    """

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Closed(Schema):
    """A schema without other keys: a file that has one counts as damaged."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def read_json(file: Path, schema: type[Schema], key: str) -> dict[str, Any]:
    """Read a JSON file that is one object and fits ``schema``.

    Raises :class:`ConfigError` on ``key`` and the file, which says what is wrong in which field.
    """
    try:
        value = json.loads(_content(file, key), parse_constant=_refuse)
    except (ValueError, RecursionError):  # ValueError is also raised for text that is not UTF-8
        value = None
    return checked(value, schema, file, key, "JSON")


def read_yaml(file: Path, schema: type[Schema], key: str) -> dict[str, Any]:
    """Read a YAML file that is one mapping and fits ``schema``; raises as :func:`read_json`."""
    try:
        value = yaml_text.load(_content(file, key).decode("utf-8"))
        _require_few(value)
    except ConfigError:
        raise
    except (
        Exception
    ):  # on damaged files PyYAML raises any error of its parts, from IndexError to RecursionError
        value = None
    return checked(value, schema, file, key, "YAML")


def _require_few(value: object) -> None:
    """Refuse more values than any config has, with a ValueError: a few nested aliases in YAML can
    stand for billions of values.
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
    """Return ``value`` if it is a mapping that fits ``schema``.

    Raises :class:`ConfigError` on ``key`` and ``file`` if it is not.
    """
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ConfigError(key, file, f"damaged; must be one {form} mapping")
    if (said := complaint(value, schema)) is not None:
        raise ConfigError(key, file, f"damaged; {said}")
    return value


def complaint(value: Mapping[str, Any], schema: type[Schema]) -> str | None:
    """Say what is wrong with ``value``, such as ``\\`arms.swarm.rounds\\` must be a valid integer,
    and is high``; None if it fits ``schema``.
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
    ):  # only YAML can have lists that contain themselves, and keys that are lists
        return "what it holds cannot be written as JSON"
    return None


def _sentence(error: ErrorDetails) -> str:
    field = ".".join(map(str, error["loc"]))
    said = error["msg"].removeprefix("Value error, ")
    # the complaint is about a whole mapping and names the key itself
    if error["type"] == "value_error" and said.startswith("`"):
        return f"{said} (in `{field}`)" if field else said
    if error["type"] == "missing":
        return f"`{field}` is missing"
    if error["type"] == "extra_forbidden":
        return f"`{field}` is not known"
    return f"`{field}` {said.replace('Input should', 'must')}, and is {shown(error['input'])}"


def _refuse(name: str) -> None:
    raise ValueError(name)  # NaN or Infinity, which JSON does not have


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
    """Return ``value`` with the hash of all its content, by which :func:`require_seal` notices any
    change on the disk, except of white space.
    """
    return {**value, SEAL: _hash(value)}


def require_seal(value: Mapping[str, Any], file: Path, key: str) -> None:
    """Check the seal of what was read from ``file``.

    Raises :class:`ConfigError` on ``key`` and ``file`` if the seal is missing, or is not the hash
    of the rest.
    """
    if value.get(SEAL) != _hash({name: item for name, item in value.items() if name != SEAL}):
        raise ConfigError(
            key, file, f"is damaged: its `{SEAL}` is not the hash of the rest, as it was written"
        )


def _hash(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
