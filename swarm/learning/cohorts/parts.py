"""Which axes of a module's parameters are made of several parts."""

from __future__ import annotations

from torch import nn

from swarm.learning.cohorts.union import AxisParts
from swarm.learning.models.base import HasParts

GATES = {"LSTM": 4, "GRU": 3}
"""How many gates stand behind each other in the weights of torch's recurrent layers, by mode."""


def parts_of(module: nn.Module) -> AxisParts:
    """Return the parts by axis of all parameters of ``module``: those that it or a layer states
    (:class:`HasParts`), the gates of torch's recurrent layers, and the heads of its attention."""
    found: dict[str, dict[int, int]] = {}
    for prefix, part in module.named_modules():
        own: dict[str, dict[int, int]] = {}
        if isinstance(part, HasParts):
            own = part.parts()
        elif isinstance(part, nn.RNNBase) and part.mode in GATES:
            gates = GATES[part.mode]
            named = (name for name, _ in part.named_parameters(recurse=False))
            own = {name: {0: gates} for name in named if "_hr_" not in name}
        elif isinstance(part, nn.MultiheadAttention):
            of_all = {0: 3 * part.num_heads}
            own = {"in_proj_weight": of_all, "in_proj_bias": of_all}
            own["out_proj.weight"] = {1: part.num_heads}
        found |= {f"{prefix}.{name}".lstrip("."): axes for name, axes in own.items()}
    return found
