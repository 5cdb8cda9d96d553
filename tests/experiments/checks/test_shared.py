"""What all code of a process shares is for nobody's plug-in to change: global generators, whose
draws the run's seed does not decide, and the data set, which all devices and metrics read.
"""

from __future__ import annotations

import random
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swarm.common.arrays import arrays_of
from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.experiments import runner
from swarm.experiments.checks.check_plugin import ContractError, check_plugin
from tests.support import config, experiment

SHARES = Path(__file__).with_name("shares.py")
STREAM = ("update=online", "partition=iid", "train.batch=2", "train.local_steps=2")
DRAWS: list[tuple[str, str, dict[str, Any], tuple[str, ...], str]] = [
    ("data", "Loads", {}, (), "load draws from NumPy's"),
    ("data", "Shuffles", {}, (), "load draws from torch's"),
    ("data", "Made", {}, (), "__init__ draws from Python's"),
    ("partition", "Deals", {}, (), "assign draws from Python's"),
    ("drift", "Drifts", {}, STREAM, "apply draws from NumPy's"),
    ("labels", "Tells", {}, STREAM, "apply draws from torch's"),
    ("topology", "Links", {}, (), "graph draws from torch's"),
    ("protocol", "Talks", {}, (), "send draws from torch's"),
    ("compressor", "Packs", {}, (), "__call__ draws from NumPy's"),
    ("churn", "Goes", {}, (), "online draws from Python's"),
    ("optimizer", "Steps", {"lr": 0.1}, (), "step draws from torch's"),
    ("model", "Noisy", {}, (), "forward draws from NumPy's"),
    ("metrics", "Bad", {"how": "draws"}, (), "measured draws from Python's"),
]


def settings(section: str, name: str, options: dict[str, Any], *overrides: str) -> dict[str, Any]:
    cfg = config(f"plugins=[{SHARES}]", *overrides)
    node = {**options, "_target_": f"shares.{name}"}
    many = section == "metrics"
    return {**cfg, section: ["standard", node] if many else node}


@pytest.mark.parametrize(("section", "name", "options", "overrides", "said"), DRAWS)
def test_a_draw_from_a_global_generator_is_refused_by_its_line(
    section: str, name: str, options: dict[str, Any], overrides: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        runner.check(settings(section, name, options, *overrides))
    text = str(caught.value)
    assert text.startswith(f"{section}=shares.{name}: its {said} global generator, or seeds it")
    # what it is, and that it is there: test_advised_draws.py
    assert re.search(r"; draw (from|with) [^;]*shares\.py, line \d+\)$", text)
    line = int(text.rpartition(" ")[2][:-1])
    drawing = ("np.random.", "random.", "torch.r", "list(loader)")
    assert any(word in SHARES.read_text().splitlines()[line - 1] for word in drawing)
    assert caught.value.exit_code == 2


UNSEEDED: list[tuple[str, str, dict[str, Any]]] = [
    ("topology", "Wanders", {"source": "numpy"}),
    ("topology", "Wanders", {"source": "numpy once"}),
    ("topology", "Wanders", {"source": "python"}),
    ("topology", "Wanders", {"source": "module"}),
    ("protocol", "Unseeded", {}),
    ("update", "GoesOn", {}),
]


@pytest.mark.parametrize(
    ("name", "options"), [("Drawn", {}), ("Seconds", {"honest": False})], ids=str
)
def test_a_metric_that_draws_without_a_seed_or_tells_the_time_is_warned_of(
    name: str, options: dict[str, Any]
) -> None:
    said = (
        rf"^metrics: {name.lower()} had other values .* a run that is repeated will not have the"
        r" same figures; the column of a time that is measured says timed=True"
    )
    with pytest.warns(UserWarning, match=said):
        runner.check(settings("metrics", name, options))


def test_a_metric_that_says_that_it_is_a_time_is_a_metric_like_others() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runner.check(settings("metrics", "Seconds", {}))
    check_plugin("shares.Seconds", f"plugins=[{SHARES}]")
    with pytest.raises(ContractError, match="that is measured says timed=True"):
        check_plugin("shares.Seconds", f"plugins=[{SHARES}]", honest=False)


@pytest.mark.parametrize(("section", "name", "options"), UNSEEDED)
def test_a_generator_without_a_seed_is_found_out(
    section: str, name: str, options: dict[str, Any]
) -> None:
    said = (
        rf"^{section}=shares.{name}: the first rounds, tried twice with one seed, come to different"
        r" numbers, so that it draws without a seed.*; draw from the seed or the keys"
    )
    with pytest.raises(ConfigError, match=said):
        runner.check(settings(section, name, options))


def test_of_several_plug_ins_all_are_named_that_may_draw_without_a_seed() -> None:
    cfg = settings("topology", "Wanders", {"source": "numpy"})
    cfg["metrics"] = [{"_target_": "shares.Bad", "how": ""}]  # comes after the rows are there
    cfg["data"] = {"_target_": "shares.Plain"}  # is loaded before
    cfg["model"] = {"_target_": "shares.Dropping"}
    said = (
        r"^plugins=.* one of (topology=shares.Wanders, model=shares.Dropping|model.*Wanders) draws"
    )
    with pytest.raises(ConfigError, match=said):
        runner.check(cfg)


def test_a_generator_with_a_seed_is_not() -> None:
    runner.check(settings("topology", "Wanders", {"source": "seeded"}))


def test_keyed_draws_and_seeded_noise_are_allowed_and_nothing_is_done_twice() -> None:
    states = random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state()  # type: ignore[index, union-attr]
    cfg = settings("data", "Keyed", {}, "topology=epidemic")
    prepared: Any = runner.check({**cfg, "model": {"_target_": "shares.Dropping"}})
    assert type(prepared.arms[0]).__name__ == "PreparedArm"
    import shares  # type: ignore[import-not-found]

    assert shares.Keyed.loads == 1
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == states[:2]  # type: ignore[index, union-attr]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_what_a_loader_draws_for_processes_that_it_does_not_have_is_no_fault() -> None:
    """DataLoader draws from torch's generator even where it does not shuffle."""
    begun = torch.get_rng_state()
    runner.check(settings("data", "Batches", {}))
    assert not torch.equal(torch.get_rng_state(), begun)  # it has drawn, and was looked at


def test_draws_of_others_are_nobodys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that draws while a plug-in is in use, and not for it."""
    load = "swarm.experiments.run_data._require_label"
    monkeypatch.setattr(load, lambda *_: random.random())
    runner.check(settings("data", "Keyed", {}))


# --- the data set ---------------------------------------------------------------------------------

READ_ONLY = "read-only, as a run's data are for all to read; change a copy"
WRITES = [
    ("metrics", "Bad", {"how": "writes"}, f"ValueError: assignment destination is {READ_ONLY}"),
    ("metrics", "Bad", {"how": "scales"}, f"ValueError: output array is {READ_ONLY}"),
    ("metrics", "Bad", {"how": "ids"}, f"ValueError: assignment destination is {READ_ONLY}"),
    ("metrics", "Bad", {"how": "split"}, f"ValueError: assignment destination is {READ_ONLY}"),
    ("metrics", "Bad", {"how": "ends"}, f"ValueError: output array is {READ_ONLY}"),
    ("partition", "Overwrites", {}, f"ValueError: assignment destination is {READ_ONLY}"),
]


@pytest.mark.parametrize(("section", "name", "options", "said"), WRITES)
def test_the_data_set_cannot_be_written_to(
    section: str, name: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        runner.check(settings(section, name, options, "data.local_test=0.2"))
    text = str(caught.value)
    assert text.startswith(f"{section}=shares.{name}: its ")
    assert said in text
    assert re.search(r"shares\.py, line \d+\)$", text)


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("how", ["tensor", "tensor of the split"])
def test_a_tensor_that_writes_into_it_is_found_out(how: str) -> None:
    said = r"plugins=.*: one of them writes into the run's data set by a tensor on its memory"
    with pytest.raises(ConfigError, match=said):
        runner.check(settings("metrics", "Bad", {"how": how}))


@pytest.mark.filterwarnings("error:The given NumPy array is not writable")
@pytest.mark.parametrize("overrides", [(), STREAM, ("data=linear_regression", "partition=natural")])
def test_all_of_its_arrays_are_read_only_and_tensors_share_their_memory(
    overrides: tuple[str, ...],
) -> None:
    e = experiment(*overrides)
    held = [each for each in vars(e.data.dataset).values() if isinstance(each, np.ndarray)]
    assert len(held) >= 5
    assert not any(each.flags.writeable for each in held)


@pytest.mark.parametrize("overrides", [(), STREAM, ("data.local_test=0.2",)])
def test_no_split_can_be_written_to(overrides: tuple[str, ...]) -> None:
    split = experiment(*overrides).data.split
    pooled = split.pooled(Keys(0, "pool"), 2)
    table = pooled.replicated([0.1, 0.2]).table
    assert table is not None
    held = [array for each in (split, pooled) for _, array in arrays_of(each)]
    for each in (split.local_test, pooled.local_test):
        held += [] if each is None else [array for _, array in arrays_of(each)]
    assert len(held) >= 4
    assert not any(each.flags.writeable for each in (*held, table.columns["lr"]))
