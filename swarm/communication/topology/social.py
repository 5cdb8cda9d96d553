"""Small social networks that sociologists recorded, as bundled with networkx."""

from __future__ import annotations

from typing import Literal, get_args

import networkx as nx

from swarm.common.errors import ConfigError
from swarm.common.names import Names, canonical
from swarm.communication.topology.base import Match, Static, check_choice, seats
from swarm.communication.topology.graph import Graph

Name = Literal["karate_club", "davis_southern_women", "les_miserables", "florentine_families"]


class Social(Static):
    """One of networkx's social graphs; ``devices`` must be its number of people.

    karate_club: Zachary's 34 members (1977) · davis_southern_women: 18 women and the 14 events they
    went to (1941) · les_miserables: 77 characters that appear together (Knuth 1993) ·
    florentine_families: 15 families and their marriages (Padgett 1994).

    Device i is the i-th person in networkx's order. If each device has an owner with a name, the
    owners must be these people; ``match=order`` puts them in their places in their order instead.
    Raises ``ConfigError`` for another number of devices, and for other owners.
    """

    def __init__(
        self,
        devices: int,
        graph: Name = "karate_club",
        match: Match = "name",
        owner_names: Names | None = None,
    ) -> None:
        check_choice("graph", graph, get_args(Name))
        check_choice("match", match, get_args(Match))
        recorded = {
            "karate_club": nx.karate_club_graph,
            "davis_southern_women": nx.davis_southern_women_graph,
            "les_miserables": nx.les_miserables_graph,
            "florentine_families": nx.florentine_families_graph,
        }
        people = recorded[graph]()
        found = Graph.from_networkx(people)
        if devices != found.n:
            raise ConfigError(
                "/devices",
                devices,
                f"the {graph} graph has {found.n} nodes; devices={found.n} would do",
            )
        self.node_names = tuple(map(canonical, people))
        if owner_names is not None and match == "name":
            seat_N = seats(self.node_names, owner_names, "graph", graph)
            found, self.node_names = Graph.from_edges(found.n, seat_N[found.links_E2]), owner_names
        super().__init__(found)
