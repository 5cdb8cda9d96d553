"""Whose text is whose: the rows of each owner in a table of text, joined."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from swarm.common.errors import ConfigError, meant
from swarm.common.names import Names, coded
from swarm.data.files.readers.columns import Column


def texts_by_owner(
    table: Mapping[str, Column], owner: str, text: str, path: str
) -> tuple[list[str], Names]:
    """The text of each owner and the owners' names, in the order of :mod:`swarm.common.names`.

    ``owner`` and ``text`` name the columns of ``table``, which was read from ``path``. An owner's
    rows, in their order, make one text with line ends between them. Raises ``ConfigError`` about
    ``owner`` or ``text`` for a column that is not there, and for cells that are missing or no text.
    """
    for key, name in (("owner", owner), ("text", text)):
        if name not in table:
            valid = (
                f"is not a column of {path}{meant(name, table)}; its columns are"
                f" {', '.join(list(table)[:30])}"
            )
            raise ConfigError(key, name, valid)
    owner_R, text_R = table[owner], table[text]
    for key, name, column in (("owner", owner, owner_R), ("text", text, text_R)):
        missing = [row for row, value in enumerate(column) if value is None or value != value]
        if column.ndim != 1 or missing:
            where = (
                f"row {missing[0]} (counted from 0) is empty"
                if missing
                else "has several values in a row"
            )
            raise ConfigError(key, name, f"{where}; every row needs one")
    wrong = next((row for row, value in enumerate(text_R) if not isinstance(value, str)), None)
    if wrong is not None:
        raise ConfigError(
            "text", text, f"row {wrong} (counted from 0) is not text; every row must be"
        )
    try:
        code_R, names = coded(owner_R, f"owner={owner}")
    except ValueError as error:
        raise ConfigError("owner", owner, str(error)) from None
    rows = np.split(np.argsort(code_R, kind="stable"), np.cumsum(np.bincount(code_R))[:-1])
    return ["\n".join(text_R[of]) for of in rows], names


def joint_owners(names: Names, others: Names) -> tuple[Names, list[int]]:
    """The names of two lists of owners in their order, each once, and the place among them of each
    of the first list, then of the second.
    """
    code, joint = coded(np.array([*names, *others, None], object)[:-1], "owners")
    return joint, code.tolist()
