"""A deadline for a round: devices take as many local steps, or as many samples, as they have time
for.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.simulation.cost import Deadline, cost
from tests.support import Rows, experiment, final_rows, prepared, records, require_same_bits

UNIFORM = ("fleet=uniform", "fleet.flops=1.0e+6", "topology=ring")
FLEET = ("fleet=terminals", "devices=20", "train.local_steps=40", "topology=ring")
KINDS = ("board", "phone", "pc", "drone", "television", "router")
FAST = tuple(
    f"fleet.classes.{kind}.{line}=1.0e+12" for kind in KINDS for line in ("uplink", "downlink")
)


@cache
def router_steps(count: float) -> str:
    """The deadline in which the slowest device, a router, has time for ``count`` steps: a board has
    it for 2.2 times as many, a phone for 3.2, a PC for 25, a drone for 29 times.
    """
    return f"train.deadline={count * experiment(*FLEET).model.step_flops / 1.1e9 + 1e-7}"


def test_a_device_takes_the_steps_that_fit_beside_its_messages() -> None:
    """A deadline of the messages and 3.5 steps leaves time for three steps, one of exactly k steps
    for k, and one of 2.9 for two; twice as many of half the samples fit.
    """
    e = experiment(*UNIFORM, "fleet.uplink=1.0e+4", "train.local_steps=9")
    step, everybody = e.model.step_flops / 1e6, np.arange(12)
    line = float(_line(e)[0])
    assert line > 5 * step
    exact = [(float(k), k) for k in range(1, 60)]
    for steps, taken in ((3.5, 3), (2.9, 2), *exact):
        deadline = Deadline(e, line + steps * step)
        assert deadline.steps(1, everybody, 1.0).tolist() == [taken] * 12
    assert deadline.steps(1, everybody, 0.5).tolist() == [2 * 59] * 12
    assert e.data.usual_steps_N.tolist() == [9] * 12


def test_fast_devices_take_more_steps_and_nobody_is_late() -> None:
    """Steps are proportional to speed up to ``train.local_steps``, a round lasts no longer than the
    deadline, and without one it lasts until the slowest has taken all of its steps.
    """
    s = (*FLEET, *FAST, router_steps(1.5), "rounds=2")
    e, found = experiment(*s), records(prepared(*s))[-1]
    steps = {e.communication.fleet.kind(i): int(e.data.usual_steps_N[i]) for i in range(20)}
    expected = {"router": 1, "board": 3, "television": 3, "phone": 4, "pc": 38, "drone": 40}
    assert steps == expected
    assert e.deadline is not None
    assert found.values["virtual_s"] <= 2 * e.deadline.seconds
    assert found.values["steps_total"] == 2 * e.data.usual_steps_N.sum()
    whole = records(prepared(*FLEET, *FAST, "rounds=2"))[-1]
    assert whole.values["virtual_s"] > 20 * found.values["virtual_s"]
    assert whole.values["joules_total"] > found.values["joules_total"]


def _line(e: object) -> Rows:
    return e.communication.phases[1].seconds_on_line(1)  # type: ignore[attr-defined, no-any-return]


def test_a_straggler_is_cut_in_its_slow_rounds_only() -> None:
    """Half of the devices are four times slower in a round: these take a quarter of the steps."""
    e = experiment(*UNIFORM, "train.local_steps=8", "fleet.stragglers=0.5", "fleet.slowdown=4.0")
    limit = 8 * e.model.step_flops / 1e6 + float(_line(e)[0])
    slow = ("fleet.stragglers=0.5", "fleet.slowdown=4.0", f"train.deadline={limit}")
    ready = prepared(*UNIFORM, "train.local_steps=8", *slow, "rounds=3")
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    assert e.deadline is not None
    everybody, seen = np.arange(12), 0
    for round in (1, 2, 3):
        slow_N = e.communication.fleet.slower(round, 12) == 4
        expected = np.where(slow_N, 2, 8)
        np.testing.assert_array_equal(e.deadline.steps(round, everybody, 1.0), expected)
        seen += int(expected.sum())
        spent = cost(e, round, expected.astype(float), np.zeros(12, int), np.zeros(12, int))
        assert spent is not None
        assert spent.seconds == pytest.approx(limit)
    assert records(ready)[-1].values["steps_total"] == seen


def test_with_a_clock_messages_take_no_time_from_the_steps() -> None:
    clock = ("clock=periodic", "clock.period=4.0", "train.local_steps=50")
    e = experiment(*UNIFORM, *clock, "train.deadline=2.0")
    assert e.data.usual_steps_N.tolist() == [int(2.0 * 1e6 / e.model.step_flops)] * 12


def test_smaller_batches_let_all_steps_fit() -> None:
    """Mini-batches of the size for which there is time; a device that has time for whole ones
    learns as without a deadline.
    """
    cut = (*FLEET, *FAST, "train.local_steps=4", "train.deadline_cuts=batch")
    e = experiment(*cut, router_steps(1.5))
    batch_N, speed_N = e.data.stream.batch_N, e.communication.fleet.hardware.flops  # type: ignore[union-attr]
    assert batch_N is not None
    order = np.argsort(speed_N)
    assert (np.diff(batch_N[order]) >= 0).all()
    assert 1 <= batch_N.min() < batch_N.max() == e.settings.train.batch
    assert (e.data.usual_steps_N == 4).all()
    plain, long = prepared(*FLEET, "train.local_steps=4"), prepared(*cut, "train.deadline=9.0")
    np.testing.assert_array_equal(final_rows(long), final_rows(plain))


SLOW = ("fleet.stragglers=0.4", "fleet.slowdown=3.0")
CASES = {
    "steps": (router_steps(1.5), *SLOW, "update=online", "train.batch=4", "partition=iid"),
    "batch": (router_steps(1.5), *SLOW, "train.deadline_cuts=batch", "protocol=fedavg"),
}


@pytest.mark.parametrize("case", CASES)
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, case: str) -> None:
    common = ("devices=11", "engine.block=2", "fleet=terminals", "train.local_steps=6", *FAST)
    require_same_bits(tmp_path, *common, *CASES[case], rounds=4, cut=2)


def test_the_centralised_arm_takes_as_many_samples_and_has_no_deadline() -> None:
    ready = prepared(*FLEET, *FAST, router_steps(1.5), "scenario.arms=[swarm,centralised]")
    swarm, central = (ready.experiment(arm, arm.variants[0]) for arm in ready.arms)
    assert central.deadline is None
    steps, batch = central.data.local_steps_N.sum(), central.data.stream.batch
    assert steps * batch == swarm.data.usual_steps_N.sum() * swarm.settings.train.batch


def test_devices_without_time_are_named_by_their_kind() -> None:
    with pytest.warns(UserWarning, match=r"devices \(router\) have no time for a single local"):
        prepared(*FLEET, *FAST, router_steps(0.8))
    with pytest.warns(UserWarning, match=r"train\.deadline=99: nothing is cut"):
        prepared(*FLEET, "train.deadline=99.0")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("train.deadline=1.0",), "train.deadline=1: needs a fleet, which says how long"),
        (("train.least_steps=2",), "train.least_steps=2: needs a train.deadline"),
        (("train.deadline_cuts=batch",), "train.deadline_cuts=batch: needs a train.deadline"),
        ((*FLEET, "train.deadline=1.0e-9"), "leaves no device time for a single local step"),
        (
            (*UNIFORM, "clock=speed", "clock.load=0.001", "train.deadline=1.0"),
            "must be null with clock=speed",
        ),
        (
            (*UNIFORM, "train.deadline=1.0", "update=nightly", "replay=ring", "partition=iid"),
            "must be null with update=nightly",
        ),
        (
            (*FLEET, "fleet.classes.router.memory=1.0e+3"),
            r"\(a router\) has 1e\+03 bytes of memory; model, optimiser and replay need",
        ),
    ],
)
def test_what_cannot_work_is_refused(options: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared("network.round_seconds=0.01", *options)
