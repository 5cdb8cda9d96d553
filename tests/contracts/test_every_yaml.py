"""One contract test over every yaml of conf/: each option of each group runs in a tiny swarm.

A new yaml joins by existing.
"""

from __future__ import annotations

import inspect
import json
import struct
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from scenarios.all import judging
from swarm.common.system import paths
from swarm.common.system.dataset_cache import home
from swarm.config.build import option
from swarm.config.plug_in_lists import KEYED, LISTED
from swarm.config.plug_ins import load_plugins
from swarm.config.settings import Settings, sections
from swarm.experiments.checks.check_plugin import check_plugin
from swarm.experiments.runs.prepared import PreparedRun
from swarm.learning.initial_parameters import save_start
from swarm.learning.models.gru import GRU
from tests.support import config, groups, options, records, run, simulation, trajectory

ALL = [(group, name) for group in groups() for name in options(group)]
MANY_RUNS = [("scenario", name) for name in ("all", *judging())]
STREAM = ["update=online", "partition=iid", "train.batch=2", "train.local_steps=2"]
STREAMED = [
    ("drift", "label_swap"),
    ("drift", "rotation"),
    ("labels", "meetings"),
    ("update", "online"),
    ("update", "frozen"),
]
STREAMED += [("replay", name) for name in ("ring", "reservoir", "class_balanced")]
USER_DATA = Path(__file__).parents[1] / "data" / "user_data.py"
USER_MODELS = Path(__file__).parents[1] / "learning" / "models" / "user_models.py"
FASHION = home() / "fashion_mnist"


def _idx(path: Path, values: np.ndarray) -> None:
    path.write_bytes(
        struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
        + values.astype(np.uint8).tobytes()
    )


def _idx_folder(folder: Path) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for part, count in (("train", 240), ("t10k", 60)):
        labels = np.arange(count) % 4
        images = random.integers(0, 80, (count, 6, 6)) + 40 * labels[:, None, None]
        _idx(folder / f"{part}-images-idx3-ubyte", images)
        _idx(folder / f"{part}-labels-idx1-ubyte", labels)
    return folder


def _table(folder: Path) -> Path:
    random = np.random.default_rng(0)
    rows = [
        f"{a:.4f},{b:.4f},{int(a > b)},{i % 12}"
        for i, (a, b) in enumerate(random.standard_normal((240, 2)))
    ]
    file = folder / "table.csv"
    file.write_text("\n".join(["a,b,label,device", *rows]))
    return file


def _text(folder: Path) -> Path:
    letters = np.random.default_rng(0).choice(list("abcde \n"), (12, 400))
    file = folder / "text.jsonl"
    file.write_text(
        "\n".join(json.dumps({"owner": i, "text": "".join(row)}) for i, row in enumerate(letters))
    )
    return file


def _base(folder: Path) -> Path:
    save_start(folder / "base.safetensors", GRU((8,), 20, 16, 1).state_dict())
    return folder / "base.safetensors"


def _flights(folder: Path) -> Path:
    random, rows = np.random.default_rng(0), 240
    table = {name: random.random(rows) for name in option("data", "flights")["features"]}
    table |= {name: np.arange(rows) % 3 for name in option("data", "flights")["one_hot"]}
    table |= {
        "carrier": np.arange(rows) % 12,
        "late": random.integers(0, 2, rows),
        "departure": np.arange(rows),
    }
    pd.DataFrame(table).to_parquet(folder / "flights.parquet")
    return folder / "flights.parquet"


def _people(folder: Path) -> Path:
    folder.mkdir()
    for person in range(12):
        np.save(
            folder / f"{person}.npy",
            np.c_[np.random.default_rng(person).random((160, 2)), np.arange(160) // 80],
        )
    return folder


def _images(folder: Path) -> Path:
    random = np.random.default_rng(0)
    for name in "ab":
        (folder / name).mkdir(parents=True)
        for i in range(30):
            pixels = random.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def _cifar(folder: Path) -> Path:
    folder.mkdir()
    record = np.random.default_rng(0).integers(0, 256, (40, 3073), dtype=np.uint8)
    record[:, 0] = np.arange(40) % 3
    for name in ("data_batch_1", "test_batch"):
        (folder / f"{name}.bin").write_bytes(record.tobytes())
    return folder


def _leaf(folder: Path) -> Path:
    folder.mkdir()
    users = [f"u{i}" for i in range(12)]
    data = {
        user: {"x": [[float(i + j), 1.0] for j in range(20)], "y": [j % 2 for j in range(20)]}
        for i, user in enumerate(users)
    }
    file = {"users": users, "num_samples": [20] * 12, "user_data": data}
    (folder / "all.json").write_text(json.dumps(file))
    return folder


def _clients(file: Path) -> Path:
    import h5py

    random = np.random.default_rng(0)
    with h5py.File(file, "w") as root:
        for i in range(12):
            root[f"examples/f{i}/pixels"] = random.random((20, 4, 4), dtype=np.float32)
            root[f"examples/f{i}/label"] = np.arange(20) % 2
    return file


def _texts_of_clients(file: Path) -> Path:
    import h5py

    with h5py.File(file, "w") as root:
        for i in range(12):
            root[f"examples/c{i}/snippets"] = [f"To be, or not to be, {j}" for j in range(30)]
    return file


def _graph(folder: Path) -> Path:
    file = folder / "graph.graphml"
    nx.write_graphml(nx.petersen_graph(), file)
    return file


def _tiles(folder: Path) -> Path:
    file = folder / "tiles.csv"
    file.write_text(
        "quadkey,avg_d_kbps,avg_u_kbps,avg_lat_ms,tests\n0231,90000,9000,8,5\n0232,8000,900,40,3\n"
    )
    return file


def _behaviour(folder: Path) -> Path:
    file = folder / "behaviour.json"
    client = {"duration": 5, "active": [0, 4], "inactive": [2, 6], "finish_time": 7, "model": "A"}
    file.write_text(json.dumps({"17": client, "4": {**client, "active": [1, 4]}}))
    return file


def _capacities(folder: Path) -> Path:
    file = folder / "capacities.json"
    clients = {
        "4": {"computation": 162.0, "communication": 5648.1},
        "9": {"computation": 20, "communication": 900},
    }
    file.write_text(json.dumps(clients))
    return file


def _contacts(folder: Path) -> Path:
    file = folder / "contacts.csv"
    file.write_text("time,a,b\n0,ann,bob\n10,bob,cy\n70,ann,cy\n")
    return file


def _trace(folder: Path) -> Path:
    file = folder / "trace.csv"
    file.write_text("time,device,online\n0,3,0\n1,3,1\n1,4,0\n")
    return file


def _needs(group: str, name: str, tmp_path: Path) -> list[str]:
    """What an option cannot run without: a size it is possible at, a file of its kind, data of its
    kind.
    """
    special = {
        ("attack", "not_a_number"): lambda: ["topology=complete", "aggregator=coordinate_median"],
        ("metric", "backdoor_success"): lambda: ["attack=backdoor"],
        ("topology", "hypercube"): lambda: ["devices=16"],
        ("topology", "social"): lambda: ["devices=34"],
        ("topology", "file"): lambda: ["devices=10", f"topology.path={_graph(tmp_path)}"],
        **{
            ("topology", name): lambda: [
                "devices=10",
                f"topology.path={_graph(tmp_path)}",
                "topology.length=null",
            ]
            for name in ("chitchat", "zoo")
        },
        ("topology", "contacts"): lambda: [f"topology.path={_contacts(tmp_path)}"],
        ("data", "idx"): lambda: [f"data.path={_idx_folder(tmp_path / 'idx')}"],
        **{
            ("augmentation", name): lambda: ["data=digits", "data.flat=false"]
            for name in ("flip", "crop")
        },
        ("data", "fashion_mnist"): lambda: ["data.limit=600"],
        ("data", "linear_regression"): lambda: ["partition=iid"],
        ("data", "markov"): lambda: ["partition=natural", "model=gru"],
        **{
            ("model", name): lambda: [
                "data=markov",
                "data.context=8",
                "partition=natural",
                "model.width=16",
            ]
            for name in ("gru", "mcsd", "transformer")
        },
        ("model", "lenet"): lambda: ["model.channels=[4]", "model.groups=[2]"],
        ("model", "lora"): lambda: [
            "data=markov",
            "data.context=8",
            "partition=natural",
            "model.base={gru: {width: 16}}",
            f"model.base_file={_base(tmp_path)}",
        ],
        ("model", "custom"): lambda: [
            f"plugins=[{USER_MODELS}]",
            "model._target_=user_models.NormMLP",
        ],
        ("fleet", "speedtest"): lambda: [f"fleet.path={_tiles(tmp_path)}"],
        ("fleet", "capacity"): lambda: [f"fleet.path={_capacities(tmp_path)}"],
        ("delay", "speedtest"): lambda: [f"delay.path={_tiles(tmp_path)}"],
        ("churn", "behaviour"): lambda: [f"churn.path={_behaviour(tmp_path)}"],
        ("churn", "trace"): lambda: [f"churn.path={_trace(tmp_path)}"],
        ("churn", "crash"): lambda: ["churn.at=1"],
        ("clock", "speed"): lambda: [
            "fleet=uniform",
            "network.round_seconds=0.0001",
            "network.max_delay=99",
        ],
        ("delay", "distance"): lambda: ["topology=geometric"],
        ("data", "table"): lambda: [f"data.path={_table(tmp_path)}"],
        ("data", "image_folder"): lambda: [f"data.path={_images(tmp_path / 'images')}"],
        ("data", "cifar"): lambda: [f"data.path={_cifar(tmp_path / 'cifar')}"],
        ("data", "leaf"): lambda: [f"data.path={_leaf(tmp_path / 'leaf')}", "partition=natural"],
        ("data", "tff"): lambda: [
            f"data.path={_clients(tmp_path / 'tff.h5')}",
            "partition=natural",
        ],
        ("data", "tff_text"): lambda: [
            f"data.path={_texts_of_clients(tmp_path / 'texts.h5')}",
            "data.context=8",
            "data.min_chars=400",
            "partition=natural",
            "model=gru",
        ],
        ("data", "custom"): lambda: [
            f"plugins=[{USER_DATA}]",
            "data._target_=user_data.Moons",
        ],
        **{("data", name): lambda: ["partition=natural"] for name in ("sea", "hyperplane")},
        **{(group, name): lambda: STREAM for group, name in STREAMED},
        ("update", "nightly"): lambda: [*STREAM, "update=nightly", "replay=ring", "update.day=2"],
        ("data", "electricity"): lambda: [
            f"data.path={_flights(tmp_path)}",
            "data.label=late",
            "data.time=departure",
        ],
        ("data", "flights"): lambda: [f"data.path={_flights(tmp_path)}", "partition=natural"],
        ("data", "activity"): lambda: [
            f"data.path={_people(tmp_path / 'people')}",
            "data.window=4",
            "partition=natural",
        ],
        ("data", "hf"): lambda: [
            f"data.path={_flights(tmp_path)}",
            "data.label=late",
            "data.device=carrier",
            "partition=natural",
        ],
        **{
            ("data", name): lambda: [
                f"data.path={_text(tmp_path)}",
                "data.context=8",
                "data.min_chars=400",
                "partition=natural",
                "model=gru",
            ]
            for name in ("text", "shakespeare", "chitchat")
        },
        ("partition", "natural"): lambda: ["data=gaussian"],
        ("loss", "huber"): lambda: ["data=linear_regression", "partition=iid"],
        ("protocol", "averaging"): lambda: ["init=independent"],
        **{("protocol", name): lambda: ["init=common"] for name in ("fedadam", "diloco")},
        ("protocol", "push_sum_averaging"): lambda: ["init=independent"],
        ("protocol", "choco_gossip"): lambda: ["init=independent"],
        ("protocol", "d2"): lambda: ["mixing=lazy"],
        **{
            ("protocol", name): lambda: ["data.local_validation=0.3", "init=common"]
            for name in ("best_neighbour", "ifca")
        },
        ("protocol", "fedmd"): lambda: ["data.public=0.1"],
        **{
            ("aggregator", name): lambda: ["data.local_validation=0.3", "partition=iid"]
            for name in ("ubar", "reputation", "fedfomo")
        },
        **{
            ("pre_aggregator", name): lambda: ["aggregator=coordinate_median", "aggregator.f=1"]
            for name in ("nnm", "bucketing")
        },
        ("personal", "fedrep"): lambda: ["share=body", "personal.head_steps=1"],
        **{
            ("goal", name): lambda: ["data.local_validation=0.3", "partition=iid"]
            for name in ("weakest", "gap", "comparative_advantage")
        },
        ("metric", "specialisation"): lambda: ["goal=random"],
        ("tracker", "wandb"): lambda: ["tracker.mode=disabled"],
        ("metric", "asking"): lambda: [
            "+cohorts={small: {devices: 0.5, model: {hidden: [4]}}}",
            "scenario.arms=[swarm]",
        ],
        ("metric", "speed"): lambda: ["data=markov", "partition=natural", "model=gru"],
        ("metric", "label_accuracy"): lambda: ["evaluate.label=3"],
        ("metric", "perplexity"): lambda: ["data=markov", "partition=natural", "model=gru"],
        **{
            ("metric", name): lambda: ["data=linear_regression", "partition=iid"]
            for name in ("r2", "prequential_mse", "faded_mse", "stream_mse")
        },
        ("metric", "local_accuracy"): lambda: ["data.local_test=0.3"],
        ("metric", "local_perplexity"): lambda: [
            "data=markov",
            "partition=natural",
            "model=gru",
            "data.local_test=0.3",
        ],
        **{
            ("metric", name): lambda: [
                "data=text",
                f"data.path={_text(tmp_path)}",
                "data.context=8",
                "data.min_chars=100",
                "partition=natural",
                "model=gru",
                "data.local_test=0.3",
            ]
            for name in ("bits_per_byte", "local_bits_per_byte")
        },
        **{
            ("metric", name): lambda: [
                "data=linear_regression",
                "partition=iid",
                "data.local_test=0.3",
            ]
            for name in ("local_mse", "local_r2")
        },
    }
    return special.get((group, name), list)()


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
        *_needs(group, name, tmp_path),
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
    words = _needs(group, name, tmp_path)
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


# --- topologies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", options("topology"))
def test_mixing_conserves_what_it_says(tmp_path: Path, name: str) -> None:
    """Rows sum to one, nothing is negative; where columns do too, the engine keeps the mean over
    two rounds.
    """
    ready = PreparedRun.prepare(
        Settings.parse(
            config(f"topology={name}", *_needs("topology", name, tmp_path), "protocol=averaging", "init=independent",
                   "compute.dtype=float64", "rounds=2", "model=softmax")
        )
    )  # fmt: skip
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    both = True
    for round in (1, 2):
        mixing = e.communication.mixing(round)
        W = mixing.matrix.toarray()
        assert W.min() >= 0
        assert W.diagonal().min() > 0
        np.testing.assert_allclose(W.sum(1), 1, atol=1e-12)
        assert set(zip(*np.nonzero(W - np.diag(W.diagonal())), strict=True)) == set(
            zip(e.communication.graph(round).dst_E, e.communication.graph(round).src_E, strict=True)
        )
        if not e.communication.graph(round).directed:
            np.testing.assert_allclose(W, W.T, atol=1e-15)
        both = both and mixing.conserves == "both"
    x_TNP = trajectory(ready)
    assert np.isfinite(x_TNP).all()
    expected = e.communication.mixing(2).matrix @ (e.communication.mixing(1).matrix @ x_TNP[0])
    np.testing.assert_allclose(x_TNP[2], expected, rtol=0, atol=1e-14)
    if both:
        np.testing.assert_allclose(x_TNP[2].mean(0), x_TNP[0].mean(0), rtol=0, atol=1e-14)


# --- protocols ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", options("protocol"))
def test_protocols_are_pure_functions_of_the_rows(name: str) -> None:
    """The same start gives the same end, twice; a snapshot put back goes on the same way; nothing
    is left in scratch.
    """
    settings = [
        f"protocol={name}",
        "topology=ring",
        "rounds=4",
        "init=independent",
        "engine.shards=2",
        "engine.block=3",
        *_needs("protocol", name, Path()),
    ]
    with simulation(PreparedRun.prepare(Settings.parse(config(*settings)))) as running:
        for _ in running.engine.advance(2):
            pass
        middle = {k: v.clone() for k, v in running.engine.snapshot().items()}
        ends = []
        for _ in range(2):
            for _ in running.engine.advance(4):
                pass
            ends.append({k: v.clone() for k, v in running.engine.snapshot().items()})
            running.engine.restore({k: v.clone() for k, v in middle.items()}, 2)
        assert all(torch.equal(ends[0][k], ends[1][k]) for k in ends[0])
        expected = running.experiment.communication.slots
        assert {f"protocol.{s}" for s in expected} <= set(middle)


@pytest.mark.parametrize("name", options("protocol"))
def test_traffic_is_counted_by_link(name: str) -> None:
    ready = PreparedRun.prepare(
        Settings.parse(
            config(f"protocol={name}", "topology=ring", "devices=9", "rounds=2", "model=softmax",
                   *_needs("protocol", name, Path()))
        )
    )  # fmt: skip
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    last = records(ready)[-1].values
    graphs = [len(e.communication.graph(round).src_E) for round in (1, 2)]
    heard = [
        9 if e.communication.active(round) is None else int(e.communication.active(round).sum())
        for round in (1, 2)
    ]
    messages = bytes = 0
    protocol = e.communication.protocol
    for number, phase in enumerate(protocol.phases):
        if phase != "learn":
            a_round = [2 * n for n in heard] if phase == "server" else graphs
            sent = sum(a_round[r] for r in (0, 1) if protocol.plays(number, r + 1))
            width = e.communication.phases[number].width
            messages, bytes = messages + sent, bytes + sent * width * 4
    assert last["messages_total"] == messages
    assert last["bytes_total"] == bytes
    assert last["lost_total"] == last["late_total"] == 0


# --- models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", options("model"))
def test_models_start_from_the_seed(name: str, tmp_path: Path) -> None:
    def start(*overrides: str) -> np.ndarray:
        words = (f"model={name}", *_needs("model", name, tmp_path), *overrides)
        ready = PreparedRun.prepare(Settings.parse(config(*words)))
        with simulation(ready) as running:
            return np.asarray(running.engine.snapshot()["x"].numpy().copy())

    common = start()
    assert (common == common[0]).all()
    np.testing.assert_array_equal(start(), common)
    assert not np.array_equal(start("seed=1"), common)
    own = start("init=independent")
    assert not np.array_equal(own[0], own[1])
    np.testing.assert_array_equal(
        start("init=independent", "engine.block=1", "engine.shards=3"), own
    )
