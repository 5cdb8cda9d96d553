"""Plug-ins of earlier versions, whose methods, fields and phases have other names by now."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from swarm.communication.protocol.base import Protocol, Requirements, State
from swarm.communication.protocol.d2 import D2
from swarm.communication.protocol.gossip_learning import GossipLearning
from swarm.communication.returned import check_protocol
from swarm.config import aliases
from swarm.config.aliases.old_members import OldMember
from swarm.data.dataset import Dataset
from swarm.learning.update.policy import BatchPlan, Online, UpdatePolicy, batch_plans_of
from swarm.simulation.phases import KINDS

TABLE: dict[str, dict[str, Any]] = yaml.safe_load(aliases.TABLE.read_text(encoding="utf-8"))
MEMBERS = [(path, *pair) for path, names in TABLE["members"].items() for pair in names.items()]


def dataset() -> Dataset:
    ids = np.arange(2)
    return Dataset(np.zeros((6, 1), np.float32), np.zeros(6, np.int64), 2, None, ids, ids, ids)


@pytest.mark.parametrize(("path", "old", "new"), MEMBERS)
def test_every_class_answers_to_the_old_name(path: str, old: str, new: str) -> None:
    module, _, name = path.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    names = {*vars(cls), *getattr(cls, "__dataclass_fields__", {})}
    assert new.split(".")[0] in names
    assert isinstance(vars(cls)[old], OldMember)


def test_a_method_under_its_old_name_is_called_and_finds_the_one_that_it_overrides() -> None:
    with pytest.warns(DeprecationWarning, match="Mine: learned is called after_local_steps now"):

        class Mine(D2):
            def learned(self, state: State, rows: Any, start: Tensor, end: Tensor) -> None:
                super().learned(state, rows, start, end)  # type: ignore[misc]
                state.x *= 2

    x = torch.ones(3, 2)
    mine, theirs = (State(x.clone(), {"ended": x.clone()}) for _ in range(2))
    with pytest.warns(DeprecationWarning, match="D2: learned is called after_local_steps now"):
        Mine().after_local_steps(mine, slice(None), x, 3 * x)
    D2().after_local_steps(theirs, slice(None), x, 3 * x)
    assert torch.equal(mine.x, 2 * theirs.x)


def test_rows_of_a_round_are_found_under_their_old_name() -> None:
    state = State(torch.ones(3, 2))
    with pytest.warns(DeprecationWarning, match="State: scratch is called round_buffers now"):
        state.scratch["before"] = state.x  # type: ignore[attr-defined]
    assert state.round_buffers["before"] is state.x


def test_a_policy_that_gives_lessons_is_no_abstract_class() -> None:
    with pytest.warns(DeprecationWarning, match="lessons is called batch_plans now"):

        class Mine(UpdatePolicy):
            def lessons(self, round: int) -> tuple[BatchPlan, ...]:
                return (BatchPlan("new", learn=round > 3),)

    assert batch_plans_of(Mine(), 4) == (BatchPlan("new", learn=True),)
    with pytest.warns(DeprecationWarning, match="lessons is called batch_plans now"):
        assert Online().lessons(1) == Online().batch_plans(1)  # type: ignore[attr-defined]


def test_labels_may_be_given_under_their_old_name() -> None:
    labels = np.full(6, -1)
    with pytest.warns(DeprecationWarning, match="Dataset: given is called observed_labels now"):
        data = replace(dataset(), given=labels)
    assert data.observed_labels is labels
    with pytest.warns(DeprecationWarning, match="Dataset: told is called known_labels now"):
        assert data.told()[1] == 2  # type: ignore[attr-defined]


def test_flags_of_a_protocol_are_read_into_its_requirements() -> None:
    with pytest.warns(DeprecationWarning, match=r"static is called requirements.fixed_links now"):

        class Mine(Protocol):
            needs, static = "both", True

            def __init__(self) -> None:
                self.alike = True

    assert Mine.requirements == Requirements(conserves="both", fixed_links=True)
    with pytest.warns(DeprecationWarning, match=r"alike is called requirements.common_init now"):
        mine = Mine()
    assert mine.requirements == Requirements("both", fixed_links=True, common_init=True)
    with pytest.warns(DeprecationWarning, match=r"needs is called requirements.conserves now"):
        assert mine.needs == "both"
    assert Protocol.requirements == Requirements()


def test_phases_under_their_old_names_are_those_of_today() -> None:
    class Mine(GossipLearning):
        phases = ("inbox", "edges", "mean", "learn")  # type: ignore[assignment]

        def __init__(self) -> None:
            pass

    mine = Mine()
    with pytest.warns(DeprecationWarning, match=r"Mine: phases=.* are called .* now"):
        check_protocol(mine, tuple(KINDS))
    assert mine.phases == ("messages", "per_edge", "server", "learn")


def test_names_of_today_bring_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Mine(Protocol):
            def after_local_steps(
                self, state: State, rows: Any, start_BP: Tensor, end_BP: Tensor
            ) -> None:
                super().after_local_steps(state, rows, start_BP, end_BP)

        check_protocol(Mine(), tuple(KINDS))
        replace(dataset(), observed_labels=None)
        Online().batch_plans(1)
