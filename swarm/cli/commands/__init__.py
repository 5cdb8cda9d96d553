"""The commands beside the run itself: ``run_swarm.py NAME …`` calls ``main`` of the module NAME."""
