"""Checks that secure sums go together with the parts of an arm: a combination in which they could
not be added up, or would hide nothing, is refused.

Every function raises a :class:`~swarm.common.errors.ConfigError` that names the key to change.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from swarm.common.errors import ConfigError, Refusals, refuse
from swarm.common.names import named, titled
from swarm.common.plugin import called
from swarm.communication.check_messages import rounds_foreseen
from swarm.communication.secure.base import FEWEST
from swarm.communication.secure.rounds import SecureRounds
from swarm.config.choices import choice
from swarm.config.settings import Settings
from swarm.simulation.secure.sums import SecureSums

if TYPE_CHECKING:
    from swarm.simulation.experiment.communication import Communication


def check_secure(settings: Settings, communication: Communication) -> None:
    """Refuse what does not go together with secure sums."""
    if not isinstance(communication.sums, SecureSums):
        return
    name = choice("secure_sum", settings.secure_sum)
    for check in (_of_messages, _of_network, _of_protocol, _of_sizes):
        refuse(check(settings, communication), f"secure_sum={name}")
    rounds = communication.sums.rounds
    if (needed := rounds.plug_in.library) is not None and find_spec(needed[0]) is None:
        library = needed[0].replace("_", "-")
        raise ConfigError("secure_sum", name, f"needs the library {library}: `{needed[1]}`")
    for text in rounds.plug_in.advice(_largest_sum(communication, rounds)):
        warnings.warn(text, stacklevel=2)


def _largest_sum(c: Communication, rounds: SecureRounds) -> int:
    """The largest number of rows that a sum of the first round may have."""
    server = any(phase.through_server for phase in c.phases)
    size = int(rounds.invited(1).sum()) if server else 0
    if any(phase.mixes for phase in c.phases):
        size = max(size, c.messages.most_links)
    return size


def _of_messages(s: Settings, c: Communication) -> Refusals:
    """What changes messages, or looks at single ones: the key, its value, what would be valid."""
    if c.compressor is not None:
        valid = "must be none with {}: masks cover every number, so that none can be left out or"
        yield "compressor", choice("compressor", s.compressor), f"{valid} rounded afterwards"
    if not c.aggregator.linear:
        valid = "must be mean with {}: a receiver sees the sum only, and no row to judge"
        yield "aggregator", choice("aggregator", s.aggregator), valid
    if c.message_attack is not None or c.link_attack is not None:
        valid = "must be none, or change only what devices learn from (label_flip, backdoor), with"
        valid += " {}: rows that hostile devices replace are not simulated under masks"
        yield "attack", choice("attack", s.attack), valid


def _of_network(s: Settings, c: Communication) -> Refusals:
    """What the round trips of a sum, which all belong to one round, cannot bear."""
    network = c.network
    if network.drop:
        valid = "must be 0 with {}, whose round trips would be repeated until they arrive; devices"
        yield "network.drop", network.drop, f"{valid} may drop out by churn, links by outage"
    why = "must be none with {}: the devices of a sum must all be there in the same round"
    for key, part in (("delay", network.delay), ("clock", network.clock)):
        if part is not None:
            yield key, called(part), why


def _of_protocol(s: Settings, c: Communication) -> Refusals:
    """Protocols in which nobody adds up, or which need sums to the last bit."""
    name, needs = called(c.protocol), c.protocol.requirements
    for phase in c.phases:
        if phase.sends and not (phase.mixes or phase.through_server):
            how = phase.delivery or "each message by itself"
            valid = f"must be one in which rows are added up with {{}}; {name} sends {how}"
            yield "protocol", name, valid
    if needs.no_compression:
        valid = "must be one that bears rounded messages with {}, which sends fixed-point numbers"
        yield "protocol", name, valid
    if needs.conserves == "row":
        return
    valid = f"must be none with {{}} and {name}: a sum that is lost at one end of a link only would"
    for key, part in (("churn", c.network.churn), ("outage", c.network.outage)):
        if part is not None:
            yield key, called(part), f"{valid} change the mean over all devices"


def _of_sizes(s: Settings, c: Communication) -> Refusals:
    """Sums of a single row, which are that row."""
    assert isinstance(c.sums, SecureSums)
    if any(phase.through_server for phase in c.phases):
        count = int(c.sums.rounds.invited(1).sum())
        if count < FEWEST:
            key = "protocol.fraction" if s.devices >= FEWEST else "devices"
            value = s.protocol.get("fraction") if s.devices >= FEWEST else s.devices
            valid = "leaves one device a round with {}, whose row would be the sum; more would do"
            yield key, value, valid
    if not any(phase.mixes for phase in c.phases):
        return
    for round in rounds_foreseen(c.messages):
        degree_N = c.messages.graph(round).degree_in
        single = np.flatnonzero(degree_N == 1)
        if len(single):
            who = titled(int(single[0]), named(c.names, int(single[0])))
            valid = f"must give every device two neighbours or more with {{}}: {who} hears from one"
            yield "topology", c.messages.topology_name, f"{valid}, whose row would be the sum"
