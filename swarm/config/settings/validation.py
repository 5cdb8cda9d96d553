"""Checks values against the types of the settings, and says what is wrong in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import ValidationError

from swarm.common.errors import ConfigError
from swarm.common.ranges import ordinary
from swarm.config.explain import describe, must_be, shown, unknown, unresolved
from swarm.config.settings.sections import Section, is_guard

DOTTED = "is a dotted key; nest it, as in {optimizer: {lr: 0.1}}, or give it to overrides="

Model = TypeVar("Model", bound=Section)


def validated(model: type[Model], values: dict[str, Any], prefix: str = "") -> Model:
    """Check ``values`` and return them as a ``model``.

    Raises :class:`ConfigError` for the first mistake, with ``prefix`` in front of its key.
    """
    _refuse_unknown(values, model, prefix)
    try:
        found = model.model_validate(values)
    except ValidationError as error:
        first = _first(error, model, values)
        raise ConfigError(f"{prefix}{first.key}", first.value, first.valid) from error
    built = {
        name for name, field in model.model_fields.items() if any(map(is_guard, field.metadata))
    }
    # build() checks the values of plug-ins
    for name, value in found.model_dump(exclude=built).items():
        ordinary(f"{prefix}{name}", value)
    return found


def plain(cfg: Any) -> dict[str, Any]:
    """Return ``cfg`` as nested dicts, with interpolations resolved and without Hydra's section.

    Raises :class:`ConfigError` for what is no mapping, or OmegaConf cannot resolve.
    """
    if isinstance(cfg, Section):
        return cfg.model_dump()
    if not isinstance(cfg, Mapping):
        valid = "must be a mapping of settings; words as on the command line are overrides=[…]"
        raise ConfigError("/cfg", cfg, valid)
    if isinstance(cfg, dict):
        return {str(key): value for key, value in cfg.items() if key != "hydra"}
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    values: dict[str, Any] = {}
    try:
        for key in cfg:
            if key == "hydra":
                continue
            value = cfg[key]
            inner = OmegaConf.is_config(value)
            values[str(key)] = (
                OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
                if inner
                else value
            )
    except OmegaConfBaseException as error:
        raise from_omegaconf(error, cfg) from error
    return values


def from_omegaconf(error: Exception, cfg: Any) -> ConfigError:
    """Turn OmegaConf's error about a failed interpolation, or about a mandatory value that is
    missing, into an error about its key.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue

    key = getattr(error, "full_key", None) or "config"
    if isinstance(error, MissingMandatoryValue):
        return ConfigError(key, "???", "has no default and must be given a value")
    values = OmegaConf.to_container(cfg, resolve=False)
    value = _raw(values, key)
    return ConfigError(key, shown("???" if value is None else value), unresolved(error, values))


def _raw(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _model(annotation: Any) -> type[Section] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _refuse_unknown(values: Mapping[str, Any], model: type[Section], prefix: str) -> None:
    """Refuse unknown keys. This check comes first, as a misspelt key is also a missing one, and the
    spelling is the better hint.
    """
    for key, value in values.items():
        field = model.model_fields.get(str(key))
        if field is None:
            if "." in str(key):
                raise ConfigError(f"{prefix}{key}", value, DOTTED)
            raise unknown(f"{prefix}{key}", value, model.model_fields)
        inner = _model(field.annotation)
        if inner is not None and isinstance(value, Mapping):
            _refuse_unknown(value, inner, f"{prefix}{key}.")


def _first(error: ValidationError, model: type[Section], values: Any) -> ConfigError:
    """Pydantic's first complaint as an error that describes the valid type in words."""
    location = error.errors()[0]["loc"]
    path: list[str] = []
    description, annotation = "a section", None
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            break
        path.append(str(part))
        values = values.get(part, "???") if isinstance(values, Mapping) else values
        inner = _model(field.annotation)
        if inner is None:
            description, annotation = _describe(field.annotation, field.metadata), field.annotation
            break
        model = inner
        description = f"a section with the keys {', '.join(model.model_fields)}"
    return ConfigError(
        ".".join(path) or "config", shown(values), must_be(annotation, values, description)
    )


def _describe(annotation: Any, metadata: Iterable[Any]) -> str:
    if any(is_guard(item) for item in metadata):
        return "a section with a _target_: the dotted path of a class"
    return describe(Annotated[annotation, *metadata]) if metadata else describe(annotation)
