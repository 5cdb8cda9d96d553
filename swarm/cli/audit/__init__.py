"""``python run_swarm.py audit RUN``: how much a run's devices give away of their samples."""

from swarm.cli.audit.command import main

__all__ = ["main"]
