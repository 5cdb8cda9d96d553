"""The page of reproductions: its tables, what it holds runs against, and one theorem in small."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

import swarm
from benchmarks import papers, reproductions
from swarm.common.system import paths
from swarm.learning.optim.schedule import WSD
from tests.docs.pages import ROOT, blocks

PAGE = (ROOT / "docs/reproductions.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", reproductions.COMMANDS)
def test_each_has_a_table_a_picture_and_its_commands(name: str) -> None:
    table = PAGE.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0]
    verdicts = re.findall(r"\| (?:\*\*)?((?:not )?reproduced)(?:\*\*)? \|\n", table)
    assert len(verdicts) == table.count("\n|") - 2 > 0
    assert (papers.IMAGES / f"{name}.png").is_file()
    typed = {
        line.split("  #")[0].strip()
        for block in blocks("docs/reproductions.md", "bash")
        for line in block.code.splitlines()
        if re.search(rf"\+experiment={name}\b", line)
    }
    known = {f"python run_swarm.py +experiment={name} {words}".strip()
             for words in reproductions.COMMANDS[name].values()}  # fmt: skip
    assert typed <= known
    assert bool(typed) == bool(known)
    assert hasattr(reproductions, name)


def test_a_figure_is_held_against_its_tolerance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert papers.near("", 2.0, 2.1, 0.06).holds
    assert papers.near("", -2.0, -2.1, 0.06).holds
    assert not papers.near("", 2.0, 2.1, 0.04).holds
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- one -->\nold\n<!-- /one -->\nb\n", encoding="utf-8")
    monkeypatch.setattr(reproductions, "PAGE", page)
    rows = [papers.near("x", 1, 3, 0.5, 0)]
    for _ in range(2):
        reproductions.written("one", rows)
        text = page.read_text(encoding="utf-8")
        assert text.startswith("a\n<!-- one -->\n\n| | Paper |")
        assert text.endswith("| x | 1 | 3 | ±50% | **not reproduced** |\n\n<!-- /one -->\nb\n")


def test_the_rate_of_random_quadratics_has_its_known_cases() -> None:
    """Alone r = 1/ζ at η = 1/ζ; n devices on a complete graph have 1 + (ζ − 1)/n for ζ."""
    alone, together = papers.mixings("none", 4), papers.mixings("complete", 4)
    zeta = papers.ZETA
    assert papers.quadratic_rate(alone, 1 / zeta) == pytest.approx(1 / zeta, rel=1e-9)
    assert papers.largest_rate(alone) == pytest.approx(2 / zeta, rel=1e-2)
    zeta = 1 + (zeta - 1) / 4
    assert papers.quadratic_rate(together, 1 / zeta) == pytest.approx(1 / zeta, rel=1e-9)
    ring = papers.mixings("ring", 12)
    rate = papers.quadratic_rate(ring, 0.08)
    assert papers.by_neighbours(ring, 0.08, rate)[1] == pytest.approx(rate, rel=1e-6)


def test_zeta_is_that_of_samples_with_a_constant_feature() -> None:
    """What E‖zzᵀe‖² becomes in the weights and in the bias, by sampling, of errors in one of the
    two; ζ is the largest eigenvalue of that."""
    draw, p = np.random.default_rng(0), papers.FEATURES
    z_S = np.column_stack([draw.standard_normal((60_000, p)), np.ones(60_000)])
    for part, error_P in enumerate((np.eye(p + 1)[0], np.eye(p + 1)[-1])):
        after_P = np.square((z_S @ error_P)[:, None] * z_S).mean(0)
        found = np.array([after_P[:-1].sum(), after_P[-1]])
        np.testing.assert_allclose(found, (papers.WEIGHT + np.eye(2))[:, part], rtol=0.03)
    largest = np.linalg.eigvals(papers.WEIGHT + np.eye(2)).max()
    assert largest == pytest.approx(papers.ZETA)


@pytest.mark.parametrize("topology", ["ring", "complete"])
def test_devices_converge_on_random_quadratics_as_fast_as_theory_says(
    tmp_path: Path, topology: str
) -> None:
    small = ["hydra.mode=RUN", "devices=16", "rounds=60", "tracker=none", "report=false"]
    words = ["+experiment=random_quadratics", f"topology={topology}", "optimizer.lr=0.05", *small]
    swarm.run(overrides=words, folder=tmp_path / "run")
    one = swarm.load(tmp_path / "run")
    assert isinstance(one, swarm.LoadedRun)
    loss_T = np.log(one.arm("swarm")["loss_mean"].to_numpy())[5:]
    rate = 1 - math.exp(np.polyfit(np.arange(len(loss_T)), loss_T, 1)[0])
    assert rate == pytest.approx(papers.quadratic_rate(papers.mixings(topology, 16), 0.1), rel=0.2)


def test_where_a_curve_stays_below_and_where_a_rate_crosses_zero() -> None:
    assert papers.reached([0, 10, 20, 30], np.array([4.0, 2.0, 3.0, 1.0]), 2.0) == 25
    assert papers.reached([0, 10], np.array([1.0, 0.5]), 2.0) == 0
    assert papers.reached([0, 10], np.array([3.0, 2.5]), 2.0) == math.inf
    rate = {eta: 1 - (1 - eta) ** 2 - 49 * eta**2 for eta in (0.01, 0.02, 0.03, 0.045)}
    assert papers.crossing(rate) == pytest.approx(0.04, rel=1e-9)


def test_the_fit_of_the_densing_law_finds_what_the_scores_were_made_with() -> None:
    known, found = papers.densing(3)
    assert found.growth == pytest.approx(known.growth, rel=0.05)
    assert (found.alpha, found.beta) == pytest.approx((known.alpha, known.beta), rel=0.02)


def test_a_decay_by_itself_has_the_rates_of_the_end_of_a_whole_run() -> None:
    whole, alone = WSD(warmup=0.0), WSD(**papers.DECAY)
    for k in range(11):
        assert alone.factor(k, 10) == pytest.approx(whole.factor(90 + k, 100), rel=1e-12)


def test_the_rate_of_d_psgd_grows_with_the_devices() -> None:
    """The experiment's file has the rate of its own number of devices."""
    file = paths.conf() / "experiment/dpsgd_speedup.yaml"
    said = yaml.safe_load(file.read_text(encoding="utf-8"))
    words = reproductions.COMMANDS["dpsgd_speedup"][f"{said['devices']}"].split()
    assert f"optimizer.lr={said['optimizer']['lr']:g}" in words
