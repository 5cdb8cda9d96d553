"""``python run_swarm.py audit RUN`` attacks swarms that are set up as a run is: how well can others
find out which samples its devices have learnt from?
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from swarm.cli.messages import CommandParser, complain
from swarm.common.errors import ConfigError, SwarmError
from swarm.common.system.files import replacing
from swarm.common.system.paths import usable
from swarm.experiments.audit.audit import audit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0, or that of the error after one sentence on
    standard error."""
    parser = CommandParser(
        "audit",
        description=(
            "Play two swarms that are set up as the run is, each with half of every device's"
            " samples, and attack their last messages and final models: with a threshold on the"
            " loss, and with LiRA. It takes as long as shadows + 2 arms of the run."
        ),
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of a finished run")
    parser.add_argument(
        "--shadows",
        metavar="S",
        type=int,
        default=8,
        help="swarms that show LiRA what membership looks like (8); an even number from 4 on",
    )
    parser.add_argument("--arm", metavar="ARM", help="the arm to audit (the one that reports lead)")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="also write the table into a file")
    parser.add_argument(
        "--trust", action="store_true", help="run the plug-ins that the run folder names"
    )
    given = parser.parse_args(arguments)
    try:
        usable(given.run, "run folder")
        if given.csv is not None and (given.csv.is_dir() or not given.csv.parent.is_dir()):
            raise ConfigError("/--csv", given.csv, "must be a file in a folder that exists")
        say = partial(print, file=sys.stderr)
        found = audit(given.run, given.shadows, given.arm, given.trust, say)
        print(found)
        if given.csv is not None:
            _write(given.csv, found.table.to_csv(index=False))
            print(given.csv)
    except SwarmError as error:
        return complain(error)
    return 0


def _write(file: Path, text: str) -> None:
    try:
        with replacing(file) as out:
            out.write(text.encode())
    except OSError as error:
        valid = f"cannot be written: {error.strerror or error}"
        raise ConfigError("/--csv", file, valid) from error
