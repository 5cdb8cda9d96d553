"""Tokens: the numbers that text becomes for a model, and the text that they stand for.

A token is a class of the data set. What one token stands for differs: a character, a byte, or a
frequent sequence of bytes. Losses per token can therefore not be compared between them; bits per
byte can, which :attr:`Tokens.bytes_C` makes of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError

Codes = npt.NDArray[np.uint32]
CHUNK = 1 << 22  # characters that are looked up at once, which bounds temporary memory


class Tokens(ABC):
    """How a text becomes a sequence of tokens 0 … C-1, and how tokens become a text again.

    Attributes:
        unit: What one token is, in the singular, for messages.
    """

    unit: str

    @property
    @abstractmethod
    def classes(self) -> int:
        """C, the number of tokens."""

    @property
    def known(self) -> int:
        """How many tokens stand for text; any further one stands for what is not told apart."""
        return self.classes

    @property
    @abstractmethod
    def bytes_C(self) -> npt.NDArray[np.float64]:
        """How many bytes of UTF-8 each token stands for, ``[C]``."""

    @property
    @abstractmethod
    def first(self) -> str:
        """The text that stands for an empty prompt."""

    @property
    def json(self) -> str | None:
        """What was learnt from text to make tokens of it, as JSON; None where nothing was."""
        return None

    @abstractmethod
    def encode(self, text: str) -> Codes:
        """The tokens of a text, ``[T]``."""

    @abstractmethod
    def decode(self, tokens: list[int]) -> str:
        """The text of tokens, each below :attr:`known`. Bytes that are no UTF-8, as of half a
        character, become U+FFFD."""

    def of_prompt(self, prompt: str) -> list[int]:
        """The tokens of a prompt, at least one.

        Raises :class:`ConfigError` for text that has no tokens of its own."""
        codes = self.encode(prompt or self.first)
        strange = np.flatnonzero(codes >= self.known)
        if len(strange):  # only characters are unknown, and each of these is one token
            valid = f"must be a {self.unit} that the run tells apart"
            raise ConfigError("/prompt", prompt[int(strange[0])], valid)
        return [int(code) for code in codes]


@dataclass(frozen=True)
class Characters(Tokens):
    """Each character of ``alphabet`` is a token, and one more stands for all other characters."""

    alphabet: str
    unit = "character"

    @property
    def classes(self) -> int:
        return len(self.alphabet) + 1

    @property
    def known(self) -> int:
        return len(self.alphabet)

    @cached_property
    def bytes_C(self) -> npt.NDArray[np.float64]:
        """A character that is not told apart counts as one byte, the least that it may be."""
        each = [len(letter.encode("utf-8", "replace")) for letter in self.alphabet]
        return np.array([*each, 1], np.float64)

    @property
    def first(self) -> str:
        return self.alphabet[0]

    def encode(self, text: str) -> Codes:
        point_A = np.frombuffer(self.alphabet.encode("utf-32-le", "replace"), np.uint32)
        point_T = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32)
        order_A = np.argsort(point_A)
        code_T = np.empty(len(point_T), np.uint32)
        # In parts, as the temporary indices take eight bytes a character.
        for start in range(0, len(point_T), CHUNK):
            point = point_T[start : start + CHUNK]
            place = np.searchsorted(point_A, point, sorter=order_A)
            found = order_A[np.minimum(place, len(point_A) - 1)]
            code_T[start : start + CHUNK] = np.where(point_A[found] == point, found, len(point_A))
        return code_T

    def decode(self, tokens: list[int]) -> str:
        return "".join(self.alphabet[token] for token in tokens)


@dataclass(frozen=True)
class Bytes(Tokens):
    """Each byte of the text in UTF-8 is a token: 256 of them, for any text of any language."""

    unit = "byte"

    @property
    def classes(self) -> int:
        return 256

    @property
    def bytes_C(self) -> npt.NDArray[np.float64]:
        return np.ones(256)

    @property
    def first(self) -> str:
        return "\n"

    def encode(self, text: str) -> Codes:
        return np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.uint32)

    def decode(self, tokens: list[int]) -> str:
        return bytes(tokens).decode("utf-8", "replace")
