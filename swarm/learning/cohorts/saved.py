"""How checkpoints hold the models of cohorts, so that a device's own is read without its code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from swarm.common.rows import Layout
from swarm.learning.cohorts.union import Shape, Union, places_of, under

COHORT = "cohort"
"""The array of a checkpoint with the number of each device's cohort, ``[N]``."""


def layout_facts(layout: Layout) -> dict[str, Any]:
    """What a checkpoint holds of a layout: the facts that :func:`saved_layout` reads."""
    slots = layout.slots
    return {
        "layout": [[s.name, list(s.shape)] for s in slots],
        "ties": [list(pair) for pair in layout.ties],
        "counts": [s.name for s in slots if s.counts],
        "least": {s.name: s.least for s in slots if s.least is not None},
    }


def saved_layout(facts: Mapping[str, Any]) -> Layout:
    """The layout that a checkpoint describes."""
    more = (facts.get("ties", ()), facts.get("counts", ()), facts.get("least"))
    return Layout.saved(facts["layout"], *more)


def cohort_facts(shapes: Sequence[Shape], union: Union) -> list[dict[str, Any]]:
    """What a checkpoint holds of the models of cohorts, in their order, and of how their parameters
    are called in the union row."""
    return [
        {
            "name": shape.name,
            **layout_facts(shape.layout),
            "under": shape.prefix if union.apart else "",
            "parts": {
                name: [list(pair) for pair in axes.items()] for name, axes in shape.parts.items()
            },
        }
        for shape in shapes
    ]


def own_state(
    facts: Mapping[str, Any], union: Layout, row_P: Tensor
) -> tuple[dict[str, Tensor], str]:
    """The parameters of a device with the model that ``facts`` describe, cut out of its union row
    ``[P]``, as :meth:`Layout.state_dict` gives them, and what its constants begin with."""
    own = saved_layout(facts)
    prefix = facts["under"]
    parts = {prefix + name: dict(map(tuple, axes)) for name, axes in facts["parts"].items()}
    place = places_of(union, under(prefix, own), parts)
    return own.state_dict(row_P[place]), f"{facts['name']}/"
