"""Every command and every block of Python of README and docs/ runs as it is written.

Each page is followed in a folder of its own, from its first block to its last. What a test cannot
run is in the table of :mod:`tests.docs.elsewhere`, with the reason.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import networkx
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import swarm
from swarm.cli.main import main
from tests.docs.elsewhere import ELSEWHERE
from tests.docs.pages import PAGES, ROOT, blocks, write_files
from tests.docs.reader import Reader, lines

PROGRAMS = re.compile(r"^\s*(\$ )?(python |run-swarm |make |pip |ray |wandb )", re.MULTILINE)
ROUND = ("devices=12", "rounds=2", "optimizer.lr=0.1", "tracker=none", "report=false")


def has_code(page: Path) -> bool:
    return any(block.language in ("bash", "python", "console") for block in blocks(page))


FOLLOWED = [page for page in PAGES if has_code(page)]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is over, which stands for any that a page takes for granted."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main([*ROUND, f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of fetched data, with a few rows of each set that a page uses."""
    home, draw = tmp_path_factory.mktemp("fetched"), np.random.default_rng(0)
    for name in ("shakespeare", "fashion_mnist"):
        (home / name).mkdir()
    text = ["".join(draw.choice(list("to be or not"), 2400)) for _ in range(20)]
    plays = pd.DataFrame({"owner": [f"play/{i}" for i in range(20)], "text": text})
    plays.to_parquet(home / "shakespeare" / "text.parquet")
    for part, count in (("train", 12000), ("t10k", 100)):
        for kind, shape in (("images-idx3", (count, 2, 2)), ("labels-idx1", (count,))):
            head = np.array([0x0800 + len(shape), *shape], ">i4").tobytes()
            body = (np.arange(np.prod(shape)) % 10).astype(np.uint8).tobytes()
            (home / "fashion_mnist" / f"{part}-{kind}-ubyte").write_bytes(head + body)
    return home


def brought(page: str, finished: Path) -> None:
    """Put into the current folder what a page's reader has already: runs, and files of her own."""
    for name in ("first", "other", "2026-01-02/03-04-05"):
        shutil.copytree(finished, Path("outputs", name))
    BROUGHT.get(page, lambda: None)()


def people() -> None:
    (block,) = [block for block in blocks("README.md", "python") if "people.csv" in block.code]
    exec(block.code, {})


def photos() -> None:
    draw = np.random.default_rng(0)
    for label in ("cat", "dog"):
        Path("photos", label).mkdir(parents=True)
        for i in range(150):
            pixels = draw.integers(0, 255, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(Path("photos", label, f"{i}.png"))


def graphs() -> None:
    edges = networkx.karate_club_graph().edges
    pd.DataFrame(edges, columns=["source", "target"]).to_csv("graph.csv", index=False)
    draw = np.random.default_rng(0)
    met = {"time": np.arange(200), "a": draw.integers(0, 25, 200), "b": draw.integers(25, 50, 200)}
    pd.DataFrame(met).to_csv("met.csv", index=False)


BROUGHT: dict[str, Callable[[], None]] = {
    "README.md": lambda: shutil.rmtree("outputs/first"),
    "docs/data.md": lambda: (people(), photos()),
    "docs/topologies.md": graphs,
}


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_works_as_written(
    page: Path, finished: Path, fetched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWARM_DATA", str(fetched))
    name = str(page.relative_to(ROOT))
    brought(name, finished)
    reader = Reader(monkeypatch)
    reader.follow(name)
    assert reader.ran or reader.checked
