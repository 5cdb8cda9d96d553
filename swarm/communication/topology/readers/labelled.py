"""Nodes that have an id, by which edges find them, and a label, which is what people call them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

from swarm.common.names import LONGEST, canonical
from swarm.communication.topology.readers.parsed import Name, Parsed, Place, checked


@dataclass
class Labelled:
    """Nodes that a file declares with an id and perhaps a label, and edges between these ids.

    The labels are the names if every node has one and no two are the same; otherwise the ids are.
    ``counted`` says in messages what the number of an edge counts, such as lines.
    """

    parsed: Parsed
    counted: str = "line"
    labels: dict[str, str | None] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    edges: list[tuple[str, str, Any, int | str]] = field(default_factory=list)

    def node(self, id: Name, label: Any = None) -> str:
        """Add a node, and return the form of its id by which edges find it.

        Raises ``ValueError`` for an id that is empty, too long or there twice, and for too many.
        """
        own = checked(id)
        if own in self.labels:
            raise ValueError(f"node {own[:40]!r} stands there twice")
        self.parsed.require_nodes(len(self.labels) + 1)
        name = None if label is None else canonical(label)
        self.labels[own] = name if name and len(name) <= LONGEST else None
        return own

    def edge(self, source: Name, target: Name, length: Any, number: int | str) -> None:
        """Add an edge, which stands in line ``number`` (or what else is ``counted``).

        Raises ``ValueError`` for too many edges.
        """
        self.parsed.require_edges(len(self.edges) + 1)
        self.edges.append((canonical(source), canonical(target), length, number))

    def finish(self) -> None:
        """Hand everything to ``parsed``.

        Raises ``ValueError`` for an edge with an unknown end or without a usable length.
        """
        name_of = self._names()
        for id, name in name_of.items():
            self.parsed.node(name)
            if id in self.places:
                self.parsed.place(name, self.places[id])
        for source, target, length, number in self.edges:
            try:
                for end in (source, target):
                    if end not in name_of:
                        raise ValueError(
                            f"an edge names {end[:40]!r}, which is no node of the file"
                        )
                self.parsed.edge(name_of[source], name_of[target], length)
            except ValueError as error:
                raise ValueError(f"{self.counted} {number}: {error}") from None

    def _names(self) -> dict[str, str]:
        labels = {id: label for id, label in self.labels.items() if label is not None}
        if len(labels) == len(self.labels) == len(set(labels.values())):
            return labels
        if labels and any(id != label for id, label in labels.items()):
            warnings.warn(
                "the graph file labels some nodes alike or not at all, so that their ids are"
                " their names",
                stacklevel=6,
            )
        return {id: id for id in self.labels}
