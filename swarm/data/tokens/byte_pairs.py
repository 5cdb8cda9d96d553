"""Byte-pair tokens (Sennrich et al., ACL 2016, arXiv 1508.07909), of bytes as in GPT-2: frequent
sequences of bytes are tokens of their own, which a training text decides.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.common.system.files import content
from swarm.data.tokens.base import Codes, Tokens

ALPHABET = 256  # bytes, which are always tokens, so that any text can be written
MOST = 65_536  # tokens
_MOST_BYTES = 64 << 20  # of a file; 65,536 tokens take about 4 MiB
_EVERY = " a\n\t".join(chr(point) for point in (*range(32, 0x250), 0x65E5, 0x1F389))
PIECE = 1 << 18  # characters that are encoded at once, which bounds temporary memory


def library(key: str, value: object) -> Any:
    """The package ``tokenizers``. Raises :class:`ConfigError` on ``key`` if it is not there."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not outlive a fork
    try:
        return importlib.import_module("tokenizers")
    except ImportError:
        valid = "needs the package tokenizers; `pip install .[text]` installs it"
        raise ConfigError(key, value, valid) from None


@dataclass(frozen=True)
class BytePairs(Tokens):
    """Byte-pair tokens as ``rules``, JSON that the package ``tokenizers`` has written."""

    rules: str
    unit = "token"

    @property
    def json(self) -> str:
        return self.rules

    @cached_property
    def _tokenizer(self) -> Any:
        return library("tokens", "bpe").Tokenizer.from_str(self.rules)

    def __getstate__(self) -> dict[str, str]:
        return {"rules": self.rules}  # what is cached stays in this process

    @property
    def classes(self) -> int:
        return len(self.bytes_C)

    @cached_property
    def bytes_C(self) -> npt.NDArray[np.float64]:
        """In the vocabulary each byte is written as one character."""
        vocabulary: dict[str, int] = json.loads(self.rules)["model"]["vocab"]
        found = np.zeros(len(vocabulary))
        for token, code in vocabulary.items():
            found[code] = len(token)
        return found

    @property
    def first(self) -> str:
        return "\n"

    def encode(self, text: str) -> Codes:
        found = [self._tokenizer.encode(piece).ids for piece in _pieces(text)]
        return np.array([code for ids in found for code in ids], np.uint32)

    def decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens))


def read(path: Path, key: str) -> BytePairs:
    """The tokens in a ``tokenizer.json``, as a run folder has it.

    Raises :class:`ConfigError` on ``key`` for a file that is none of the package's, or that has no
    token for some byte."""
    data = content(path, _MOST_BYTES, "what a vocabulary takes", key=key)
    try:
        found = BytePairs(data.decode())
        alike = found.decode(found.encode(_EVERY).tolist()) == _EVERY
    except ConfigError:
        raise
    except Exception as error:  # whatever the package raises for a file that it cannot read
        valid = f"is no tokenizer of the package tokenizers: {str(error)[:80]}"
        raise ConfigError(key, path, valid) from None
    if not alike:
        valid = "changes text as it encodes it; the tokenizer.json of a run folder does not"
        raise ConfigError(key, path, valid)
    return found


def trained(texts: Iterable[str], vocabulary: int) -> BytePairs:
    """The ``vocabulary`` tokens that ``texts`` give: all bytes, and then the pair of tokens that
    occurs most often becomes a token, time and again. Equal texts give equal tokens.

    Raises :class:`ConfigError` if the package is missing, and for a vocabulary that is no larger
    than the bytes, or larger than the text has pairs for.
    """
    lacking = f"the {ALPHABET} bytes and at least one pair; data.tokens=bytes has the bytes alone"
    if vocabulary <= ALPHABET:
        raise ConfigError("vocabulary", vocabulary, f"must be at least {ALPHABET + 1}, {lacking}")
    number("vocabulary", vocabulary, ALPHABET + 1, MOST)
    package = library("tokens", "bpe")
    made = package.Tokenizer(package.models.BPE())
    made.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = package.decoders.ByteLevel()
    trainer = package.trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,  # a pair that stands once says nothing of other text
        initial_alphabet=sorted(package.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator((piece for text in texts for piece in _pieces(text)), trainer)
    if made.get_vocab_size() < vocabulary:
        valid = (
            f"must be at most {made.get_vocab_size()}: the training text has no further pair of"
            " tokens that stands there twice"
        )
        raise ConfigError("vocabulary", vocabulary, valid)
    return BytePairs(made.to_str())


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces, without halves of surrogate pairs, which are no characters."""
    for start in range(0, len(text), PIECE):
        yield text[start : start + PIECE].encode("utf-8", "replace").decode()
