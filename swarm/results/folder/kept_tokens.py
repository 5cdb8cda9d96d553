"""``tokenizer.json``: the byte-pair tokens that a run's training text gave, so that its devices'
tokens stay what they were, whatever becomes of that text.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from swarm.common.errors import ConfigError
from swarm.common.system.files import replacing
from swarm.data.dataset import Dataset
from swarm.data.tokens.byte_pairs import BytePairs, read

FILE = "tokenizer.json"


def write(run: Path, dataset: Dataset) -> None:
    """Keep the tokens of ``dataset`` in the folder ``run``, if they were learnt from text."""
    if dataset.tokens is None or dataset.tokens.json is None or (run / FILE).is_file():
        return
    with replacing(run / FILE) as file:
        file.write(dataset.tokens.json.encode())


def require_same(run: Path, dataset: Dataset) -> None:
    """Raises :class:`ConfigError` if ``dataset`` has other tokens than the run has learnt with."""
    kept = _read(run)
    if kept is None or dataset.tokens == kept:
        return
    valid = (
        "holds other tokens than the training text gives now; put back the data and the version of"
        " the package tokenizers that the run began with, or start a new run"
    )
    raise ConfigError("resume", run / FILE, valid)


def with_kept_tokens(run: Path, dataset: Dataset) -> Dataset:
    """``dataset`` with the tokens that the run has learnt with."""
    kept = _read(run)
    return dataset if kept is None else replace(dataset, tokens=kept)


def _read(run: Path) -> BytePairs | None:
    """The kept tokens, if there are any. Raises :class:`ConfigError` for a damaged file."""
    file = run / FILE
    return read(file, "/run folder") if file.exists() else None
