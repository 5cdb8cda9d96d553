"""How a file of separated values is written: what separates its cells, its decimal mark, its
encoding, and whether it begins with a heading. Each is set by the user or found in the file.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from swarm.common.errors import ConfigError
from swarm.data.files.readers.columns import require_room

SEPARATORS = {"tab": "\t", "blank": r"\s+"}  # words for what is hard to type
_CANDIDATES = (",", ";", "\t", "|")  # what is looked for; of equal fits the first is taken
_HEAD = 1 << 16  # characters of a file in which its form is looked for
_PART = 1 << 20  # bytes that are decoded at once
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_FALLBACK = "cp1252"  # Windows' Western alphabet, which has all letters of Latin-1
_NUMBER = re.compile(r"\s*[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_WITH_COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*", re.ASCII)
_WITH_POINT = re.compile(r"\s*[+-]?\d*\.\d+([eE][+-]?\d+)?\s*", re.ASCII)
_SAID = re.compile(r"\ufeff?\"?sep=(.)\"?\r?\n", re.IGNORECASE)  # Excel's own first line
WORD = re.compile(r'"[^"]*"|\S+')  # a cell between blanks
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*", re.ASCII)

Header = bool | Literal["auto"]


@dataclass(frozen=True)
class CsvFormat:
    """What is known beforehand of a file of separated values; *auto* is found in the file.

    ``sep`` is one character, or *tab* or *blank* (any number of blanks and tabs). ``missing`` are
    texts that stand for a missing value, beside those of pandas (an empty cell, NA, NaN, null).
    ``names`` are columns that the user asks for: a first row that has one of them is a heading.
    ``settable`` says whether the user can set these options, so that messages name them.

    Raises ``ConfigError`` for a value that cannot be one of these.
    """

    sep: str = "auto"
    decimal: str = "auto"
    encoding: str = "auto"
    header: Header = "auto"
    missing: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    settable: bool = False

    def __post_init__(self) -> None:
        one = len(self.sep) == 1 and not self.sep.isalnum() and self.sep not in "\"'.\r\n"
        if not one and self.sep not in ("auto", *SEPARATORS, *SEPARATORS.values()):
            valid = (
                "must be auto, tab, blank, or one character such as ; that is no letter or digit"
            )
            raise ConfigError("sep", self.sep, valid)
        if self.decimal not in ("auto", ".", ","):
            raise ConfigError("decimal", self.decimal, "must be auto, a point or a comma")
        try:
            "".encode("utf-8" if self.encoding == "auto" else self.encoding)
        except (LookupError, ValueError):
            valid = "must be auto or an encoding that Python knows, such as utf-8 or latin-1"
            raise ConfigError("encoding", self.encoding, valid) from None

    def hint(self, text: str) -> str:
        """``text``, which names an option, if the user has this option; else nothing."""
        return f"; {text}" if self.settable else ""


@dataclass(frozen=True)
class Form:
    """How a file is written, as pandas is told."""

    sep: str
    decimal: str
    header: bool
    skipped: int = 0  # lines before the heading
    width: int = 0  # the cells of the heading, if most rows have as many; else 0
    trailing: bool = False  # whether rows have one cell more than the heading, which is empty


def decoded(
    path: Path, file: BinaryIO, wanted: CsvFormat, most: int
) -> tuple[io.TextIOWrapper, int, int]:
    """A file as text, at its start, and the numbers of its lines and of its bytes.

    The whole file is decoded once, part by part. Raises ``ConfigError`` where it has more than
    ``most`` bytes, and where its encoding is unknown or another than is set.
    """
    encoding = wanted.encoding
    if encoding == "auto":
        start = file.read(2)
        file.seek(0)
        encoding = _MARKS.get(start, "utf-8-sig")
    try:
        lines, size = _counted(path, file, encoding, most)
    except UnicodeError as error:
        lines, size = _retried(path, file, wanted, most, error)
        encoding = _FALLBACK
    file.seek(0)
    return io.TextIOWrapper(file, encoding=encoding, newline=""), lines, size


def _counted(path: Path, file: BinaryIO, encoding: str, most: int) -> tuple[int, int]:
    """The numbers of lines and bytes of a file; raises ``UnicodeError`` for another encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = size = 0
    while part := file.read(_PART):
        text = decoder.decode(part)
        lines += text.count("\n") + text.count("\r")
        size += len(part)
        require_room(path, size, most)  # a file may be longer than its directory entry says
    decoder.decode(b"", final=True)
    return lines + 1, size


def _retried(
    path: Path, file: BinaryIO, wanted: CsvFormat, most: int, error: UnicodeError
) -> tuple[int, int]:
    """The numbers of lines and bytes of a file that is not UTF-8, as Windows-1252."""
    hint = wanted.hint("data.encoding= says which it is, such as utf-16-le or cp1250")
    if wanted.encoding != "auto":
        raise ConfigError(
            "path", path, f"is not written in {wanted.encoding} ({error}){hint}"
        ) from None
    file.seek(0)
    if b"\0" in file.read(_HEAD):
        raise ConfigError("path", path, f"is neither UTF-8 nor any other text{hint}") from None
    file.seek(0)
    try:
        found = _counted(path, file, _FALLBACK, most)
    except UnicodeError:
        raise ConfigError("path", path, f"is neither UTF-8 nor Windows-1252{hint}") from None
    warnings.warn(f"{path}: it is not UTF-8 and is read as Windows-1252{hint}", stacklevel=2)
    return found


def form_of(path: Path, text: io.TextIOWrapper, wanted: CsvFormat) -> Form:
    """The form of a file whose text is at its start, where it is left again.

    A separator is found if it cuts the heading and at least half of the rows in the file's first
    part into equally many cells. If several do, it is the one by which a row has more numbers, in
    the mean. If none does, it is blanks, if these do and half of what they cut out are numbers;
    else what cuts the heading and most rows at all; else a comma.
    """
    head = text.read(_HEAD)
    text.seek(0)
    sep = SEPARATORS.get(wanted.sep, wanted.sep)
    said = _SAID.match(head)
    if said is not None:
        head = head[said.end() :]
        sep = said[1] if sep == "auto" else sep
    if sep == "auto":
        sep = _separator(head)
    rows = _rows(head, sep)
    header = wanted.header
    if header == "auto":
        header = _is_heading(rows[0] if rows else [], wanted.names)
        if not header:
            found = "its first row has numbers and is taken for data, with columns 0, 1, …"
            hint = wanted.hint("data.header=true takes it for the heading")
            warnings.warn(f"{path}: {found}{hint}", stacklevel=2)
    decimal = wanted.decimal
    if decimal == "auto":
        decimal = _decimal(path, rows[int(header) :], wanted) if sep != "," else "."
    width, even, share = _width(rows, 1)
    more = [] if even else _of_width(rows, width)
    trailing = bool(more) and not any(row[-1].strip() for row in more)
    usual = width if even and share >= 0.5 else 0
    return Form(sep, decimal, header, 0 if said is None else 1, usual, trailing)


def _rows(head: str, sep: str) -> list[list[str]]:
    """The whole rows in the first part of a file."""
    try:
        if sep == SEPARATORS["blank"]:
            rows = [[cell.strip('"') for cell in WORD.findall(line)] for line in head.splitlines()]
        else:
            rows = list(csv.reader(io.StringIO(head, newline=""), delimiter=sep))
    except csv.Error:
        return []
    cut = len(head) == _HEAD
    return [row for row in (rows[:-1] if cut and len(rows) > 1 else rows) if row]


def _separator(head: str) -> str:
    found, cut = [], ""
    for sep in _CANDIDATES:
        rows = _rows(head, sep)
        width, even, share = _width(rows)
        if width > 1 and share >= 0.5:
            numbers = share * _share_of_numbers(_of_width(rows, width))
            found.append(((numbers * width, even, numbers, share, width), sep))
        elif width > 1 and not cut:  # its rows are of many lengths, which their lines will tell
            cut = sep if sum(len(row) > 1 for row in rows[1:]) * 2 > len(rows) - 1 else ""
    if found:
        # rows have no names where something cuts all of them as the heading
        plain = any(even and share == 1 for (_, even, _, share, _), _ in found)
        return max((one for one in found if one[0][1] or not plain), key=lambda one: one[0])[1]
    blanks = _rows(head, SEPARATORS["blank"])
    width, _, share = _width(blanks, 1)
    alone = "," not in head
    fits = width > 1 and share >= 0.5 and alone
    numeric = fits and _share_of_numbers(_of_width(blanks, width)) >= 0.5
    return SEPARATORS["blank"] if numeric else cut or ","


def _width(rows: list[list[str]], least: int = 2) -> tuple[int, bool, float]:
    """How many cells most rows have by the heading, the first of ``rows``; whether it has as many,
    or one less, as it may lack a name for the rows' names; and the share of rows with so many.

    Other rows are too short or too long, which their lines tell when the file is read. The number
    is 0 for a heading of less than ``least`` cells.
    """
    named = len(rows[0]) if rows else 0
    if named < least:
        return 0, False, 0.0
    others = [len(row) for row in rows[1:]]
    exact, more = others.count(named), others.count(named + 1)
    share = max(exact, more) / len(others) if others else 1.0
    return named + (more > exact), exact >= more, share


def _of_width(rows: list[list[str]], width: int) -> list[list[str]]:
    """The rows with so many cells, without the heading if there are others."""
    return [row for row in rows[1:] if len(row) == width] or rows


def _share_of_numbers(rows: list[list[str]]) -> float:
    cells = [cell for row in rows for cell in row]
    return sum(_NUMBER.fullmatch(cell) is not None for cell in cells) / max(1, len(cells))


def _is_heading(first: list[str], names: frozenset[str]) -> bool:
    """Whether the first row names the columns: it has a name that the user asks for, or no number,
    or numbers that count the columns (0, 1, …), as pandas names columns without names.
    """
    if any(cell.strip() in names and not _NUMBER.fullmatch(cell) for cell in first):
        return True
    numbers = [cell.strip() for cell in first if _NUMBER.fullmatch(cell)]
    if not all(number.isdigit() for number in numbers):
        return False
    begin = int(numbers[0]) if numbers else 0
    counts = [int(number) for number in numbers] == [begin + i for i in range(len(numbers))]
    return not numbers or (counts and len(numbers) > 1)


def _decimal(path: Path, rows: list[list[str]], wanted: CsvFormat) -> str:
    cells = [cell for row in rows for cell in row]
    commas = [cell for cell in cells if _WITH_COMMA.fullmatch(cell)]
    if not commas or any(_WITH_POINT.fullmatch(cell) for cell in cells):
        return "."
    if all(_THOUSANDS.fullmatch(cell) for cell in commas):
        found = f"{commas[0].strip()} is read as a number with three decimals"
        hint = wanted.hint("if its comma marks thousands, write the file without it")
        warnings.warn(f"{path}: {found}{hint}", stacklevel=2)
    return ","
