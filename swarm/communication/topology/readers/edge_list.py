"""Reads edge lists: lines of two nodes, with or without a heading, a weight, or networkx's data."""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from swarm.common.errors import ConfigError, meant
from swarm.common.names import canonical, is_number, listed
from swarm.communication.topology.readers.parsed import Parsed, finite, text_of

SEPARATORS = {"\t": "a tab", ";": "`;`", ",": "`,`"}
_LONGEST_DATA = 10_000  # characters of the data of an edge
_COMMENT = re.compile(r"(?:^|\s)#|^\s*%")
_DATA = re.compile(r"(?:^|[\s,;])(\{.*\})$")
_TUPLE = re.compile(r"\([^()]*\)")
_FIELD = re.compile(r"\([^()]*\)|\"[^\"]*\"|[^\s,]+")  # (0, 1) is a node of networkx
_SCALAR = re.compile(r"\bnp\.(?:float|int|uint|bool|str)\d*_?\(([^()]*)\)")  # as NumPy 2 writes it
_ARROW = re.compile(r"[<>=~-]+|[←→↔–—]")  # between two nodes, a -> b
# nan and inf, as Python writes what is no number
_MISSING = re.compile(r"([:,(\[]\s*)(-?(?:nan|inf))(?=\s*[,})\]])")

# How columns of ends are called. Some are short enough to be names of nodes.
PAIRS = [
    ("source", "target"),
    ("src", "dst"),
    ("from", "to"),
    ("source_id", "target_id"),
    ("from_id", "to_id"),
    ("fromnodeid", "tonodeid"),
    ("from_node", "to_node"),
    ("id_1", "id_2"),
    ("id1", "id2"),
    ("node_1", "node_2"),
    ("node1", "node2"),
    ("node_a", "node_b"),
    ("user_1", "user_2"),
    ("user1", "user2"),
    ("user_id", "friend_id"),
    ("person1", "person2"),
    ("person_1", "person_2"),
    ("protein1", "protein2"),
    ("node_id1", "node_id2"),
    ("nodea", "nodeb"),
    ("sender", "receiver"),
    ("follower", "followee"),
    ("ego", "alter"),
]
SHORT = [("u", "v"), ("i", "j"), ("a", "b"), ("v1", "v2")]
_MOST_BESIDE_SHORT = 4  # columns of a table whose ends have such short names: i, j, weight, time


@dataclass
class Heading:
    """In which columns of a table the ends, the length or the weight, and the kind of edges are."""

    source: int
    target: int
    length: int | None
    weight: int | None
    kind: int | None  # Gephi's Type: Directed or Undirected
    columns: int

    @classmethod
    def of(cls, names: Sequence[str], length: str | None, short: bool = True) -> Heading | None:
        """Return what the ``names`` of columns say, or None if they name no ends of edges.

        ``short`` says whether names are understood that may also be nodes. Raises ``ValueError``
        for an end that is there twice.
        """
        own = [_tidy(name) for name in names]
        short = short and len(own) <= _MOST_BESIDE_SHORT
        pair = next((p for p in PAIRS + (SHORT if short else []) if set(p) <= set(own)), None)
        if pair is None:
            return None
        for end in pair:
            if own.count(end) > 1:
                raise ValueError(f"the column {end!r} is there twice in the heading")

        def place(name: str) -> int | None:
            return own.index(name) if name in own else None

        source, target = own.index(pair[0]), own.index(pair[1])
        far = None if length is None else place(_tidy(length))
        return cls(source, target, far, place("weight"), place("type"), len(own))

    def require_length(self, names: Sequence[str], parsed: Parsed, where: str) -> None:
        """Raise ``ConfigError`` if lengths are read and no column is called so; ``where`` says what
        has the columns ``names``.
        """
        if parsed.length is None or self.length is not None:
            return
        others = [name for i, name in enumerate(names) if i not in (self.source, self.target)]
        valid = f"is no column of {where}{meant(parsed.length, others)}; its columns are"
        raise ConfigError(parsed.what, parsed.length, f"{valid} {listed(list(names), 30)}")


def _tidy(name: str) -> str:
    """The name of a column as :data:`PAIRS` have it: "From Node" is from_node."""
    return name.strip().lower().replace(" ", "_")


def read_edge_list(data: bytes, parsed: Parsed) -> None:
    """Read lines ``source target [weight]``, split at tabs, blanks, commas or semicolons; ``#`` and
    ``%`` start comments.

    In place of a weight there may be networkx's data, such as ``{'weight': 3}``. A first line such
    as ``source,target`` is a heading, and then there may be more columns (as in Gephi's tables). A
    weight must be a finite number; it is not used, or is the length if lengths are read.
    """
    text = text_of(data).splitlines()
    split = _splitting(text)
    heading, first = _heading(text, split, parsed), True
    kinds: set[str] = set()
    for number, line, found in _lines(text):
        if first and heading is not None:
            first = False
            continue
        first, row = False, split(line)
        try:
            if heading is None:
                _edge(row, found, parsed)
            else:
                _row_of_table(row, heading, parsed)
                if heading.kind is not None:
                    kinds.add(_kind(row[heading.kind], kinds))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    if kinds:
        parsed.directed = kinds == {"directed"}


def data_of(text: str) -> dict[str, Any]:
    """Return the data of an edge as networkx writes it, ``{'weight': 3, 'since': 'May'}``.

    Nothing is evaluated. Raises ``ValueError`` for everything but a dictionary of numbers, texts
    and lists of these.
    """
    if text == "{}":
        return {}
    if len(text) > _LONGEST_DATA:
        raise ValueError(f"data of an edge have at most {_LONGEST_DATA} characters")
    plain = _SCALAR.sub(r"\1", text) if "np." in text else text
    found = None
    for spelt in (plain, _MISSING.sub(r"\1'\2'", plain)):
        try:
            found = ast.literal_eval(spelt)
            break
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    if not isinstance(found, dict):
        raise ValueError(f"{text[:40]!r} must be a dictionary of numbers and texts")
    return found


def _lines(text: list[str]) -> Iterator[tuple[int, str, str | None]]:
    """The number, the fields and the data of each line that is not empty or a comment."""
    for number, line in enumerate(text, 1):
        line = line.strip()
        if line.endswith("}") and line[0] not in "#%" and (found := _DATA.search(line)):
            yield number, line[: found.start()].strip(), found[1]
        elif "#" in line or "%" in line:
            if line := _COMMENT.split(line, maxsplit=1)[0].strip():
                yield number, line, None
        elif line:
            yield number, line, None


def _splitting(text: list[str]) -> Callable[[str], list[str]]:
    """How the lines of the whole file are split: at a separator, or at blanks and commas.

    Raises ``ValueError`` where both are possible and mean different edges.
    """
    start, first, _ = next(_lines(text), (0, "", None))
    separator = next((separator for separator in SEPARATORS if separator in _bare(first)), None)
    if separator is None:
        return _at_blanks
    split = partial(_at, separator=separator)
    if not split(first)[0]:  # the rows have names, and their column has none
        return split
    plain = True  # whether all lines could be split at blanks
    missing = unlike = 0  # lines without the separator, and with other fields if split at blanks
    shown = ""
    for number, line, _ in _lines(text):
        row = _at_blanks(line)
        plain = plain and '"' not in line and _is_edge(row, number == start)
        missing = missing or (0 if separator in _bare(line) else number)
        if not unlike and [field for field in split(line) if field] != row:
            unlike, shown = number, line[:40]
        if missing and not plain:
            what = SEPARATORS[separator]
            raise ValueError(
                f"line {missing}: has no {what}, which separates the fields of line {start}"
            )
    if plain and (missing or not unlike):
        return _at_blanks
    if plain and separator != ";" and Heading.of(split(first), None) is None:
        raise ValueError(
            f"line {unlike}: {shown!r} can be split at blanks or at {SEPARATORS[separator]}; put"
            " names that have blanks into quotes"
        )
    return split


def _bare(line: str) -> str:
    """The line without names in parentheses, which may contain separators."""
    return _TUPLE.sub("", line) if "(" in line else line


def _is_edge(row: list[str], first: bool) -> bool:
    return len(row) == 2 or (len(row) == 3 and (first or _is_finite(row[2])))


def _at_blanks(line: str) -> list[str]:
    if "(" not in line and '"' not in line:
        return line.replace(",", " ").split()
    return [field.strip('"') for field in _FIELD.findall(line)]


def _at(line: str, separator: str) -> list[str]:
    if '"' not in line:
        return [field.strip() for field in line.split(separator)]
    try:
        row = next(csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True))
    except csv.Error:  # a quote that is part of a name
        row = line.split(separator)
    return [field.strip() for field in row]


def _heading(text: list[str], split: Callable[[str], list[str]], parsed: Parsed) -> Heading | None:
    """The heading that the first line is, if it is one.

    Raises ``ConfigError`` for one without the length that is read.
    """
    number, line, _ = next(_lines(text), (0, "", None))
    known = _known_heading(text, split, parsed.length)
    if known is not None:
        known.require_length(split(line), parsed, f"the heading in line {number}")
    return known


def _known_heading(
    text: list[str], split: Callable[[str], list[str]], length: str | None
) -> Heading | None:
    """What the first line says, if it is a heading.

    Raises ``ValueError`` for a first line of words above lines of numbers that is no known heading.
    """
    lines = _lines(text)
    number, line, found = next(lines, (0, "", None))
    row = split(line)
    if len(row) < 2 or found is not None:
        return None
    known = Heading.of(row, length, short=False)
    if known is not None or any(is_number(canonical(name)) for name in row[:2]):
        return known
    more = next(lines, None)
    counted = more is not None and all(
        is_number(canonical(name))
        for _, other, _ in chain([more], lines)
        for name in split(other)[:2]
    )
    if not counted and (len(row) < 3 or _is_finite(row[2])):
        return None  # an edge between nodes of these names
    known = Heading.of(row, length)
    if known is None and counted:
        pairs = ", ".join(f"{a} and {b}" for a, b in [*PAIRS, *SHORT])
        raise ValueError(
            f"line {number}: {line[:40]!r} seems to be a heading, and names no ends of edges; they"
            f" may be called {pairs}"
        )
    return known


def _is_finite(text: str) -> bool:
    try:
        finite(text, "")
    except ValueError:
        return False
    return True


def _edge(row: list[str], found: str | None, parsed: Parsed) -> None:
    if found is not None:
        if len(row) != 2:
            raise ValueError(f"needs `source target {{…}}`, found {_fields(row)} before the data")
        add_edge(row[0], row[1], data_of(found), parsed)
        return
    if len(row) not in (2, 3):
        raise ValueError(
            f"needs `source target [weight]`, found {_fields(row)}; topology.format=adjlist reads"
            " lines of a node and its neighbours, and topology.format=matrix an adjacency matrix"
        )
    if _ARROW.fullmatch(row[1]):
        raise ValueError(f"{row[1]!r} stands where the other end of the edge should; leave it out")
    if len(row) == 3 and parsed.length is None:
        finite(row[2], "weight")
        parsed.weighted = True
    parsed.edge(row[0], row[1], *row[2:])


def _fields(row: list[str]) -> str:
    blank = " (separate names that have blanks with tabs or commas)" if len(row) > 2 else ""
    return f"{len(row)} fields{blank}"


def add_edge(source: str, target: str, found: dict[str, Any], parsed: Parsed) -> None:
    """Add an edge with networkx's data."""
    if "weight" in found and parsed.length != "weight":
        finite(found["weight"], "weight")
        parsed.weighted = True
    parsed.edge(source, target, None if parsed.length is None else found.get(parsed.length))


def _row_of_table(row: list[str], heading: Heading, parsed: Parsed) -> None:
    if len(row) != heading.columns:
        raise ValueError(f"has {len(row)} fields, the heading {heading.columns}")
    length = None if heading.length is None else row[heading.length]
    if heading.weight not in (None, heading.length):
        finite(row[heading.weight], "weight")  # type: ignore[index]
        parsed.weighted = True
    parsed.edge(row[heading.source], row[heading.target], length)


def _kind(text: str, kinds: set[str]) -> str:
    """The kind of an edge, which must be that of the edges before."""
    own = text.strip().lower()
    if own not in ("directed", "undirected"):
        raise ValueError(f"the type {text[:40]!r} must be Directed or Undirected")
    if kinds - {own}:
        raise ValueError("mixed directed and undirected edges are not supported")
    return own
