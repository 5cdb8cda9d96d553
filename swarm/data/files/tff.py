"""Client data sets as TensorFlow Federated publishes them: HDF5 files with a group of samples for
each client (federated EMNIST, CIFAR-100 by client; Shakespeare and Stack Overflow, which are text).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from swarm.common.errors import ConfigError
from swarm.common.names import coded
from swarm.common.ranges import number
from swarm.data.dataset import Dataset, Source
from swarm.data.files.client_files import ClientFiles, by_client
from swarm.data.files.readers.columns import Column
from swarm.data.files.readers.kinds import listed_columns
from swarm.data.files.text import Kind, Text
from swarm.data.prepare import Samples, prepare
from swarm.data.scaling import Scale

_OTHER_LABELS = ("label", "coarse_label")
_NO_PATH = "must be an .h5 file of clients, or a folder with …_train.h5 and …_test.h5"


class Tff(Source):
    """An HDF5 file with ``examples/CLIENT/FIELD`` (needs ``h5py``), or a folder with one of these
    that ends in ``_train.h5`` and one in ``_test.h5``, which then is the test set. Clients are the
    owners of their samples, for ``partition=natural``.

    ``label`` names the field of the labels, ``features`` the one of the samples (None: the only
    other field of numbers). Images become ``[S, colours, height, width]``.

    Raises ``ConfigError`` for a file that is damaged, that refers to other files, or that would
    take more than ``max_mb``, and with the client whose fields do not fit.
    """

    def __init__(
        self,
        path: str | None = None,
        label: str = "label",
        features: str | None = None,
        scale: Scale = "unit",
        test: float = 0.2,
        validation: float = 0.1,
        max_mb: int = 1024,
        seed: int = 0,
    ) -> None:
        number("max_mb", max_mb, 1)
        if not path:
            raise ConfigError("path", "null", _NO_PATH)
        if label == features:
            raise ConfigError("features", features, "is data.label already")
        self.path, self.label, self.features = path, label, features
        self.scale, self.test, self.validation = scale, test, validation
        self.max_bytes, self.seed = max_mb << 20, seed

    def load(self) -> Dataset:
        sets = ClientFiles(self.path, self.max_bytes).read(self._fields)
        own = len(sets) > 1
        every = [client for clients in sets for client in clients]
        shapes = {x.shape[1:] for _, (x, _) in every}
        if len(shapes) > 1:
            found = " and ".join(str(list(shape)) for shape in sorted(shapes)[:2])
            raise ConfigError("path", self.path, f"has samples of shape {found}; all must be alike")
        x = _colours_first(np.concatenate([x for _, (x, _) in every]))
        who = np.concatenate([np.full(len(y), name, object) for name, (_, y) in every])
        try:
            owner, owners = coded(who, "clients")
            y, classes = coded(np.concatenate([y for _, (_, y) in every]), f"label={self.label}")
        except ValueError as error:
            raise ConfigError("path", self.path, f"has a client or label: {error}") from None
        begin = sum(len(y) for _, (_, y) in sets[0])
        samples = Samples(
            x,
            y,
            len(classes),
            owner=owner,
            test=np.arange(begin, len(y)) if own else None,
            one_scale=x.ndim > 2,
            origin=("path", self.path),
            owner_names=owners,
            class_names=classes,
        )
        return prepare(
            samples, self.seed, test=self.test, validation=self.validation, scale=self.scale
        )

    def _fields(self, files: ClientFiles, client: Any, name: str) -> tuple[Column, Column]:
        """The samples and the labels of a client."""
        fields = list(client)
        others = [each for each in fields if each not in (self.label, *_OTHER_LABELS)]
        chosen = self.features or (others[0] if len(others) == 1 else None)
        if self.label not in fields and any(files.is_text(client, field) for field in fields):
            found = listed_columns(fields)
            valid = f"has text ({found}) and no field {self.label}; data=tff_text reads it"
            raise ConfigError("path", self.path, valid)
        for key, field in (("label", self.label), ("features", chosen)):
            if field not in fields:
                valid = f"must be a field of client {name[:40]}, which has {listed_columns(fields)}"
                raise ConfigError(key, "null" if field is None else field, valid)
        x, y = (files.numbers(client, str(field), name) for field in (chosen, self.label))
        if len(x) != len(y) or y.ndim != 1 or x.ndim < 2:
            shapes = f"{list(x.shape)} samples and {list(y.shape)} labels"
            raise ConfigError(
                "path", self.path, f"has {shapes} of client {name[:40]}, which do not fit"
            )
        return x, y


class TffText(Source):
    """The texts of each client of such a file or folder, for next-token prediction; a sample is a
    sequence of ``context`` tokens as in :class:`~swarm.data.files.text.Text`.

    ``text`` names the field of the texts. The texts of a client, in their order, make one text with
    line ends between them. A test file's text is all for testing; without one, the last share
    ``test`` of each client's text is. Clients are the owners of their text.

    Raises ``ConfigError`` as :class:`Tff` and :class:`~swarm.data.files.text.Text` do, and for a
    text that is not UTF-8.
    """

    def __init__(
        self,
        path: str | None = None,
        text: str = "snippets",
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
        if not path:
            raise ConfigError("path", "null", _NO_PATH)
        self.reader = Text(
            path,
            context=context,
            stride=stride,
            min_chars=min_chars,
            max_chars=max_chars,
            owners=owners,
            characters=characters,
            tokens=tokens,
            vocabulary=vocabulary,
            tokenizer=tokenizer,
            ordered=ordered,
            held=held,
            test=test,
            validation=validation,
            max_mb=max_mb,
        )
        self.path, self.text = path, text

    def load(self) -> Dataset:
        sets = ClientFiles(self.path, self.reader.max_bytes).read(self._texts)
        tables = [by_client(clients) for clients in sets]
        if not all(len(table["text"]) for table in tables):
            raise ConfigError("path", self.path, "has no text; at least a few texts are needed")
        try:
            return self.reader.of(*tables)
        except ConfigError as error:
            if error.key not in ("owner", "text"):
                raise
            # columns of the table that this source has made
            raise ConfigError("path", self.path, f"has a client or text: {error.valid}") from error

    def _texts(self, files: ClientFiles, client: Any, name: str) -> list[str]:
        fields = list(client)
        if self.text not in fields:
            texts = [field for field in fields if files.is_text(client, field)]
            found = f"whose texts are {listed_columns(texts)}" if texts else "which has no text"
            valid = f"is no field of client {name[:40]}, {found}"
            valid += "" if texts else "; data=tff reads numbers"
            raise ConfigError("text", self.text, valid)
        return files.texts(client, self.text, name)


def _colours_first(x: Column) -> Column:
    """Images ``[S, height, width(, colours)]`` as ``[S, colours, height, width]``; other samples
    unchanged.
    """
    if x.ndim == 3:
        return x[:, None]
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 and x.shape[3] in (1, 3) else x
