"""What W&B's own environment variables say, for the keys of which the config says nothing.

These are ``WANDB_MODE``, ``WANDB_PROJECT``, ``WANDB_ENTITY``, ``WANDB_RUN_GROUP`` and
``WANDB_TAGS``. A value in the config wins over the environment; an empty variable counts as none.
"""

from __future__ import annotations

import os
import re
from typing import Literal

from swarm.common.errors import ConfigError

Mode = Literal["offline", "online", "disabled"]
PROJECT = r"^[^/\\#?%:]+$"  # what W&B accepts as the name of a project
LONGEST_NAME, LONGEST_TAG = 128, 64  # characters that W&B accepts
_MODES: dict[str, Mode] = {
    "offline": "offline", "dryrun": "offline", "online": "online", "run": "online",
    "disabled": "disabled",
}  # fmt: skip


def mode(default: Mode) -> Mode:
    """``disabled`` where the environment has ``WANDB_DISABLED=true``, else what ``WANDB_MODE``
    says, else ``default``.

    Raises :class:`ConfigError` for a mode that does not exist.
    """
    if _said("WANDB_DISABLED").lower() in ("true", "1", "yes", "on"):
        return "disabled"
    said = _said("WANDB_MODE")
    if said and said.lower() not in _MODES:
        valid = "in the environment must be online, offline or disabled"
        raise ConfigError("/WANDB_MODE", said, valid)
    return _MODES.get(said.lower(), default)


def project(default: str) -> str:
    """What ``WANDB_PROJECT`` says, else ``default``.

    Raises :class:`ConfigError` for a name that no project can have.
    """
    said = _said("WANDB_PROJECT")
    if said and (len(said) > LONGEST_NAME or not re.fullmatch(PROJECT, said)):
        valid = (
            f"in the environment must be the name of a W&B project: at most {LONGEST_NAME}"
            r" characters, without / \ # ? % and :"
        )
        raise ConfigError("/WANDB_PROJECT", said, valid)
    return said or default


def entity() -> str | None:
    """What ``WANDB_ENTITY`` says: a user or a team."""
    return _said("WANDB_ENTITY") or None


def group() -> str | None:
    """What ``WANDB_RUN_GROUP`` says.

    Raises :class:`ConfigError` for a name that is too long.
    """
    said = _said("WANDB_RUN_GROUP")
    if len(said) > LONGEST_NAME:
        valid = f"in the environment must be a name of at most {LONGEST_NAME} characters"
        raise ConfigError("/WANDB_RUN_GROUP", said, valid)
    return said or None


def tags() -> list[str]:
    """The tags that ``WANDB_TAGS`` lists, separated by commas.

    Raises :class:`ConfigError` for a tag that is too long.
    """
    found = [tag.strip() for tag in _said("WANDB_TAGS").split(",") if tag.strip()]
    if long := [tag for tag in found if len(tag) > LONGEST_TAG]:
        valid = f"in the environment must list tags of at most {LONGEST_TAG} characters"
        raise ConfigError("/WANDB_TAGS", long[0], valid)
    return found


def agents_run() -> str | None:
    """The id of the W&B run that ``wandb agent`` has begun for this process; None outside of a
    sweep of W&B's own.
    """
    return (_said("WANDB_RUN_ID") or None) if _said("WANDB_SWEEP_ID") else None


def _said(name: str) -> str:
    return os.environ.get(name, "").strip()
