"""The entry points behind the command line and the Python API: check, run, resume; of whichever
kind the scenario is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from swarm.common.errors import ConfigError
from swarm.common.plugin import blamed
from swarm.common.system.paths import usable
from swarm.common.system.storage import storing
from swarm.config.build import build, choice
from swarm.config.partial import complete
from swarm.config.settings import Settings
from swarm.experiments.claims import run as claims
from swarm.experiments.claims import suite
from swarm.experiments.claims.base import Claim, Suite
from swarm.experiments.claims.plan import RUNS, ClaimPlan
from swarm.experiments.claims.suite import SuitePlan
from swarm.experiments.runs import run as one_run
from swarm.experiments.runs.prepared import PreparedRun, resolve
from swarm.experiments.runs.run import Result
from swarm.experiments.runs.scenario import AnyScenario
from swarm.results.folder import DIR, Folder, require_new_run
from swarm.results.report import write_report
from swarm.results.trust import admitted

__all__ = ["Prepared", "Result", "check", "resume", "run"]

Prepared = PreparedRun | ClaimPlan | SuitePlan
P = TypeVar("P", PreparedRun, ClaimPlan, SuitePlan)


@dataclass(frozen=True)
class RunKind(Generic[P]):
    """What is done with a scenario of one kind."""

    prepare: Callable[[Settings], P]
    start: Callable[[P, Path], Result]
    resume: Callable[[Path, dict[str, Any]], Result]
    redraw: Callable[[Path], list[Path]]


RUN = RunKind(PreparedRun.prepare, one_run.execute, one_run.resume, write_report)
CLAIM = RunKind(ClaimPlan.checked, claims.start, claims.resume, claims.redraw)
SUITE = RunKind(SuitePlan.checked, suite.start, suite.resume, suite.redraw)


def check(cfg: Any = None, *, overrides: Sequence[str] = ()) -> Prepared:
    """Everything that can be found wrong without running: settings, plug-ins, data, memory.

    Takes what :func:`run` takes, and writes nothing.

    Raises :class:`ConfigError`.
    """
    cfg = complete(cfg, overrides)
    with blamed(2):
        settings = resolve(Settings.parse(cfg))
        prepared: Prepared = kind_of(settings).prepare(settings)
    return prepared


def run(
    cfg: Any = None,
    folder: str | Path = "",
    prepared: Prepared | None = None,
    *,
    overrides: Sequence[str] = (),
) -> Result:
    """Run a scenario into a new folder.

    ``cfg`` is a mapping of settings, whole or only those that differ from the defaults, and
    ``overrides`` are typed as on the command line (:func:`swarm.config.partial.complete`)::

        swarm.run({"devices": 20, "topology": "ring"}, "outputs/ring")
        swarm.run(overrides=["devices=20", "topology=ring"], folder="outputs/ring")

    ``prepared`` saves doing the checks again for a config that has passed them.

    Raises :class:`ConfigError` for whatever cannot work, and for a folder that is not new and not
    empty.
    """
    if not str(folder):
        raise ConfigError(DIR, "", "must be a folder, a new or an empty one")
    path = usable(folder, DIR)
    require_new_run(path)
    cfg = complete(cfg, overrides)
    with blamed(2):
        settings = resolve(Settings.parse(cfg))
        kind = kind_of(settings)
        if prepared is None or prepared.settings != settings:
            prepared = kind.prepare(settings)
    with blamed(), storing(path):
        return kind.start(prepared, path)


def resume(folder: str | Path, overrides: dict[str, Any], trust: bool = False) -> Result:
    """Go on with the run in ``folder`` under its own config; see
    :func:`swarm.experiments.runs.run.resume` for what may change.

    Plug-ins that the config names are imported only if this user's own command wrote it, or with
    ``trust``: then they run as whatever the user may do (:mod:`swarm.results.trust`).
    """
    if not isinstance(trust, bool):  # any text would be true, "no" too
        valid = "must be true or false: whether the plug-ins that the folder names may run as you"
        raise ConfigError("trust", trust, valid)
    path = usable(folder, "resume")
    with blamed(), storing(path), admitted(path, overrides, trust):
        _, config = Folder.open(path)
        return kind_of(Settings.parse(config)).resume(path, overrides)


def kind_of(settings: Settings) -> RunKind[Any]:
    """What is done with the scenario of ``settings``.

    Raises :class:`ConfigError` where it cannot be built.
    """
    scenario = build(
        settings.scenario, AnyScenario, "scenario", settings.plugins, preset=settings.preset
    )
    kind = _kind(scenario)
    if kind is RUN and settings.preset is not None:
        name = choice("scenario", settings.scenario)
        valid = (
            f"is for scenarios that judge claims, and {name} is one run of the size that you give"
            " it; preset=null"
        )
        raise ConfigError("preset", settings.preset, valid)
    return kind


def kind_in(folder: Path) -> RunKind[Any]:
    """Which kind of scenario has written ``folder``.

    Nothing that the folder names is imported: if its scenario is not one of ours, the files that
    are there say it.

    Raises :class:`ConfigError` where there is no config, or none that can be read.
    """
    _, config = Folder.open(folder)
    try:
        scenario = build(
            config.get("scenario"), AnyScenario, "scenario", preset=config.get("preset")
        )
    except ConfigError:
        if (folder / RUNS).is_dir():
            return CLAIM
        return SUITE if any(folder.glob(f"*/{RUNS}/")) else RUN
    return _kind(scenario)


def _kind(scenario: AnyScenario) -> RunKind[Any]:
    return CLAIM if isinstance(scenario, Claim) else SUITE if isinstance(scenario, Suite) else RUN
