"""Run every script of examples/ into a folder of its own: ``python docs/site/gallery.py FOLDER``.

Beside what a script leaves, ``printed.txt`` has the lines that the script itself printed, without
those of its runs. All scripts run in this process, which imports torch once.
"""

from __future__ import annotations

import contextlib
import io
import runpy
import shutil
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def main(folder: Path) -> None:
    """Run all of them into ``folder``, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    for script in sorted(EXAMPLES.glob("*.py")):
        own, lines = folder / script.stem, list[str]()
        own.mkdir(parents=True)
        sys.argv = [str(script), str(own)]

        def note(*words: object, lines: list[str] = lines) -> None:
            lines.append(" ".join(map(str, words)))

        with contextlib.redirect_stdout(io.StringIO()):
            runpy.run_path(str(script), {"print": note}, run_name="__main__")
        text = "\n".join(lines).replace(str(own), "FOLDER")
        (own / "printed.txt").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
