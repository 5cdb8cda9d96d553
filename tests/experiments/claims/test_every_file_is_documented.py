"""docs/results.md lists every file that a run, a sweep and a claim leave, and none that they do
not.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Command

DOCS = Path(__file__).parents[3] / "docs" / "results.md"
RUN = (
    "devices=6",
    "topology=ring",
    "rounds=2",
    "model=softmax",
    "scenario.arms=[swarm]",
    "optimizer.lr=0.1",
    "train.batch=8",
)
# of a judge that failed, of runs that other code made, and of those that start from others' models
SELDOM = {"unjudged.json", "superseded/", "starts/"}


def documented() -> tuple[set[str], set[str]]:
    """The names in the first column of both tables: of a run, and of many."""
    tables = [
        table.split("\n\n")[0] for table in re.split(r"\n\| File \|.*\n", DOCS.read_text())[1:3]
    ]
    columns = [
        [row.split("|")[1] for row in table.splitlines() if row.startswith("| ")]
        for table in tables
    ]
    run, many = (
        {_plain(name) for cell in column for name in re.findall("`(.*?)`", cell)}
        for column in columns
    )
    return run, many


def _plain(name: str) -> str:
    return re.sub(r"\d+", "1", name)


def there(folder: Path) -> set[str]:
    """What lies in a folder, but for folders of runs."""
    found = [place for place in folder.iterdir() if not (place / "config.yaml").exists()]
    return {_plain(f"{place.name}/" if place.is_dir() else place.name) for place in found}


def text_with_tokens() -> tuple[str, ...]:
    """A run on a small text, whose byte pairs are kept with it."""
    rows = [{"owner": i, "text": "a small text of many words, " * 90} for i in range(6)]
    Path("text.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pytest.importorskip("tokenizers")
    text = ("data=text", "data.path=text.jsonl", "partition=natural", "model=gru", "model.width=4")
    return *text, "data.tokens=bpe", "data.vocabulary=270", "data.context=4"


def test_every_file_of_a_folder_is_in_its_table(judged: Path, command: Command) -> None:
    words = {
        "wandb": (*RUN, "tracker=wandb", "hydra.run.dir=wandb"),
        "tensorboard": (*RUN, "tracker=tensorboard", "hydra.run.dir=tensorboard"),
        "ray": (*RUN, "tracker=none", "engine=ray", "engine.actors=2", "hydra.run.dir=ray"),
        "tokens": (*RUN, *text_with_tokens(), "tracker=none", "hydra.run.dir=tokens"),
        "sweep": ("-m", "seed=0,1", *RUN, "tracker=none", "hydra.sweep.dir=sweep"),
    }
    for name, each in words.items():
        done = command(*each)
        assert done.code == 0, (name, done.err)
    runs = [
        Path("wandb"),
        Path("tensorboard"),
        Path("ray"),
        Path("tokens"),
        *Path("sweep").glob("seed=*"),
        *judged.glob("runs/*"),
    ]
    of_run, of_many = documented()
    assert set().union(*map(there, runs)) == of_run
    many = there(Path("sweep")) | there(judged)
    assert many - of_run == of_many - SELDOM
    assert of_many >= SELDOM
    assert not of_run & of_many


@pytest.mark.parametrize("name", ["buffers.safetensors", "round_", "NAME.tmp"])
def test_what_lies_deeper_is_mentioned(name: str) -> None:
    assert name in DOCS.read_text()
