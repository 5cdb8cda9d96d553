"""Settings of messages that have no effect in an arm, as its protocol sends no message, or none
over links, or as nothing asks for the weights or lengths of links.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from swarm.common.plugin import absent
from swarm.communication.aggregation.base import uses_weights
from swarm.communication.attack.base import LinkAttack
from swarm.communication.topology.base import RECENT, WHOLE, graph_of
from swarm.config.build import option, options
from swarm.config.choices import choice
from swarm.config.composing.conf_files import config_file, default_options, keys_of
from swarm.config.explain import shown
from swarm.config.settings import Settings
from swarm.simulation.experiment import Experiment

OF_MESSAGES = {
    "compressor": "there is nothing to compress",
    "secure_sum": "no sum is masked",
    "delay": "no message is delayed",
    "outage": "no link is missed",
    "attack": "hostile devices harm only themselves, and nobody measures them",
    "buffers": "running statistics stay where they are in any case",
    "share": "nothing is shared",
    "network.drop": "no message is lost",
    "network.symmetric": "no message is lost",
    "network.max_delay": "no message is late",
}
"""What sets how messages are made, or what happens to them, and what it means that there are none.
Transforms, rules and other attacks are refused where nothing is sent."""
OF_LINKS = {
    "topology": "its links are not used",
    "mixing": "no link has a weight",
    "network.max_delay": "no message is late",
}
"""What is about links only, and what it means that no message goes along them."""
WITHOUT_LINKS = {
    "protocol": "no device hears another",
    "aggregator": "a device has nothing to combine",
    "transforms": "no message is changed",
}
"""What else does nothing where there are no links, and what it means that there are none."""
OWN_WEIGHTS = ("auto", "topology")  # the rules by which a topology's own weights count
NO_LINKS = "the topology has no links"
LISTED = {"transforms": "transform"}  # the groups of what is listed under another key


def idle(e: Experiment, arm: str | None = None) -> dict[str, str]:
    """Return the settings of ``e`` that have no effect, as its protocol does not send what they are
    about, or as nobody asks for what links have: the dotted key, and a sentence that says so.
    Settings that are as in ``conf/config.yaml`` or ``none`` are not among them. ``arm`` is its name
    if it has another protocol than the run."""
    s, phases = e.settings, [phase for phase in e.communication.phases if phase.sends]
    by_server = [phase for phase in phases if phase.through_server]
    who = f"protocol={choice('protocol', s.protocol)}" if arm is None else f"the arm {arm}"
    about, why = dict[str, str](), f"{who} sends over no link of the topology"
    if not phases:
        about, why = OF_LINKS | OF_MESSAGES, f"{who} sends nothing"
    elif len(by_server) == len(phases):
        about = OF_LINKS
    elif _without_links(e):
        about, why = OF_LINKS | (OF_MESSAGES | WITHOUT_LINKS if not by_server else {}), NO_LINKS
        about.pop("topology")  # is the reason
    found = {
        key: f"{key}={_typed(s, key)}: {why}, so that {so}"
        for key, so in about.items()
        if _set(s, key)
    }
    used = set(_used_otherwise(e))
    every = found if about else dict(_of_edges(e, who))
    return {key: said for key, said in every.items() if key not in used}


def _of_edges(e: Experiment, who: str) -> Iterator[tuple[str, str]]:
    """What nobody asks for in an arm whose messages go along links: the key, and the sentence."""
    c, s = e.communication, e.settings
    # an attack over links is told the weights by which its receiver combines
    attacked = c.hostile_N is not None and isinstance(c.attack, LinkAttack)
    weighed = attacked or any(phase.weighs for phase in c.phases)
    if not uses_weights(c.aggregator) and any(phase.mixes for phase in c.phases):
        who = f"aggregator={choice('aggregator', s.aggregator)}"
    unweighed = f"{who} combines messages without weights"
    if not weighed and _set(s, "mixing"):
        yield "mixing", f"mixing={s.mixing}: {unweighed}, so that {OF_LINKS['mixing']}"
    own, length = c.topology.weight_option, c.topology.length_option
    chosen = _chosen_options("topology", s.topology)
    if own and own in chosen and (not weighed or s.mixing not in OWN_WEIGHTS):
        why = f"mixing={s.mixing} makes weights by itself (mixing=auto takes these)"
        why = why if weighed else unweighed
        key = f"topology.{own}"
        yield key, f"{key}={s.topology[own]}: {why}, so that it has no effect"
    delay = c.network.delay
    if length and length in chosen and not s.plugins and (delay is None or not delay.by_length):
        why = "no message takes longer on a longer edge; delay=distance would use it"
        yield f"topology.{length}", f"topology.{length}={s.topology[length]}: {why}"


def _chosen_options(group: str, node: Mapping[str, Any]) -> set[str]:
    """The keys of ``node`` whose values are not those of the option of ``conf/`` that it is."""
    name = choice(group, node)
    usual = option(group, name) if name in options(group) else {}
    return {key for key, value in node.items() if value != usual.get(key)}


def _without_links(e: Experiment) -> bool:
    """Whether the graphs of all rounds are known before the start, and none has a link."""
    topology, s = e.communication.topology.possible, e.settings
    if not topology.recurs and s.rounds > RECENT:
        return False
    phases = {topology.phase(round) for round in range(1, 1 + min(max(s.rounds, 1), WHOLE))}
    return not any(len(graph_of(topology, phase, s.devices).src_E) for phase in phases)


def _used_otherwise(e: Experiment) -> Iterator[str]:
    """Settings of messages that have another use in this arm."""
    c = e.communication
    hostile, leaving = c.hostile_N is not None, c.network.churn is not None
    cancels = e.data.privacy.shares_noise
    # the graph says where hostile devices sit, who leaves, which noise cancels, and who is who
    if hostile or leaving or cancels or c.topology.node_names:
        yield "topology"
    for metric in e.metrics.all:
        yield from metric.uses
    if not absent(e.model.personal):
        yield "share"  # which is what devices keep for themselves, too
    if not hostile:
        yield "attack"  # a list of nobody, or of devices that are not measured


def value_of(settings: Settings, key: str) -> Any:
    """Return the value of a dotted key of ``settings``."""
    found: Any = settings
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else getattr(found, part)
    return found


def _set(settings: Settings, key: str) -> bool:
    """Whether somebody has chosen a value of ``key``."""
    value, options = value_of(settings, key), default_options()
    if isinstance(value, dict):
        plain = {options[key], "none"} if value == option(key, options[key]) else {"none"}
        return choice(key, value) not in plain
    default: Any = keys_of(config_file())
    for part in key.split("."):
        default = default[part]
    return bool(value != default)


def _typed(settings: Settings, key: str) -> str:
    value = value_of(settings, key)
    if key in LISTED:
        return shown([choice(LISTED[key], node) for node in value])
    return choice(key, value) if isinstance(value, dict) else shown(value)


def warn_of_idle(
    settings: Settings, arms: Iterable[tuple[Settings, Mapping[str, str]]], placed: bool = False
) -> None:
    """Warn of each of the run's ``settings`` that is idle in all arms that keep it, given the
    settings and the idle ones of each arm. An arm that replaces a setting has no use for it, and
    says nothing about it. ``placed`` says that the topology has placed cohorts, before there were
    arms."""
    listed = list(arms)
    for key in dict.fromkeys(key for _, its in listed for key in its):
        if placed and key == "topology":
            continue
        value = value_of(settings, key)
        keep = [its for own, its in listed if value_of(own, key) == value]
        if keep and all(key in its for its in keep):
            warnings.warn(keep[0][key], stacklevel=3)
