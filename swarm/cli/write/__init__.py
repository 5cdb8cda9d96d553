"""``python run_swarm.py write RUN``: a text by a device of a run."""

from swarm.cli.write.command import main

__all__ = ["main"]
