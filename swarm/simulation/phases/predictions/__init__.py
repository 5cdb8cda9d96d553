"""The phases in which devices exchange predictions for samples that they share, and learn from
them."""

from swarm.simulation.phases.predictions.over_links import Predictions
from swarm.simulation.phases.predictions.through_server import ServerPredictions

__all__ = ["Predictions", "ServerPredictions"]
