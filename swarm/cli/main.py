"""The command line: Hydra's, checked before Hydra does anything.

A mistake of the user's ends with one sentence on stderr and exit code 2, leaving no folder behind;
an interrupt ends with 130 (Ctrl-C) or 143 (SIGTERM) and says how to go on; a bug keeps its
traceback (exit code 1). ``SWARM_DEBUG=1`` shows every traceback.

torch, wandb and matplotlib take seconds to import, so nothing here does until the configuration is
known to be right.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from swarm.common.errors import ConfigError, SwarmError
from swarm.common.plugin import PluginError
from swarm.common.system.interrupts import terminable

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

    from swarm.config.compose import Composer
    from swarm.experiments.runner import Prepared

COMMANDS = ("doctor", "report", "publish")  # each a module of this package, with a ``main``
INTERRUPTED = 130
TERMINATED = 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own arguments) and return its exit
    code.
    """
    with terminable() as came:
        code = _coded(list(sys.argv[1:] if argv is None else argv))
    return TERMINATED if came and code == INTERRUPTED else code


def _coded(argv: list[str]) -> int:
    try:
        return _main(argv)
    except SwarmError as error:
        return _complain(error)
    except KeyboardInterrupt:
        print("interrupted before the run started", file=sys.stderr)
        return INTERRUPTED


def _main(argv: list[str]) -> int:
    # for people, without file and line
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    if argv and argv[0] in COMMANDS:
        return _command(argv[0], argv[1:])
    # flags first: argparse takes no KEY=VALUE on both sides of one
    argv = sorted(argv, key=_is_override)
    args = _parse_arguments(argv)
    if args.hydra_help or args.shell_completion:
        return _hydra(argv, _Jobs())
    from swarm.config.compose import Composer, UsageError, parse

    parsed = parse(args.overrides)
    resume = next((o for o in parsed if o.key_or_group == "resume" and o.value() is not None), None)
    if resume is not None:
        return _resume(resume, parsed, args)
    if args.trust:
        raise UsageError("--trust is for the plug-ins of a run folder, and goes with resume=FOLDER")
    jobs = _Jobs()
    with Composer(args.config_dir, args.config_name) as composer, _as_typed(parsed):
        if args.help or args.cfg or args.info:
            composer.compose(args.overrides)
        elif args.multirun or any(
            o.key_or_group == "hydra.mode" and o.value() == "MULTIRUN" for o in parsed
        ):
            cfg = _compose_sweep(composer, args.overrides)
            # all combinations; else a plug-in's choice
            if str(cfg.hydra.sweeper._target_).endswith(".BasicSweeper"):
                from swarm.experiments.sweep import sweep

                return sweep(composer, cfg, args.overrides, _complain)
        else:
            jobs.prepared = _check_run(composer, args.overrides)
    return _hydra(argv, jobs)


def _command(name: str, arguments: list[str]) -> int:
    try:
        found: int = import_module(f"swarm.cli.{name}").main(arguments)
    except ModuleNotFoundError as error:  # the doctor is there to say what is missing
        print(
            f"error: {error.name} is not installed; pip install -e . brings all that is needed",
            file=sys.stderr,
        )
        return 1
    return found


def _is_override(word: str) -> bool:
    return word[:1] in ("~", "+") or ("=" in word and not word.startswith("-"))


class _Parser(argparse.ArgumentParser):
    """Hydra's flags, with argparse's complaints as ours: one sentence instead of the usage text."""

    def error(self, message: str) -> NoReturn:
        from swarm.config.compose import UsageError

        name, _, wrong = message.partition(": ")
        if name == "unrecognized arguments":
            message = (
                f"{wrong}: no such flag; settings are written KEY=VALUE, such as devices=100 (see"
                " --help)"
            )
        raise UsageError(message)


def _parse_arguments(argv: list[str]) -> argparse.Namespace:
    from hydra._internal.utils import get_args_parser

    from swarm.config.compose import UsageError

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


def _check_run(composer: Composer, overrides: list[str]) -> Prepared:
    from swarm.config.hydra_section import refuse_code_in_hydra, run_folder

    cfg = composer.compose(overrides)
    refuse_code_in_hydra(cfg)
    prepared = _check(cfg)
    run_folder(cfg)
    return prepared


def _compose_sweep(composer: Composer, overrides: list[str]) -> DictConfig:
    from hydra.types import RunMode

    from swarm.config.hydra_section import refuse_code_in_hydra

    cfg = composer.compose(overrides, RunMode.MULTIRUN)
    refuse_code_in_hydra(cfg)
    return cfg


def _check(cfg: DictConfig) -> Prepared:
    """The settings first, which takes no time; then all that the run would stumble over."""
    from swarm.config.settings import Settings

    Settings.parse(cfg)
    from swarm.experiments import runner

    return runner.check(cfg)


# --- the run --------------------------------------------------------------------------------------


class _Jobs:
    """What Hydra calls for each job.

    Keeps the first bad exit code: Hydra would turn them all into 1.
    """

    def __init__(self) -> None:
        self.code = 0
        self.prepared: Prepared | None = None  # of a single run: what the check has loaded already
        self.process = os.getpid()

    def __call__(self, cfg: DictConfig) -> None:
        from hydra.core.hydra_config import HydraConfig

        folder = Path(HydraConfig.get().runtime.output_dir)
        code = _guarded(lambda: _start(cfg, folder, self.prepared), folder)
        if code == INTERRUPTED:
            raise SystemExit(INTERRUPTED)  # not an Exception: ends a whole sweep
        if code and os.getpid() != self.process:
            raise RuntimeError(
                f"the job in {folder} failed"
            )  # a launcher's worker: its return value is all that is seen
        self.code = self.code or code


def _start(cfg: DictConfig, folder: Path, prepared: Prepared | None) -> None:
    from swarm.experiments import runner

    runner.run(cfg, folder, prepared)


def _guarded(work: Callable[[], None], folder: Path) -> int:
    """Do ``work`` and return its exit code, having said on stderr what went wrong."""
    try:
        work()
    except SwarmError as error:
        code = _complain(error)
        if isinstance(error, PluginError) and code == 1 and (folder / "config.yaml").exists():
            print(f"when it is mended, go on with resume={_short(folder)}", file=sys.stderr)
        with suppress(OSError):
            folder.rmdir()  # only if empty
        return code
    except KeyboardInterrupt:
        saved = (folder / "config.yaml").exists()
        print(
            f"interrupted; go on with resume={_short(folder)}" if saved else "interrupted",
            file=sys.stderr,
        )
        return INTERRUPTED
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _hydra(argv: list[str], jobs: _Jobs) -> int:
    import hydra

    from swarm.common.system import paths
    from swarm.config.compose import CONFIG, VERSION_BASE

    def swarm(cfg: DictConfig) -> None:
        jobs(cfg)

    with _arguments(argv):
        try:
            hydra.main(
                config_path=str(paths.conf()), config_name=CONFIG, version_base=VERSION_BASE
            )(swarm)()
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else jobs.code
    return jobs.code


@contextmanager
def _arguments(argv: list[str]) -> Iterator[None]:
    """Hydra reads ``sys.argv``."""
    before = sys.argv
    sys.argv = [before[0], *argv]
    try:
        yield
    finally:
        sys.argv = before


def _resume(resume: Override, overrides: Sequence[Override], args: argparse.Namespace) -> int:
    """Go on with the run in a folder, under that folder's config: nothing is composed."""
    from swarm.common.system.paths import usable
    from swarm.config.compose import key_of, value_of

    flags = {
        "-m": args.multirun,
        "--cfg": args.cfg,
        "--info": args.info,
        "--config-name": args.config_name,
    }
    for flag, value in flags.items():
        if value:
            raise ConfigError(
                "resume",
                value_of(resume),
                f"does not go with {flag}: it goes on with one run as it is",
            )
    folder = usable(str(resume.value()), "resume")
    if resume.is_sweep_override() or not resume.value() or not folder.is_dir():
        raise ConfigError(
            "resume",
            value_of(resume),
            "must be the folder of an earlier run; there is no such folder",
        )
    changed: dict[str, Any] = {}
    for override in overrides:
        if override is resume:
            continue
        if (
            override.type is None
            or override.is_delete()
            or override.is_add()
            or override.is_sweep_override()
        ):
            raise ConfigError(
                key_of(override), value_of(override), "must be a plain KEY=VALUE beside resume"
            )
        changed[key_of(override)] = override.value()
    from swarm.experiments import runner

    def work() -> None:
        with _as_typed(overrides):
            runner.resume(folder, changed, trust=args.trust)

    return _guarded(work, folder)


# --- messages -------------------------------------------------------------------------------------


def _complain(error: SwarmError) -> int:
    if os.environ.get("SWARM_DEBUG") == "1":
        traceback.print_exception(error)
    else:
        # raised outside every section
        absolute = isinstance(error, ConfigError) and error.key.startswith("/")
        print(
            "error: " + " ".join(str(error).split()).removeprefix("/" if absolute else ""),
            file=sys.stderr,
        )
    return error.exit_code


@contextmanager
def _as_typed(overrides: Sequence[Override]) -> Iterator[None]:
    """Quotes a number as it was typed: ``devices=1e9`` is not refused as
    ``devices=1000000000.0``.
    """
    from swarm.config.compose import key_of, value_of
    from swarm.config.explain import shown

    try:
        yield
    except ConfigError as error:
        if type(error) is ConfigError:
            for override in overrides:
                value = None if override.is_sweep_override() else override.value()
                parts = value if isinstance(value, list) else [value]
                same = key_of(override) == error.key and shown(value) == shown(error.value)
                if same and any(isinstance(part, float) for part in parts):
                    raise ConfigError(error.key, value_of(override), error.valid) from error
        raise


def _short(folder: Path) -> Path:
    """``folder`` as it is typed from here."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
