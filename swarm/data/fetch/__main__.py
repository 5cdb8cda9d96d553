"""``python -m swarm.data.fetch NAME``: see :mod:`swarm.data.fetch.fetch`."""

import sys

from swarm.data.fetch.fetch import main

if __name__ == "__main__":
    sys.exit(main())
