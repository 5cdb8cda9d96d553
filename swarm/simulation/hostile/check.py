"""Checks that an attack goes together with the protocol, the compressor and the graph.

Every function raises a :class:`~swarm.common.errors.ConfigError` that names the key to change.
"""

from __future__ import annotations

import warnings
from copy import copy
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError, counted
from swarm.common.names import listed, named, titled
from swarm.common.plugin import absent, called
from swarm.communication.aggregation.robust import RobustRule, too_many
from swarm.communication.check_messages import rounds_foreseen
from swarm.communication.returned import skips_phases
from swarm.communication.topology.graph import Graph
from swarm.config.choices import choice
from swarm.config.settings import Settings
from swarm.simulation.experiment.cohorts.bounds import graphs_of, holders_of, titles

if TYPE_CHECKING:
    from swarm.simulation.experiment.communication import Communication

Bools = npt.NDArray[np.bool_]


def check_attack(settings: Settings, communication: Communication) -> None:
    """Refuse an attack that the protocol has no place for, and one that reaches nobody."""
    c, name = communication, choice("attack", settings.attack)
    if c.hostile_N is None or absent(c.attack):
        return
    _require_borne(settings, c)
    protocol = called(c.protocol)
    if c.data_attack is not None:
        if not c.learns:
            valid = f"needs a protocol that learns, and {protocol} learns nothing"
            raise ConfigError("attack", name, valid)
        return
    if not any(phase.sends for phase in c.phases):
        raise ConfigError("attack", name, f"must be none with {protocol}, which sends nothing")
    if c.link_attack is not None:
        _check_link_attack(settings, c, name)
    if c.message_attack is not None:
        _check_message_attack(c, name)
    _require_neighbours(settings, c)


def _require_borne(settings: Settings, c: Communication) -> None:
    """Refuse more hostile neighbours of an honest device than a robust rule bears, in any of the
    rounds foreseen; with ``aggregator.unsafe=warn``, only warn of it."""
    rule, hostile_N = c.aggregator, c.hostile_N
    if not isinstance(rule, RobustRule):
        return
    assert hostile_N is not None
    if not any(phase.mixes for phase in c.phases):
        _require_borne_by_server(settings, c, rule, hostile_N)
        return
    hostile = np.flatnonzero(hostile_N)
    beyond = (
        (round, graph, of, found)
        for round in rounds_foreseen(c.messages)
        for graph, of in graphs_of(c, c.messages.graph(round))
        if len(found := too_many(graph, hostile, rule))
    )
    if (first := next(beyond, None)) is None:
        return
    round, graph, of, found = first
    bad_N = np.bincount(graph.dst_E[hostile_N[graph.src_E]], minlength=graph.n)
    worst = int(found[bad_N[found].argmax()])
    names = c.names if not of or c.cohorts is None else titles(c.cohorts, c.names)
    bad, rows = int(bad_N[worst]), int(graph.degree_in[worst]) + 1
    name, bears = choice("aggregator", settings.aggregator), rule.bears(rows)
    who = titled(worst, named(names, worst))
    made = f"{mixtures}," if (mixtures := rule.mixtures(rows)) else ""
    said = f"bears {counted(bears, 'hostile row')} among the {rows}{made} of {who}{of}, "
    neighbours = counted(bad, "hostile neighbour")
    have = "has" if bad == 1 else "have"
    said += f"and {neighbours} {have} them" if of else f"which has {neighbours}"
    said += "" if round == 1 else f" in round {round}"
    if rule.unsafe == "warn":
        everybody = listed([titled(i, named(names, i)) for i in found.tolist()])
        text = f"aggregator={name}: {said}; these have too many for it: {everybody}"
        warnings.warn(text, stacklevel=2)
        return
    larger = f"aggregator.f={bad} or " if not of and _bears(rule, bad, graph, hostile_N) else ""
    would = f"{larger}fewer hostile devices would do, or aggregator.unsafe=warn"
    raise ConfigError("aggregator", name, f"{said}; {would}")


def _require_borne_by_server(
    settings: Settings, c: Communication, rule: RobustRule, hostile_N: Bools
) -> None:
    """Refuse more hostile devices in a round than a server's rule bears, in any of the rounds
    foreseen; with ``aggregator.unsafe=warn``, only warn of it."""
    sending = (
        (round, has_N if (active := c.active(round)) is None else has_N & active, of)
        for round in rounds_foreseen(c.messages)
        for has_N, of in holders_of(c)
    )
    counts = ((r, int((hostile_N & some).sum()), int(some.sum()), of) for r, some, of in sending)
    beyond = (each for each in counts if each[1] > rule.bears(each[2]))
    if (first := next(beyond, None)) is None:
        return
    round, bad, rows, of = first
    bears = rule.bears(rows)
    name, where = choice("aggregator", settings.aggregator), f" in round {round}"
    made = f"{mixtures}," if (mixtures := rule.mixtures(rows)) else ""
    said = f"bears {counted(bears, 'hostile row')} among the {rows}{made} that the"
    said += f" server combines{of}{'' if round == 1 else where}, and {bad} of their senders"
    said += " is hostile" if bad == 1 else " are hostile"
    if rule.unsafe == "warn":
        warnings.warn(f"aggregator={name}: {said}", stacklevel=2)
        return
    would = "a larger aggregator.f or fewer hostile devices would do, or aggregator.unsafe=warn"
    raise ConfigError("aggregator", name, f"{said}; {would}")


def _bears(rule: RobustRule, f: int, graph: Graph, hostile_N: Bools) -> bool:
    """Whether ``rule`` would bear these hostile devices with another ``f``."""
    other = copy(rule)
    other.f = f
    try:
        other.check_bound(graph, None)
    except ConfigError:
        return False
    return not len(too_many(graph, np.flatnonzero(hostile_N), other))


def _check_link_attack(settings: Settings, c: Communication, name: str) -> None:
    """Refuse messages that differ for each neighbour where all get the same packet."""
    for phase in c.phases:
        if phase.sends and not phase.mixes:
            how = phase.delivery or "messages that are not mixed"
            valid = (
                f"makes another message for each neighbour, and {called(c.protocol)} sends {how};"
                " scenario.arms leaves out arms that cannot be attacked"
            )
            raise ConfigError("attack", name, valid)
    if c.compressor is not None:
        packer = choice("compressor", settings.compressor)
        valid = f"must be none with attack={name}, whose messages differ for each neighbour"
        raise ConfigError("compressor", packer, valid)


def _check_message_attack(c: Communication, name: str) -> None:
    """Refuse an attack that needs one row a device and round, where there are more or none."""
    attack, protocol = c.message_attack, called(c.protocol)
    assert attack is not None
    for phase in c.phases:
        if phase.per_edge and (attack.colludes or attack.memory):
            valid = (
                f"needs a protocol that sends the same row to all neighbours, and {protocol} sends"
                f" {phase.delivery}"
            )
            raise ConfigError("attack", name, valid)
    if attack.memory and skips_phases(c.protocol):
        valid = f"needs a message in every round, and {protocol} leaves some out"
        raise ConfigError("attack", name, valid)


def _require_neighbours(settings: Settings, c: Communication) -> None:
    """Refuse hostile devices without a link to an honest one, in any of the rounds foreseen."""
    assert c.hostile_N is not None
    if any(phase.through_server for phase in c.phases):
        return
    for round in rounds_foreseen(c.messages):
        graph = c.messages.graph(round)
        if (c.hostile_N[graph.src_E] & ~c.hostile_N[graph.dst_E]).any():
            return
    valid = "leaves no hostile device an honest neighbour to send to; others or more would do"
    raise ConfigError("attack.devices", settings.attack["devices"], valid)
