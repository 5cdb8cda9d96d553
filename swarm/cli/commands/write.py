"""``python run_swarm.py write RUN`` lets a device of a run go on with a text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from swarm.cli.messages import CommandParser, complain
from swarm.common.errors import ConfigError, SwarmError
from swarm.common.system.paths import usable
from swarm.experiments.loading import LoadedRun, load
from swarm.experiments.speculation import speculate

LINES = "\n\t"  # control characters that a terminal may get
OF_DRAFTS = ("draft_arm", "draft_device", "ahead")  # the flags that --draft needs, as parameters


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0, or that of the error after one sentence on
    standard error."""
    given = _parser().parse_args(arguments)
    try:
        large = _run(given.run, "run folder")
        arm = given.arm or large.lead
        if given.draft is None:
            for name in OF_DRAFTS:
                _require_draft(name, getattr(given, name))
            text = large.write(
                arm,
                _device(large, arm, given.device),
                given.prompt,
                given.length,
                given.temperature,
                given.seed,
                given.trust,
                given.best,
                given.own,
            )
            print(_printable(given.prompt + text))
            return 0
        draft = _run(given.draft, "--draft")
        draft_arm = given.draft_arm or draft.lead
        found = speculate(
            large,
            draft,
            arm,
            _device(large, arm, given.device),
            draft_arm,
            _device(draft, draft_arm, given.draft_device or "0"),
            given.prompt,
            given.length,
            given.temperature,
            given.seed,
            4 if given.ahead is None else given.ahead,
            given.trust,
            given.best,
            given.own,
        )
        print(_printable(given.prompt + found.text))
        print(found, file=sys.stderr)
    except SwarmError as error:
        return complain(_with_flag(error))
    return 0


def _parser() -> CommandParser:
    parser = CommandParser(
        "write",
        description=(
            "Print what the model of one device writes after a prompt. The run's data must be text,"
            " and its model one that predicts the next token. Equal seeds give equal texts."
        ),
    )
    add = parser.add_argument
    add("run", metavar="RUN", type=Path, help="the folder of a run, finished or not")
    add("--arm", metavar="ARM", help="the arm (the one that reports lead)")
    add("--device", metavar="DEVICE", default="0", help="the device's name or number (0)")
    add("--prompt", metavar="TEXT", default="", help="the text to go on with (a line's end)")
    add("--length", metavar="N", type=int, default=200,
        help="tokens to write: characters, unless data.tokens says otherwise (200)")  # fmt: skip
    add("--temperature", metavar="T", type=float, default=1.0,
        help="below 1: nearer to what is probable; 0: the most probable (1)")  # fmt: skip
    add("--seed", metavar="S", type=int, default=0, help="of the draws (0)")
    add("--best", action="store_true", help="the model of the arm's best round, not its newest")
    add("--own", action="store_true", help="the device's own model, of a run with personal")
    add("--draft", metavar="RUN", type=Path,
        help="a run whose device drafts tokens that this one checks")  # fmt: skip
    add("--draft-arm", metavar="ARM", help="the arm of the drafting device")
    add("--draft-device", metavar="DEVICE", help="the drafting device (0)")
    add("--ahead", metavar="N", type=int, help="tokens that are drafted at a time (4)")
    add("--trust", action="store_true", help="run the plug-ins that the run folder names")
    return parser


def _run(folder: Path, key: str) -> LoadedRun:
    """The run in a folder. Raises :class:`ConfigError` if it is none, or many."""
    usable(folder, key)
    try:
        found = load(folder)
    except ConfigError as error:
        if error.key not in ("/run folder", "/folder"):
            raise
        raise ConfigError(f"/{key}", error.value, error.valid) from None
    if not isinstance(found, LoadedRun):
        raise ConfigError(f"/{key}", folder, "holds many runs; give the folder of one of them")
    if not found.arms:
        raise ConfigError(f"/{key}", folder, "has no arm yet that could write")
    return found


def _device(run: LoadedRun, arm: str, text: str) -> int | str:
    """A device as it was typed: its name, or its number where no device is called so, or where the
    arm has one model only, which is nobody's."""
    if not text.isdecimal() or (text in (run.names or ()) and len(run.rows(arm)) > 1):
        return text
    return int(text)


def _require_draft(name: str, value: object) -> None:
    if value is not None:
        raise ConfigError(f"/{name}", value, "is for drafts; --draft=RUN says whose")


def _with_flag(error: SwarmError) -> SwarmError:
    """The same error, which names the flag that was typed where it is one of drafts: a bare
    ``device`` or ``arm`` is the writing one's."""
    if not isinstance(error, ConfigError):
        return error
    name = error.key.removeprefix("/")
    if name not in ("draft", *OF_DRAFTS):
        return error
    return ConfigError("/--" + name.replace("_", "-"), error.value, error.valid)


def _printable(text: str) -> str:
    """``text`` without characters by which a terminal is told to do something."""
    return "".join(each if each.isprintable() or each in LINES else "\ufffd" for each in text)
