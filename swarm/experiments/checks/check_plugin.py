"""Checks a plug-in of your own; every option of ``conf/`` passes the same checks.

from swarm.experiments.checks.check_plugin import check_plugin

def test_bowtie() -> None:
    check_plugin(my_plugins.Bowtie, bridges=2)
    check_plugin(my_plugins.Gated, "data=gaussian", width=8)
"""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from swarm.common.errors import ConfigError
from swarm.common.plugin import blamed, shape_of
from swarm.common.plugin.warned import each_warned_once
from swarm.communication.aggregation.base import Aggregator
from swarm.communication.aggregation.pre_aggregator import PreAggregator
from swarm.communication.attack.base import Attack
from swarm.communication.compression.base import Compressor
from swarm.communication.network.base import Churn, Clock, Delay, Outage
from swarm.communication.network.fleet import Fleet
from swarm.communication.protocol.base import Protocol
from swarm.communication.secure.base import SecureSum
from swarm.communication.topology.base import Topology
from swarm.communication.transform.base import MessageTransform
from swarm.config.build import option
from swarm.config.composing.compose import compose
from swarm.config.explain import shown
from swarm.config.plug_in_lists import KEYED, LISTED
from swarm.config.plug_ins import load_plugins
from swarm.config.settings import plain
from swarm.data.dataset import Source
from swarm.data.partition import Partition
from swarm.data.stream.drift import Drift
from swarm.data.stream.labelling import LabelOracle
from swarm.experiments.checks.contracts import require_kept
from swarm.experiments.checks.tracker_contract import check_tracker
from swarm.experiments.checks.trial import ContractError
from swarm.experiments.claims.base import Claim
from swarm.experiments.runner import check
from swarm.experiments.runs.prepared import PreparedRun
from swarm.experiments.runs.scenario import AnyScenario, Scenario
from swarm.learning.augmentation.base import Augmentation
from swarm.learning.goal.base import Goal
from swarm.learning.losses.base import SampleLoss
from swarm.learning.optim.optimizer import Optimizer
from swarm.learning.optim.schedule import Schedule
from swarm.learning.personal.base import Personal
from swarm.learning.privacy.mechanism import Privacy
from swarm.learning.update.policy import UpdatePolicy
from swarm.learning.update.replay import Replay
from swarm.results.track.base import Tracker
from swarm.simulation.engine.base import Engine
from swarm.simulation.metrics.base import Metric

__all__ = ["ContractError", "check_plugin"]

KINDS: dict[type, str] = {
    Topology: "topology",
    nn.Module: "model",
    Source: "data",
    Partition: "partition",
    Protocol: "protocol",
    Optimizer: "optimizer",
    Schedule: "schedule",
    Engine: "engine",
    AnyScenario: "scenario",
    Tracker: "tracker",
    Aggregator: "aggregator",
    PreAggregator: "pre_aggregator",
    MessageTransform: "transform",
    Attack: "attack",
    Compressor: "compressor",
    Churn: "churn",
    Outage: "outage",
    Clock: "clock",
    Delay: "delay",
    Fleet: "fleet",
    Privacy: "privacy",
    Personal: "personal",
    Goal: "goal",
    SecureSum: "secure_sum",
    UpdatePolicy: "update",
    Replay: "replay",
    Drift: "drift",
    LabelOracle: "labels",
    Metric: "metric",
    Augmentation: "augmentation",
    SampleLoss: "loss",
}
SMALL = (
    "devices=12",
    "rounds=3",
    "optimizer.lr=0.1",
    "tracker=none",
    "report=false",
    "evaluate.every=1",
    "train.batch=8",
    "train.local_steps=2",
    "engine.block=3",
)
STREAM = ("update=online", "partition=iid", "train.batch=2")
NEEDS = {
    "update": STREAM,
    "replay": STREAM,
    "drift": STREAM,
    "labels": STREAM,
    "compressor": ("topology=ring",),
    "transform": ("topology=ring",),
    "secure_sum": ("topology=ring",),
    "aggregator": ("topology=torus",),
    "attack": ("topology=torus",),
    "pre_aggregator": ("topology=torus", "aggregator=coordinate_median", "aggregator.f=1"),
    "privacy": ("partition=iid",),
    "tracker": ("report=true",),
    "goal": ("data.local_validation=0.2", "partition=iid", "topology=ring"),
}
IMAGES = ("data=digits", "data.flat=false")  # where the user chooses no data for an augmentation


@each_warned_once()
def check_plugin(plugin: str | type | Callable[..., Any], *settings: str, **options: Any) -> None:
    """Check a plug-in; if something is wrong with it, the error says so in one sentence.

    ``plugin`` is a class, a function that makes one, or the dotted path of either, as in
    ``_target_``. Its kind follows from its base class. ``options`` are its own keys. ``settings``
    are words of the command line for the run in which it is tried, by default 12 devices for 3
    rounds on the digits (as images for an augmentation): ``check_plugin(Mine, "devices=20",
    "data=gaussian", width=3)``.

    It checks everything that a run checks before its start; that two runs give the same bits, in
    one shard or in four, and when they go on from a snapshot; and for each kind:

    - a topology or a part of the network gives the same answer for a round whatever was asked
      before, and a topology repeats itself after its ``period``;
    - a data source, a partition and a drift give the same samples twice; every device has a sample,
      and no sample goes to two devices;
    - a model's first parameters follow from the seed alone;
    - at a tenth of the learning rate, an optimiser's first step is a tenth as long; a schedule
      gives numbers of at least 0, also past its end;
    - a compressor's packet does not depend on which rows are packed with it, and is smaller than
      the row; the row of a transform or an attack does not depend on the other rows either;
    - an aggregation rule keeps equal rows as they are, and also the row of a device that hears
      nothing, and as many hostile rows as it ``bears`` do not take a device with them; with one
      that combines many devices at once, and with a pre-aggregator, a device's result does not
      depend on the other devices;
    - a metric has the same numbers however the swarm is cut into shards, has some numbers, and
      leaves the devices as they are;
    - a tracker mirrors a run of two arms with a report, by the same calls and within its
      ``deadline_s``; it can be closed twice, and misses nothing afterwards.

    Raises:
        ConfigError: A run would refuse the plug-in.
        ContractError: A run would accept it and give wrong results. It is an ``AssertionError``.
    """
    if not isinstance(plugin, str):
        _require_kind(plugin)
    path, made = _target(plugin)
    section = _section(made, path)
    many = section == "scenario" and not _is_one_run(made)
    cfg = _composed(section, path, options, settings, small=() if many else SMALL)
    if section == "tracker":
        check_tracker(cfg, made, f"tracker={path}")
        return
    prepared = check(cfg)
    if isinstance(prepared, PreparedRun):  # for a claim the check of its conditions is enough
        with blamed(2):
            require_kept(prepared, made, section, path)


# --- its kind -------------------------------------------------------------------------------------


def _require_kind(plugin: object) -> None:
    """Refuse an object that is neither a class nor a function, and a class that is no kind of
    plug-in.
    """
    if not isinstance(plugin, type) and not inspect.isfunction(plugin):
        valid = (
            f"is an object, {shape_of(plugin)}; give the class itself, a function that makes it, or"
            " the path of either"
        )
        raise ConfigError("plugin", shown(plugin), valid)
    _section(plugin, f"{plugin.__module__}.{plugin.__qualname__}")


def _target(plugin: str | type | Callable[..., Any]) -> tuple[str, Any]:
    """The path that a config would name, and the class or function at that path."""
    path = plugin if isinstance(plugin, str) else f"{plugin.__module__}.{plugin.__qualname__}"
    module, _, name = path.rpartition(".")
    if "<locals>" in path or module in ("", "__main__"):
        valid = (
            "must be defined at the top of a module of its own (a .py file), where a run can"
            " find it"
        )
        raise ConfigError("plugin", path, valid)
    if module.partition(".")[0] not in ("swarm", "scenarios", "torch"):
        load_plugins([module])
    try:
        return path, getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise ConfigError("plugin", path, f"there is no {name} in {module}") from None


def _made_by(made: Any) -> Any:
    """The class of the objects that a class or function makes; None where it is not annotated."""
    if isinstance(made, type) or not inspect.isfunction(made):
        return made
    try:
        return typing.get_type_hints(made).get("return")
    except Exception:  # an annotation is an expression, which can fail in any way
        return None


def _section(made: Any, path: str) -> str:
    kind = _made_by(made)
    for base, section in KINDS.items():
        if isinstance(kind, type) and issubclass(kind, base):
            return section
    bases = ", ".join(
        map(_dotted, (*(kind for kind in KINDS if kind is not AnyScenario), Scenario, Claim))
    )
    valid = (
        f"must be a class that derives from one of {bases}, or a function annotated to return such"
        " a class"
    )
    raise ConfigError("plugin", path, valid)


def _dotted(base: type) -> str:
    return "torch.nn.Module" if base is nn.Module else f"{base.__module__}.{base.__name__}"


def _is_one_run(made: Any) -> bool:
    """Whether a scenario is one run; a claim chooses its own sizes."""
    kind = _made_by(made)
    return isinstance(kind, type) and issubclass(kind, Scenario)


def _composed(
    section: str, path: str, options: dict[str, Any], settings: Sequence[str], small: Sequence[str]
) -> dict[str, Any]:
    """The config of a small run with the plug-in in it."""
    first = option("scenario", "compare")["arms"][: 2 if section == "tracker" else 1]
    arms = [f"scenario.arms=[{','.join(first)}]"]
    if section == "scenario" or any(w.startswith("scenario") for w in settings):
        arms = []
    needed = NEEDS.get(section, ())
    if section == "augmentation" and not any(word.startswith("data") for word in settings):
        needed = IMAGES
    cfg = plain(compose([*small, *arms, *needed, *settings]))
    module = path.rpartition(".")[0]
    own = [] if module.partition(".")[0] in ("swarm", "scenarios", "torch") else [module]
    lr = {"lr": cfg["optimizer"]["lr"]} if section == "optimizer" else {}
    cfg["plugins"] = [*cfg["plugins"], *own]
    node = {**lr, **options, "_target_": path}
    if section in LISTED:
        return {**cfg, LISTED[section]: [node]}
    if section in KEYED:
        outer, _, key = KEYED[section].partition(".")
        return {**cfg, outer: {**cfg[outer], key: node}}
    return {**cfg, section: node}
