"""Whatever a plug-in does wrong ends in one sentence that names it, its file and its line, and in
no exit code 0.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import swarm
from swarm.common.errors import ConfigError, DivergedError, SwarmError
from swarm.common.plugin import PluginError, blamed
from swarm.config.build import option
from swarm.experiments import runner
from swarm.experiments.runs.memory import MemoryRanOutError
from tests.support import config, trajectory

FAULTY = Path(__file__).with_name("faulty.py")
FAULTY_MODELS = FAULTY.with_name("faulty_models.py")
ROOT = FAULTY.parents[3]
STREAM = ("update=online", "partition=iid", "train.batch=2", "train.local_steps=2")
UNIFORM = option("fleet", "uniform")

# section, class, options of the class, overrides, and what is said
MODELS: list[tuple[str, str]] = [
    ("Detached", "does not depend on its parameters"),
    ("ArgMax", "returns int64 numbers"),
    ("Complex", "returns complex64 numbers"),
    ("OneRowTooMany", r"returns \[2, 10, 1\] for 2 samples; the data needs \[2, 10\]"),
    ("InPlace", "changes its input in place"),
    ("MaxNorm", r"writes into its parameter table.weight in forward, as nn.Embedding\(max_norm"),
    ("NotANumber", "returns NaN for 2 of 2 samples"),
    ("Listed", r"read each parameter where it is registered \(self.NAME\)"),
    ("Carries", "changes from call to call"),
    ("Exits", r"calls sys.exit\(0\)"),
    ("Lazy", "leaves the shape of head.weight to its first call"),
    ("SharedMemory", "keeps other and head.weight in the same memory"),
    ("ExtraState", r"get_extra_state"),
    ("KeyErrorInConstructor", "raises KeyError: 'width'"),
    ("ExitInConstructor", r"calls sys.exit\(0\)"),
    ("InterruptInConstructor", "raises KeyboardInterrupt"),
    ("FailsInBackward", "LookupError: no gradient today"),
    (
        "InPlaceInTheGraph",
        "cannot take a step: fails: RuntimeError: one of the variables needed for gradient",
    ),
]
HOW: list[tuple[str, str, dict[str, dict[str, Any]], tuple[str, ...], dict[str, str]]] = [
    ("topology", "Bad", {}, (), {
        "raises": "its graph raises IndexError: list index out of range",
        "exits": r"its graph calls sys.exit\(0\)",
        "none": r"its graph\(0\) returns None; a swarm.communication.topology.graph.Graph is needed",
        "networkx": r"returns a networkx Graph; .* Graph.from_networkx\(…\) makes one of it",
        "outside": "with edges between devices 0 and 12; they are 0 to 11",
        "negative": "with edges between devices -1 and 1; they are 0 to 11",
        "more": "returns a graph of 13 devices, and there are 12",
        "loops": "with an edge from device 1 to itself",
        "unsorted": r"whose edges are not sorted by \(dst, src\), each once",
        "one way": "that is undirected and has an edge without its opposite",
        "nan": "its graph raises ValueError: length_E must be finite",
        "floats": "whose edges are float64 and float64 numbers, which must be int64",
    }),
    ("topology", "BadPeriod", {}, (), {"none": "its period is 0; it must be a number of rounds ≥ 1, or None"}),
    ("partition", "Deals", {}, (), {
        "raises": "its assign raises ZeroDivisionError: division by zero",
        "exits": r"its assign calls sys.exit\(0\)",
        "none": "its assign returns None; a DeviceSplit is needed",
        "outside": "its assign returns sample ids 5 to 1261; they must be 0 to 1256",
        "negative": "its assign returns sample ids -1 to 1255",
        "fewer devices": "made 11 devices; each of the 12 devices needs at least one",
        "torn": "its assign returns ptr_N1 that cut the samples wrongly",
        "floats": "two vectors of whole numbers are needed",
        "twice": "gives a sample to two devices; one may have it",
    }),
    ("data", "Loads", {}, (), {
        "nan": "its load makes data that cannot be used; row 3 .* is nan; every value must be a finite number",
        "shorter": "1796 labels for 1797 samples; the two numbers must be equal",
        "label": "has label 10; labels must be 0 to 9",
        "list": "have a list as x; a NumPy array of numbers is needed",
        "objects": "have object numbers of shape .* as y; a NumPy array",
        "classes": "have 2.5 classes",
        "raises": "its load raises FileNotFoundError",
        "exits": r"its load calls sys.exit\(3\)",
        "none": "come as None; a swarm.data.dataset.Dataset is needed",
    }),
    ("drift", "Changes", {}, STREAM, {"label": r"has label 1\d; labels must be 0 to 9", "none": "come as None"}),
    ("protocol", "Talks", {}, (), {
        "phases": r"its phases is \('learn', 'gossip'\); a tuple of learn, mix, messages, per_edge, server, predictions, server_predictions is needed",
        "width": "returns 0; a whole number ≥ 1 is needed",
        "init": r"its init returns float32 numbers of shape \[3\] as 'age'",
        "start": r"its start returns float32 numbers of shape \[12, 3\]; float32 numbers of shape \[12, 4810\] are needed",
        "raises": "its send raises ZeroDivisionError",
        "send": r"its send\(1\) returns float32 numbers of shape \[12, 4809\]",
        "none": r"its send\(1\) returns None",
        "double": r"its send\(1\) returns float64 numbers",
        "receive": r"its receive leaves float32 numbers of shape \[12, 1\]",
        "learned": r"its after_local_steps leaves float32 numbers of shape \[1, 4810\]",
        "participants": r"its participants\(1\) returns bool numbers of shape \[13\]",
    }),
    ("compressor", "Packs", {}, (), {
        "raises": "its __call__ raises ValueError: cannot be packed",
        "shape": r"its __call__ returns float32 numbers of shape \[12, 2\]; float32 numbers of shape \[12, 4810\] are needed",
        "double": "its __call__ returns float64 numbers",
        "none": "its __call__ returns None",
        "bits": r"its bits\(4810\) returns 7215.0; a whole number of bits above 0 is needed",
    }),
    ("churn", "Goes", {}, (), {
        "exits": r"its online calls sys.exit\(0?\)",  # 0 where wandb has put its own in its place
        "shape": r"its online\(1\) returns bool numbers of shape \[2\]; bool numbers of shape \[12\] are needed",
        "floats": r"its online\(1\) returns float64 numbers of shape \[12\]",
    }),
    ("delay", "Waits", {}, (), {
        "negative": r"its seconds returns -\d\.\d+; seconds are numbers ≥ 0",
        "nan": "its seconds returns nan",
        "shape": r"its seconds returns float64 numbers of shape \[1\]",
        "list": "its seconds returns a list",
    }),
    ("optimizer", "Steps", {"": {"lr": 0.1}}, (), {
        "nothing": r"its step changes nothing; it must write to x_BP itself",
        "raises": "its step raises NotImplementedError",
        "not plain": "its step is not x − lr · g; its `plain` must be False",
    }),
    ("scenario", "Chooses", {}, (), {
        "none": "its arms returns None; a list of at least one Arm is needed",
        "empty": "its arms returns a list; a list of at least one Arm is needed",
        "twice": "its arms names two arms swarm",
        "outside": r"its arms names an arm '\.\./\.\./swarm'",
        "strings": "its arms returns a str among the arms",
        "pooled": "its arms pools swarm on 12 devices; one device has the samples of all",
    }),
]  # fmt: skip
PLAIN: list[tuple[str, str, dict[str, Any], tuple[str, ...], str]] = [
    ("labels", "Tells", {}, STREAM, r"observed_labels -?\d+ to 10; they must be −1 to 9"),
    (
        "clock",
        "Wakes",
        {},
        (),
        r"its wakes\(1\) returns a bool; bool numbers of shape \[12\] are needed",
    ),
    ("outage", "Cuts", {}, (), r"its up\(1, graph\) returns bool numbers of shape \[3\]"),
    ("fleet", "Has", UNIFORM, (), r"its hardware has float64 numbers of shape \[1\] as flops"),
    ("schedule", "Rises", {}, (), "its factor returns nan; a number ≥ 0 is needed"),
    (
        "update",
        "Plans",
        {},
        (),
        r"its batch_plans\(1\) returns None; a tuple of BatchPlan is needed",
    ),
    (
        "replay",
        "Keeps",
        {"size": 5},
        STREAM,
        r"its places returns int64 numbers of shape \[12, 2\] and",
    ),
]
CASES = [("model", name, {}, (), said) for name, said in MODELS] + PLAIN
CASES += [
    (s, c, {**o.get("", {}), "how": how}, w, said)
    for s, c, o, w, all_ in HOW
    for how, said in all_.items()
]


def settings(section: str, name: str, options: dict[str, Any], *overrides: str) -> dict[str, Any]:
    file = FAULTY_MODELS if section == "model" else FAULTY
    return {
        **config(f"plugins=[{file}]", *overrides),
        section: {**options, "_target_": f"{file.stem}.{name}"},
    }


@pytest.mark.parametrize(
    ("section", "name", "options", "overrides", "said"),
    CASES,
    ids=[f"{s}={n}{'-' + o['how'] if 'how' in o else ''}" for s, n, o, _, _ in CASES],
)
def test_one_sentence_before_anything_is_written(
    section: str, name: str, options: dict[str, Any], overrides: tuple[str, ...], said: str
) -> None:
    state = torch.get_rng_state()
    with pytest.raises(ConfigError) as caught:
        runner.check(settings(section, name, options, *overrides))
    text = str(caught.value).removeprefix("/")
    assert re.search(said, text), text
    file = "faulty_models" if section == "model" else "faulty"
    assert text.startswith(f"{section}={file}.{name}: "), text
    assert "\n" not in text
    assert caught.value.exit_code == 2
    assert torch.equal(torch.get_rng_state(), state)
    if name not in ("Lazy", "SharedMemory", "Deals") and "the data needs" not in text:
        assert re.search(rf"{file}\.py, line \d+\)$", text), text


# --- parts of the mechanism -----------------------------------------------------------------------


def test_parameters_without_a_part_are_supported_and_said(tmp_path: Path) -> None:
    """They have a gradient of zero, as in PyTorch, in every kernel: they stay where they are, and
    the rest learns alike.
    """
    for name in ("Unused", "UnusedAndLooped"):
        with pytest.warns(
            UserWarning, match="the parameter spare.weight takes no part in the output"
        ):
            ready: Any = runner.check(
                settings(
                    "model",
                    name,
                    {},
                    "topology=none",
                    "protocol=none",
                    "optimizer=momentum",
                    "optimizer.lr=0.1",
                )
            )
        x_TNP = trajectory(ready)
        spare = slice(-4, None)
        assert (x_TNP[-1, :, spare] == x_TNP[0, :, spare]).all()
        assert (x_TNP[-1, :, :-4] != x_TNP[0, :, :-4]).any(1).all()


def test_a_parameter_of_another_type_is_said_to_be_changed() -> None:
    for kind, keeps in (("float64", "; compute.dtype=float64 keeps it"), ("bfloat16", "")):
        said = (
            rf"the parameter head.weight of type {kind} becomes float32, as all numbers are{keeps}$"
        )
        with pytest.warns(UserWarning, match=said):
            runner.check(settings("model", "Double", {"kind": kind}))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*the parameter head")
        runner.check(settings("model", "Double", {}, "compute.dtype=float64"))


BUGS = [
    "swarm.simulation.engine.local.LocalEngine.advance",
    "swarm.learning.check_learning._close",
    "swarm.experiments.checks.probe._samples",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("place", BUGS)
@pytest.mark.parametrize(
    "model",
    [{"_target_": "faulty_models.Unused"}, option("model", "softmax")],
    ids=["theirs", "ours"],
)
def test_a_bug_of_ours_keeps_its_traceback(
    place: str, model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a plug-in is in use is no reason to blame one."""

    def fails(*_: object, **__: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(place, fails)
    with pytest.raises(KeyError, match="ours"):
        runner.check({**config(f"plugins=[{FAULTY_MODELS}]"), "model": model})


@pytest.mark.filterwarnings("ignore")
def test_what_torch_says_to_our_own_code_is_no_models_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object, **__: object) -> None:
        torch.nn.functional.linear(torch.ones(2, 3), torch.ones(2, 2))

    monkeypatch.setattr("swarm.simulation.engine.local.LocalEngine.advance", fails)
    with pytest.raises(RuntimeError, match="shapes"):
        runner.check(settings("model", "Unused", {}))


def test_what_is_not_a_plugins_fault_goes_through() -> None:
    for error in (KeyboardInterrupt(), SystemExit(3), RuntimeError("ours"), DivergedError(1, 2)):
        with pytest.raises(type(error)) as caught, blamed():
            raise error
        assert caught.value is error


def test_a_ctrl_c_that_strikes_in_a_plugin_is_the_users() -> None:
    """A signal's handler runs between two instructions, of which no ``raise`` is one."""
    import signal

    runner.check(settings("partition", "Strikes", {}))  # loads the plug-in
    strikes: Callable[[], None] = sys.modules["faulty"].strikes
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), blamed():
            strikes()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("when", ["made", "called", "learns"])
def test_a_model_that_asks_for_too_much_memory_is_told_what_any_run_is(when: str) -> None:
    said = (
        "memory ran out before the start, while the data were loaded and the parts of the run"
        " built: fewer or smaller "
    )
    with pytest.raises(MemoryRanOutError, match=said):
        runner.check(settings("model", "AsksForTooMuch", {"when": when}))


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_memory_that_runs_out_in_a_plugin_is_no_plugin_s_fault(tmp_path: Path, engine: str) -> None:
    """The sentence is the one of a run without plug-ins, also where it happened in an actor."""
    how = ("engine=ray", "engine.actors=2") if engine == "ray" else ()
    cfg = settings("protocol", "Talks", {"how": "asks for too much in round 3"}, "rounds=4", *how)
    said = (
        r"^memory ran out \(resume=.*/run goes on where the run was\): about .* were expected .*"
        r" would fit"
    )
    with pytest.raises(MemoryRanOutError, match=said) as caught:
        swarm.run(cfg, tmp_path / "run")
    assert "Talks" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_errors_travel_between_processes() -> None:
    """As Ray's actors and a sweep's workers send them."""
    import pickle

    error = PluginError("/topology", "Ring", "its graph raises KeyError")
    error.exit_code = 2
    for each in (error, ConfigError("k", 3, "must be even"), DivergedError(3, 7)):
        again: SwarmError = pickle.loads(pickle.dumps(each))
        assert (type(again), str(again), again.exit_code) == (type(each), str(each), each.exit_code)


def test_a_plugin_that_fails_in_an_actor_is_named_too(tmp_path: Path) -> None:
    cfg = settings(
        "protocol", "Talks", {"how": "exits in round 3"}, "engine=ray", "engine.actors=2"
    )
    with pytest.raises(
        SwarmError, match=r"its send calls sys.exit\(0\).*faulty.py, line \d+"
    ) as caught:
        swarm.run(cfg, tmp_path / "run")
    assert caught.value.exit_code == 1
    assert json.loads((tmp_path / "run/progress.json").read_text())["arms"] == {}
