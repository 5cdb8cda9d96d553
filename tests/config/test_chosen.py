"""The section that changes choose, written as on the command line."""

from __future__ import annotations

import pytest

from swarm.common.errors import ConfigError
from swarm.config.build import chosen, option


def test_a_section_is_the_option_with_the_keys_that_are_changed() -> None:
    changes = {"fleet": "terminals", "fleet.classes.pc.flops": 7.0, "fleet.seed": 3, "rounds": 5}
    found, plain = chosen("fleet", changes), option("fleet", "terminals")
    assert found["classes"]["pc"] == {**plain["classes"]["pc"], "flops": 7.0}
    assert found["classes"]["phone"] == plain["classes"]["phone"]
    assert found["seed"] == 3
    assert chosen("topology", {"topology": "ring", "topologies.of": 1}) == option(
        "topology", "ring"
    )


def test_a_key_in_a_section_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"fleet.classes.no.such=1: there is no fleet.classes.no"):
        chosen("fleet", {"fleet": "terminals", "fleet.classes.no.such": 1})
    with pytest.raises(ConfigError, match="topology=round"):
        chosen("topology", {"topology": "round"})
