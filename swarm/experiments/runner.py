"""The entry points behind the command line and the Python API: check, run and resume a scenario,
which may be one run, a claim or a suite of claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from swarm.common.errors import ConfigError
from swarm.common.plugin import blamed
from swarm.common.plugin.warned import each_warned_once
from swarm.common.system.paths import usable
from swarm.common.system.storage import storing
from swarm.config.build import class_of
from swarm.config.composing.partial import complete
from swarm.config.settings import Settings
from swarm.experiments.kinds import kind
from swarm.experiments.resolved import Resolved, resolve
from swarm.experiments.runs.run import Result
from swarm.experiments.runs.scenario import AnyScenario, KindName
from swarm.results.folder import DIR, Folder, require_new_run
from swarm.results.status import RUNS
from swarm.results.trust import admitted

if TYPE_CHECKING:
    from swarm.experiments.claims.plan import ClaimPlan
    from swarm.experiments.claims.suite import SuitePlan
    from swarm.experiments.runs.prepared import PreparedRun

__all__ = ["Prepared", "Result", "check", "resume", "run"]

Prepared: TypeAlias = "PreparedRun | ClaimPlan | SuitePlan"


@each_warned_once()
def check(cfg: Any = None, *, overrides: Sequence[str] = ()) -> Prepared:
    """Check everything that can be checked without running: settings, plug-ins, data, memory.

    It takes what :func:`run` takes, or a :class:`Resolved`, and writes nothing.

    Raises :class:`ConfigError` for the first thing that cannot work.
    """
    with blamed(2):
        return _prepared(cfg if isinstance(cfg, Resolved) else resolve(_typed(cfg, overrides)))


def _typed(cfg: Any, overrides: Sequence[str]) -> Settings:
    """Settings without overrides as they are; anything else completed by the defaults and
    parsed."""
    if isinstance(cfg, Settings) and not overrides:
        return cfg
    return Settings.parse(complete(cfg, overrides))


def _prepared(resolved: Resolved) -> Prepared:
    prepared: Prepared = kind(resolved.scenario.kind).prepare(resolved)
    return prepared


@each_warned_once()
def run(
    cfg: Any = None,
    folder: str | Path = "",
    prepared: Prepared | None = None,
    *,
    overrides: Sequence[str] = (),
    words: Sequence[str] | None = None,
) -> Result:
    """Run a scenario into a new folder.

    ``cfg`` is a mapping of settings, all of them or only those that differ from the defaults, and
    ``overrides`` are typed as on the command line::

        swarm.run({"devices": 20, "topology": "ring"}, "outputs/ring")
        swarm.run(overrides=["devices=20", "topology=ring"], folder="outputs/ring")

    ``prepared`` is the result of :func:`check` for the same config, whose checks are then not
    repeated. ``words`` are the settings as they were typed, where ``cfg`` was composed of them: the
    folder keeps them for people to read, or the ``overrides`` where there is no ``cfg``.

    Raises :class:`ConfigError` for whatever cannot work, and for a folder that exists and is not
    empty.
    """
    if not str(folder):
        raise ConfigError(DIR, "", "must be a folder, a new or an empty one")
    path = usable(folder, DIR)
    require_new_run(path)
    words = overrides if words is None and cfg is None else words
    with blamed(2):
        settings = _typed(cfg, overrides)
        if prepared is None or prepared.settings != settings:
            resolved = resolve(settings)
            if prepared is None or prepared.settings != resolved.settings:
                prepared = _prepared(resolved)
    with blamed(), storing(path):
        return kind(prepared.kind).start(prepared, path, words)


@each_warned_once()
def resume(folder: str | Path, overrides: dict[str, Any], trust: bool = False) -> Result:
    """Go on with the run in ``folder`` under its own config; see
    :func:`swarm.experiments.runs.run.resume` for what ``overrides`` may change.

    Plug-ins that the config names are imported only if this user's own command wrote the config, or
    with ``trust``: they run with all rights of the user (:mod:`swarm.results.trust`).

    Raises :class:`ConfigError` for a folder that cannot be resumed, and for a setting that may not
    change.
    """
    if not isinstance(trust, bool):  # any text would count as true, also "no"
        valid = "must be true or false: whether the plug-ins that the folder names may run as you"
        raise ConfigError("trust", trust, valid)
    path = usable(folder, "resume")
    with blamed(), storing(path), admitted(path, overrides, trust):
        _, s = Folder.open(path)
        scenario = class_of(s.scenario, AnyScenario, "scenario", s.plugins)
        return kind(scenario.kind).resume(path, overrides)


def kind_in(folder: Path) -> KindName:
    """The kind of scenario that has written ``folder``.

    Nothing that the folder names is imported: if its scenario is not one of ours, the kind follows
    from the files in it.

    Raises :class:`ConfigError` where there is no config, or none that can be read.
    """
    _, settings = Folder.open(folder)
    try:
        return class_of(settings.scenario, AnyScenario, "scenario").kind
    except ConfigError:
        if (folder / RUNS).is_dir():
            return "claim"
        return "suite" if any(folder.glob(f"*/{RUNS}/")) else "run"
