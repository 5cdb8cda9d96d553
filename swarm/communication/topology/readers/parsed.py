"""What graph files hold: nodes with names and places, and edges with lengths."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from swarm.common.names import LONGEST, Names, canonical, ordered
from swarm.communication.topology.graph import Floats, Graph, Ints

Name = int | float | str
Place = tuple[Any, Any]  # x and y as they are in a file


@dataclass
class Parsed:
    """The nodes and edges of a file by their names (:func:`swarm.common.names.canonical`), with
    limits on how many there may be.

    A reader either adds nodes and edges one by one (:meth:`node`, :meth:`edge`), or all edges at
    once as columns (:meth:`columns`), which makes no Python object of a node that is a number.
    ``length`` names the attribute that is an edge's length, or its mixing weight as ``what`` says;
    if it is given, every edge needs one.
    """

    max_nodes: int
    max_edges: int
    directed: bool = False
    weighted: bool = False  # whether the file has weights, which are not used
    index: dict[str, int] = field(default_factory=dict)
    edges: list[tuple[int, int]] = field(default_factory=list)
    length: str | None = None
    what: str = "length"  # what the numbers of edges are that are read
    lengths: list[float] | Floats = field(default_factory=list)
    spelt: dict[Name, int] = field(default_factory=dict)  # node numbers by names as in the file
    places: dict[int, tuple[float, float]] = field(default_factory=dict)  # by node numbers
    _names: Names | Ints | None = None  # in order; numbers stand for names that are numbers
    _ranked_E2: Ints | None = None

    def node(self, name: Name) -> int:
        """Return the number of the node ``name``, which is added if it is new.

        Raises ``ValueError`` for a name that is empty or too long, and for too many nodes.
        """
        known = self.spelt.get(name)
        if known is not None:
            return known
        own = checked(name)
        if own not in self.index:
            self.require_nodes(len(self.index) + 1)
            self.index[own] = len(self.index)
        self.spelt[name] = self.index[own]
        return self.index[own]

    def knows(self, name: Name) -> bool:
        """Whether the node ``name`` was added before, in any spelling."""
        return name in self.spelt or canonical(name) in self.index

    def place(self, name: Name, place: Place) -> None:
        """Put a node at a place; what is not a finite number is no place."""
        with_numbers = [_number(value) for value in place]
        if all(map(math.isfinite, with_numbers)):
            self.places[self.node(name)] = with_numbers[0], with_numbers[1]

    def edge(self, source: Name, target: Name, length: Any = None) -> None:
        """Add an edge between two nodes, with its length if lengths are read.

        Raises ``ValueError`` for too many edges, and for a length that is missing or not ≥ 0.
        """
        self.require_edges(len(self.edges) + 1)
        if self.length is not None:
            if length is None:
                raise ValueError(f"the edge needs `{self.length}`, its {self.what}")
            value = finite(length, self.length)
            if value < 0:
                raise ValueError(f"{self.length} {str(length)[:40]!r} must be at least 0")
            self.lengths.append(value)  # type: ignore[union-attr]
        self.edges.append((self.node(source), self.node(target)))

    def require_nodes(self, count: int) -> None:
        """Raise ``ValueError`` if ``count`` nodes are too many."""
        if count > self.max_nodes:
            raise ValueError(f"more than max_nodes={self.max_nodes} nodes")

    def require_edges(self, count: int) -> None:
        """Raise ``ValueError`` if ``count`` edges are too many."""
        if count > self.max_edges:
            raise ValueError(f"more than max_edges={self.max_edges} edges")

    def columns(
        self,
        source_E: Any,
        target_E: Any,
        length_E: npt.NDArray[Any] | None = None,
        nodes: int | None = None,
    ) -> None:
        """Set all edges at once: whole numbers or texts as their ends, ``[E]`` each (arrays, or
        columns of pandas), and perhaps their lengths ``[E]``. If ``nodes`` is given, the ends are
        numbers below it, and all of these are nodes.

        Raises ``ValueError`` with the row (counted from 0) of an end that is no name or of a length
        that is not finite or below 0, and for too many edges or nodes.
        """
        self.require_edges(len(source_E))
        if self.length is not None:
            if length_E is None:
                raise ValueError(f"the edges need `{self.length}`, their {self.what}")
            self.lengths = finite_column(length_E, self.length)
            if (self.lengths < 0).any():
                row = int(np.flatnonzero(self.lengths < 0)[0])
                raise ValueError(f"{_row(row)}: {self.length} must be at least 0")
        ends_2E = source_E, target_E
        if nodes is not None:
            self._names, code = np.arange(nodes), np.concatenate(ends_2E)
        elif all(isinstance(e, np.ndarray) and e.dtype.kind in "iuf" for e in ends_2E):
            whole_2E = [_whole(source_E, "source"), _whole(target_E, "target")]
            self._names, code = _numbered(np.concatenate(whole_2E))
            self.require_nodes(len(self._names))
        else:
            number_2E = [self._spelt(source_E, "source"), self._spelt(target_E, "target")]
            self._names = tuple(ordered(self.index))
            code = self._rank()[np.concatenate(number_2E)]
        self._ranked_E2 = code.reshape(2, -1).T

    def _spelt(self, column: Any, what: str) -> Ints:
        """The numbers of the nodes that a column names, ``[E]``."""
        import pandas as pd  # most runs need none, and it takes a quarter of a second

        code_E, found = pd.factorize(column)
        number = np.empty(len(found), np.int64)
        for place, name in enumerate(found.tolist()):
            if isinstance(name, bool) or not isinstance(name, str | int | float | np.number):
                row = int(np.flatnonzero(code_E == place)[0])
                raise ValueError(f"{_row(row)}: {what} {str(name)[:40]!r} must be a number or text")
            number[place] = self.node(name if isinstance(name, str) else canonical(name))
        if (code_E < 0).any():
            raise ValueError(f"{_row(int(np.flatnonzero(code_E < 0)[0]))}: {what} is missing")
        return number[code_E]

    def _rank(self) -> Ints:
        """The place of each node, by its number, in the order of names."""
        rank = np.empty(self.count, dtype=np.int64)
        rank[[self.index[name] for name in self.names]] = np.arange(self.count)
        return rank

    def graph(self) -> Graph:
        """Return the graph with nodes in the order of their names; of parallel edges the shortest
        counts. It has positions if every node has one, and not all have the same.
        """
        ends_E2, pos_N2 = self.ranked(), self._positions()
        kind = {"directed": self.directed, "pos_N2": pos_N2}
        if self.length is None:
            return Graph.from_edges(self.count, ends_E2, **kind)  # type: ignore[arg-type]
        length_E = np.asarray(self.lengths, dtype=np.float64)
        order_E = np.argsort(length_E, kind="stable")
        return Graph.from_edges(
            self.count,
            ends_E2[order_E],
            length=length_E[order_E],
            **kind,  # type: ignore[arg-type]
        )

    def _positions(self) -> Floats | None:
        if not self.places or len(self.places) < self.count:
            return None
        pos_N2 = np.array([self.places[self.index[name]] for name in self.names])
        return pos_N2 if self.count == 1 or (pos_N2 != pos_N2[0]).any() else None

    @property
    def count(self) -> int:
        """The number of nodes."""
        return len(self.index if self._names is None else self._names)

    @property
    def numbered(self) -> bool:
        """Whether the names of the nodes are 0, 1, … as far as this is known without making
        names.
        """
        return isinstance(self._names, np.ndarray) and bool(
            np.array_equal(self._names, np.arange(self.count))
        )

    @property
    def names(self) -> Names:
        """The nodes' names in order; to be asked for after all nodes are added."""
        if self._names is None:
            self._names = tuple(ordered(self.index))
        if isinstance(self._names, np.ndarray):
            return tuple(map(str, self._names.tolist()))
        return self._names

    def ranked(self) -> Ints:
        """Return the edges ``[E, 2]``, with nodes numbered in the order of their names.

        Raises ``ValueError`` if there is no node.
        """
        if not self.count:
            raise ValueError("there is no node in it")
        if self._ranked_E2 is not None:
            return self._ranked_E2
        return np.asarray(self._rank()[np.asarray(self.edges, dtype=np.int64).reshape(-1, 2)])


def checked(name: Name) -> str:
    """Return the canonical form of a node's name.

    Raises ``ValueError`` for a name that is empty or too long.
    """
    own = canonical(name)
    if not 0 < len(own) <= LONGEST:
        raise ValueError(f"a node id must have 1 to {LONGEST} characters, not {len(own)}")
    return own


def finite(text: Any, what: str) -> float:
    """Return the finite number that ``text`` is or spells.

    Raises ``ValueError``, in which ``what`` says what the number is.
    """
    value = _number(text)
    if not math.isfinite(value):
        raise ValueError(f"{what} {str(text)[:40]!r} must be a finite number")
    return value


def finite_column(values: npt.NDArray[Any], what: str) -> Floats:
    """Return finite numbers ``[E]``.

    Raises ``ValueError`` with the row (counted from 0) of a value that is no finite number.
    """
    if values.dtype.kind in "iuf":
        found = values.astype(np.float64)
    else:
        found = np.array([_number(value) for value in values.tolist()], np.float64)
    wrong = np.flatnonzero(~np.isfinite(found))
    if wrong.size:
        shown = str(values[wrong[0]])[:40]
        raise ValueError(f"{_row(int(wrong[0]))}: {what} {shown!r} must be a finite number")
    return found


def text_of(data: bytes) -> str:
    """Decode a file in UTF-8, with or without a byte order mark.

    Raises ``ValueError`` for other bytes, and for a zero byte.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start}: not UTF-8 text") from None
    if "\0" in text:
        raise ValueError(f"byte {text.index(chr(0))}: a text file has no zero bytes")
    return text


def _number(value: Any) -> float:
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _row(row: int) -> str:
    return f"row {row} (counted from 0)"


def _whole(column: npt.NDArray[Any], what: str) -> Ints:
    """One end of each edge as int64.

    Raises ``ValueError`` with the row of a value that is no whole number.
    """
    if column.dtype.kind == "u":
        right = column < 2**63
    else:
        right = np.isfinite(column) & (column == np.floor(column)) & (np.abs(column) < 2.0**63)
    if not right.all():
        row = int(np.flatnonzero(~right)[0])
        raise ValueError(f"{_row(row)}: {what} {column[row]} must be a whole number or text")
    return column.astype(np.int64, copy=False)


def _numbered(ids: Ints) -> tuple[Ints, Ints]:
    """The distinct numbers in order, and each number's place among them."""
    if not len(ids):
        return ids, ids
    low, span = int(ids.min()), int(ids.max()) - int(ids.min()) + 1
    if span > 4 * len(ids):
        found, code = np.unique(ids, return_inverse=True)
        return found, code.astype(np.int64)
    there = np.zeros(span, dtype=bool)  # a sort would take ten times as long
    there[ids - low] = True
    found = np.flatnonzero(there)
    if len(found) == span:
        return found + low, ids - low
    return found + low, (np.cumsum(there) - 1)[ids - low]
