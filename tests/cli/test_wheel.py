"""What a built wheel contains, and that it runs where nobody has a clone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SITE = next(Path(p) for p in sys.path if p.endswith("site-packages"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_site_packages_gets_two_names_only(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {
        "swarm",
        "run_swarm.py",
    }
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    for part in ("conf", "scenarios"):
        carried = {
            n.removeprefix("swarm/_bundle/")
            for n in names
            if n.startswith(f"swarm/_bundle/{part}/")
        }
        there = {
            str(f.relative_to(ROOT))
            for f in (ROOT / part).rglob("*")
            if f.suffix in (".yaml", ".py")
        }
        assert carried == there
    assert "swarm/py.typed" in names


def test_an_installed_wheel_runs_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    """Unpacked where pip would put it, with only the dependencies of this environment beside it."""
    site, here = tmp_path / "site", tmp_path / "here"
    zipfile.ZipFile(wheel).extractall(site)
    (here / "scenarios").mkdir(parents=True)
    (here / "scenarios/__init__.py").write_text("raise SystemExit('shadowed')")
    script = (
        f"import sys; sys.path[:0] = [{str(site)!r}]; sys.path.append({str(SITE)!r})\n"
        "from run_swarm import main\nimport swarm\n"
        f"assert swarm.__file__.startswith({str(site)!r})\n"
        "code = main(sys.argv[1:])\nimport scenarios\n"
        f"assert scenarios.__file__.startswith({str(site)!r})\nsys.exit(code)"
    )
    argv = ["devices=4", "rounds=1", "topology=ring", "optimizer.lr=0.1", "scenario.arms=[swarm]"]
    argv += ["tracker.mode=disabled", "hydra.run.dir=run"]
    # -S leaves out site-packages with this clone's own editable install; -P keeps the folder of the
    # test off the path
    command = [sys.executable, "-S", "-P", "-c", script, *argv]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (here / "run/summary.json").is_file()
