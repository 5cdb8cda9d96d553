"""Hydra composes a configuration in a tenth of a second, and these tests compose thousands: the same
work is not done twice here, and yaml is read by libyaml.

What a composition gives stays what Hydra gives. Copies are made by pickle, as OmegaConf's own take
six times as long. Tests that start processes have Hydra as it is.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from omegaconf import _utils
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.cyaml import CParser
from yaml.resolver import Resolver

from swarm.common.system import paths

KEPT = 64  # compositions
OURS = paths.conf()


@contextmanager
def quick_hydra() -> Iterator[None]:
    """Hydra with these shortcuts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "load_configuration", _once())
        patch.setattr(ConfigRepository, "load_config", _read_once())
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", _chosen_once())
        patch.setattr(_utils, "get_yaml_loader", _by_libyaml(_utils.get_yaml_loader()))
        patch.setattr(defaults_list, "_create_interpolation_map", _if_needed())
        yield


def _once() -> Any:
    """The same words in the same folder are composed once. No test changes a file of a config group
    between two such compositions."""
    real, latest = ConfigLoaderImpl.load_configuration, OrderedDict[Any, bytes]()

    def load_configuration(
        self: ConfigLoaderImpl,
        config_name: str | None,
        overrides: Sequence[str],
        *how: Any,
        **more: Any,
    ) -> Any:
        places = str(self.get_search_path())
        key = (Path.cwd(), places, config_name, tuple(overrides), how, *sorted(more.items()))
        if key not in latest:
            latest[key] = pickle.dumps(real(self, config_name, list(overrides), *how, **more))
        latest.move_to_end(key)
        while len(latest) > KEPT:
            latest.popitem(last=False)
        return pickle.loads(latest[key])

    return load_configuration


def _ours_alone(repository: Any) -> bool:
    """Whether all files are those of this package and of Hydra, which no test changes."""
    places = {source.path for source in repository.get_sources() if source.scheme() == "file"}
    return places == {str(OURS)}


def _read_once() -> Any:
    """A file of conf/ is read once."""
    real, read = ConfigRepository.load_config, dict[str, bytes]()

    def load_config(self: ConfigRepository, config_path: str) -> Any:
        if not _ours_alone(self):
            return real(self, config_path)
        if config_path not in read:
            read[config_path] = pickle.dumps(real(self, config_path))
        return pickle.loads(read[config_path])

    return load_config


def _chosen_once() -> Any:
    """The options of all groups are put together once for each choice of them; what a command says
    of single keys comes on top of that, and is not remembered here."""
    real = ConfigLoaderImpl._compose_config_from_defaults_list
    latest = OrderedDict[str, bytes]()

    def compose(self: ConfigLoaderImpl, defaults: Any, repo: Any) -> Any:
        if not _ours_alone(repo):
            return real(self, defaults, repo)
        key = repr(defaults)
        if key not in latest:
            latest[key] = pickle.dumps(real(self, defaults, repo))
        latest.move_to_end(key)
        while len(latest) > KEPT:
            latest.popitem(last=False)
        return pickle.loads(latest[key])

    return compose


def _by_libyaml(loader: Any) -> Any:
    """``loader``, for which libyaml finds the tokens."""

    class Loader(loader):  # type: ignore[misc]
        def __init__(self, text: Any) -> None:
            for part in (Composer, SafeConstructor, Resolver):
                part.__init__(self)
            events = CParser(text)
            self.get_event, self.check_event = events.get_event, events.check_event
            self.peek_event = events.peek_event

    return lambda: Loader


def _if_needed() -> Any:
    """The table of what is chosen so far, which interpolated defaults need and ours are none of."""
    real = defaults_list._create_interpolation_map

    def create(overrides: Any, defaults: Any, self_added: bool) -> Any:
        needed = any(default.is_interpolation() for default in defaults)
        return real(overrides, defaults, self_added) if needed else None

    return create
