"""The entry points behind the command line and the Python API: check, run, resume; of whichever kind the scenario is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from swarm.campaign import run as claims
from swarm.campaign import suite
from swarm.campaign.plan import Plan
from swarm.campaign.suite import Plans
from swarm.claim.base import Claim, Suite
from swarm.config.build import build, choice
from swarm.config.settings import Settings
from swarm.errors import ConfigError
from swarm.report import write_report
from swarm.study import single
from swarm.study.folder import Folder
from swarm.study.scenario import AnyScenario
from swarm.study.single import Result
from swarm.study.storage import storing
from swarm.study.study import Study, settled

__all__ = ["Prepared", "Result", "check", "resume", "run"]

Prepared = Study | Plan | Plans
P = TypeVar("P", Study, Plan, Plans)


@dataclass(frozen=True)
class Kind(Generic[P]):
    """What is done with a scenario of one kind."""

    prepare: Callable[[Settings], P]
    start: Callable[[P, Path], Result]
    resume: Callable[[Path, dict[str, Any]], Result]
    redraw: Callable[[Path], list[Path]]


RUN = Kind(Study.prepare, single.run, single.resume, write_report)
CLAIM = Kind(Plan.checked, claims.start, claims.resume, claims.redraw)
SUITE = Kind(Plans.checked, suite.start, suite.resume, suite.redraw)


def check(cfg: Any) -> Prepared:
    """Everything that can be found wrong without running: settings, plug-ins, data, memory. Writes nothing.

    Raises :class:`ConfigError`.
    """
    settings = settled(Settings.parse(cfg))
    prepared: Prepared = kind_of(settings).prepare(settings)
    return prepared


def run(cfg: Any, folder: str | Path, prepared: Prepared | None = None) -> Result:
    """Run a scenario into a new folder. ``cfg`` is a composed config or a plain mapping of the same shape.

    ``prepared`` saves doing the checks again for a config that has passed them.
    """
    settings = settled(Settings.parse(cfg))
    kind = kind_of(settings)
    if prepared is None or prepared.settings != settings:
        prepared = kind.prepare(settings)
    with storing(Path(folder)):
        return kind.start(prepared, Path(folder))


def resume(folder: str | Path, overrides: dict[str, Any]) -> Result:
    """Go on with the run in ``folder`` under its own config; see :func:`swarm.study.single.resume` for what may change."""
    path = Path(folder)
    _, config = Folder.open(path)
    with storing(path):
        return kind_of(Settings.parse(config)).resume(path, overrides)


def kind_of(settings: Settings) -> Kind[Any]:
    """What is done with the scenario of ``settings``. Raises :class:`ConfigError` where it cannot be built."""
    scenario = build(settings.scenario, AnyScenario, "scenario", settings.plugins, preset=settings.preset)
    if isinstance(scenario, Claim):
        return CLAIM
    if isinstance(scenario, Suite):
        return SUITE
    if settings.preset is not None:
        name = choice("scenario", settings.scenario)
        valid = f"is for scenarios that judge claims, and {name} is one run of the size that you give it; preset=null"
        raise ConfigError("preset", settings.preset, valid)
    return RUN
