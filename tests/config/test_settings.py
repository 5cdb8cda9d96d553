"""The ranges of every setting, and the sentence that says them."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf
from pydantic import BaseModel

from swarm.common.errors import ConfigError
from swarm.config.composing.compose import compose
from swarm.config.settings import DEFAULTS, Settings, plain, sections


@pytest.fixture(scope="module")
def default() -> dict[str, Any]:
    return plain(compose())


def changed(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    return {**values, head: changed(values[head], rest, value) if rest else value}


def test_the_default_config_is_valid_and_names_every_setting(default: dict[str, Any]) -> None:
    settings = Settings.parse(default)
    assert settings.devices == 100
    assert settings.plug_ins().keys() == set(sections())
    assert set(default) == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            assert set(default[name]) == set(field.annotation.model_fields)


WHOLE = "must be a whole number from"


@pytest.mark.parametrize(
    ("key", "value", "valid"),
    [
        ("devices", 0, f"{WHOLE} 1 to 10,000,000"),
        ("devices", -3, f"{WHOLE} 1 to 10,000,000"),
        ("devices", 10_000_001, f"{WHOLE} 1 to 10,000,000"),
        (
            "devices",
            2.0,
            f"{WHOLE} 1 to 10,000,000, written without a point or an exponent (here 2)",
        ),
        ("devices", "abc", f"{WHOLE} 1 to 10,000,000"),
        ("devices", "12", f"{WHOLE} 1 to 10,000,000, written without quotes, which make it text"),
        ("devices", True, f"{WHOLE} 1 to 10,000,000"),
        ("devices", None, f"{WHOLE} 1 to 10,000,000"),
        ("devices", [5], f"{WHOLE} 1 to 10,000,000"),
        ("rounds", -1, f"{WHOLE} 0 to 10,000,000"),
        ("seed", -1, f"{WHOLE} 0 to 9,007,199,254,740,992"),
        ("seed", 2**53 + 1, f"{WHOLE} 0 to 9,007,199,254,740,992"),
        ("seed", 10**400, f"{WHOLE} 0 to 9,007,199,254,740,992"),
        ("mixing", 3, "must be text"),
        (
            "optimizer.lr",
            "0.1",
            "must be a finite number or auto, written without quotes, which make it text",
        ),
        ("plugins", "os", "must be a list, each item text; [os] is one"),
        ("plugins", [3], "must be a list, each item text"),
        ("topology", None, "must be a section with a _target_: the dotted path of a class"),
        ("topology", {"k": 3}, "must be a section with a _target_: the dotted path of a class"),
        (
            "topology",
            {"_target_": 3},
            "must be a section with a _target_: the dotted path of a class",
        ),
        (
            "train",
            3,
            "must be a section with the keys batch, local_steps, local_epochs, clip_norm, loss, class_weights, devices, deadline, deadline_cuts, least_steps",
        ),
        ("train.batch", 0, f"{WHOLE} 1 to 1,000,000"),
        ("train.local_steps", 0, f"{WHOLE} 1 to 1,000,000 or null"),
        ("train.clip_norm", 0, "must be a finite number above 0 or null"),
        ("train.clip_norm", float("inf"), "must be a finite number above 0 or null"),
        (
            "train.loss",
            "hinge",
            "no such option; valid options: auto, cross_entropy, focal, huber, "
            "label_smoothing, mae, mse",
        ),
        ("network.round_seconds", 0, "must be a finite number above 0"),
        ("network.round_seconds", float("nan"), "must be a finite number above 0"),
        ("evaluate.every", 0, "must be a whole number from 1 to 10,000,000"),
        ("evaluate.local", "yes", "must be true or false"),
        ("evaluate.local", 1, "must be true or false"),
        ("checkpoint.every", -1, "must be a whole number from 0 to 10,000,000"),
        ("checkpoint.keep", 0, "must be a whole number from 1 to 10,000,000"),
        ("compute.device", "tpu", "must be one of cpu, cuda, mps (did you mean cpu?)"),
        ("compute.dtype", "float16", "must be one of float32, float64 (did you mean float64?)"),
        (
            "lr_search.lrs",
            [],
            "must be a list that is not empty, each item a finite number above 0 or null",
        ),
        (
            "lr_search.lrs",
            [0.1, -1],
            "must be a list that is not empty, each item a finite number above 0 or null",
        ),
        ("lr_search.rounds", 0, "must be a whole number from 1 to 10,000,000 or null"),
        ("optimizer.lr", "best", "must be a finite number or auto"),
        ("optimizer.lr", None, "must be a finite number or auto"),
        ("optimizer.lr", True, "must be a finite number or auto"),
    ],
)
def test_ranges(default: dict[str, Any], key: str, value: Any, valid: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.parse(changed(default, key, value))
    assert caught.value.key == key
    assert caught.value.valid == valid


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("devices", 1),
        ("rounds", 0),
        ("seed", 2**53),
        ("train.clip_norm", 1),
        ("lr_search.lrs", [1]),
        ("checkpoint.every", 0),
    ],
)
def test_limits_are_inside(default: dict[str, Any], key: str, value: Any) -> None:
    Settings.parse(changed(default, key, value))


@pytest.mark.parametrize(
    ("steps", "epochs", "said"),
    [
        (None, None, r"^train\.local_steps=null: must be a whole number unless"),
        (3, 3, r"^train\.local_epochs=3: must be null"),
    ],
)
def test_exactly_one_amount_of_local_work(
    default: dict[str, Any], steps: int | None, epochs: int | None, said: str
) -> None:
    both = changed(changed(default, "train.local_steps", steps), "train.local_epochs", epochs)
    with pytest.raises(ConfigError, match=said):
        Settings.parse(both)


def test_an_unknown_key_is_named_before_the_one_it_misspells_is_missed(
    default: dict[str, Any],
) -> None:
    misspelt = {k: v for k, v in default.items() if k != "devices"} | {"devces": 5}
    with pytest.raises(
        ConfigError,
        match=r"^devces=5: no such key \(did you mean devices\?\); valid keys: aggregator, attack, augment, ",
    ):
        Settings.parse(misspelt)
    with pytest.raises(
        ConfigError,
        match=r"^train\.bach=5: no such key \(did you mean batch\?\); valid keys: batch, ",
    ):
        Settings.parse(changed(default, "train", {**default["train"], "bach": 5}))


def test_a_missing_key(default: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^seed=\?\?\?: must be a whole number"):
        Settings.parse({k: v for k, v in default.items() if k != "seed"})


@pytest.mark.parametrize("value", ["${nope}", "${oc.env:SURELY_NOT_SET}", "${nope:3}", "???"])
def test_what_cannot_be_resolved_is_an_error_of_its_key(
    default: dict[str, Any], value: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.parse(OmegaConf.create(changed(default, "network.round_seconds", value)))
    assert (caught.value.key, caught.value.value) == ("network.round_seconds", value)


def test_settings_of_earlier_versions_get_sections_and_not_dicts(default: dict[str, Any]) -> None:
    """A config without the keys that came later means the same as one with their defaults."""
    earlier = {key: value for key, value in default.items() if key not in DEFAULTS}
    assert Settings.parse(earlier) == Settings.parse({**default, **DEFAULTS})
