"""Combinations of graph, mixing weights, network and protocol that cannot work.

Every function raises :class:`~swarm.common.errors.ConfigError` that names the key to change, and
is asked before the first round.
"""

from __future__ import annotations

from swarm.common.errors import ConfigError
from swarm.common.plugin import called
from swarm.communication.messages import MessageSchedule
from swarm.communication.topology.base import RECENT, graph_of


def check_links(messages: MessageSchedule, remembers_links: bool = False) -> None:
    """Refuse a graph or a network that the protocol's messages cannot live with.

    Args:
        messages: The messages of a run.
        remembers_links: Whether a phase keeps something for each link, as one that sends every
            neighbour a row of its own does.
    """
    protocol, needed = messages.protocol, messages.protocol.requirements
    name, fixed = called(protocol), needed.fixed_links or remembers_links
    if (fixed or needed.static_graph) and messages.topology.period != 1:
        stays = "which is right for weights that stay; protocol=exact_diffusion would do"
        why = "which remembers each link" if fixed else stays
        valid = f"must not change under {name}, {why}"
        raise ConfigError("topology", messages.topology_name, valid)
    if fixed and not messages.network.ideal:
        valid = "remembers each link, so it needs a network without loss, delay, churn, outage and"
        raise ConfigError("protocol", name, f"{valid} clock")


def check_undirected(messages: MessageSchedule) -> None:
    """Refuse a directed graph, for a phase whose links carry rows both ways."""
    topology = messages.topology
    if graph_of(topology, topology.phase(1), messages.devices).directed:
        valid = f"must be undirected for {called(messages.protocol)}, whose links carry rows both"
        raise ConfigError("topology", messages.topology_name, f"{valid} ways")


def rounds_foreseen(messages: MessageSchedule) -> range:
    """The rounds whose graphs are looked at before the first: all that there are, if they come
    back soon."""
    period = messages.topology.period
    short = period is not None and messages.topology.recurs
    return range(1, 1 + (period if short and period is not None else RECENT))


def check_weights(messages: MessageSchedule) -> None:
    """Refuse mixing weights that do not conserve the sums which the protocol needs.

    All rounds of a short period are looked at, else the first ones.
    """
    for round in rounds_foreseen(messages):
        messages.require_sums(round)
        messages.protocol.check(messages.mixing(round))


def check_server(messages: MessageSchedule) -> None:
    """Refuse what the links to a server do not have: delays and outages."""
    name, network = called(messages.protocol), messages.network
    for key, part in (("delay", network.delay), ("outage", network.outage)):
        if part is not None:
            why = "whose server is on no link of the topology and waits for all messages"
            raise ConfigError(key, called(part), f"must be none with {name}, {why}")


def check_both_ways(messages: MessageSchedule) -> None:
    """Refuse a network that could not lose both directions of a link together, where the weights
    have to conserve both sums."""
    name, network = called(messages.protocol), messages.network
    if messages.protocol.requirements.conserves != "both" or network.ideal:
        return
    if messages.depth:
        why = f"under {name}, whose weights have to sum to one both ways in every round"
        if network.delay is not None:
            valid = f"must be less than a round {why}"
            raise ConfigError("delay", called(network.delay), valid)
        slowest = network.longest_on_the_line
        valid = (
            f"must be above {slowest:.3g} virtual seconds, which messages may take on the fleet's"
            f" lines, {why}"
        )
        raise ConfigError("network.round_seconds", network.round_seconds, valid)
    if messages.graph(1).directed:
        valid = (
            f"must be undirected for {name} on a network that loses messages: a loss has to hit"
            " both directions of a link"
        )
        raise ConfigError("topology", messages.topology_name, valid)
