"""Text with owners (people, roles) for next-token prediction: sequences of characters, bytes or
byte-pair tokens, and at each position the token that follows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from swarm.common.errors import ConfigError, counted, of_the
from swarm.common.names import Names
from swarm.common.ranges import number, room
from swarm.data.dataset import Dataset, Ints, Source
from swarm.data.fetch.dataset_cache import locate
from swarm.data.files.readers.columns import Column
from swarm.data.files.readers.owners import joint_owners, texts_by_owner
from swarm.data.files.readers.sizes import of_windows
from swarm.data.files.readers.table_files import in_two, read_table
from swarm.data.prepare import Samples, prepare
from swarm.data.tokens.base import Bytes, Characters, Codes, Tokens
from swarm.data.tokens.byte_pairs import read, trained

Kind = Literal["characters", "bytes", "bpe"]
VOCABULARY = 512  # byte-pair tokens, if nothing is said
ALPHABET = "\n" + "".join(map(chr, range(32, 127)))  # a line's end, and printable ASCII


class Text(Source):
    """Sequences of tokens: ``x`` is ``[S, context]`` tokens, ``y`` the same sequences one position
    later; each token is a class. A token is a character unless ``tokens`` says otherwise.

    The file is a table (.csv, .parquet, .jsonl, .arrow) with a column of text and a column that
    names its owner. An owner's rows, in their order, make one text with line ends between them. The
    last share ``test`` of a text is for testing, the share ``validation`` before it for validation,
    and the rest for training. Windows of context + 1 tokens are cut within each part, so none
    straddles two. Training windows begin every ``stride`` tokens (null: context), the others every
    ``context``.

    The tokens are ``characters`` in their order, and one more for all other characters; with
    ``tokens="bytes"`` the bytes of UTF-8; with ``"bpe"`` a ``vocabulary`` of byte-pair tokens,
    which the training text of all owners decides, or the ``tokenizer`` of another run. Owners with
    less than ``min_chars`` characters are left out; ``owners`` keeps that many, those with the most
    text; ``max_chars`` keeps the first characters of an owner; ``held`` keeps that many test (and
    validation) windows of each owner. With ``ordered`` devices meet their text from front to back.

    Raises ``ConfigError`` for a missing column, text too short for a window in every part or for
    the vocabulary, and text that is mostly in other characters. No message quotes the text.
    """

    def __init__(
        self,
        path: str | None = None,
        text: str = "text",
        owner: str = "owner",
        context: int = 64,
        stride: int | None = None,
        min_chars: int = 2000,
        max_chars: int | None = None,
        owners: int | None = None,
        characters: str | None = None,
        tokens: Kind = "characters",
        vocabulary: int | None = None,
        tokenizer: str | None = None,
        ordered: bool = False,
        held: int | None = None,
        test: float = 0.2,
        validation: float = 0.1,
        max_mb: int = 1024,
    ) -> None:
        number("max_mb", max_mb, 1)
        number("context", context, 1, 1e5)
        number("test", test, 0, 0.9, open_low=True)
        number("validation", validation, 0, 0.9)
        for key, count in (("stride", stride), ("owners", owners), ("held", held)):
            if count is not None:
                number(key, count, 1)
        _require_text_in_every_part(context, test, validation, min_chars, max_chars)
        if not path:
            valid = "must be a .csv, .parquet, .jsonl or .arrow file with text and owners"
            raise ConfigError("path", "null", valid)
        _require_fitting(tokens, characters, vocabulary, tokenizer)
        self.tokenizer = tokenizer
        self.tokens, self.vocabulary = tokens, vocabulary or VOCABULARY
        self.alphabet = ALPHABET if characters is None else characters
        self.path, self.text, self.owner = path, text, owner
        self.context, self.stride, self.held = context, stride or context, held
        self.min_chars, self.max_chars, self.owners, self.ordered = (
            min_chars,
            max_chars,
            owners,
            ordered,
        )
        self.test, self.validation, self.max_bytes = test, validation, max_mb << 20

    def load(self) -> Dataset:
        return self.of(*in_two(read_table(locate(self.path), self.max_bytes)))

    def loading(self) -> int | None:
        part = self.owners is not None or self.max_chars is not None  # and nobody knows how much
        return of_windows(locate(self.path), 0 if part else self.context / self.stride)

    def of(self, table: dict[str, Column], test: dict[str, Column] | None = None) -> Dataset:
        """The data set of the columns ``table``; if ``test`` is given, its text is for testing, and
        none of ``table`` is.

        Raises ``ConfigError`` for a missing column, for cells that are missing or no text, and for
        owners with too little text.
        """
        texts, names = self._chosen(*self._by_owner(table))
        cuts = [(self.validation, 0.0 if test else self.test)] * len(texts)
        owners: Sequence[int] = range(len(texts))
        if test is not None:
            held, others = self._held(*self._by_owner(test))
            names, owners = joint_owners(names, others)
            texts, cuts = [*texts, *held], [*cuts, *[(0.0, 1.0)] * len(held)]
        ends = [self._ends(len(text), cut) for text, cut in zip(texts, cuts, strict=True)]
        tokens = self._tokens(text[: end[0]] for text, end in zip(texts, ends, strict=True))
        parts = [
            [tokens.encode(text[low:high]) for low, high in pairwise((0, *end))]
            for text, end in zip(texts, ends, strict=True)
        ]
        if (strange := _strange(parts, tokens)) > 0.2:
            valid = f"knows only {1 - strange:.0%} of the text; name the characters of its language"
            raise ConfigError(
                "characters", "null" if self.alphabet is ALPHABET else self.alphabet, valid
            )
        self._require_windows(parts, ends)
        return self._cut(parts, owners, names, tokens)

    def _tokens(self, training: Iterable[str]) -> Tokens:
        """The tokens that text becomes, of which the ``training`` texts may decide."""
        if self.tokenizer is not None:
            return read(Path(self.tokenizer), "tokenizer")
        if self.tokens == "bpe":
            return trained(training, self.vocabulary)
        return Bytes() if self.tokens == "bytes" else Characters(self.alphabet)

    def _ends(self, length: int, cut: tuple[float, float]) -> list[int]:
        """Where the training, validation and test part of a text of ``length`` characters end, by
        the shares ``cut`` for validation and test."""
        held = [max(math.ceil(share * length), self.context + 1) if share else 0 for share in cut]
        return [length - sum(held), length - held[1], length]

    def _require_windows(self, parts: list[list[Codes]], ends: list[list[int]]) -> None:
        """Refuse a part of a text that is shorter in tokens than a window, though it is long enough
        in characters."""
        short = min(
            len(codes)
            for each, end in zip(parts, ends, strict=True)
            for codes, (low, high) in zip(each, pairwise((0, *end)), strict=True)
            if high - low > self.context
        )
        if short <= self.context:
            part = "training, validation or test text"
            valid = (
                f"must be at most {short - 1} with data.tokens={self.tokens}: an owner's {part} has"
                f" only {counted(short, 'token')}; a larger data.min_chars leaves such owners out"
            )
            raise ConfigError("context", self.context, valid)

    def _by_owner(self, table: dict[str, Column]) -> tuple[list[str], Names]:
        return texts_by_owner(table, self.owner, self.text, self.path)

    def _held(self, texts: list[str], names: Names) -> tuple[list[str], Names]:
        """The texts of a test set of its own that have a window, and the names of their owners."""
        enough = [i for i, text in enumerate(texts) if len(text) > self.context]
        if not enough:
            valid = f"must be below {max(map(len, texts))}, the longest text of the test set"
            raise ConfigError("context", self.context, valid)
        if len(enough) < len(texts):
            left_out = (
                f"{len(texts) - len(enough)} of {counted(len(texts), 'owner')} of the test set"
            )
            warnings.warn(
                f"{left_out} are left out, as a sequence takes {self.context + 1} characters",
                stacklevel=3,
            )
        return [texts[i][: self.max_chars] for i in enough], tuple(names[i] for i in enough)

    def _chosen(self, texts: list[str], names: Names) -> tuple[list[str], Names]:
        """The texts that are long enough, in their order, and the names of their owners."""
        size = np.array([len(text) for text in texts])
        enough = np.flatnonzero(size >= self.min_chars)
        if not len(enough):
            valid = (
                f"is more than {of_the(len(texts), 'owner', 'any')} has in {self.path};"
                " the longest text has"
                f" {size.max()}"
            )
            raise ConfigError(
                "min_chars", self.min_chars, f"{valid}, and a sequence takes {self.context + 1}"
            )
        if self.owners is not None:
            if self.owners > len(enough):
                valid = (
                    f"must be at most {len(enough)}, those with data.min_chars={self.min_chars}, or"
                    " null for all"
                )
                raise ConfigError("owners", self.owners, valid)
            enough = np.sort(enough[np.argsort(-size[enough], kind="stable")[: self.owners]])
        elif len(enough) < len(texts):
            left_out = f"{len(texts) - len(enough)} of {counted(len(texts), 'owner')} are left out"
            warnings.warn(
                f"{left_out}, as they have less text than data.min_chars={self.min_chars}",
                stacklevel=2,
            )
        return [texts[i][: self.max_chars] for i in enough], tuple(names[i] for i in enough)

    def _cut(
        self, parts: list[list[Codes]], owners: Sequence[int], names: Names, tokens: Tokens
    ) -> Dataset:
        """The windows of texts, each in its three parts, of which the owners are given."""
        codes = [np.concatenate(each) for each in parts]
        begins, part, text = (
            np.concatenate(each)
            for each in zip(*map(self._begins, range(len(parts)), parts), strict=True)
        )
        room(
            "max_chars",
            "null" if self.max_chars is None else self.max_chars,
            len(begins),
            3 * self.context,
        )
        offset_T = np.cumsum([0, *map(len, codes)])[:-1]
        begin_S = begins + offset_T[text]
        window_TL = np.lib.stride_tricks.sliding_window_view(np.concatenate(codes), self.context)
        samples = Samples(
            x=window_TL[begin_S],
            y=window_TL[begin_S + 1].astype(np.int64),
            classes=tokens.classes,
            owner=np.asarray(owners, np.int64)[text],
            time=begins if self.ordered else None,
            test=np.flatnonzero(part == 2),
            validation=np.flatnonzero(part == 1),
            origin=("path", self.path),
            owner_names=names,
        )
        return replace(prepare(samples, 0), tokens=tokens)

    def _begins(self, text: int, parts: list[Codes]) -> tuple[Ints, Ints, Ints]:
        """For each window of a text: where it begins, which part it is in (0 training, 1
        validation, 2 test), and the text."""
        found = []
        for part, (low, high) in enumerate(pairwise(np.cumsum([0, *map(len, parts)]))):
            begins = np.arange(low, high - self.context, self.context if part else self.stride)
            found.append(begins[: self.held] if part else begins)
        begins_S = np.concatenate(found).astype(np.int64)
        return (
            begins_S,
            np.repeat(np.arange(3), [len(b) for b in found]),
            np.full(len(begins_S), text),
        )


def _strange(parts: list[list[Codes]], tokens: Tokens) -> float:
    """The share of the text that is in tokens which stand for no text."""
    every = np.concatenate([codes for each in parts for codes in each])
    return float(np.mean(every >= tokens.known))


def _require_fitting(
    tokens: str, characters: str | None, vocabulary: int | None, tokenizer: str | None
) -> None:
    """Refuse an alphabet that is none, and a setting of other tokens than those that are chosen."""
    for key, value, of in (
        ("characters", characters, "characters"),
        ("vocabulary", vocabulary, "bpe"),
        ("tokenizer", tokenizer, "bpe"),
    ):
        if value is not None and tokens != of:
            valid = f"must be null with data.tokens={tokens}; it is for data.tokens={of}"
            raise ConfigError(key, value, valid)
    if vocabulary is not None and tokenizer is not None:
        valid = "must be null with data.tokenizer, whose vocabulary is as large as it is"
        raise ConfigError("vocabulary", vocabulary, valid)
    if characters is not None and (not characters or len(set(characters)) < len(characters)):
        raise ConfigError(
            "characters", characters, "must name at least one character, each once, or be null"
        )


def _require_text_in_every_part(
    context: int, test: float, validation: float, min_chars: int, max_chars: int | None
) -> None:
    """Refuse shares that leave no training text, and texts too short for a window in each part."""
    if test + validation >= 1:
        raise ConfigError(
            "test",
            test,
            f"must, with data.validation={validation:g}, leave something to train on",
        )
    least = max(
        math.ceil((context + 1) / part)
        for part in (test, validation, 1 - test - validation)
        if part > 0
    )
    for key, count in (("min_chars", min_chars), ("max_chars", max_chars)):
        if count is not None and count < least:
            parts = "training, validation and test text each hold a sequence"
            raise ConfigError(
                key,
                count,
                f"must be at least {least}, so that {parts} of data.context={context}",
            )
