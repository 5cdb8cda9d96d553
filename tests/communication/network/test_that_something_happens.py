"""Networks in which nothing could happen are refused before the start, and settings that come to
nothing are named.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from swarm.common.errors import ConfigError
from swarm.communication.network.network import Network
from tests.support import prepared, records

SIZE = ("devices=8", "rounds=4", "model=softmax")


def test_the_control_with_a_server_loses_messages_but_gets_none_late() -> None:
    ready = prepared(
        *SIZE, "network.drop=0.3", "delay=constant", "scenario.arms=[swarm,fedavg,isolated]"
    )
    swarm, fedavg, isolated = (arm.variants[0] for arm in ready.arms)
    assert (swarm.network.drop, fedavg.network.drop, isolated.network.drop) == (0.3, 0.3, 0.3)
    assert fedavg.delay["_target_"].endswith("NoDelay")


def test_gossip_through_the_outer_optimiser_may_lose() -> None:
    prepared(
        *SIZE, "protocol=diloco", "protocol.exchange=gossip", "init=common", "network.drop=0.3"
    )


def test_somebody_has_to_be_there(tmp_path: Path) -> None:
    away = tmp_path / "away.csv"
    away.write_text("time,device,online\n" + "".join(f"0,{device},0\n" for device in range(8)))
    with pytest.raises(
        ConfigError, match="churn=trace: leaves nobody to learn or send in any of the 4 rounds"
    ):
        prepared(*SIZE, "churn=trace", f"churn.path={away}")
    with pytest.raises(
        ConfigError,
        match="clock=poisson: wakes nobody in any of the 4 rounds of 1e-09 virtual seconds",
    ):
        prepared(*SIZE, "clock=poisson", "network.round_seconds=1.0e-9")
    away.write_text(away.read_text() + "3,5,1\n")  # one device, in the last round
    prepared(*SIZE, "churn=trace", f"churn.path={away}")


def test_rounds_without_number_that_nobody_is_awake_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten million rounds are not asked one by one: some are, and what was found is said with their
    number.
    """
    asked = []
    awake = Network.active
    monkeypatch.setattr(
        Network, "active", lambda self, round: asked.append(round) or awake(self, round)
    )
    never = ("clock=poisson", "clock.rate=1.0e-15", "rounds=10000000", "scenario.arms=[swarm]")
    with pytest.warns(
        UserWarning,
        match="clock=poisson: wakes nobody in the first 10,000 of 10,000,000 rounds, and later",
    ):
        prepared("devices=8", "model=softmax", *never)
    assert len(asked) < 20_000


@pytest.mark.parametrize(
    ("options", "ticks"),
    [
        (("delay=constant", "delay.seconds={}"), 3),
        (("delay=uniform", "delay.low={}", "delay.high=6.0"), 3),
        (("delay=exponential", "delay.least={}"), 3),
    ],
)
def test_messages_that_all_come_too_late(options: tuple[str, ...], ticks: int) -> None:
    """The bound is sharp: what is refused would be late to the last message, and half a tick less
    lets some arrive.
    """
    common = (*SIZE, "network.max_delay=2", "rounds=12")
    with pytest.raises(
        ConfigError,
        match=(
            r"network.max_delay=2: gives up every message: .* 3 ticks; network.max_delay=3, a longer"
        ),
    ):
        prepared(*common, *(option.format(float(ticks)) for option in options))
    ready = prepared(*common, *(option.format(ticks - 0.5) for option in options))
    last = records(ready)[-1].values
    assert last["late_total"] < last["messages_total"]


def test_predictions_that_all_come_too_late() -> None:
    """Every phase whose rows may be under way is looked at, whatever it is called."""
    late = ("protocol=fedmd", "data.public=0.1", "network.max_delay=2", "delay=constant")
    with pytest.raises(ConfigError, match=r"network\.max_delay=2: gives up every message"):
        prepared(*SIZE, *late, "delay.seconds=3.0")
    prepared(*SIZE, *late, "delay.seconds=2.5")


def test_lines_too_slow_for_the_ticks() -> None:
    """With a clock messages take their time on the line, 2,600 bytes here."""
    slow = ("fleet=uniform", "clock=poisson", "fleet.uplink=1.0e+3")
    with pytest.raises(
        ConfigError,
        match=r"network.max_delay=8: gives up every message: the quickest takes 20.8 virtual",
    ):
        prepared(*SIZE, *slow)
    prepared(*SIZE, *slow, "network.max_delay=20")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("churn=crash",),
            "churn=crash: what comes at 50 virtual seconds is not seen, as the run ends at 4",
        ),
        (
            ("outage=split",),
            "outage=split: what comes at 10 virtual seconds is not seen, as the run ends at 4",
        ),
        (("churn=joining", "churn.start=9"), r"churn=joining: what comes at \d+"),
        (
            ("topology=waypoint", "network.drop=0.1"),
            "topology.window=10: links change every 10 seconds, but a round is",
        ),
        (
            ("delay=constant", "delay.seconds=0.5"),
            "delay=constant: no message is delayed, as none takes a whole tick",
        ),
    ],
)
def test_what_does_nothing_is_said(options: tuple[str, ...], said: str) -> None:
    with pytest.warns(UserWarning, match=said):
        prepared(*SIZE, *options)


@pytest.mark.parametrize("protocol", ["scaffold", "quasi_global"])
def test_gradients_are_read_off_plain_steps_only(protocol: str) -> None:
    """Both divide a device's way by the learning rate: under momentum or Adam that is no
    gradient.
    """
    for options, said in (
        (("optimizer=adam",), f"optimizer=adam: must be sgd with {protocol}"),
        (("optimizer=momentum",), f"optimizer.momentum=0.9: must be 0 with {protocol}"),
        (("optimizer.weight_decay=0.1",), f"optimizer.weight_decay=0.1: must be 0 with {protocol}"),
    ):
        with pytest.raises(ConfigError, match=said):
            prepared(*SIZE, f"protocol={protocol}", *options)
