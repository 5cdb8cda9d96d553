"""Starts or resumes the run of a checked command line, through Hydra, and turns errors and
interrupts into exit codes."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm.common.errors import ConfigError, SwarmError
from swarm.common.plugin import PluginError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

    from swarm.config.composing.compose import Composer
    from swarm.experiments.runner import Prepared
from swarm.cli.messages import INTERRUPTED, complain, numbers_as_typed, short


class Jobs:
    """The function that Hydra calls for each job.

    ``code`` keeps the first exit code that is not 0, as Hydra would turn them all into 1.
    """

    def __init__(self, prepared: Prepared | None = None) -> None:
        self.code = 0
        self.prepared = prepared  # the single run of the command, if it has been checked
        self.process = os.getpid()

    def __call__(self, cfg: DictConfig) -> None:
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        folder, words = Path(hydra.runtime.output_dir), [*hydra.overrides.task]
        code = _guarded(lambda: _start(cfg, folder, self.prepared, words), folder)
        if code == INTERRUPTED:
            raise SystemExit(INTERRUPTED)  # no Exception, so that it ends a whole sweep
        if code and os.getpid() != self.process:
            raise RuntimeError(
                f"the job in {folder} failed"
            )  # in a launcher's worker, whose exit code nobody reads
        self.code = self.code or code


def _start(cfg: DictConfig, folder: Path, prepared: Prepared | None, words: list[str]) -> None:
    from swarm.experiments import runner

    runner.run(cfg if prepared is None else prepared.settings, folder, prepared, words=words)


def _guarded(work: Callable[[], None], folder: Path) -> int:
    """Do ``work``, report an error on stderr, and return the exit code."""
    try:
        work()
    except SwarmError as error:
        code = complain(error)
        if isinstance(error, PluginError) and code == 1 and (folder / "config.yaml").exists():
            print(f"when it is mended, go on with resume={short(folder)}", file=sys.stderr)
        with suppress(OSError):
            folder.rmdir()  # only if empty
        return code
    except KeyboardInterrupt:
        saved = (folder / "config.yaml").exists()
        print(
            f"interrupted; go on with resume={short(folder)}" if saved else "interrupted",
            file=sys.stderr,
        )
        return INTERRUPTED
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def run_once(composer: Composer, cfg: DictConfig, prepared: Prepared) -> int:
    """Start a run that has been checked, in the folder that ``cfg`` names; returns the exit code.

    Hydra starts it, with the configuration that was composed for the check.
    """
    from hydra._internal.callbacks import Callbacks
    from hydra.core.utils import run_job
    from hydra.types import HydraContext

    jobs = Jobs(prepared)
    context = HydraContext(config_loader=composer.loader, callbacks=Callbacks(cfg))
    try:
        run_job(jobs, cfg, "hydra.run.dir", None, context)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else jobs.code
    return jobs.code


def call_hydra(argv: list[str], jobs: Jobs) -> int:
    """Hand the arguments to Hydra, which calls ``jobs``; returns the exit code."""
    import hydra

    from swarm.common.system import paths
    from swarm.config.composing.compose import CONFIG, VERSION_BASE

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
    """Set ``sys.argv``, which Hydra reads, within the block."""
    before = sys.argv
    sys.argv = [before[0], *argv]
    try:
        yield
    finally:
        sys.argv = before


def resume_run(resume: Override, overrides: Sequence[Override], args: argparse.Namespace) -> int:
    """Go on with the run in the folder of ``resume=FOLDER``, under that folder's own config;
    returns the exit code.

    Raises :class:`ConfigError` for what does not go with resume, and if there is no such folder."""
    from swarm.common.system.paths import usable
    from swarm.config.composing.overrides import key_of, value_of

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
        with numbers_as_typed(overrides):
            runner.resume(folder, changed, trust=args.trust)

    return _guarded(work, folder)
