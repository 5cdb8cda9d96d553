"""Reads adjacency lists, as networkx writes them or by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from swarm.common.names import canonical
from swarm.communication.topology.readers.edge_list import add_edge, data_of
from swarm.communication.topology.readers.parsed import Parsed, text_of

_BY_NETWORKX = re.compile(r"#[^\n]*\n# GMT ")  # how its adjacency lists begin


def read_adjacency_list(data: bytes, parsed: Parsed) -> None:
    """Read lines of a node and its neighbours, separated by tabs, commas or blanks; ``#`` starts a
    comment.

    networkx writes a line for every node. If the comments say that it wrote the file, a neighbour
    without a line is refused: it is a part of a name that has blanks.
    """
    text = text_of(data)
    split = _split(text)
    for number, line in _plain_lines(text):
        row = split(line)
        try:
            parsed.node(row[0])
            for neighbour in row[1:]:
                parsed.edge(row[0], neighbour)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    if _BY_NETWORKX.match(text):
        first = {canonical(split(line)[0]) for _, line in _plain_lines(text)}
        for number, line in _plain_lines(text):
            lost = next((name for name in split(line) if canonical(name) not in first), None)
            if lost is not None:
                raise ValueError(
                    f"line {number}: {lost[:40]!r} has no line of its own; where names have blanks,"
                    " a comma has to separate them (delimiter=',')"
                )


def read_multiline_adjacency_list(data: bytes, parsed: Parsed) -> None:
    """Read a line of a node and its number of neighbours, below it a line for each neighbour with
    the data of the edge, and so on; ``#`` starts a comment.
    """
    text = text_of(data)
    split = _split(text)
    node, left, number = "", 0, 0
    for number, line in _plain_lines(text):
        try:
            start = line.find("{") if left else -1
            row = split(line if start < 0 else line[:start].strip(" \t,"))
            if left:
                if len(row) != 1:
                    raise ValueError(f"needs `neighbour {{…}}`, found {len(row)} names")
                found = {} if start < 0 else data_of(line[start:].strip())
                add_edge(node, row[0], found, parsed)
                left -= 1
            else:
                if len(row) != 2 or not row[1].isdecimal() or len(row[1]) > 9:
                    raise ValueError(f"needs `node NUMBER_OF_NEIGHBOURS`, found {line[:40]!r}")
                node, left = row[0], int(row[1])
                parsed.node(node)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    if left:
        raise ValueError(f"line {number}: below it, {node[:40]!r} lacks {left} of its neighbours")


def is_multiline(text: str) -> bool | None:
    """Whether the adjacency list that ``text`` begins with is a multiline one; None if it is no
    adjacency list of networkx.
    """
    if not _BY_NETWORKX.match(text):
        return None
    lines = _plain_lines(text)
    return "{" in text or all(line.split()[-1:] == ["0"] for _, line in lines)


def _split(text: str) -> Any:
    """What splits a line: at tabs or commas if the first line of a node has one, else at blanks."""
    lines = [line for _, line in _plain_lines(text)]
    for separator in "\t,":
        if any(separator in line.partition("{")[0] for line in lines):
            return lambda line: [name.strip() for name in line.split(separator)]
    return str.split


def _plain_lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip() if line.rstrip().endswith("}") else line.partition("#")[0].strip()
        if line and not line.startswith("#"):
            yield number, line
