"""Whatever happens to the files of a run folder: refused with one sentence, or resumed to the same
bits.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

import swarm
from swarm.cli.main import main
from swarm.common.errors import ConfigError, SwarmError
from swarm.config.schema import sealed
from swarm.results.report import load_partial, page
from tests.support import logged, run

TINY = ("devices=4", "topology=ring", "rounds=4", "checkpoint.every=2", "evaluate.every=2", "model.hidden=[2]",
        "engine.block=2", "scenario.arms=[swarm,isolated]", "optimizer=momentum", "optimizer.lr=0.05")  # fmt: skip
FLIPS = 96


def _outcome(folder: Path) -> tuple[Any, Any]:
    arms = json.loads((folder / "summary.json").read_text())["arms"]
    # an arm may have run again
    records = sorted(logged(folder), key=lambda record: (record["arm"], record["round"]))
    return {name: arm["params_sha256"] for name, arm in arms.items()}, records


def _interrupt(folder: Path) -> None:
    """As killed in the second arm, after its checkpoint of round 2."""
    for name in ("summary.json", "devices.parquet"):
        (folder / name).unlink()
    progress = json.loads((folder / "progress.json").read_text())
    del progress["arms"]["isolated"], progress["seal"]
    (folder / "progress.json").write_text(json.dumps(sealed(progress), indent=2))
    for file in (folder / "checkpoints" / "isolated").glob("*_000000004.*"):
        file.unlink()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(folder, *TINY)
    return folder


@pytest.fixture
def cut(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "run")
    _interrupt(tmp_path / "run")
    return tmp_path / "run"


def test_an_undamaged_one_goes_on(cut: Path, whole: Path) -> None:
    swarm.resume(cut, {})
    assert _outcome(cut) == _outcome(whole)


def test_no_flipped_bit_passes_with_other_results(cut: Path, whole: Path, tmp_path: Path) -> None:
    """Single bits of everything that a resume reads: refused in one sentence, or without
    consequence.
    """
    draw = random.Random(0)
    names = (
        "**/*.json",
        "**/*.safetensors",
        "**/devices_*.parquet",
        "metrics.jsonl",
        "config.yaml",
    )
    files = sorted(file for name in names for file in cut.glob(name) if file.name != "graph.json")
    assert len(files) > 8
    expected, refused, counted = _outcome(whole), 0, 0
    for number in range(FLIPS):
        file = files[number % len(files)]
        damaged = tmp_path / "damaged"
        shutil.copytree(cut, damaged)
        target = damaged / file.relative_to(cut)
        raw = bytearray(target.read_bytes())
        place, bit = draw.randrange(len(raw)), draw.randrange(8)
        raw[place] ^= 1 << bit
        target.write_bytes(raw)
        try:
            swarm.resume(damaged, {})
        except SwarmError as error:
            refused += "\n" not in str(error)
            counted += 1
        else:
            assert _outcome(damaged) == expected, (file.name, place, bit)
        shutil.rmtree(damaged)
    assert refused == counted > FLIPS / 3


# --- edited by hand -------------------------------------------------------------------------------


def _edit(folder: Path, **sections: Any) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for key, value in sections.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


EDITS = [
    ({"seed": 1}, "seed=1, and the run was made with seed=0"),
    (
        {"train": {"local_steps": 3}},
        "train.local_steps=3, and the run was made with train.local_steps=2",
    ),
    ({"optimizer": {"lr": 0.1}}, "optimizer.lr=0.1, and the run was made with optimizer.lr=0.05"),
    ({"rounds": 9}, "rounds=9, and the run was made with rounds=4"),
    ({"engine": {"block": 1}}, "engine.block=1, and the run was made with engine.block=2"),
]


@pytest.mark.parametrize(("edit", "said"), EDITS)
@pytest.mark.parametrize("finished", [False, True])
def test_an_edited_config_is_refused_by_key(
    cut: Path, whole: Path, tmp_path: Path, edit: dict[str, Any], said: str, finished: bool
) -> None:
    folder = cut
    if finished:
        shutil.copytree(whole, folder := tmp_path / "finished")
    _edit(folder, **edit)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(ConfigError, match=r"config\.yaml: was edited") as caught:
        swarm.resume(folder, {"rounds": 12} if finished else {})
    assert said in str(caught.value)
    assert {
        file: file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != ".lock"
    } == {file: data for file, data in before.items() if file.name != ".lock"}


def test_an_edit_is_noticed_before_the_first_checkpoint(cut: Path) -> None:
    shutil.rmtree(cut / "checkpoints")
    _edit(cut, seed=7)
    with pytest.raises(ConfigError, match="seed=7, and the run was made with seed=0"):
        swarm.resume(cut, {})


def test_what_changes_no_number_may_be_edited(cut: Path, whole: Path) -> None:
    _edit(cut, checkpoint={"every": 1, "keep": 5}, engine={"shards": 2})
    swarm.resume(cut, {})
    assert _outcome(cut) == _outcome(whole)


# --- what is damaged, and from where a run can go on ----------------------------------------------


@pytest.mark.parametrize(
    "name", ["round_000000004.safetensors", "round_000000004.json", "devices_000000004.parquet"]
)
def test_a_damaged_checkpoint_says_from_where_to_go_on(cut: Path, whole: Path, name: str) -> None:
    place = cut / "checkpoints" / "swarm"
    raw = bytearray((place / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (place / name).write_bytes(raw)
    with pytest.raises(ConfigError, match=name) as caught:
        swarm.resume(cut, {})
    assert f"remove round_000000004.json from {place}, and resume goes on from round 2" in str(
        caught.value
    )
    (place / "round_000000004.json").unlink()
    swarm.resume(cut, {})
    assert _outcome(cut) == _outcome(whole)


def test_results_of_devices_that_were_rewritten_are_refused(cut: Path) -> None:
    """The file is in order, and only its hash tells that a number in it was changed."""
    part = cut / "checkpoints" / "swarm" / "devices_000000004.parquet"
    table = pq.read_table(part)
    at = table.column_names.index("accuracy")
    changed = pc.subtract(1.0, table["accuracy"])
    pq.write_table(table.set_column(at, "accuracy", changed), part)
    with pytest.raises(ConfigError, match=r"devices_000000004\.parquet: is damaged: its SHA-256"):
        swarm.resume(cut, {})


def test_without_an_older_one_the_arm_runs_again(cut: Path, whole: Path) -> None:
    place = cut / "checkpoints" / "isolated"
    (place / "devices_000000002.parquet").write_bytes(b"PAR1")
    with pytest.raises(
        ConfigError, match=r"devices_000000002\.parquet: .* remove the folder .*isolated"
    ):
        swarm.resume(cut, {})
    shutil.rmtree(place)
    swarm.resume(cut, {})
    hashes, records = _outcome(cut)
    assert hashes == _outcome(whole)[0]
    assert records == _outcome(whole)[1]


def test_progress_can_be_made_again_unless_something_else_is_chosen(cut: Path, whole: Path) -> None:
    (cut / "progress.json").write_text("{")
    with pytest.raises(ConfigError, match=r"progress\.json: damaged; .* remove it"):
        swarm.resume(cut, {})
    (cut / "progress.json").write_text(
        json.dumps({"tuning": {"swarm": {"lr": 0.3, "variant": 0, "tried": []}}, "arms": {}})
    )
    with pytest.raises(
        ConfigError, match=r"made with optimizer\.lr=0\.05 .* has chosen optimizer\.lr=0\.3"
    ):
        swarm.resume(cut, {})
    (cut / "progress.json").unlink()
    swarm.resume(cut, {})
    assert _outcome(cut) == _outcome(whole)


def test_an_arm_that_diverged_keeps_its_records(tmp_path: Path) -> None:
    """It is not run again, so nothing would write them again."""
    folder = tmp_path / "run"
    run(folder, *TINY, "optimizer=sgd", "optimizer.lr=1.0e+18", "checkpoint.every=0")
    before = logged(folder)
    assert json.loads((folder / "summary.json").read_text())["arms"]["swarm"]["diverged"]
    (folder / "summary.json").unlink()
    swarm.resume(folder, {})
    assert logged(folder) == before


def test_an_altered_record_is_noticed(cut: Path) -> None:
    text = (cut / "metrics.jsonl").read_text()
    (cut / "metrics.jsonl").write_text(text.replace('"messages": 8', '"messages": 9', 1))
    assert (cut / "metrics.jsonl").read_text() != text
    with pytest.raises(
        ConfigError, match=r"metrics\.jsonl: is damaged: up to round 4 the lines of the arm swarm"
    ):
        swarm.resume(cut, {})


def test_a_line_that_will_be_played_again_need_not_be_whole(cut: Path, whole: Path) -> None:
    lines = (cut / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (cut / "metrics.jsonl").write_bytes(b"".join([*lines[:-1], b"\0" * 20 + b"\n"]))
    swarm.resume(cut, {})
    assert _outcome(cut) == _outcome(whole)


def test_a_checkpoint_of_the_format_before_goes_on(cut: Path, whole: Path) -> None:
    for file in cut.glob("checkpoints/*/*.json"):
        manifest = json.loads(file.read_text())
        facts = {
            k: v for k, v in manifest["facts"].items() if k not in ("settings", "records", "parts")
        }
        file.write_text(
            json.dumps(
                {**{k: v for k, v in manifest.items() if k != "seal"}, "format": 3, "facts": facts}
            )
        )
    progress = json.loads((cut / "progress.json").read_text())
    (cut / "progress.json").write_text(
        json.dumps({key: progress[key] for key in ("tuning", "arms")})
    )
    swarm.resume(cut, {})
    assert _outcome(cut) == _outcome(whole)


# --- the summary of a finished run ----------------------------------------------------------------


@pytest.fixture
def done(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "done")


def _other_figure(file: Path) -> None:
    """Still well-formed, and of another result."""
    summary = json.loads(file.read_text())
    summary["arms"]["swarm"]["accuracy_mean"] = 0.999
    file.write_text(json.dumps(summary))


@pytest.mark.parametrize(
    "damage", [_other_figure, lambda file: file.write_text("{")], ids=["changed", "damaged"]
)
@pytest.mark.parametrize("lacks", [None, "report.html"])
def test_a_summary_that_is_not_as_written_is_refused_and_made_again(
    done: Path,
    whole: Path,
    damage: Callable[[Path], None],
    lacks: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(done / "summary.json")
    if lacks is not None:
        (done / lacks).unlink(missing_ok=True)
        _edit(done, report=True)
    with pytest.raises(ConfigError, match=r"summary\.json: ") as caught:
        swarm.resume(done, {})
    assert str(caught.value).endswith(
        f"; remove it, and resume={done} makes it again from the checkpoints and the runs that are"
        " there"
    )
    assert capsys.readouterr().out == ""  # nor is it said to be finished
    with pytest.raises(ConfigError, match=r"summary\.json"):
        swarm.load(done)
    (done / "summary.json").unlink()
    swarm.resume(done, {})
    assert _outcome(done) == _outcome(whole)
    assert "seal" not in (swarm.load(done).summary or {})


def test_a_summary_of_an_earlier_version_has_no_seal(done: Path) -> None:
    summary = json.loads((done / "summary.json").read_text())
    del summary["seal"]
    (done / "summary.json").write_text(json.dumps({**summary, "schema": 1}))
    assert swarm.resume(done, {}).summary["arms"] == summary["arms"]
    (done / "summary.json").write_text(json.dumps(summary))  # its seal was taken out
    with pytest.raises(ConfigError, match="seal"):
        swarm.load(done)


# --- each file, damaged in each way ---------------------------------------------------------------

FILES = ["config.yaml", "metrics.jsonl", "progress.json", "graph.json", "summary.json", "devices.parquet",
         "checkpoints/swarm/round_000000004.json", "checkpoints/swarm/round_000000004.safetensors",
         "checkpoints/isolated/devices_000000002.parquet"]  # fmt: skip


def _content(data: bytes) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        file.write_bytes(data)

    return write


def _wrong_types(file: Path) -> None:
    """Every value of the file, of another type."""
    if file.suffix == ".json":
        values = {key: [3] for key in json.loads(file.read_text())}
        file.write_text(json.dumps(values))
    elif file.suffix == ".yaml":
        file.write_text(yaml.safe_dump({key: [3] for key in yaml.safe_load(file.read_text())}))
    else:
        file.write_bytes(b'{"arm": 3, "round": "x", "lr": []}\n')


def _missing_keys(file: Path) -> None:
    if file.suffix in (".json", ".yaml"):
        values = yaml.safe_load(file.read_text())
        file.write_text(json.dumps(dict([*values.items()][1::2])))
    else:
        file.write_bytes(b'{"round": 1}\n')


def _folder(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": _content(b""), "null": _content(b"null"), "list": _content(b"[1, 2]\n"), "number": _content(b"3\n"),
    "torn": lambda file: file.write_bytes(file.read_bytes()[: len(file.read_bytes()) // 2]) and None,
    "deep": _content(b"[" * 20_000), "deep mappings": _content(b'{"a":' * 20_000), "text": _content(b"\xff\xfe\x00nonsense\n"),
    "nan": _content(b'{"arm": "swarm", "round": 0, "n": NaN, "edges": [], "devices": Infinity}\n'),
    "huge": _content(b'{"arm": "swarm", "round": ' + b"9" * 400 + b', "n": 1e999}\n'),
    "wrong types": _wrong_types, "missing keys": _missing_keys, "folder": _folder, "gone": lambda file: file.unlink(),
    "dangling": lambda file: (file.unlink(), file.symlink_to("nowhere"))[1],
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_chaos_ends_without_a_traceback(
    cut: Path, whole: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = cut / name
    if not file.exists():
        shutil.copyfile(whole / name, file)
    DAMAGES[damage](file)
    shown = load_partial(cut)  # whatever is damaged, the rest is shown
    assert page(shown)
    plain = damage in ("list", "number", "text", "wrong types", "folder")
    if plain and "checkpoints" not in name and name != "progress.json":
        assert any(name in note for note in shown.notes), shown.notes
    code = main([f"resume={cut}"])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.count("error:") == (code != 0)
    if code == 0 and (cut / "summary.json").is_file() and name != "summary.json":
        assert _outcome(cut)[0] == _outcome(whole)[0]


STRAY = ["checkpoints/swarm/devices_x.parquet", "checkpoints/swarm/round_1.json", "checkpoints/swarm/round_00000000x.json",
         "checkpoints/README", "checkpoints/else/notes.txt", "checkpoints/swarm/sub/x", "notes.json", "wandb.json"]  # fmt: skip


def test_stray_files_are_passed_over(cut: Path, whole: Path) -> None:
    for name in STRAY:
        (cut / name).parent.mkdir(exist_ok=True)
        (cut / name).write_text("[" * 100_000)
    swarm.resume(cut, {})
    assert _outcome(cut) == _outcome(whole)
    assert load_partial(cut).notes == ()
