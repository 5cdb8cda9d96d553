"""One arm of a scenario, ready to run: its model, its data, its communication, and the checks of
their combination."""

from swarm.simulation.experiment.experiment import Experiment
from swarm.simulation.experiment.spec import RunSpec

__all__ = ["Experiment", "RunSpec"]
