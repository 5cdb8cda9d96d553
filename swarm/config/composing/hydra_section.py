"""Hydra's own section: which of its settings are allowed, and the folders that it chooses for a run
and a sweep.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from hydra import conf as hydra_conf
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from swarm.common.errors import ConfigError
from swarm.common.system import paths
from swarm.config.composing.place import LOCK, holds_run, require_new
from swarm.config.explain import shown, unresolved

# value of hydra.sweep.subdir: each job's folder is named after its values of the swept keys
AUTO = "auto"


def refuse_code_in_hydra(cfg: DictConfig) -> None:
    """Refuse settings by which Hydra's own section could run code that
    :func:`swarm.config.build.build` would refuse.

    A launcher or sweeper must be a class that Hydra has registered itself. Sections within them,
    callbacks and logging configurations could name any callable. Raises :class:`ConfigError` on the
    key.
    """
    hydra = OmegaConf.to_container(cfg.hydra, resolve=False)
    assert isinstance(hydra, dict)
    if hydra["callbacks"]:
        raise ConfigError(
            "hydra.callbacks", shown(hydra["callbacks"]), "is not supported and must be empty"
        )
    if hydra["job"]["env_set"]:
        raise ConfigError(
            "hydra.job.env_set",
            shown(hydra["job"]["env_set"]),
            "must be empty: set variables in the shell",
        )
    if hydra["job"]["chdir"]:
        raise ConfigError(
            "hydra.job.chdir",
            "true",
            "must be false: a run stays in the folder it was started from",
        )
    for name in ("launcher", "sweeper"):
        if not isinstance(hydra[name], dict):
            raise ConfigError(
                f"hydra.{name}",
                shown(hydra[name]),
                f"is a section; one is chosen with hydra/{name}=NAME",
            )
        for key, target in _targets(hydra[name], f"hydra.{name}"):
            registered = key == f"hydra.{name}" and target in _hydra_plugins()
            if not registered and not re.fullmatch(r"optuna\.samplers\.[A-Z]\w*", str(target)):
                raise ConfigError(
                    f"{key}._target_",
                    shown(target),
                    f"must be a {name} installed as a Hydra plug-in",
                )
    for name in ("job_logging", "hydra_logging"):
        known = _hydras_own(name)
        if hydra[name] not in known.values():
            raise ConfigError(
                f"hydra.{name}",
                "",
                f"must be one of Hydra's own, unchanged: {', '.join(sorted(known))}",
            )


@cache
def _hydras_own(name: str) -> dict[str, Any]:
    """The options of a group of Hydra's own."""
    files = (Path(str(hydra_conf.__file__)).parent / "hydra" / name).glob("*.yaml")
    return {file.stem: OmegaConf.to_container(OmegaConf.load(file)) for file in files}


def wants_many(cfg: DictConfig, params: bool = False) -> bool:
    """Whether the config is of many runs: ``hydra.mode=MULTIRUN``, or values in
    ``hydra.sweeper.params`` and no word about the mode. ``params`` says that some were typed.
    """
    mode = cfg.hydra.mode
    if mode is None:
        return params or bool(cfg.hydra.sweeper.get("params"))
    return bool(mode == RunMode.MULTIRUN)


def _hydra_plugins() -> set[str]:
    return set(Plugins.instance().class_name_to_class)


def _targets(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield key, node["_target_"]
        for name, value in node.items():
            yield from _targets(value, f"{key}.{name}")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _targets(value, f"{key}.{i}")


def run_folder(cfg: DictConfig) -> Path:
    """Return the folder that Hydra will use for the run.

    Raises :class:`ConfigError` if it cannot be a folder, cannot be written, or is not empty.
    """
    key = "hydra.run.dir"
    folder = _folder(cfg, key)
    require_new(folder, key, folder)
    return folder


def sweep_folder(
    cfg: DictConfig, job: DictConfig, number: int, name: str, taken: Container[Path]
) -> tuple[Path, Path]:
    """Return the folder of the sweep ``cfg``, and in it the folder of the job ``number``.

    The job's folder is called ``name``, unless ``hydra.sweep.subdir`` says otherwise. Raises
    :class:`ConfigError` if it is in ``taken``, the folders of the jobs before.
    """
    OmegaConf.copy_cache(cfg, job)  # ${now:} is the same time for all jobs, as in Hydra
    with read_write(job.hydra.job):
        job.hydra.job.num, job.hydra.job.id = number, str(number)
    HydraConfig.instance().set_config(job)  # ${hydra:…} reads it
    place = _folder(job, "hydra.sweep.dir")
    subdir = _folder(job, "hydra.sweep.subdir", empty=True)
    folder = place / (name if str(subdir) == AUTO else subdir)
    if folder in taken:
        valid = f"is the folder of another job too; {AUTO} gives each value its own in {place}"
        raise ConfigError("hydra.sweep.subdir", subdir, valid)
    return place, folder


def require_no_run_in(place: Path) -> None:
    """Refuse a sweep's folder that already has files of a run or of another program.

    Raises :class:`ConfigError`.
    """
    there = sorted(file for file in place.iterdir() if file.name != LOCK) if place.is_dir() else []
    if there and holds_run(there[0]):
        raise ConfigError(
            "hydra.sweep.dir",
            place,
            f"{there[0]} holds a run already: choose another hydra.sweep.dir",
        )
    require_new(place, "hydra.sweep.dir", place)


def _folder(cfg: DictConfig, key: str, empty: bool = False) -> Path:
    section, _, name = key.rpartition(".")
    try:
        value = OmegaConf.select(cfg, key)
    except OmegaConfBaseException as error:
        values: Any = OmegaConf.to_container(cfg, resolve=False)
        raw: Any = OmegaConf.to_container(OmegaConf.select(cfg, section), resolve=False)
        raise ConfigError(key, shown(raw[name]), unresolved(error, values)) from error
    if value is None or not (str(value) or empty):
        raise ConfigError(key, value, "must be a folder, a new or an empty one")
    return paths.usable(str(value), key)
