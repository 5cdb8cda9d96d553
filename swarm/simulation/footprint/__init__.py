"""The memory that a run will take at its peak, stated before it is taken."""

from swarm.simulation.footprint.counted import footprint as footprint
from swarm.simulation.footprint.parts import NOTHING as NOTHING
from swarm.simulation.footprint.parts import Footprint as Footprint
from swarm.simulation.footprint.parts import Part as Part
