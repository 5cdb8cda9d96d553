"""Runs what README's two tables show, the default run and the sweep of topologies, and prints which
lines differ from what comes out. It takes a few minutes, and exits with 1 if a line differs.

    python benchmarks/readme_figures.py [--only run|sweep] [--folder FOLDER]

Wall times differ from machine to machine and are left out.
"""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

ROOT = Path(__file__).parents[1]
RUN = ROOT / "run_swarm.py"
WALL = re.compile(r" (\d+ min )?[\d.]+ m?s$")  # the last column of the table of a run
BLOCK = r"```text\n(.*?)```"


def shown(readme: str) -> dict[str, tuple[list[str], str]]:
    """For each table its command, as words, and the text that README shows behind it."""
    run = re.search(r"## What a run prints\n+" + BLOCK, readme, re.DOTALL)
    sweep = re.search(r"```bash\n(python run_swarm\.py -m [^`]*?)```\n+" + BLOCK, readme, re.DOTALL)
    if run is None or sweep is None:
        raise SystemExit("README.md has no table of the default run, or none of a sweep")
    words = shlex.split(sweep[1].replace("\\\n", " "))[2:]
    words = [word for word in words if not word.startswith("hydra.sweep.dir=")]
    return {"run": ([], run[1]), "sweep": (words, sweep[2])}


def lines(text: str) -> list[str]:
    """The lines of a table that have figures, and the sentences below it, each with single blanks.
    A sentence that goes on in the next line is one."""
    paragraphs = re.split(r"\n\s*\n", text)
    found: list[str] = []
    for paragraph in paragraphs:
        table = "───" in paragraph
        found += paragraph.splitlines() if table else [paragraph.replace("\n", " ")]
    tidy = (" ".join(line.split()) for line in found)
    return [WALL.sub("", line) for line in tidy if re.search(r"\d", line)]


def differences(text: str, printed: str) -> list[str]:
    """The lines of ``text`` that are not among what was printed, each with the nearest that is."""
    there = lines(printed)
    sentences = " ".join(printed.split())
    wrong: list[str] = []
    for line in lines(text):
        if line not in there and line not in sentences:
            near = difflib.get_close_matches(line, there, 1, 0.3) or ["nothing like it"]
            wrong.append(f"README: {line}\n   now: {near[0]}")
    return wrong


def main() -> int:
    """Run the chosen tables' commands and compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("run", "sweep"))
    parser.add_argument("--folder", type=Path, help="where the runs go; default: a temporary one")
    args = parser.parse_args()
    folder = args.folder or Path(mkdtemp(prefix="readme"))
    code = 0
    for name, (words, text) in shown((ROOT / "README.md").read_text(encoding="utf-8")).items():
        if args.only not in (None, name):
            continue
        place = f"hydra.{name}.dir={folder / name}"
        command = [sys.executable, str(RUN), *words, place, "tracker=none"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        wrong = differences(text, done.stdout)
        print(f"{name}: {len(lines(text)) - len(wrong)} of {len(lines(text))} lines as in README")
        print(*wrong, sep="\n", end="\n" if wrong else "")
        code = code or int(bool(wrong))
    return code


if __name__ == "__main__":
    raise SystemExit(main())
