"""What a scenario says of its arms and numbers arrives on every surface, whatever they are called;
and folders of before scenarios said so have the same roles.
"""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from rich.console import Console

import swarm
from swarm.common.errors import ConfigError
from swarm.experiments.sweep import picture, tables
from swarm.experiments.sweep.gather import SweepResults, gather
from swarm.experiments.sweep.job import Job
from swarm.results.load import load
from swarm.results.presentation import ArmStyle, Presentation, SummaryEntry, stored
from swarm.results.report import page
from swarm.results.report.compare import Comparison
from swarm.results.report.curves import _by_round
from swarm.results.report.style import colours, dashes
from swarm.results.track import print_summary
from swarm.results.track.units import human_entry
from tests.results.track.test_track_tensorboard import scalars
from tests.support import prepared, run

OWN = Path(__file__).with_name("own_scenario.py")
OLD_RUN = Path(__file__).parents[1] / "config" / "run_of_before_the_house"
LEAD, LOWER, UPPER = "#0072b2", "#d55e00", "#222222"
SMALL = ("rounds=3", "report=true", "optimizer.lr=0.3", f"plugins=[{OWN}]")


def village(folder: Path, *words: str, name: str = "Village", **options: str) -> Path:
    """A run of a scenario of ``own_scenario.py``."""
    run(folder, *SMALL, *words, scenario={"_target_": f"own_scenario.{name}", **options})
    return folder


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of a scenario of a user's own; the first has a tracker where there is one."""
    there = importlib.util.find_spec("tensorboardX") is not None
    folder = tmp_path_factory.mktemp("villages")
    tracked = ("tracker=tensorboard",) if there else ()
    return [village(folder / "0", *tracked), village(folder / "1", "seed=1", "report=false")]


def summary_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text()))


def test_the_page_has_its_tiles_its_colours_and_its_gap(mine: list[Path]) -> None:
    summary, text = summary_of(mine[0]), (mine[0] / "report.html").read_text()
    share = f"{100 * summary['gap_closed']:.1f}%"
    hero = f'<div class="tile hero"><div class="key">gap closed</div><div class="value">{share}'
    assert hero in text
    assert "of the hermits-to-library gap" in text
    assert '<div class="key">way walked</div><div class="value">1.50 km</div>' in text
    assert "neighbours: accuracy" in text
    assert "the gap between hermits and library is shaded" in text
    assert f"The neighbours closed {share} of the gap between hermits (" in text
    assert "secret" not in text
    read = load(mine[0])
    assert read.lead == "neighbours"
    light = {arm: pair[0] for arm, pair in colours(read).items()}
    assert light == {
        "hermits": LOWER,
        "travellers": "#123456",
        "neighbours": LEAD,
        "library": UPPER,
    }
    assert [dashes(arm, read) for arm in read.arms] == ["solid", "dotted", "solid", "dashed"]
    assert f".arm{read.arms.index('neighbours')}{{--arm:{LEAD}}}" in text


def test_the_leading_arm_stands_out_in_the_picture(mine: list[Path]) -> None:
    axes, read = Figure().subplots(), load(mine[0])
    assert read.main is not None
    _by_round(axes, read, read.main)
    widest = max(axes.lines, key=lambda line: line.get_linewidth())
    assert str(widest.get_label()).startswith("neighbours")
    assert to_hex(widest.get_color()) == LEAD


@pytest.mark.skipif(importlib.util.find_spec("tensorboardX") is None, reason="needs tensorboardX")
def test_a_tracker_gets_the_numbers_that_are_for_it_at_the_leading_arm(mine: list[Path]) -> None:
    home = mine[0] / "tensorboard"
    share = summary_of(mine[0])["gap_closed"]
    assert scalars(home / "neighbours", "gap_closed") == {3: pytest.approx(share, rel=1e-6)}
    assert scalars(home / "neighbours", "walk") == {}
    assert scalars(home / "hermits", "gap_closed") == {}


def test_a_comparison_has_a_column_for_each_number(mine: list[Path]) -> None:
    both, file = Comparison.of(mine), io.StringIO()
    both.print(Console(file=file, width=120))
    heads = " ".join(file.getvalue().split())
    shares = [summary_of(folder)["gap_closed"] for folder in mine]
    for share in shares:
        assert f"{100 * share:.1f}%" in heads
    assert "walked" in heads
    assert "1.50 km" in heads
    rows = both.rows()
    assert rows.dropna(subset="gap_closed")["arm"].tolist() == ["neighbours"] * 2
    assert "secret" not in rows
    text = page(both.merged())
    assert "<th>gap closed</th>" in text
    assert "<th>way walked</th>" in text
    assert f"<td>{100 * shares[0]:.1f}%</td>" in text


def swept(folders: list[Path]) -> SweepResults:
    jobs = [
        Job(str(seed), {"seed": str(seed)}, folder, state="finished")
        for seed, folder in enumerate(folders)
    ]
    found = gather(jobs)
    assert found is not None, [job.cause for job in jobs]
    return found


def test_a_sweep_has_a_column_for_each_number(mine: list[Path]) -> None:
    found = swept(mine)
    assert found.lead == "neighbours"
    assert found.table["arm"][found.table["gap_closed"].notna()].tolist() == ["neighbours"]
    assert found.table["secret"].notna().any(), "table.csv has every number"
    for full in (True, False):
        heads, rows = tables.cells(found, full)
        assert {"gap closed", "way walked, km"} <= {*heads}
        assert "secret" not in heads
        (lead,) = (row for row in rows if "neighbours" in row)
        assert lead[heads.index("way walked, km")] == "1.50 ± 0.00"
        assert lead[heads.index("gap closed")].endswith("%")


def test_the_controls_of_a_sweep_have_their_muted_colours(mine: list[Path]) -> None:
    [legend] = picture.figure(swept(mine), "", "").legends
    names = (text.get_text() for text in legend.get_texts())
    shown = dict(zip(names, legend.get_lines(), strict=True))
    assert to_hex(shown["hermits"].get_color()) == "#999999"
    assert to_hex(shown["library"].get_color()) == "#222222"
    assert to_hex(shown["travellers"].get_color()) == "#777777"


def test_the_terminal_says_the_gap_while_the_run_goes_and_at_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = village(tmp_path / "run", "rounds=2", "report=false")
    shown = " ".join(capsys.readouterr().out.split())
    assert "gap closed so far" in shown
    assert summary_of(folder)["headline"] in shown


def test_a_number_that_is_missing_gives_its_reason(tmp_path: Path) -> None:
    folder = village(tmp_path / "run", "rounds=1", how="none")
    text = (folder / "report.html").read_text()
    tile = '<div class="key">way walked</div><div class="value">–</div><div class="note">nobody'
    assert tile in text


def test_a_scenario_that_says_nothing_of_its_arms_is_shown_all_the_same(tmp_path: Path) -> None:
    folder = village(tmp_path / "run", "rounds=1", name="Bare")
    text = (folder / "report.html").read_text()
    assert '<div class="tile hero"><div class="key">first: accuracy</div>' in text
    assert "gap" not in text.split('<div class="tiles">')[1].split("<table")[0]
    assert colours(load(folder))["first"][0] == LEAD


def test_a_scenario_of_an_earlier_version_has_the_roles_and_the_gap_it_had(tmp_path: Path) -> None:
    folder = village(tmp_path / "run", "rounds=3", name="Unlabelled")
    read, summary = load(folder), summary_of(folder)
    assert read.presentation.arms["centralised"] == ArmStyle("upper")
    assert [entry.key for entry in read.presentation.entries] == ["gap_closed"]
    assert isinstance(summary["gap_closed"], float)
    assert "The swarm closed" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("two leads", r"`role` lead can be that of one arm, and is of"),
        ("no style", r"gives travellers a str as its style; an ArmStyle is needed"),
    ],
)
def test_what_cannot_be_shown_is_refused_before_the_start(how: str, said: str) -> None:
    scenario = {"_target_": "own_scenario.Village", "how": how}
    with pytest.raises(ConfigError, match=said):
        swarm.check({**prepared(*SMALL).settings.model_dump(), "scenario": scenario})


def test_an_entry_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="returns a str as walk; its entries declare a number"):
        village(tmp_path / "run", "rounds=1", "report=false", how="text")


def test_a_report_imports_no_scenario(mine: list[Path]) -> None:
    script = (
        "import sys, swarm; from swarm.results.report import write_report;"
        f"write_report({str(mine[1])!r}); assert 'own_scenario' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=mine[1])
    assert "of the hermits-to-library gap" in (mine[1] / "report.html").read_text()


# --- the file -------------------------------------------------------------------------------------


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    said = Presentation(
        {"a": ArmStyle("lead", ("#000000", "#ffffff"), "#123abc", "dotted"), "b": ArmStyle()},
        (SummaryEntry("x", "an x", "m", "lower", "bytes", 0, "of it", ("page",)),),
    )
    stored.write(tmp_path, said)
    assert stored.read(tmp_path) == said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "must be one JSON mapping"),
        ('{"arms": {"a": {"role": "boss"}}, "entries": []}', "arms.a.role"),
        ('{"arms": {"a": {"colour": ["red;}", "#ffffff"]}}, "entries": []}', "arms.a.colour.0"),
        ('{"arms": {"a": {"wrong": 1}}, "entries": []}', "arms.a.wrong"),
        ('{"arms": {}, "entries": [{"key": "x", "label": "x", "shown": ["wall"]}]}', "shown"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str, said: str) -> None:
    """A colour enters the style sheet of a page, so that nothing but a colour may stand there."""
    shutil.copytree(OLD_RUN, tmp_path / "run")
    (tmp_path / "run" / stored.FILE).write_text(content)
    with pytest.raises(ConfigError, match=r"presentation\.json") as caught:
        load(tmp_path / "run")
    assert said in str(caught.value)


def test_the_lead_is_by_role_then_by_not_being_a_reference() -> None:
    roles = {"a": ArmStyle("lower"), "b": ArmStyle("control"), "c": ArmStyle("lead")}
    said = Presentation(roles)
    assert said.lead(["a", "b", "c"]) == "c"
    assert said.lead(["a", "b", "new"]) == "new"
    assert said.lead(["b", "a"]) == "b"
    assert said.lead([]) == ""


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        ("number", 1.23456, "1.235 m"),
        ("percent", 0.5, "50.000%"),
        ("bytes", 2048, "2 KiB"),
        ("seconds", 75, "1 min 15 s"),
        ("number", None, "–"),
    ],
)
def test_an_entry_is_written_in_its_form(form: Any, value: float | None, text: str) -> None:
    assert human_entry(SummaryEntry("x", "x", unit="m", form=form), value) == text


# --- folders of before ----------------------------------------------------------------------------


def test_a_folder_of_before_has_the_roles_of_its_arms() -> None:
    """It has no presentation.json: what its arms are is told by their names."""
    assert not (OLD_RUN / stored.FILE).exists()
    read = load(OLD_RUN)
    assert read.lead == "swarm"
    assert read.presentation.named("lower") == "isolated"
    assert read.presentation.named("upper") == "centralised"
    fedavg = read.presentation.style("fedavg")
    assert (fedavg.role, fedavg.colour, fedavg.dash) == (
        "control",
        ("#009e73", "#34d3a2"),
        "dashdot",
    )
    assert colours(read)["swarm"][0] == LEAD
    text = page(read)
    assert '<div class="tile hero"><div class="key">gap closed</div>' in text
    assert "Gap closed: not defined (needs the final score of: isolated, centralised)." in text


def test_what_is_said_of_our_arms_today_is_what_their_names_told_before(tmp_path: Path) -> None:
    arms = ["swarm", "isolated", "centralised", "fedavg"]
    ready = prepared(f"scenario.arms=[{','.join(arms)}]")
    before = stored.of_before()
    assert [*ready.presentation.arms] == arms
    assert ready.presentation == before


def test_a_summary_of_before_closes_with_what_it_has() -> None:
    file = io.StringIO()
    summary = {"rate_measured": 0.95, "rho": 0.949, "arms": {"gossip": {}}}
    console = Console(file=file, width=120)
    print_summary(summary, console, presentation=stored.of_before(summary))
    said = "Contraction per round: 0.950000 (measured). ρ: 0.949000 (second-largest |eigenvalue|)."
    assert said in file.getvalue()
