"""The claim of docs/claims.md, word for word."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.cli.conftest import Command

from .conftest import facts

TEXT = (Path(__file__).parents[3] / "docs/claims.md").read_text(encoding="utf-8")


def test_the_claim_of_the_docs_is_judged(command: Command) -> None:
    own = TEXT[TEXT.index("## One of your own") :]
    code, values = (
        re.search(rf"```{kind}\n(.*?)```", own, re.DOTALL) for kind in ("python", "yaml")
    )
    (line,) = re.findall(r"^python run_swarm.py (.*plugins.*)$", own, re.MULTILINE)
    assert code
    assert values
    Path("my_conf/scenario").mkdir(parents=True)
    Path("my_claim.py").write_text(code[1])
    Path("my_conf/scenario/links.yaml").write_text(values[1])
    done = command(*shlex.split(line), "tracker=none", "hydra.run.dir=c")
    assert (done.code, done.err) == (0, "")
    assert facts()["verdicts"][0]["verdict"] in ("indicates yes", "indicates no", "undecided")
    assert facts()["runs"] == 4
