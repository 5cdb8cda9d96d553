"""Whatever is about messages is refused, or said to do nothing, where no message is sent.

Every group of conf/ and every key of conf/config.yaml is here: either it is about messages, or it
has an effect on devices that send nothing. A new one has to be told which.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import circulant

from swarm.common.errors import ConfigError
from swarm.config.composing.conf_files import config_file, default_options, keys_of, placed
from tests.support import Rows, groups, options, prepared, trajectory

SMALL = ("devices=16", "rounds=4", "model.hidden=[4]", "scenario.arms=[swarm]")
SILENT = (*SMALL, "protocol=none")
# groups of parts that are listed under another key
LISTED = {"transform": "transforms", "pre_aggregator": "pre_aggregators"}
OF_MESSAGES = {
    *("compressor", "secure_sum", "delay", "outage", "attack", "topology", "aggregator"),
    *LISTED,
}
ALONE = {
    *("protocol", "scenario", "engine", "tracker", "metric"),
    *("churn", "clock", "fleet"),  # who learns when, and how long that takes
    *("data", "partition", "drift", "labels", "augmentation", "update", "replay"),
    "goal",  # what devices practise; one that listens to neighbours is refused where nothing is sent
    *("model", "loss", "optimizer", "schedule", "personal"),
    "privacy",  # what devices would send is clipped and noised, so that it can be measured
}
KEYS_OF_MESSAGES = {
    "mixing": "metropolis",
    "share": "body",
    "buffers": "local",
    "network.drop": "0.2",
    "network.symmetric": "true",
    "network.max_delay": "3",
}
KEYS_ALONE = {
    *("devices", "rounds", "preset", "seed", "init", "metrics", "plugins", "report", "resume"),
    *("augment", "cohorts", "network.round_seconds"),
    *("train", "evaluate", "early_stopping", "checkpoint", "compute", "lr_search", "hydra"),
}
# these need files, or people of their own
OF_OTHERS = {
    *(("topology", name) for name in ("chitchat", "contacts", "file", "social", "zoo")),
    ("delay", "speedtest"),
}
NEEDS = {
    "pre_aggregators": ["aggregator=trimmed_mean"],
    "aggregator": ["data.local_validation=0.2"],
    "attack": ["attack.devices=2"],
    "outage": ["outage.start=1"],
    "delay": ["topology=geometric"],
}
OPTIONS = [
    (group, name)
    for group in sorted(OF_MESSAGES)
    for name in options(group)
    if name not in ("none", "mean", default_options().get(group)) and (group, name) not in OF_OTHERS
]


def said(*overrides: str) -> list[str]:
    """The warnings of a run that is prepared."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        prepared(*overrides)
    return [str(each.message) for each in found]


def test_every_group_and_key_is_told_whether_it_is_about_messages() -> None:
    assert set(groups()) == OF_MESSAGES | ALONE
    config = dict(keys_of(config_file()))
    of_network = {f"network.{key}" for key in config.pop("network")}
    assert not set(config) & OF_MESSAGES
    keys = (set(config) | of_network) - {"defaults", *LISTED.values(), *placed()}
    assert keys == set(KEYS_OF_MESSAGES) | KEYS_ALONE


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_options_about_messages_are_said_to_do_nothing(group: str, name: str) -> None:
    key = LISTED.get(group, group)
    typed = f"{key}=[{name}]" if group in LISTED else f"{key}={name}"
    try:
        found = said(*SILENT, *NEEDS.get(key, []), typed)
    except ConfigError as error:
        found = [str(error)]
    # a pre-aggregator is a part of a rule, which is refused
    key = "aggregator" if key == "pre_aggregators" else key
    pattern = rf"{key}=\S+: (protocol=none|must be .* with LocalOnly, which) (sends|mixes) nothing"
    of_key = [text for text in found if text.startswith(f"{key}=")]
    assert len(of_key) == 1
    assert re.match(pattern, of_key[0])


@pytest.mark.parametrize(("key", "value"), KEYS_OF_MESSAGES.items())
def test_keys_about_messages_are_said_to_do_nothing(key: str, value: str) -> None:
    sentence = f"{key}={value}: protocol=none sends nothing, so that"
    assert [text for text in said(*SILENT, f"{key}={value}") if text.startswith(sentence)]
    assert not [text for text in said(*SMALL, f"{key}={value}") if "sends nothing" in text]


def test_links_without_messages_are_said_to_do_nothing() -> None:
    found = said(*SMALL, "protocol=fedavg", "topology=ring", "mixing=metropolis")
    assert [text.partition(":")[0] for text in found] == ["topology=ring", "mixing=metropolis"]
    assert all("protocol=fedavg sends over no link of the topology" in text for text in found)
    # links say where hostile devices sit, also where no message goes along them
    hubs = ("attack=label_flip", "attack.devices=1", "attack.placement=hubs")
    assert not said(*SMALL, "protocol=fedavg", "topology=star", *hubs)


def test_what_no_arm_has_a_use_for_is_said_once_and_what_one_arm_uses_is_not() -> None:
    arms = "scenario.arms=[swarm,isolated,centralised,fedavg]"
    every = (*SMALL, arms, "compressor=top_k", "network.drop=0.2", "delay=constant", "mixing=lazy")
    attack = ("attack=label_flip", "attack.devices=2")
    assert not said(*every, *attack)  # the controls have no use for them
    found = said(*every, *attack, "protocol=none")
    # the server of fedavg loses messages, and hears hostile devices
    assert sorted(text.partition("=")[0] for text in found) == ["compressor", "delay", "mixing"]


def test_a_topology_that_places_cohorts_or_answers_questions_is_used() -> None:
    cohorts = "cohorts={{large: {{devices: 4, placement: {}, model: {{hidden: [8]}}}}}}"
    for protocol in ("none", "fedavg"):
        words = (*SMALL, f"protocol={protocol}", "topology=star")
        placed, drawn = (cohorts.format(by) for by in ("hubs", "random"))
        assert not said(*words, placed)
        assert [text.partition(":")[0] for text in said(*words, drawn)] == ["topology=star"]
        assert not said(*words, drawn, "metrics=[standard,asking]")
    goal = ("goal=weakest", "data.local_validation=0.3")
    assert not said(*SMALL, "protocol=ad_psgd", "topology=star", *goal)


@pytest.mark.parametrize(
    ("words", "idle"),
    [
        ("network.drop=0.2 compressor=top_k", "compressor network.drop"),
        (
            "mixing=lazy transforms=[clip] aggregator=coordinate_median",
            "aggregator mixing transforms",
        ),
        ("protocol=ad_psgd network.drop=0.2 rounds=100 churn=markov", "network.drop protocol"),
        ("protocol=fedmd data.public=0.1", "protocol"),
        ("protocol=fedmd data.public=0.1 protocol.server=true network.drop=0.2", ""),
        ("protocol=gossip_pga network.drop=0.2 mixing=lazy", "mixing"),
        ("", ""),
    ],
)
def test_what_needs_links_is_said_to_do_nothing_without_them(words: str, idle: str) -> None:
    found = said(*SMALL, "topology=none", *words.split())
    assert sorted(text.partition("=")[0] for text in found) == idle.split()
    assert all(": the topology has no links, so that " in text for text in found)


def test_an_arm_whose_protocol_nobody_typed_is_named() -> None:
    words = ("devices=16", "rounds=4", "scenario.arms=[isolated]", "network.drop=0.1")
    (text,) = said(*words)
    assert text == "network.drop=0.1: the arm isolated sends nothing, so that no message is lost"
    (text,) = said(*words, "protocol=none", "topology=none")
    assert text == "network.drop=0.1: protocol=none sends nothing, so that no message is lost"


def test_defaults_say_nothing() -> None:
    assert not said(*SILENT)
    assert not said(*SILENT, "topology=none")
    assert not said(*SMALL, "rounds=0", "topology=ring", "network.drop=0.1")


def learnt(words: tuple[str, ...], mixing: str) -> tuple[Rows, list[str]]:
    """Every device's parameters round by round under a rule of mixing, and what is said of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = trajectory(prepared(*words, f"mixing={mixing}"))
    texts = [str(each.message) for each in caught]
    return rows, [text for text in texts if text.startswith(f"mixing={mixing}: ")]


UNEQUAL = ("topology=barabasi_albert", "topology.m=4")  # so that weights of links differ
HARMFUL = ("alie", "dissensus", "sign_flip")  # only the second is told weights
COMMON = ("diloco", "fedadam", "ifca")  # all devices start alike


@pytest.mark.parametrize(
    "word",
    [f"protocol={name}" for name in options("protocol") if name != "ad_psgd"]  # auto only
    + [f"aggregator={name}" for name in options("aggregator")]
    + [f"aggregator=coordinate_median attack={name} attack.devices=2" for name in HARMFUL],
)
def test_mixing_is_said_to_do_nothing_just_where_it_changes_no_bit(word: str) -> None:
    words = (*SMALL, *UNEQUAL, "data.local_validation=0.2", *word.split())
    words += ("data.public=0.1",) if word == "protocol=fedmd" else ()
    words += ("aggregator.unsafe=warn",) if word.endswith("krum") else ()
    words += () if word.endswith(COMMON) else ("init=independent",)
    one, said_of_one = learnt(words, "max_degree")
    other, said_of_other = learnt(words, "metropolis")
    idle = np.array_equal(one, other)
    assert len(said_of_one) == len(said_of_other) == int(idle)
    if idle:
        pattern = r"mixing=max_degree: .*, so that no link has a weight"
        assert re.fullmatch(pattern, said_of_one[0])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (
            "mixing=metropolis",
            "mixing=metropolis makes weights by itself (mixing=auto takes these)",
        ),
        (
            "aggregator=coordinate_median",
            "aggregator=coordinate_median combines messages without weights",
        ),
        ("protocol=relay_sgd", "protocol=relay_sgd combines messages without weights"),
        ("mixing=topology", None),
        ("", None),
    ],
)
def test_weights_of_a_file_that_do_nothing_are_named(
    tmp_path: Path, words: str, why: str | None
) -> None:
    np.savetxt(tmp_path / "g.txt", circulant([0.4, 0.3, 0.0, 0.3]))
    file = (f"topology.path={tmp_path / 'g.txt'}", "topology.weight=w", "devices=4")
    found = [t for t in said(*SMALL, "topology=file", *file, *words.split()) if "topology." in t]
    expected = f"topology.weight=w: {why}, so that it has no effect"
    assert found == ([] if why is None else [expected])


def test_lengths_of_a_file_that_do_nothing_are_named(tmp_path: Path) -> None:
    (tmp_path / "g.txt").write_text("0 1 2.5\n1 2 1\n2 0 3\n")
    words = (*SMALL, "topology=file", f"topology.path={tmp_path / 'g.txt'}", "devices=3")
    text = (
        "topology.length=km: no message takes longer on a longer edge; delay=distance would use it"
    )
    assert said(*words, "topology.length=km") == [text]
    assert said(*words, "topology.length=km", "delay=constant") == [text]
    assert not said(*words, "topology.length=km", "delay=distance", "delay.per_unit=0.5")
    # of an option whose file has lengths, nobody has chosen them
    zoo = ("topology=zoo", *words[-2:], "topology.length=dist")
    assert not said(*SMALL, *zoo)
