"""What a run is called in W&B: ``small_world · dpsgd · seed 0``, its chosen options and its
seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from swarm.config.build import option
from swarm.config.choices import choice
from swarm.config.composing.arguments import TARGET
from swarm.config.composing.conf_files import default_options
from swarm.config.settings import sections

ALWAYS = ("topology", "protocol")
NEVER = ("engine", "tracker")  # which change no number
BETWEEN = " · "
LONGEST = 128  # characters, as W&B has it


def title(config: Mapping[str, Any], swept: Mapping[str, str] | None = None) -> str:
    """The options of a run's ``config`` by which a person knows it: its topology, its protocol,
    and every other one that is not the default; then the ``swept`` keys of its sweep that are no
    options; then its seed.
    """
    parts = [*_options(config)]
    for key, value in (swept or {}).items():
        if key not in sections() and key != "seed":
            parts.append(f"{key} {value}")
    if "seed" in config:
        parts.append(f"seed {config['seed']}")
    return BETWEEN.join(parts)


def of_arm(name: str, arm: str) -> str:
    """The name of the W&B run of an arm: the name of the run, shortened if need be, and the arm."""
    most = LONGEST - len(BETWEEN) - len(arm)
    return f"{name if len(name) <= most else name[: most - 1] + '…'}{BETWEEN}{arm}"


def _options(config: Mapping[str, Any]) -> Iterator[str]:
    usuals = default_options()
    others = [group for group in sections() if group not in (*ALWAYS, *NEVER)]
    for group in (*ALWAYS, *others):
        node = config.get(group)
        if not isinstance(node, Mapping) or TARGET not in node:
            continue
        usual = usuals[group]
        name = usual if node == option(group, usual) else choice(group, node)
        if group in ALWAYS or name != usual:
            yield name.rpartition(".")[2]  # of a class of the user's own, its name
