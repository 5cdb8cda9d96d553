"""The data of an earlier run of a process are let go before those of a later one are loaded."""

from __future__ import annotations

import gc
import weakref

import pytest

import swarm
from swarm.data.dataset import Dataset
from swarm.data.generated.digits import Digits
from swarm.experiments import run_data
from tests.support import config


@pytest.mark.filterwarnings("ignore")
def test_earlier_data_are_gone_when_later_ones_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of an experiment know one another, so that counting references lets go of none."""
    monkeypatch.setattr(run_data, "_MUCH", 0)  # as of a large process
    load, held, there = Digits.load, list[weakref.ref[Dataset]](), list[bool]()

    def loading(self: Digits) -> Dataset:
        there.extend(each() is not None for each in held)
        return load(self)

    monkeypatch.setattr(Digits, "load", loading)
    gc.collect()
    gc.disable()
    try:
        prepared = swarm.check(config("data=digits"))
        held.append(weakref.ref(prepared.dataset))  # type: ignore[union-attr]
        del prepared
        assert held[0]() is not None  # or the test would show nothing
        swarm.check(config("data=digits"))
    finally:
        gc.enable()
    assert there == [False]
