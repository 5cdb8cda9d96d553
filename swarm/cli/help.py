"""The text of ``--help``: every group with its options, and every key with its value and what it
is.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from swarm.common.errors import typed
from swarm.config.composing import conf_files
from swarm.config.composing.conf_files import EXPERIMENT, HYDRA
from swarm.config.plug_in_lists import KEYED, LISTED

if TYPE_CHECKING:
    from swarm.config.composing.compose import Composer

COLUMN, WIDTH = 30, 110  # where the words about a key begin, and where lists of names are broken
FLAGS = {
    "-m": "one run for each combination of the values that are given: topology=ring,torus",
    "--cfg job": "print the config that the settings make, and run nothing",
    "--config-dir FOLDER": "a folder with options of your own, such as topology/mine.yaml",
    "--config-name NAME": "a config of that folder in the place of conf/config.yaml",
    "--trust": "with resume=FOLDER: run the plug-ins that it names",
    "--version": "the version of this program",
    "--hydra-help": "what Hydra, which reads the settings, has beside these",
}


def text(composer: Composer, cfg: DictConfig) -> str:
    """The help for the composed config ``cfg``: the keys are those of the options that it chose."""
    parts = [str(cfg.hydra.help.header).rstrip()]
    parts += ["", "Options, chosen by GROUP=NAME (* is chosen now):", ""]
    parts += _groups(composer, cfg)
    parts += ["", "Keys, set by KEY=VALUE, with their values now:", ""]
    parts += _keys(cfg)
    parts += ["", "Flags:", "", *(_line(name, said) for name, said in FLAGS.items())]
    return "\n".join(parts)


def _groups(composer: Composer, cfg: DictConfig) -> Iterator[str]:
    defaults, chosen = conf_files.read(conf_files.config_file()).defaults, _choices(cfg)
    about = {name: said for name, (_, said) in defaults.items()}
    about |= {name: f"in the list {key}" for name, key in LISTED.items()}
    about |= {name: f"as {key}=NAME" for name, key in KEYED.items()}
    about[EXPERIMENT] = f"a whole experiment, chosen by +{EXPERIMENT}=NAME"
    for group in composer.groups():
        names = [f"{name}*" if name == chosen.get(group) else name
                 for name in composer.options(group)]  # fmt: skip
        yield _line(group, about.get(group, ""))
        margin = " " * COLUMN
        yield textwrap.fill(
            ", ".join(names), WIDTH, initial_indent=margin, subsequent_indent=margin
        )


def _keys(cfg: DictConfig) -> Iterator[str]:
    comments = conf_files.read(conf_files.config_file()).comments
    values: Any = OmegaConf.to_container(cfg, resolve=False)
    chosen, plain = _choices(cfg), dict[str, Any]()
    placed = {key: conf_files.read(each).comments for key, each in conf_files.placed().items()}
    for key, value in values.items():
        if key != HYDRA and key not in chosen:
            plain[key] = value
    yield from _leaves(plain, comments)
    for group, name in chosen.items():
        file = conf_files.option_files(group).get(name)
        if group == EXPERIMENT or group not in values or file is None:
            continue
        option = conf_files.read(file)
        yield from ("", f"{group}={name}: {option.summary}")
        own = {key: value for key, value in values[group].items() if key != "_target_"}
        yield from _leaves(own, {**placed.get(group, {}), **option.comments}, f"{group}.")


def _leaves(
    values: Mapping[str, Any], comments: Mapping[str, str], group: str = "", above: str = ""
) -> Iterator[str]:
    """A line for each key, and for each section that has a comment. In a list of like sections the
    first has the words about their keys.
    """
    for name, value in values.items():
        key = f"{above}{name}"
        said = comments.get(key) or next(
            (text for other, text in comments.items() if other.endswith(f".{name}") and above), ""
        )
        if isinstance(value, Mapping) and value:
            if key in comments:
                yield _line(f"{group}{key}", comments[key])
            yield from _leaves(value, comments, group, f"{key}.")
        else:
            yield _line(f"{group}{key}={typed(value)}", said)


def _choices(cfg: DictConfig) -> dict[str, str]:
    """The chosen option of each group."""
    found = OmegaConf.to_container(cfg.hydra.runtime.choices)
    assert isinstance(found, dict)
    return {
        str(group): str(name)
        for group, name in sorted(found.items(), key=lambda pair: str(pair[0]))
        if name is not None and not str(group).startswith(f"{HYDRA}/")
    }


def _line(name: str, said: str) -> str:
    return f"  {name:{COLUMN - 4}}  {said}".rstrip()
