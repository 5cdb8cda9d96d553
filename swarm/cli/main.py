"""The command line: Hydra's, checked before Hydra does anything.

A mistake of the user's ends with one sentence on stderr and exit code 2, and leaves no folder
behind. An interrupt ends with 130 (Ctrl-C) or 143 (SIGTERM) and says how to go on. A bug keeps its
traceback (exit code 1). ``SWARM_DEBUG=1`` shows every traceback.

torch, wandb and matplotlib take seconds to import, so this module imports them only after the
configuration has been checked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, NoReturn

from swarm.common.errors import ConfigError, SwarmError, meant
from swarm.common.system.garbage import without_collection
from swarm.common.system.interrupts import terminable

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from swarm.config.composing.compose import Composer
    from swarm.experiments.runner import Prepared
from swarm.cli.environment import with_environment
from swarm.cli.messages import (
    INTERRUPTED,
    TERMINATED,
    complain,
    numbers_as_typed,
    warnings_for_users,
)
from swarm.cli.start import Jobs, call_hydra, resume_run, run_once

COMMANDS = ("audit", "doctor", "report", "publish", "write")  # modules of ``commands``


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own arguments) and return its exit
    code.
    """
    with terminable() as came:
        code = _coded(list(sys.argv[1:] if argv is None else argv))
    return TERMINATED if came and code == INTERRUPTED else code


def _coded(argv: list[str]) -> int:
    try:
        with warnings_for_users():
            return _main(argv)
    except SwarmError as error:
        return complain(error)
    except KeyboardInterrupt:
        print("interrupted before the run started", file=sys.stderr)
        return INTERRUPTED


def _main(argv: list[str]) -> int:
    if argv and argv[0] in COMMANDS:
        return _command(argv[0], argv[1:])
    if "--version" in argv:
        print(f"swarm-sim {version('swarm-sim')}")
        return 0
    if argv and "=" not in argv[0] and argv[0][:1] not in ("-", "~", "+"):
        raise _no_command(argv[0])
    # flags come first, as argparse accepts no KEY=VALUE on both sides of a flag
    argv = sorted(argv, key=_is_override)
    args = _parse_arguments(argv)
    if args.hydra_help or args.shell_completion:
        return call_hydra(argv, Jobs())
    from swarm.config.composing.compose import Composer
    from swarm.config.composing.overrides import (
        UsageError,
        parse,
        refuse_other_folder,
        with_sweep_params,
    )

    args.overrides, params = with_sweep_params(args.overrides)
    args.overrides = with_environment(args.overrides)
    parsed = parse(args.overrides)
    resume = next((o for o in parsed if o.key_or_group == "resume" and o.value() is not None), None)
    if resume is not None and not args.help:
        return resume_run(resume, parsed, args)
    if args.trust:
        raise UsageError("--trust is for the plug-ins of a run folder, and goes with resume=FOLDER")
    with Composer(args.config_dir, args.config_name) as composer, numbers_as_typed(parsed):
        if args.help:
            from swarm.cli import help

            print(help.text(composer, composer.compose(args.overrides)))
            return 0
        if args.cfg or args.info:
            composer.compose(args.overrides)
        else:
            cfg, many = _composed(composer, args.overrides, args.multirun, params)
            refuse_other_folder(parsed, many)
            if not many:
                return run_once(composer, cfg, _checked(cfg))
            from swarm.experiments.sweep import sweep

            # this sweeper runs all combinations; any other one is a plug-in, which Hydra calls
            if str(cfg.hydra.sweeper._target_).endswith(".BasicSweeper"):
                return sweep(composer, cfg, args.overrides, complain)
            args.overrides += ["hydra.mode=MULTIRUN"]
    return call_hydra([word for word in argv if not _is_override(word)] + args.overrides, Jobs())


def _command(name: str, arguments: list[str]) -> int:
    try:
        found: int = import_module(f"swarm.cli.commands.{name}").main(arguments)
    except ModuleNotFoundError as error:  # doctor must be able to say what is missing
        print(
            f"error: {error.name} is not installed; pip install -e . brings all that is needed",
            file=sys.stderr,
        )
        return 1
    return found


def _no_command(word: str) -> SwarmError:
    from swarm.config.composing.overrides import UsageError

    close = meant(word, (*COMMANDS, "--help"))
    return UsageError(
        f"{word}: settings are written KEY=VALUE, such as devices=100, and no command is called"
        f" so{close}; valid commands: {', '.join(COMMANDS)}"
    )


def _is_override(word: str) -> bool:
    return word[:1] in ("~", "+") or ("=" in word and not word.startswith("-"))


class _Parser(argparse.ArgumentParser):
    """A parser of Hydra's flags that reports errors in one sentence instead of the usage text."""

    def error(self, message: str) -> NoReturn:
        from swarm.config.composing.overrides import UsageError

        name, _, wrong = message.partition(": ")
        if name == "unrecognized arguments":
            flags = [each for each in self._option_string_actions if each.startswith("--")]
            close = meant(wrong.split()[0], flags)
            message = (
                f"{wrong}: no such flag{close}; settings are written KEY=VALUE, such as"
                " devices=100 (see --help)"
            )
        raise UsageError(message)


def _parse_arguments(argv: list[str]) -> argparse.Namespace:
    from hydra._internal.utils import get_args_parser

    from swarm.config.composing.overrides import UsageError

    parser = get_args_parser()
    parser.__class__ = _Parser
    parser.add_argument(
        "--trust", action="store_true", help="with resume=FOLDER: run the plug-ins that it names"
    )
    args = parser.parse_args(argv)
    modes = {"--run": args.run, "--cfg": args.cfg, "-m": args.multirun, "--info": args.info}
    for flag, value in {
        "--experimental-rerun": args.experimental_rerun,
        "--config-path": args.config_path,
    }.items():
        if value is not None:
            raise ConfigError(
                flag,
                value,
                "is not supported: --config-dir adds a folder, resume= goes on with a run",
            )
    if len(given := [flag for flag, value in modes.items() if value]) > 1:
        raise UsageError(f"{' and '.join(given)} are different things to do: choose one")
    if args.resolve and not (args.cfg or args.help):
        raise UsageError("--resolve goes with --cfg job")
    return args


# --- before the start -----------------------------------------------------------------------------


def _composed(
    composer: Composer, overrides: list[str], many: bool, params: bool
) -> tuple[DictConfig, bool]:
    """The config, and whether it is one of many runs: the flag ``-m`` (``many``), ``hydra.mode`` or
    ``hydra.sweeper.params`` say so, in a yaml as on the command line, where ``params`` were typed.
    """
    from hydra.types import RunMode

    from swarm.config.composing.hydra_section import refuse_code_in_hydra, wants_many

    several = any(override.is_sweep_override() for override in composer.parse_sweep(overrides))
    mode = RunMode.MULTIRUN if many or several else RunMode.RUN
    cfg = composer.compose(overrides, mode)
    many = many or wants_many(cfg, params)
    meant = RunMode.MULTIRUN if many else RunMode.RUN
    if meant != mode:  # as one run, several values of a key are refused
        cfg = composer.compose(overrides, meant)
    refuse_code_in_hydra(cfg)
    return cfg, many


def _checked(cfg: DictConfig) -> Prepared:
    """Check the settings, which is quick, then everything else that a run checks before its
    start."""
    from swarm.config.composing.hydra_section import run_folder
    from swarm.config.settings import Settings

    settings = Settings.parse(cfg)
    with without_collection():
        from swarm.experiments import runner
    prepared = runner.check(settings)
    run_folder(cfg)
    return prepared
