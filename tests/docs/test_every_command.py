"""Every command and every block of Python of README and docs/ runs as it is written.

Each page is followed in a folder of its own, from its first block to its last. What "runs" means:

- A command with plug-ins of the reader's own, one whose run folder is named, since a later line
  or a check below reads it, and each first command of a page of its kind
  (a run of a scenario, a sweep, an experiment) runs whole, with ``SWARM_OVERRIDES`` that make it
  small, and leaves its folder. ``resume=``, ``report``, ``doctor`` and ``--help`` do all they do.
- A later command of the same kind is checked whole: its words are composed, its data read, its arms
  built and checked, each combination of a sweep composed and its folder decided. Every refusal
  happens there. A run then makes its first arm; a sweep or a claim ends there.
- Commands with ``engine=ray`` and ``engine=live`` run in actors of their own on one Ray that the
  first of them starts; the one with ``engine.address=auto`` finds it by its address and its token.
- A block of Python runs whole; its ``swarm.run`` gets small settings.
- What a test cannot run is in the table of :mod:`tests.docs.elsewhere`, with the reason and what is
  checked of it: its words are composed, or the program that it starts takes them.
- A command in a block ``bash fails`` is refused, with the sentence that the page shows.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import networkx
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import swarm
from swarm.cli.main import main
from tests.docs.after import after_results, after_sequences
from tests.docs.elsewhere import ELSEWHERE, elsewhere
from tests.docs.one_ray import OneRay
from tests.docs.pages import PAGES, ROOT, blocks
from tests.docs.reader import Reader, kind, lines

LANGUAGES = {"bash", "console", "csv", "python", "text", "yaml"}
PROGRAM = re.compile(r"^\s*(\$ )?(python3? \S|run-swarm |make |pip |ray |wandb )", re.MULTILINE)
ROUND = ("devices=12", "rounds=2", "optimizer.lr=0.1", "tracker=none", "report=false")


def has_code(page: Path) -> bool:
    return any(block.language in ("bash", "python", "console") for block in blocks(page))


# those with a Ray beside each other, so that one worker of the suite starts one
FOLLOWED = sorted(
    (page for page in PAGES if has_code(page)),
    key=lambda page: "engine=ray" not in page.read_text(),
)


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
        for file, shape in (("images-idx3", (count, 2, 2)), ("labels-idx1", (count,))):
            head = np.array([0x0800 + len(shape), *shape], ">i4").tobytes()
            body = (np.arange(np.prod(shape)) % 10).astype(np.uint8).tobytes()
            (home / "fashion_mnist" / f"{part}-{file}-ubyte").write_bytes(head + body)
    return home


@pytest.fixture(scope="module")
def ray() -> Iterator[OneRay]:
    """The Ray of all commands with ``engine=ray`` or ``engine=live``."""
    one = OneRay()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("swarm.simulation.engine.ray.engine.Cluster", one)
        yield one
        one.end()


def brought(page: str, finished: Path) -> None:
    """Put into the current folder what a page's reader has already: runs, and files of her own."""
    for name in ("first", "other", "2026-01-02/03-04-05"):
        shutil.copytree(finished, Path("outputs", name))
    BROUGHT.get(page, lambda: None)()


def start() -> None:
    torch.save(swarm.load("outputs/first").state_dict("swarm", 7), "start.pt")


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


def clients() -> None:
    h5py = pytest.importorskip("h5py")
    Path("shakespeare").mkdir()
    for part, count in (("train", 100), ("test", 4)):
        with h5py.File(f"shakespeare/shakespeare_{part}.h5", "w") as root:
            for i in range(30):
                root[f"examples/ROLE_{i}/snippets"] = [f"Speak, I am bound to hear, {i}."] * count


def graphs() -> None:
    edges = networkx.karate_club_graph().edges
    pd.DataFrame(edges, columns=["source", "target"]).to_csv("graph.csv", index=False)
    draw = np.random.default_rng(0)
    met = {"time": np.arange(200), "a": draw.integers(0, 25, 200), "b": draw.integers(25, 50, 200)}
    pd.DataFrame(met).to_csv("met.csv", index=False)


def clone() -> None:
    """A repository of nobody's, with the environment and the file that pre-commit reads."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    subprocess.run(["git", "init", "--quiet"], env=own, timeout=60, check=True)
    shutil.copy(ROOT / ".pre-commit-config.yaml", ".")
    Path(".venv").symlink_to(sys.prefix)


BROUGHT: dict[str, Callable[[], None]] = {
    "CONTRIBUTING.md": clone,
    "README.md": lambda: shutil.rmtree("outputs/first"),
    "docs/models.md": start,
    "docs/data.md": lambda: (people(), photos(), clients()),
    "docs/topologies.md": graphs,
}


@pytest.fixture
def _forget_plug_ins(tmp_path: Path) -> Iterator[None]:
    """A page's plug-ins leave their names to those of other tests."""
    yield
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.mark.usefixtures("_forget_plug_ins")
@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_works_as_written(
    page: Path,
    finished: Path,
    fetched: Path,
    ray: OneRay,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWARM_DATA", str(fetched))
    name = str(page.relative_to(ROOT))
    brought(name, finished)
    Reader(monkeypatch, ray=ray).follow(name)
    AFTER.get(name, lambda: None)()


def after_the_tutorial() -> None:
    """The figures that the page shows, and what it says of them."""
    ring, relaxed, complete = (
        swarm.load(Path("outputs", name)).final("swarm") for name in ("ring", "relaxed", "complete")
    )
    weakest = swarm.load("outputs/weakest")
    finals = [weakest.final(arm)["weakest_class_mean"] for arm in weakest.arms]
    assert [round(value, 1) for value in finals] == [0.4, 0.0, 0.9, 0.8]
    assert ring["accuracy_mean"] < relaxed["accuracy_mean"] < complete["accuracy_mean"]
    assert relaxed["consensus_distance"] < ring["consensus_distance"]
    assert relaxed["bytes_total"] == ring["bytes_total"] < complete["bytes_total"] / 14


def after_plug_ins() -> None:
    """Each plug-in of the page took part in its run."""
    first = json.loads(Path("first/summary.json").read_text())
    assert first["rounds"] == 6
    assert list(first["arms"]) == ["swarm"]
    assert first["topology"]["edges"] == 2 * 45 + 2  # two complete halves of 10 and two bridges
    third = json.loads(Path("third/summary.json").read_text())["arms"]["swarm"]
    assert third["accuracy_mean"] <= third["top_two_mean"] <= 1
    fifth = json.loads(Path("fifth/summary.json").read_text())
    assert fifth["saved"] > 0
    page = Path("fifth/report.html").read_text()
    assert fifth["headline"] in page
    for tile in ("gap closed", "bytes saved"):
        assert f'<div class="key">{tile}</div>' in page
    errors = json.loads(Path("eleventh/summary.json").read_text())["arms"]["swarm"]
    assert errors["absolute_error_mean"] == pytest.approx(errors["loss_mean"], rel=1e-5)
    told = [json.loads(line) for line in Path("twelfth/lines.jsonl").read_text().splitlines()]
    assert [one["what"] for one in told] == ["start", *["record"] * 3, "finish", "conclude"]
    assert told[3]["device_accuracy_worst"] == told[3]["accuracy_min"]
    swarm.check_plugin("my_trackers.Lines")
    jobs = [Path(f"sweep/topology.bridges={bridges}/summary.json") for bridges in (1, 8)]
    sweep = [json.loads(job.read_text())["topology"]["edges"] for job in jobs]
    assert sweep == [2 * 45 + 1, 2 * 45 + 8]


def after_prices() -> None:
    """The price that the page computes has the unit of the table: 90,000 for each room."""
    code = "".join(
        block.code for block in blocks("docs/data.md", "python") if "price =" in block.code
    )
    names: dict[str, object] = {}
    exec(code, names)
    assert getattr(names["price"], "shape", None) == (2, 1)


def after_clusters() -> None:
    """Each command of the page ran in actors, and the last one on a Ray that was there."""
    runs = sorted(Path("outputs").glob("*/*/summary.json"), key=lambda file: file.stat().st_mtime)
    ran = [json.loads(run.read_text())["arms"]["swarm"]["engine"] for run in runs[1:]]
    assert [(one["name"], one["address"]) for one in ran] == [
        *[("ray", None)] * 3,
        *[("live", None)] * 3,
        ("ray", "auto"),
    ]
    assert [one["actors"] for one in ran[1:3]] == [2, 8]
    assert len({pid for one in ran for pid in one["pids"]}) == sum(one["actors"] for one in ran)


def after_contributing() -> None:
    assert "pre-commit" in Path(".git/hooks/pre-commit").read_text()


AFTER: dict[str, Callable[[], None]] = {
    "CONTRIBUTING.md": after_contributing,
    "docs/cluster.md": after_clusters,
    "docs/data.md": lambda: (after_prices(), after_sequences()),
    "docs/plugins.md": after_plug_ins,
    "docs/results.md": after_results,
    "docs/tutorial.md": after_the_tutorial,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_block_says_what_it_is_and_hides_no_command(page: Path) -> None:
    found = blocks(page)
    assert page.read_text(encoding="utf-8").count("```") == 2 * len(found)
    assert {block.language for block in found} <= LANGUAGES
    assert [b.code for b in found if b.language == "text" and PROGRAM.search(b.code)] == []


def test_the_table_of_what_is_not_run_has_no_line_too_many() -> None:
    typed = [line for page in PAGES for block in blocks(page, "bash") for line in lines(block.code)]
    used = {entry.pattern for line in typed if (entry := elsewhere(line)) is not None}
    assert [entry.pattern for entry in ELSEWHERE if entry.pattern not in used] == []
    assert len([line for line in typed if elsewhere(line) is None]) > 2 / 3 * len(typed)


def test_a_command_that_is_refused_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\npython run_swarm.py engine=ray devices=1000\n```\n")
    with pytest.raises(AssertionError):
        Reader(monkeypatch).follow(page)
    page.write_text("```bash\nrun-swarm topology=torus \\\n  devices=13  # a comment\n```\n")
    with pytest.raises(AssertionError, match="12 or 15 would do"):
        Reader(monkeypatch).follow(page)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("run-swarm topology=torus devices=13", "12 or 15 would do"),
        ("run-swarm -m topology=ring,torus devices=13", "in the job topology=torus"),
        ("run-swarm data=table data.path=none.csv data.label=y", "none.csv"),
    ],
)
def test_a_later_command_of_a_kind_is_refused_all_the_same(
    line: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    reader = Reader(monkeypatch)
    reader.kinds = {"run of compare", "sweep of compare"}
    assert reader.type(line) != 0
    assert said in reader.err
    assert not list(tmp_path.glob("outputs"))


def test_a_later_command_of_a_kind_makes_its_first_arm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    reader = Reader(monkeypatch)
    reader.kinds = {"run of compare", "sweep of compare"}
    assert reader.type("run-swarm devices=12") == 0
    (folder,) = tmp_path.glob("outputs/*/*")
    assert list(json.loads((folder / "summary.json").read_text())["arms"]) == ["swarm"]
    assert reader.type("run-swarm -m devices=12,13") == 0
    assert not list(tmp_path.glob("multirun"))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("run-swarm topology=ring", "run of compare"),
        ("python run_swarm.py -m scenario=consensus seed=0,1", "sweep of consensus"),
        ("python run_swarm.py +experiment=digits_topologies", "experiment of compare"),
        ("run-swarm 'plugins=[my.py]' topology=mine", None),
        ("run-swarm hydra.run.dir=outputs/a", None),
        ("python run_swarm.py resume=outputs/a", None),
        ("python run_swarm.py report outputs/a", None),
        ("python read.py", None),
    ],
)
def test_what_nothing_stands_for_runs_whole(line: str, found: str | None) -> None:
    assert kind(line) == found
