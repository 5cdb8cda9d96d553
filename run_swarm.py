"""``python run_swarm.py KEY=VALUE …``: the same command as the installed ``run-swarm``."""

import sys

from swarm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
