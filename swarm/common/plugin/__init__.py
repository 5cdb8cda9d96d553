"""Plug-ins: which code is a user's (:mod:`.registry`), and its faults, said in one sentence that
names the plug-in, its file and line (:mod:`.faults`, :mod:`.global_draws`).

Plug-ins are called from everywhere, so no single call is guarded. An exception that escapes from a
plug-in carries a traceback, whose frames say which plug-in it was and in which line; therefore
:func:`blamed` stands around a whole check, a whole run, or one call of an actor. What a plug-in
*returns* is checked where it arrives, and :func:`returned` makes the error.
"""

from swarm.common.plugin.faults import (
    PluginError,
    blamed,
    fault_of,
    of_torch,
    returned,
    said,
    shape_of,
    where,
)
from swarm.common.plugin.global_draws import without_global_draws
from swarm.common.plugin.registry import (
    absent,
    called,
    entry_of,
    is_ours,
    is_plugin,
    place,
    remember_built,
    remember_module,
)

__all__ = [
    "PluginError",
    "absent",
    "blamed",
    "called",
    "entry_of",
    "fault_of",
    "is_ours",
    "is_plugin",
    "of_torch",
    "place",
    "remember_built",
    "remember_module",
    "returned",
    "said",
    "shape_of",
    "where",
    "without_global_draws",
]
