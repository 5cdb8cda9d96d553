"""Files that options of conf/ read, as small as they can be: each function writes one and returns its
path."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
from PIL import Image

from swarm.config.build import option
from swarm.learning.initial_parameters import save_start
from swarm.learning.models.gru import GRU


def idx_file(path: Path, values: np.ndarray) -> None:
    path.write_bytes(
        struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
        + values.astype(np.uint8).tobytes()
    )


def idx_folder(folder: Path) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for part, count in (("train", 240), ("t10k", 60)):
        labels = np.arange(count) % 4
        images = random.integers(0, 80, (count, 6, 6)) + 40 * labels[:, None, None]
        idx_file(folder / f"{part}-images-idx3-ubyte", images)
        idx_file(folder / f"{part}-labels-idx1-ubyte", labels)
    return folder


def table_file(folder: Path) -> Path:
    random = np.random.default_rng(0)
    rows = [
        f"{a:.4f},{b:.4f},{int(a > b)},{i % 12}"
        for i, (a, b) in enumerate(random.standard_normal((240, 2)))
    ]
    file = folder / "table.csv"
    file.write_text("\n".join(["a,b,label,device", *rows]))
    return file


def text_file(folder: Path) -> Path:
    letters = np.random.default_rng(0).choice(list("abcde \n"), (12, 400))
    file = folder / "text.jsonl"
    file.write_text(
        "\n".join(json.dumps({"owner": i, "text": "".join(row)}) for i, row in enumerate(letters))
    )
    return file


def base_file(folder: Path) -> Path:
    save_start(folder / "base.safetensors", GRU((8,), 20, 16, 1).state_dict())
    return folder / "base.safetensors"


def flight_file(folder: Path) -> Path:
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


def people_folder(folder: Path) -> Path:
    folder.mkdir()
    for person in range(12):
        np.save(
            folder / f"{person}.npy",
            np.c_[np.random.default_rng(person).random((160, 2)), np.arange(160) // 80],
        )
    return folder


def image_folder(folder: Path) -> Path:
    random = np.random.default_rng(0)
    for name in "ab":
        (folder / name).mkdir(parents=True)
        for i in range(30):
            pixels = random.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def cifar_folder(folder: Path) -> Path:
    folder.mkdir()
    record = np.random.default_rng(0).integers(0, 256, (40, 3073), dtype=np.uint8)
    record[:, 0] = np.arange(40) % 3
    for name in ("data_batch_1", "test_batch"):
        (folder / f"{name}.bin").write_bytes(record.tobytes())
    return folder


def leaf_folder(folder: Path) -> Path:
    folder.mkdir()
    users = [f"u{i}" for i in range(12)]
    data = {
        user: {"x": [[float(i + j), 1.0] for j in range(20)], "y": [j % 2 for j in range(20)]}
        for i, user in enumerate(users)
    }
    file = {"users": users, "num_samples": [20] * 12, "user_data": data}
    (folder / "all.json").write_text(json.dumps(file))
    return folder


def client_file(file: Path) -> Path:
    import h5py

    random = np.random.default_rng(0)
    with h5py.File(file, "w") as root:
        for i in range(12):
            root[f"examples/f{i}/pixels"] = random.random((20, 4, 4), dtype=np.float32)
            root[f"examples/f{i}/label"] = np.arange(20) % 2
    return file


def client_texts_file(file: Path) -> Path:
    import h5py

    with h5py.File(file, "w") as root:
        for i in range(12):
            root[f"examples/c{i}/snippets"] = [f"To be, or not to be, {j}" for j in range(30)]
    return file


def graph_file(folder: Path) -> Path:
    file = folder / "graph.graphml"
    nx.write_graphml(nx.petersen_graph(), file)
    return file


def tile_file(folder: Path) -> Path:
    file = folder / "tiles.csv"
    file.write_text(
        "quadkey,avg_d_kbps,avg_u_kbps,avg_lat_ms,tests\n0231,90000,9000,8,5\n0232,8000,900,40,3\n"
    )
    return file


def behaviour_file(folder: Path) -> Path:
    file = folder / "behaviour.json"
    client = {"duration": 5, "active": [0, 4], "inactive": [2, 6], "finish_time": 7, "model": "A"}
    file.write_text(json.dumps({"17": client, "4": {**client, "active": [1, 4]}}))
    return file


def capacity_file(folder: Path) -> Path:
    file = folder / "capacities.json"
    clients = {
        "4": {"computation": 162.0, "communication": 5648.1},
        "9": {"computation": 20, "communication": 900},
    }
    file.write_text(json.dumps(clients))
    return file


def contact_file(folder: Path) -> Path:
    file = folder / "contacts.csv"
    file.write_text("time,a,b\n0,ann,bob\n10,bob,cy\n70,ann,cy\n")
    return file


def trace_file(folder: Path) -> Path:
    file = folder / "trace.csv"
    file.write_text("time,device,online\n0,3,0\n1,3,1\n1,4,0\n")
    return file
