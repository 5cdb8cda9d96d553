"""Client data sets as LEAF publishes them (Caldas et al., *LEAF: a benchmark for federated
settings*, arXiv 1812.01097): JSON files of users with samples of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.names import Names, coded, listed
from swarm.common.ranges import number
from swarm.common.system.files import content
from swarm.data.dataset import Dataset, Ints, Source
from swarm.data.fetch.dataset_cache import locate
from swarm.data.files.readers.columns import require_room, require_unpacked_room
from swarm.data.files.text import ALPHABET
from swarm.data.prepare import Samples, prepare
from swarm.data.scaling import Scale
from swarm.data.tokens.base import Characters

_NUMBER, _LIST = 32, 96  # bytes of a number and of a list while a file is being read


@dataclass
class _Part:
    """The samples of one set: blocks of x, labels, and the user of each sample."""

    x: list[npt.NDArray[np.generic]] = field(default_factory=list)
    y: list[Any] = field(default_factory=list)
    who: list[str] = field(default_factory=list)


class Leaf(Source):
    """A folder of LEAF's JSON files, each with ``users``, ``num_samples`` and ``user_data``; users
    are the owners of their samples, for ``partition=natural``.

    Where the folder has the folders ``train`` and ``test``, as LEAF's ``preprocess.sh`` makes them,
    the second is the test set; else test samples of each user are split off. ``x`` is ``[S,
    *shape]``, and the distinct labels become classes 0 … C-1.

    Where samples are texts of one length with the next character as label (LEAF's Shakespeare),
    ``x`` is ``[S, length]`` characters, and ``y`` the next one at every position; classes are those
    of :class:`~swarm.data.files.text.Text`.

    Raises ``ConfigError`` for a folder without such files, for one that is damaged or larger than
    ``max_mb``, and with the user whose samples are neither numbers of one shape nor such texts.
    """

    def __init__(
        self,
        path: str | None = None,
        scale: Scale = "none",
        test: float = 0.2,
        validation: float = 0.1,
        max_mb: int = 1024,
        seed: int = 0,
    ) -> None:
        number("max_mb", max_mb, 1)
        if not path:
            raise ConfigError("path", "null", "must be a folder of LEAF's JSON files")
        self.path, self.scale = path, scale
        self.test, self.validation = test, validation
        self.max_bytes, self.seed = max_mb << 20, seed

    def load(self) -> Dataset:
        root = locate(self.path)
        if not root.is_dir():
            raise ConfigError("path", self.path, "is not a folder; give one of LEAF's JSON files")
        own = (root / "train").is_dir() and (root / "test").is_dir()
        folders = [root / "train", root / "test"] if own else [root]
        parts = [self._part(folder) for folder in folders]
        x = self._joined([block for part in parts for block in part.x])
        labels = [label for part in parts for label in part.y]
        owner, owners = self._coded([user for part in parts for user in part.who], "user")
        test = np.arange(len(parts[0].y), len(labels)) if own else None
        if x.dtype.kind == "U":
            return self._text(x, labels, owner, owners, test)
        y, classes = self._coded(labels, "label")
        samples = Samples(
            x,
            y,
            len(classes),
            owner=owner,
            test=test,
            origin=("path", self.path),
            owner_names=owners,
            class_names=classes,
        )
        return self._prepared(samples)

    def _coded(self, names: list[Any], what: str) -> tuple[Ints, Names]:
        try:
            return coded(np.array([*names, None], object)[:-1], f"{what}s")
        except ValueError as error:
            valid = f"has a {what} that is no name: {error}"
            raise ConfigError("path", self.path, valid) from None

    def _prepared(self, samples: Samples) -> Dataset:
        return prepare(
            samples, self.seed, test=self.test, validation=self.validation, scale=self.scale
        )

    def _text(
        self,
        x: npt.NDArray[np.generic],
        labels: list[Any],
        owner: Ints,
        owners: tuple[str, ...],
        test: Ints | None,
    ) -> Dataset:
        """Texts as characters, each with the one that follows as its label."""
        if self.scale != "none":
            raise ConfigError("scale", self.scale, "must be none, as these data are texts")
        if not all(isinstance(label, str) and len(label) == 1 for label in labels):
            raise ConfigError(
                "path", self.path, "has texts whose labels are not the next character"
            )
        width = x.dtype.itemsize // 4
        code = np.full(0x110000, len(ALPHABET), np.int64)
        code[[ord(letter) for letter in ALPHABET]] = np.arange(len(ALPHABET))
        all_of = np.concatenate(
            [x.view(np.uint32).reshape(-1, width), np.array(labels).view(np.uint32)[:, None]], 1
        )
        sequences = code[all_of]
        samples = Samples(
            sequences[:, :-1],
            sequences[:, 1:],
            len(ALPHABET) + 1,
            owner=owner,
            test=test,
            origin=("path", self.path),
            owner_names=owners,
        )
        return replace(self._prepared(samples), tokens=Characters(ALPHABET))

    def _joined(self, blocks: list[npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
        first = blocks[0]
        for block in blocks:
            both = {block.dtype.kind, first.dtype.kind}
            # texts of one length are of one type
            same = block.dtype == first.dtype if "U" in both else True
            if block.shape[1:] != first.shape[1:] or not same:
                raise ConfigError(
                    "path",
                    self.path,
                    f"has samples of shape {list(first.shape[1:])} and of"
                    f" {list(block.shape[1:])}, or texts of two lengths; all must be alike",
                )
        return np.concatenate(blocks)

    def _part(self, folder: Path) -> _Part:
        files = sorted(folder.glob("*.json"))
        if not files:
            raise ConfigError("path", folder, "has no .json file, in which LEAF keeps its users")
        part, size, held = _Part(), 0, 0
        for file in files:
            size += file.stat().st_size
            require_room(self.path, size, self.max_bytes)
            for user, x, y in self._users(file):
                if not y:
                    continue
                part.x.append(x)
                part.y += y
                part.who += [user] * len(y)
                held += x.nbytes
                require_unpacked_room(self.path, held, self.max_bytes)
        if not part.y:
            raise ConfigError("path", folder, "has no samples; at least a few are needed")
        return part

    def _users(self, file: Path) -> Iterator[tuple[str, npt.NDArray[np.generic], list[Any]]]:
        """Each user of a file with samples and labels."""
        data = content(file, self.max_bytes, f"max_mb={self.max_bytes >> 20}")
        lists = data.count(b"[") + data.count(b"{")
        room = _NUMBER * data.count(b",") + _LIST * lists + 4 * len(data)
        require_unpacked_room(file, room, self.max_bytes)
        try:
            found = json.loads(data)
            users, data_of = [str(user) for user in found["users"]], found["user_data"]
            pairs = [(data_of[user]["x"], data_of[user]["y"]) for user in users if user in data_of]
        except RecursionError:
            raise ConfigError("path", file, "is nested too deeply") from None
        except (ValueError, LookupError, TypeError) as error:
            reason = f"{type(error).__name__}: {str(error)[:80]}"
            wanted = "JSON with users, and user_data with x and y of each"
            raise ConfigError("path", file, f"is not {wanted} ({reason})") from None
        lacking = [user for user in users if user not in data_of]
        if lacking:
            valid = f"has no user_data of {listed(lacking)}, whom users names"
            raise ConfigError("path", file, valid)
        for user, (x, y) in zip(users, pairs, strict=True):
            yield user, self._array(file, user, x, y), y

    def _array(self, file: Path, user: str, x: object, y: object) -> npt.NDArray[np.generic]:
        """The samples of a user as an array ``[S, …]`` of numbers, or ``[S]`` of texts."""
        if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
            counts = " and ".join(
                str(len(part)) if isinstance(part, list) else "no list" for part in (x, y)
            )
            raise ConfigError(
                "path", file, f"has {counts} samples and labels of user {user[:40]}; lists of one"
                " length are needed"
            )  # fmt: skip
        texts = {len(text) if isinstance(text, str) else None for text in x}
        try:
            array = np.array(x)
        except (ValueError, TypeError, OverflowError):
            array = np.array([None])
        if array.dtype.kind in "biuf" or (len(texts) == 1 and None not in texts and any(texts)):
            return array
        raise ConfigError(
            "path",
            file,
            f"has samples of user {user[:40]} that are neither numbers of one shape nor texts of"
            " one length",
        )
