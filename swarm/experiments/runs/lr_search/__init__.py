"""How the learning rate of an arm is chosen: ``search`` chooses, ``stages`` says how many rounds
that takes, ``tries`` runs them, and ``ahead`` does it in other processes beside the run.
"""

from swarm.experiments.runs.lr_search.ahead import WorkAhead
from swarm.experiments.runs.lr_search.search import search_lr
from swarm.experiments.runs.lr_search.stages import Say, costly
from swarm.experiments.runs.lr_search.tries import TriedRate

__all__ = ["Say", "TriedRate", "WorkAhead", "costly", "search_lr"]
