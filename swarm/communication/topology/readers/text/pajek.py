"""Reads the networks of Pajek."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from swarm.communication.topology.readers.labelled import Labelled
from swarm.communication.topology.readers.parsed import Parsed, finite, text_of

_TOKEN = re.compile(r'"([^"]*)"|(\S+)')


def read_pajek(data: bytes, parsed: Parsed) -> None:
    """Read ``*Vertices`` of Pajek with labels and places, and ``*Arcs``, ``*Edges``, ``*Arcslist``,
    ``*Edgeslist`` or ``*Matrix``.

    The graph is directed if there are arcs. A length is the third field of a line if it is called
    ``weight``, else what stands behind its name.
    """
    _Pajek(parsed).read(text_of(data))


class _Pajek:
    def __init__(self, parsed: Parsed) -> None:
        self.parsed, self.found = parsed, Labelled(parsed)
        self.vertices: int | None = None
        self.section = ""
        self.one_way: list[bool] = []  # for each edge
        self.matrix: list[list[float]] = []

    def read(self, text: str) -> None:
        number = 0
        for number, line in enumerate(text.splitlines(), 1):
            row = [quoted or plain for quoted, plain in _TOKEN.findall(line)]
            if not row or line.lstrip().startswith("%"):
                continue
            try:
                if row[0].startswith("*"):
                    self.start(row)
                elif self.section == "vertices":
                    self.vertex(row)
                else:
                    self.edges(row, number)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
        if self.vertices is None:
            raise ValueError("there is no line `*Vertices NUMBER` in it")
        self.all_vertices()
        self.finish(number)

    def start(self, row: list[str]) -> None:
        section = row[0][1:].lower()
        if section == "network":
            return
        if section == "vertices":
            if self.vertices is not None or len(row) < 2 or not row[1].isdecimal():
                raise ValueError("needs one line `*Vertices NUMBER`")
            if len(row[1]) > 12:
                raise ValueError(f"more than max_nodes={self.parsed.max_nodes} nodes")
            self.vertices = int(row[1])
            self.parsed.require_nodes(self.vertices)
        elif section in ("arcs", "edges", "arcslist", "edgeslist", "matrix"):
            if self.vertices is None:
                raise ValueError("needs a line `*Vertices NUMBER` before it")
            self.all_vertices()
        else:
            raise ValueError(f"the section *{section[:40]} is not supported")
        self.section = section

    def vertex(self, row: list[str]) -> None:
        id = self.found.node(row[0], row[1] if len(row) > 1 else None)
        if len(row) > 3:
            self.found.places[id] = row[2], row[3]

    def all_vertices(self) -> None:
        """Add the vertices 1, 2, … that have no line of their own."""
        if not self.found.labels:
            for id in range(1, (self.vertices or 0) + 1):
                self.found.node(id)
        elif len(self.found.labels) != self.vertices:
            raise ValueError(
                f"there are {len(self.found.labels)} vertices, and *Vertices says {self.vertices}"
            )

    def edges(self, row: list[str], number: int) -> None:
        if self.section == "matrix":
            if len(row) != self.vertices:
                raise ValueError(f"a row of the matrix has {self.vertices} numbers, not {len(row)}")
            self.matrix.append([finite(value, "an entry") for value in row])
            return
        if not self.section:
            raise ValueError("needs a line `*Vertices NUMBER` before it")
        if len(row) < 2:
            raise ValueError(f"needs two vertices, found {row[0][:40]!r}")
        if self.section.endswith("list"):
            pairs = [(row[0], other, None) for other in row[1:]]
        else:
            pairs = [(row[0], row[1], self.length(row))]
        for source, target, length in pairs:
            self.found.edge(source, target, length, number)
            self.one_way.append(self.section.startswith("arcs"))

    def length(self, row: list[str]) -> Any:
        weight = finite(row[2], "weight") if len(row) > 2 else None
        if self.parsed.length == "weight":
            return weight
        self.parsed.weighted |= weight not in (None, 1.0)  # which networkx writes where none is
        return dict(zip(row[3::2], row[4::2], strict=False)).get(str(self.parsed.length))

    def finish(self, number: int) -> None:
        if self.section == "matrix":
            if len(self.matrix) != self.vertices:
                raise ValueError(
                    f"line {number}: the matrix has {len(self.matrix)} of {self.vertices} rows"
                )
            value_NN = np.array(self.matrix).reshape(self.vertices, self.vertices)
            ids = list(self.found.labels)
            for i, j in np.argwhere(value_NN).tolist():
                self.found.edge(ids[i], ids[j], float(value_NN[i, j]), i + 1)
            self.found.counted = "row of the matrix"
            self.one_way = [not np.array_equal(value_NN, value_NN.T)]
        self.parsed.directed = any(self.one_way)
        if self.parsed.directed and self.section != "matrix":
            both = zip(list(self.found.edges), self.one_way, strict=True)
            for (source, target, length, line), one_way in both:
                if not one_way:
                    self.found.edge(target, source, length, line)
        self.found.finish()
