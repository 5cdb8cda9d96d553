"""Somebody's own optimiser, update policy, mechanism of privacy, secure sum, topology, pairs and loss
get what the built-in ones get, by what they say of themselves: they run where they can, and are
refused by the same sentences where they cannot.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.common.plugin import absent
from swarm.config.build import option
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from swarm.learning.privacy.accountant import ORDERS, epsilon_of
from tests.support import (
    config,
    final_rows,
    groups,
    logged,
    options,
    prepared,
    require_same_bits,
    run,
)

FILE = Path(__file__).with_name("own_parts.py")
OWN = f"plugins=[{FILE}]"
STREAM = ("partition=iid", "train.batch=2")


def part(name: str, **options: Any) -> dict[str, Any]:
    return {"_target_": f"own_parts.{name}", **options}


def ready(*overrides: str, **sections: Any) -> PreparedRun:
    return PreparedRun.prepare(Settings.parse({**config(OWN, *overrides), **sections}))


def refused(said: str, *overrides: str, **sections: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        ready(*overrides, **sections)


def warned(*overrides: str, **sections: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ready(*overrides, **sections)
    return [str(each.message) for each in caught]


def test_an_optimiser_of_ones_own_says_which_option_keeps_its_steps_from_being_plain() -> None:
    plain = ready("protocol=quasi_global", optimizer=part("Dragged", lr=0.1))
    ours = prepared("protocol=quasi_global", "optimizer=sgd", "optimizer.lr=0.1")
    assert np.array_equal(final_rows(plain), final_rows(ours))
    said = "optimizer.drag=0.5: must be 0 with quasi_global, which reads gradients off"
    refused(said, "protocol=quasi_global", optimizer=part("Dragged", lr=0.1, drag=0.5))
    ready("protocol=dpsgd", optimizer=part("Dragged", lr=0.1, drag=0.5))


def test_a_policy_that_is_not_meant_to_learn_is_not_warned_about(tmp_path: Path) -> None:
    watching, later = part("Watching"), part("Later", first=9)
    idle = "rounds=4: update=own_parts.Later learns nothing in these rounds; more rounds would do"
    assert "own_parts.Watching" not in " ".join(warned(*STREAM, update=watching))
    assert idle in warned(*STREAM, update=later)
    assert idle not in warned(*STREAM, "rounds=9", update=later)
    summary = run(tmp_path / "run", OWN, *STREAM, "protocol=none", "topology=none", update=watching)
    still = run(
        tmp_path / "still", OWN, *STREAM, "protocol=none", "topology=none", "rounds=0",
        update=watching,
    )  # fmt: skip
    hashes = [each["arms"]["swarm"]["params_sha256"] for each in (summary, still)]
    assert hashes[0] == hashes[1]
    memory = (*STREAM, "replay=ring", "replay.size=4")
    refused("replay=ring: must be none with update=.*Watching, which never learns", *memory, update=watching)  # fmt: skip
    ready(*memory, update=later)


def test_a_mechanism_of_ones_own_has_its_noise_and_its_accountant(tmp_path: Path) -> None:
    ring = (OWN, "topology=ring", "engine.block=2")
    require_same_bits(tmp_path, *ring, rounds=4, cut=2, privacy=part("Even"))
    last = logged(tmp_path / "one")[-1]
    orders_O = np.array(ORDERS, np.float64)
    expected = epsilon_of(orders_O, np.full((1, len(orders_O)), 4 * 2.0), 1e-5)[0]
    assert last["epsilon_max"] == pytest.approx(expected)
    quiet = ready(
        *ring[1:], "rounds=1", "protocol=none", privacy=part("Even", noise_multiplier=0.0)
    )
    loud = ready(*ring[1:], "rounds=1", "protocol=none", privacy=part("Even"))
    noise_NM = final_rows(loud) - final_rows(quiet)
    np.testing.assert_allclose(np.abs(noise_NM), 0.5, atol=1e-6)
    refused(
        "topology=exponential: must be undirected with privacy=own_parts.Even",
        "topology=exponential", privacy=part("Even"),
    )  # fmt: skip


def test_a_budget_is_spent_by_the_accountant_of_ones_own() -> None:
    ring = ("topology=ring", "rounds=4")
    orders_O = np.array(ORDERS, np.float64)
    two = float(epsilon_of(orders_O, np.full((1, len(orders_O)), 2 * 2.0), 1e-5)[0])
    limited = final_rows(ready(*ring, "protocol=none", privacy=part("Even", epsilon=two + 1e-9)))
    short = final_rows(ready("topology=ring", "rounds=2", "protocol=none", "schedule.rounds=4", privacy=part("Even")))  # fmt: skip
    assert np.array_equal(limited, short)
    refused(
        "privacy.epsilon=1: is spent by the first round", *ring, privacy=part("Even", epsilon=1.0)
    )


def test_a_mechanism_that_protects_samples_may_draw_them_itself() -> None:
    e = ready("partition=iid", "topology=ring", privacy=part("Halves"))
    experiment = e.experiment(e.arms[0], e.arms[0].variants[0])
    assert experiment.accountant is not None
    assert (experiment.accountant.rate_N == 0.5).all()
    assert np.isfinite(final_rows(e)).all()


@pytest.mark.parametrize(
    "where", [("protocol=fedavg", "topology=none"), ("topology=random_regular",)]
)
def test_a_secure_sum_of_ones_own_adds_up_as_any(tmp_path: Path, where: tuple[str, ...]) -> None:
    some = ("partition=iid", *where)
    own = run(tmp_path / "own", OWN, *some, secure_sum=part("Hardware"))["arms"]["swarm"]
    ours = run(tmp_path / "ours", *some, "secure_sum=bonawitz")["arms"]["swarm"]
    plain = run(tmp_path / "plain", *some)["arms"]["swarm"]
    # masks cancel to the bit; without a secure sum nothing is rounded to fixed point
    assert own["params_sha256"] == ours["params_sha256"] != plain["params_sha256"]
    sums = logged(tmp_path / "own")[-1]
    assert 0 < own["secure_bytes_total"] < ours["secure_bytes_total"]
    if "protocol=fedavg" in where:
        assert sums["secure_bytes"] == 12 * 128 / 8


def test_a_secure_sum_of_ones_own_is_held_to_what_sums_need() -> None:
    own, ring = part("Hardware"), ("partition=iid", "topology=ring")
    refused("compressor=top_k: must be none with secure_sum=own_parts.Hardware: ", *ring, "compressor=top_k", secure_sum=own)  # fmt: skip
    advice = "secure_sum: the hardware has room for 5 rows, and a sum has 12"
    assert advice in warned("partition=iid", "topology=none", "protocol=fedavg", secure_sum=own)
    assert advice not in warned(*ring, secure_sum=own)
    refused(r"secure_sum=own_parts.Hardware: its group\(\) returns None; a swarm.*SumGroup is needed", *ring, "protocol=fedavg", "topology=none", secure_sum=part("Hardware", how="none"))  # fmt: skip
    refused(r"secure_sum=own_parts.Hardware: its group\(\) has other devices; the device_g", *ring, "protocol=fedavg", "topology=none", secure_sum=part("Hardware", how="other devices"))  # fmt: skip


def test_a_topology_of_ones_own_says_for_how_long_its_graphs_stand() -> None:
    said = "topology.window=60: links change every 60 seconds"
    found = warned("delay=constant", topology=part("Slow"))
    assert any(text.startswith(said) for text in found)


def test_a_protocol_of_ones_own_says_who_meets_whom() -> None:
    found = ready("topology=complete", "partition=iid", protocol=part("Dancing"))
    rows_NP = final_rows(found)
    assert np.array_equal(rows_NP[::2], rows_NP[1::2])
    assert not np.array_equal(rows_NP[0], rows_NP[2])
    # pairs are among the links of a topology, and one without links has none
    text = " ".join(warned("topology=none", "mixing=lazy", protocol=part("Dancing")))
    assert "the topology has no links" in text


def test_a_loss_of_ones_own_may_say_that_it_gives_probabilities() -> None:
    own = ready(train={**config(OWN)["train"], "loss": part("Sure")})
    experiment = own.experiment(own.arms[0], own.arms[0].variants[0])
    assert experiment.task.cross_entropy


def test_what_says_that_it_is_absent_is_never_called() -> None:
    assert np.array_equal(final_rows(ready(churn=part("NeverAway"))), final_rows(prepared()))


def test_what_derives_from_none_is_refused_unless_it_says_that_it_is_there() -> None:
    said = "churn=own_parts.Naps: derives from NoChurn, which says that there is none, so that .*"
    refused(f"{said}; derive from Churn, or say absent = False in the class", churn=part("Naps"))
    without = final_rows(prepared())
    assert not np.array_equal(final_rows(ready(churn=part("Sleeps"))), without)


def nones() -> list[type]:
    """The classes of the options ``none`` that say that there is none."""
    targets = [option(group, "none")["_target_"] for group in groups() if "none" in options(group)]
    found = [
        getattr(import_module(path.rpartition(".")[0]), path.rpartition(".")[2]) for path in targets
    ]
    return [kind for kind in found if vars(kind).get("absent") is True]


def test_that_holds_of_every_kind_of_part() -> None:
    assert len(nones()) >= 8
    for kind in nones():
        derived = type("Derived", (kind,), {})
        assert absent(object.__new__(kind))
        with pytest.raises(ConfigError, match=f"derives from {kind.__name__}, which says"):
            absent(object.__new__(derived))
        assert not absent(object.__new__(type("There", (derived,), {"absent": False})))


def test_a_word_that_a_part_has_for_something_else_does_not_make_it_absent() -> None:
    rows_NP = final_rows(ready("protocol=none", "topology=none", churn=part("Truants")))
    untaught_NP = final_rows(ready("protocol=none", "topology=none", "rounds=0"))
    assert np.array_equal(rows_NP[:2], untaught_NP[:2])
    assert not np.array_equal(rows_NP[2], untaught_NP[2])


def test_a_run_goes_on_only_with_the_files_that_parts_of_ones_own_say_they_read(
    tmp_path: Path,
) -> None:
    links, factor = tmp_path / "links.txt", tmp_path / "factor.txt"
    links.write_text("\n".join(f"{i} {(i + 1) % 12}" for i in range(12)))
    factor.write_text("1.0")
    parts = {
        "topology": part("Listed", links=str(links)),
        "transforms": [part("Scaled", factor=str(factor))],
    }
    run(tmp_path / "run", OWN, "rounds=1", **parts)
    for key, file in (("topology.links", links), ("transforms.0.factor", factor)):
        before = file.read_text()
        file.write_text(f"{before}\n")
        with pytest.raises(ConfigError, match="is another file than the one that the run") as said:
            swarm.resume(tmp_path / "run", {"rounds": 2})
        assert said.value.key == key
        file.write_text(before)
    assert swarm.resume(tmp_path / "run", {"rounds": 2}).summary["rounds"] == 2


def test_a_scenario_of_ones_own_says_what_the_variants_of_an_arm_differ_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "run", OWN, "rounds=1", "lr_search.rounds=1", scenario=part("Widths"))
    assert "wide: choosing a width out of 2 on the validation split" in capsys.readouterr().out
