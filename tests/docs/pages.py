"""The pages that a reader is given, and what stands in their code blocks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w*)(?: ([^\n]*))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced code block: its language, what stands behind the language, and the code.

    ``bash`` holds commands, ``bash fails`` commands that are refused with the sentence of the
    ``text`` block behind it; ``console`` has a refused command behind ``$`` and what is said.
    """

    language: str
    info: str
    code: str

    @property
    def file(self) -> str | None:
        """The file that the block is the content of: ``python file=NAME``."""
        return self.info.removeprefix("file=") if self.info.startswith("file=") else None


def blocks(page: str | Path, language: str | None = None) -> list[Block]:
    """The code blocks of a page (a path below the root), or those of one language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [Block(*match) for match in BLOCK.findall(text)]
    return [block for block in found if language is None or block.language == language]


def write_files(page: str | Path, folder: Path) -> int:
    """Write the files that a page shows into ``folder``; returns how many there are."""
    files = [block for block in blocks(page) if block.file]
    for block in files:
        file = folder / str(block.file)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.code, encoding="utf-8")
    return len(files)


def bash(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in ``folder`` as a reader does who has activated the environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
