"""Learning rate, mini-batch and steps of single devices, from a table: each device learns as it does
where all are like it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import swarm
from swarm.common.errors import ConfigError
from tests.support import experiment, prepared, require_same_bits, run, simulation, trajectory

HERE = Path(__file__).parent
ALONE = ("devices=6", "topology=none", "protocol=none", "engine.block=3", "rounds=3",
         "compute.dtype=float64", "partition=iid", "train.batch=8", "train.local_steps=3")  # fmt: skip
ROWS: dict[int, dict[str, Any]] = {
    0: {"lr": 0.05, "batch": 3, "local_steps": 1},
    1: {"lr": 0.2, "batch": 11},
    2: {},
    4: {"local_steps": 4, "batch": 1},
    5: {"lr": 0.4},
}
KEYS = {"lr": "optimizer.lr", "batch": "train.batch", "local_steps": "train.local_steps"}


def table(folder: Path, rows: dict[Any, dict[str, Any]], name: str = "devices.csv") -> str:
    columns = sorted({column for row in rows.values() for column in row})
    lines = [",".join(["device", *columns])]
    lines += [
        ",".join([str(d), *(str(row.get(c, "")) for c in columns)]) for d, row in rows.items()
    ]
    (folder / name).write_text("\n".join(lines) + "\n")
    return f"train.devices={folder / name}"


MODELS = {
    "dense": (),
    "adam, clipped": ("optimizer=adamw", "train.clip_norm=0.5", "schedule=cosine"),
    "momentum, own loss": ("optimizer=momentum", "train.loss=focal", "train.class_weights=balanced"),
    "functional": (f"plugins=[{HERE / 'models' / 'user_models.py'}]", "model=custom",
                   "model._target_=user_models.NormMLP"),
    "device by device": ("model=cnn", "model.channels=[2]"),
    "sequences": ("data=markov", "model=gru", "data.context=5"),
    "numbers": ("data=linear_regression", "model=softmax"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_device_learns_as_where_all_are_like_it(tmp_path: Path, name: str) -> None:
    """To rounding, as sums over mini-batches of several sizes are added up with zeros."""
    words = (*ALONE, *MODELS[name])
    mixed = trajectory(prepared(*words, table(tmp_path, ROWS)))
    for device in (0, 1, 3, 4, 5):
        row = ROWS.get(device, {})
        alike = trajectory(prepared(*words, *(f"{KEYS[k]}={v}" for k, v in row.items())))
        np.testing.assert_allclose(mixed[:, device], alike[:, device], rtol=1e-11, atol=1e-11)
        assert not np.array_equal(mixed[0, device], mixed[-1, device])


def test_losses_scores_and_work_are_those_of_the_device(tmp_path: Path) -> None:
    def results(*words: str) -> Any:
        with simulation(prepared(*ALONE, *words)) as running:
            return list(running.engine.advance(2))[-1]

    mixed = results(table(tmp_path, ROWS))
    for device, row in ROWS.items():
        alike = results(*(f"{KEYS[k]}={v}" for k, v in row.items()))
        assert mixed.loss_N[device] == pytest.approx(alike.loss_N[device], abs=1e-12)
        for name in ("scored_N", "score_N", "steps_N"):
            assert getattr(mixed, name)[device] == getattr(alike, name)[device], name
        share = row.get("batch", 8) / 8
        assert mixed.work_N[device] == pytest.approx(alike.work_N[device] * share)


def test_epochs_of_single_devices(tmp_path: Path) -> None:
    words = (*ALONE, "train.local_steps=null", "train.local_epochs=1", "rounds=1")
    mixed = prepared(*words, table(tmp_path, {2: {"local_epochs": 3}, 4: {"batch": 20}}))
    found = mixed.experiment(mixed.arms[0], mixed.arms[0].first).data
    each = found.split.sizes_N
    assert found.local_steps_N.tolist() == [
        int(np.ceil({2: 3}.get(d, 1) * n / {4: 20}.get(d, 8))) for d, n in enumerate(each)
    ]
    alike = trajectory(prepared(*words, "train.local_epochs=3"))
    np.testing.assert_allclose(trajectory(mixed)[:, 2], alike[:, 2], rtol=0, atol=1e-11)


def test_an_empty_row_changes_no_bit(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("device,local_steps\n3,\n")
    same = trajectory(prepared(*ALONE, f"train.devices={tmp_path / 't.csv'}"))
    assert np.array_equal(same, trajectory(prepared(*ALONE)))


def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path) -> None:
    words = (
        "devices=6",
        "topology=ring",
        "engine.block=1",
        table(tmp_path, ROWS),
        "optimizer=adam",
    )
    require_same_bits(tmp_path, *words, "optimizer.lr=0.01", rounds=3, cut=1)


def test_the_arms_of_a_comparison(tmp_path: Path) -> None:
    """The one device of the centralised arm has no row; it meets as many samples a round."""
    words = ("devices=6", "topology=ring", "scenario.arms=[swarm,isolated,centralised]", "rounds=1")
    summary = run(tmp_path / "run", *words, "train.batch=8", table(tmp_path, {0: {"batch": 40}}))
    assert summary["arms"]["centralised"]["diverged"] is None
    ready = prepared(*words, "train.batch=8", table(tmp_path, {0: {"batch": 40}}))
    central = next(arm for arm in ready.arms if arm.pooled)
    train = central.variants[0].train
    assert train.local_steps is not None
    assert train.batch * train.local_steps == pytest.approx(2 * (40 + 5 * 8), rel=0.1)
    assert ready.experiment(central, central.first).data.table is None


def test_rows_are_found_by_names(tmp_path: Path) -> None:
    rows = [f"{i % 7}.5,{i % 2},{['ann', 'bob', 'cyd'][i % 3]}" for i in range(90)]
    (tmp_path / "t.csv").write_text("\n".join(["a,label,who", *rows]))
    words = (
        "data=table", f"data.path={tmp_path / 't.csv'}", "data.label=label", "data.device=who",
        "partition=natural", "devices=3", "topology=ring",
    )  # fmt: skip
    e = experiment(*words, table(tmp_path, {"bob": {"local_steps": 5}}))
    names = e.data.split.names
    assert names is not None
    assert e.data.local_steps_N[names.index("bob")] == 5
    with pytest.raises(
        ConfigError, match=r"line 2 names the device 'bo', which is not there; .*bob"
    ):
        prepared(*words, table(tmp_path, {"bo": {"local_steps": 5}}))


def test_another_table_is_no_way_to_go_on(tmp_path: Path) -> None:
    words = ("devices=6", "topology=ring", "schedule.rounds=4", "rounds=2")
    run(tmp_path / "run", *words, table(tmp_path, ROWS))
    table(tmp_path, {0: {"lr": 3.0}})
    with pytest.raises(
        ConfigError, match=r"train.devices=.*devices.csv: is another file than the one"
    ):
        swarm.resume(tmp_path / "run", {"rounds": 4})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("device,lr\n9,0.1\n", "line 2 names the device '9', which is not there; valid: 0 to 5"),
        ("device,lr\n1,0.1\n\n1,0.2\n", "line 4 names the device 1, as line 2 does"),
        ("device,lr\n1,fast\n", "line 2 has lr=fast; it must be a number above 0, or empty"),
        ("device,lr\n1,-0.1\n", "line 2 has lr=-0.1; it must be a number above 0"),
        ("device,lr\n1,nan\n", "line 2 has lr=nan; it must be"),
        ("device,lr\n1,inf\n", "line 2 has lr=inf; it must be"),
        ("device,batch\n1,2.5\n", "line 2 has batch=2.5; it must be a whole number from 1 to"),
        ("device,batch\n1,0\n", "line 2 has batch=0; it must be"),
        ("device,batch\n1,2,3\n", "line 2 has 3 cells, and the heading 2"),
        ("device,bach\n1,2\n", r"has a column 'bach'; valid: device, lr, .*did you mean batch"),
        ("device,lr,lr\n1,2,3\n", "has the column lr twice"),
        ("device\n1\n", "needs a first line with a column device and at least one of lr, batch"),
        ("lr\n1\n", "needs a first line with a column device"),
        ("", "needs a first line with a column device"),
        ("device,lr\n", "has no row with a device"),
        ("device,local_steps,local_epochs\n1,1,1\n", "of which only one can be"),
        ('device,lr\n1,"0.1\n', "is no table of separated values"),
        ("device,lr\n\xff,1\n", "is no text in UTF-8"),
        (None, "train.devices=.*t.csv: "),
    ],
)
def test_faulty_tables_are_refused_by_line(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "t.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=said) as error:
        prepared("devices=6", "topology=ring", f"train.devices={tmp_path / 't.csv'}")
    assert error.value.key == "train.devices"


@pytest.mark.parametrize(
    ("words", "row", "said"),
    [
        (
            ("protocol=scaffold", "topology=none"),
            {"lr": 0.1},
            "no column lr with protocol=scaffold",
        ),
        (("protocol=quasi_global",), {"lr": 0.1}, "no column lr with protocol=quasi_global"),
        (("update=online", "train.batch=2"), {"batch": 4}, "no column batch with update=online"),
        (
            ("update=online", "train.batch=2"),
            {"local_epochs": 4},
            "no column local_epochs with update=online",
        ),
        (("compute.compile=true",), {"lr": 1}, "no column lr with compute.compile=true"),
    ],
)
def test_what_cannot_follow_a_table_is_refused(
    tmp_path: Path, words: tuple[str, ...], row: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared("devices=6", "topology=ring", *words, table(tmp_path, {1: row}))


def test_steps_of_a_stream(tmp_path: Path) -> None:
    words = ("devices=6", "topology=ring", "update=online", "partition=iid", "train.batch=2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixed = trajectory(
            prepared(*words, "protocol=none", table(tmp_path, {1: {"local_steps": 3}}))
        )
        alike = trajectory(prepared(*words, "protocol=none", "train.local_steps=3"))
    torch.testing.assert_close(mixed[:, 1], alike[:, 1], rtol=0, atol=1e-6)
