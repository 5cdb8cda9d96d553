"""The kinds of phases that a round consists of, by the names that protocols use for them."""

from swarm.simulation.phases.base import Phase
from swarm.simulation.phases.learn import Learn
from swarm.simulation.phases.messages import Messages
from swarm.simulation.phases.mix import Mix
from swarm.simulation.phases.per_edge import PerEdge
from swarm.simulation.phases.predictions import Predictions, ServerPredictions
from swarm.simulation.phases.server import Server

KINDS: dict[str, type[Phase]] = {
    kind.name: kind
    for kind in (Learn, Mix, Messages, PerEdge, Server, Predictions, ServerPredictions)
}

__all__ = ["KINDS", "Phase"]
