"""One contract test over every yaml of conf/: each option of each group runs in a tiny swarm.

A new yaml joins by existing.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import yaml

from scenarios.all import judging
from swarm.common.system import paths
from swarm.config.build import option
from swarm.config.plug_in_lists import KEYED, LISTED
from swarm.config.plug_ins import load_plugins
from swarm.config.settings import sections
from swarm.data.fetch.dataset_cache import home
from swarm.experiments.checks.check_plugin import check_plugin
from tests.contracts.needs import USER_DATA, USER_MODELS, needs
from tests.support import groups, options, run

ALL = [(group, name) for group in groups() for name in options(group)]
MANY_RUNS = [("scenario", name) for name in ("all", *judging())]
FASHION = home() / "fashion_mnist"


def _skip_what_is_not_there(group: str, name: str) -> None:
    if (group, name) == ("data", "fashion_mnist") and not FASHION.is_dir():
        pytest.skip("Fashion-MNIST is not fetched")
    if (group, name) == ("data", "tff"):
        pytest.importorskip("h5py")


def _chosen(group: str, name: str) -> str:
    """The word that chooses an option."""
    if group in KEYED:
        return f"{KEYED[group]}={name}"
    return f"{LISTED[group]}=[{name}]" if group in LISTED else f"{group}={name}"


# claims are tried by tests/experiments/claims, Ray by tests/simulation/engine
ONE_RUN = [pair for pair in ALL if pair not in MANY_RUNS]
TRIED = [pair for pair in ONE_RUN if pair not in (("engine", "ray"), ("engine", "live"))]


@pytest.mark.parametrize(("group", "name"), TRIED, ids=[f"{g}={n}" for g, n in TRIED])
def test_every_option_runs(tmp_path: Path, group: str, name: str) -> None:
    _skip_what_is_not_there(group, name)
    summary = run(
        tmp_path / "run",
        _chosen(group, name),
        *needs(group, name, tmp_path),
        "rounds=2",
        "optimizer.lr=0.05",
    )
    for arm, facts in summary["arms"].items():
        assert facts["diverged"] is None
        assert facts["rounds"] == 2
        assert len(facts["params_sha256"]) == 64
        numbers = [v for v in facts.values() if isinstance(v, float)]
        assert np.isfinite(numbers).all(), arm
        assert facts.get("consensus_distance", 0) >= 0
        if group == "metric":
            assert any(key.startswith((name, f"consensus_{name}")) for key in facts)
        if "accuracy_mean" in facts:
            assert (
                0
                <= facts["accuracy_min"]
                <= facts["accuracy_p10"]
                <= facts["accuracy_median"]
                <= facts["accuracy_max"]
                <= 1
            )


@pytest.mark.parametrize(("group", "name"), ALL, ids=[f"{g}={n}" for g, n in ALL])
def test_every_yaml_shows_all_options_and_says_what_it_is(group: str, name: str) -> None:
    text = (paths.conf() / group / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# "), "one line that says what it is"
    node = yaml.safe_load(text)
    if node["_target_"] == "???":
        return  # the user says which class it is
    module, _, attribute = node["_target_"].rpartition(".")
    if module.startswith("scenarios"):
        paths.scenarios()
    target = getattr(__import__(module, fromlist=[attribute]), attribute)
    offered = {
        "topology": {"devices", "seed", "owner_names"},
        "data": {"devices", "seed"},
        "partition": {"devices"},
        "drift": {"seed"},
        "labels": {"seed"},
        "protocol": {"seed"},
        "model": {"features", "outputs"},
        "optimizer": {"schedule"},
        "compressor": {"layout", "number_bits"},
        **{
            key: {
                "devices",
                "seed",
                "tick",
                "degree_N",
                "compute_N",
                "longest_edge",
                "device_names",
            }
            for key in ("churn", "outage", "clock", "delay")
        },
        "fleet": {"devices", "seed"},
        "scenario": {"preset"},
        "tracker": {"folder", "run", "config", "versions"},
        "metric": {"label", "seed"},
    }.get(group, set())
    parameters = {p for p in inspect.signature(target).parameters if p not in ("args", "kwargs")}
    of_the_run = {"rounds"} if group == "schedule" else set()  # beside the keys of the plug-in
    assert set(node) - {"_target_"} == (parameters - offered) | of_the_run


def test_every_group_is_a_plug_in_section() -> None:
    assert groups() == sorted([*sections(), *LISTED, *KEYED]), "a run has a list of some"


@pytest.mark.parametrize(("group", "name"), TRIED, ids=[f"{g}={n}" for g, n in TRIED])
@pytest.mark.filterwarnings("ignore")
def test_every_option_keeps_the_contract_of_its_kind(tmp_path: Path, group: str, name: str) -> None:
    """By the same checks that users run on plug-ins of their own."""
    _skip_what_is_not_there(group, name)
    words = needs(group, name, tmp_path)
    own = {
        w.partition("=")[0].partition(".")[2]: w.partition("=")[2]
        for w in words
        if w.startswith(f"{group}.")
    }
    node = {**option(group, name), **{key: yaml.safe_load(value) for key, value in own.items()}}
    if name == "custom":
        load_plugins([str(USER_MODELS if group == "model" else USER_DATA)])
    others = [word for word in words if not word.startswith((f"{group}.", f"{group}="))]
    check_plugin(node.pop("_target_"), *others, **node)
