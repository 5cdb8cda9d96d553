"""Checks before the first round that graph, mixing weights, network and protocol work together.

Every function raises a :class:`~swarm.common.errors.ConfigError` that names the key to change.
"""

from __future__ import annotations

from swarm.common.errors import ConfigError
from swarm.common.plugin import called
from swarm.communication.messages import MessageSchedule
from swarm.communication.returned import skips_phases
from swarm.communication.topology.base import RECENT, graph_of


def check_links(messages: MessageSchedule, remembers_links: bool = False) -> None:
    """Refuse a graph that changes, or a network that fails, if the protocol allows neither.

    Args:
        messages: The messages of a run.
        remembers_links: Whether a phase of the protocol keeps something for each link, as
            ``per_edge`` does.
    """
    protocol, needed = messages.protocol, messages.protocol.requirements
    name, fixed = called(protocol), needed.fixed_links or remembers_links
    if (fixed or needed.static_graph) and messages.topology.period != 1:
        would = "protocol=exact_diffusion would do"
        if graph_of(messages.topology, messages.topology.phase(1), messages.devices).directed:
            would += " on an undirected topology"
        stays = f"which is right for weights that stay; {would}"
        why = "which remembers each link" if fixed else stays
        valid = f"must not change under {name}, {why}"
        raise ConfigError("topology", messages.topology_name, valid)
    if fixed and not messages.network.ideal:
        valid = "remembers each link, so it needs a network without loss, delay, churn, outage and"
        raise ConfigError("protocol", name, f"{valid} clock")


def check_undirected(messages: MessageSchedule) -> None:
    """Refuse a directed graph; for phases whose links carry rows in both directions."""
    topology = messages.topology
    if graph_of(topology, topology.phase(1), messages.devices).directed:
        valid = f"must be undirected for {called(messages.protocol)}, whose links carry rows both"
        raise ConfigError("topology", messages.topology_name, f"{valid} ways")


def rounds_foreseen(messages: MessageSchedule) -> range:
    """Return the rounds whose graphs are checked before the start: one period if it is short, else
    the first few rounds.
    """
    period = messages.topology.period
    short = period is not None and messages.topology.recurs
    return range(1, 1 + (period if short and period is not None else RECENT))


def check_weights(messages: MessageSchedule) -> None:
    """Refuse mixing weights that do not conserve the sums that the protocol needs, or that its own
    check refuses, in any of the rounds foreseen.
    """
    for round in rounds_foreseen(messages):
        messages.require_sums(round)
        messages.protocol.check(messages.mixing(round))


def check_server(messages: MessageSchedule) -> None:
    """Refuse delays and outages, which the links to a server do not have."""
    name, network = called(messages.protocol), messages.network
    for key, part in (("delay", network.delay), ("outage", network.outage)):
        if part is not None:
            why = "whose server is on no link of the topology and waits for all messages"
            raise ConfigError(key, called(part), f"must be none with {name}, {why}")


def check_both_ways(messages: MessageSchedule) -> None:
    """Refuse a network that cannot lose both directions of a link together, if the protocol's
    weights must conserve both sums.
    """
    name, network = called(messages.protocol), messages.network
    if messages.protocol.requirements.conserves != "both" or network.ideal:
        return
    _refuse_delays(messages, "whose weights have to sum to one both ways in every round")
    if messages.graph(1).directed:
        valid = (
            f"must be undirected for {name} on a network that loses messages: a loss has to hit"
            " both directions of a link"
        )
        raise ConfigError("topology", messages.topology_name, valid)


def check_every_round(messages: MessageSchedule) -> None:
    """Refuse messages that are under way for several rounds, if the protocol may leave out the
    round in which they arrive."""
    if skips_phases(messages.protocol):
        _refuse_delays(messages, "which does not communicate in every round")


def _refuse_delays(messages: MessageSchedule, why: str) -> None:
    """Refuse messages that are under way for more than a round, under a protocol of which ``why``
    says why it cannot use them."""
    if not messages.depth:
        return
    network, why = messages.network, f"under {called(messages.protocol)}, {why}"
    if network.delay is not None:
        raise ConfigError("delay", called(network.delay), f"must be less than a round {why}")
    slowest = network.longest_on_the_line
    valid = (
        f"must be above {slowest:.3g} virtual seconds, which messages may take on the fleet's"
        f" lines, {why}"
    )
    raise ConfigError("network.round_seconds", network.round_seconds, valid)
