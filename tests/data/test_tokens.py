"""Bytes and byte-pair tokens: lossless, decided by the training text alone, kept with the run, and
compared by bits per byte.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.data.files.text import ALPHABET, Text
from swarm.data.tokens.base import Bytes, Characters, Tokens
from swarm.data.tokens.byte_pairs import BytePairs, trained
from swarm.experiments.loading import LoadedRun
from swarm.results.folder.kept_tokens import FILE
from tests.support import config, prepared

SYLLABLES = ["la", "mo", "ki", "ré", "tu", "sen", "日本", "par"]
ENDS = [" ", " ", " ", ", ", "\n", "\n\n", "  "]
FAST = (
    "data=text", "data.context=8", "data.min_chars=400", "data.held=9", "partition=natural", "devices=3",
    "topology=ring", "model=gru", "model.width=8", "rounds=2", "train.batch=4", "optimizer.lr=1.0",
    "tracker=none", "report=false", "scenario.arms=[swarm]", "engine.block=2",
)  # fmt: skip


def story(seed: int, words: int = 900) -> str:
    draw = np.random.default_rng(seed)
    every = ["".join(draw.choice(SYLLABLES, size)) for size in draw.integers(1, 4, words)]
    return "".join(word + end for word, end in zip(every, draw.choice(ENDS, words), strict=True))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("text") / "t.parquet"
    pd.DataFrame({"owner": range(3), "text": [story(i) for i in range(3)]}).to_parquet(path)
    return str(path)


@pytest.fixture(scope="module")
def pairs() -> BytePairs:
    return trained([story(0)], 300)


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_any_text_comes_back_and_every_byte_is_counted(kind: str, pairs: BytePairs) -> None:
    tokens: Tokens = Bytes() if kind == "bytes" else pairs
    for text in (story(5), "ünseen 🎉\t\x00 Ω", "\n", " a  b\r\n", "x" * 3000):
        codes = tokens.encode(text)
        assert codes.max() < tokens.classes == len(tokens.bytes_C)
        assert tokens.decode(codes.tolist()) == text
        assert tokens.bytes_C[codes].sum() == len(text.encode())
    assert tokens.decode(tokens.encode("half \ud800 pair").tolist()) == "half ? pair"
    assert len(pairs.encode(story(5))) < 0.6 * len(story(5))


def test_characters_have_the_bytes_of_utf_8() -> None:
    tokens = Characters("aé日")
    assert tokens.bytes_C.tolist() == [1, 2, 3, 1]
    assert tokens.encode("é?a日").tolist() == [1, 3, 0, 2]


def test_equal_text_gives_equal_tokens_in_any_process(pairs: BytePairs) -> None:
    code = (
        "from swarm.data.tokens.byte_pairs import trained\n"
        f"print(trained([{story(0)!r}], 300).rules)"
    )
    for seed in ("1", "2"):
        made = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "PYTHONUTF8": "1"},
        )  # fmt: skip
        assert made.stdout.strip() == pairs.rules


def test_tokens_are_of_the_training_text_only(tmp_path: Path, file: str) -> None:
    """Another validation and test text changes no token; another training text does."""
    made = []
    for train, test in ((0, 1), (0, 2), (1, 2)):
        texts = [story(train)[:700] + "q" * 7 + (story(test) + "zqj" * 100)[:300]] * 2
        path = tmp_path / f"{train}{test}.parquet"
        pd.DataFrame({"owner": ["a", "b"], "text": texts}).to_parquet(path)
        data = Text(
            str(path), context=8, min_chars=400, max_chars=1000, tokens="bpe", vocabulary=280
        ).load()
        assert data.tokens is not None
        assert "zq" not in json.loads(data.tokens.json or "")["model"]["vocab"]
        made.append(data)
    assert made[0].tokens == made[1].tokens != made[2].tokens
    assert (made[0].x[made[0].test] != made[1].x[made[1].test]).any()


@pytest.mark.parametrize("kind", ["characters", "bytes", "bpe"])
def test_parts_have_no_character_in_common(file: str, kind: Any) -> None:
    data = Text(file, context=8, min_chars=400, tokens=kind).load()
    assert data.tokens is not None
    assert data.owner is not None
    assert (
        data.classes
        == data.tokens.classes
        == {"characters": 97, "bytes": 256, "bpe": 512}.get(kind)
    )
    assert (data.x[:, 1:] == data.y[:, :-1]).all()
    for owner in range(3):
        place = 0
        for ids in (data.train, data.validation, data.test):
            mine = ids[data.owner[ids] == owner]
            codes = np.concatenate([data.x[mine].ravel(), data.y[mine[-1], -1:]]).astype(int)
            if kind == "characters":
                continue
            text = data.tokens.decode(codes.tolist()).strip("\ufffd")
            found = story(owner).index(text, place)  # in order, and none before the part before
            place = found + len(text)


def loss_of(ready: Any, device: int, row: Any) -> tuple[float, float]:
    """The perplexity and the bits per byte of a device on its own test text, by PyTorch."""
    import torch

    data = ready.dataset
    ids = ready.split.local_test.of(device)
    module = row
    with torch.no_grad():
        out = module(torch.as_tensor(data.x[ids])).double()
    y = torch.as_tensor(data.y[ids])
    total = torch.nn.functional.cross_entropy(out.flatten(0, 1), y.flatten(), reduction="sum")
    size = data.tokens.bytes_C[data.y[ids]].sum()
    return float((total / y.numel()).exp()), float(total) / np.log(2) / size


@pytest.mark.parametrize("kind", ["characters", "bytes", "bpe"])
def test_perplexity_by_owner_and_bits_per_byte(tmp_path: Path, file: str, kind: str) -> None:
    run = swarm.run(
        overrides=[*FAST, f"data.path={file}", f"data.tokens={kind}", "evaluate.every=2"],
        folder=tmp_path / "run",
    )
    found = swarm.load(run.folder)
    assert isinstance(found, LoadedRun)
    table = found.devices[found.devices["round"] == 2].set_index("device")
    ready = found.with_prepared(False, lambda prepared: prepared)
    module = ready.experiment(ready.arms[0], ready.arms[0].first).model.module()
    for device in range(3):
        module.load_state_dict(found.state_dict("swarm", device))
        wanted = loss_of(ready, device, module)
        row = table.loc[device]
        assert (row["local_perplexity"], row["local_bits_per_byte"]) == pytest.approx(
            wanted, rel=1e-4
        )
        data = ready.dataset
        tokens, size = data.y[data.test].size, data.tokens.bytes_C[data.y[data.test]].sum()
        assert row["bits_per_byte"] == pytest.approx(
            row["loss"] * tokens / np.log(2) / size, rel=1e-6
        )
    last = found.arm("swarm").iloc[-1]
    assert last["local_perplexity_mean"] == pytest.approx(table["local_perplexity"].mean())
    assert (run.folder / FILE).exists() == (kind == "bpe")


def test_a_model_that_knows_nothing_takes_the_bits_of_its_vocabulary() -> None:
    from swarm.simulation.metrics.base import DeviceScores
    from swarm.simulation.metrics.text import BitsPerByte

    counts = np.full(256, 2.0)
    scores = DeviceScores(
        np.arange(1), np.array([np.log(256)]), np.zeros((1, 256)), np.zeros(512), counts,
        text_bytes=float(counts @ Bytes().bytes_C),
    )  # fmt: skip
    assert BitsPerByte().values(scores) == pytest.approx(8.0)


def test_kept_tokens_write_again_and_others_are_refused(tmp_path: Path, file: str) -> None:
    given = [*FAST, f"data.path={file}", "data.tokens=bpe", "data.vocabulary=300"]
    run = swarm.run(overrides=given, folder=tmp_path / "run")
    kept = run.folder / FILE
    found = swarm.load(run.folder)
    assert isinstance(found, LoadedRun)
    text = found.write("swarm", 1, "lamo k", 12, seed=3)
    assert text == found.write("swarm", 1, "lamo k", 12, seed=3)
    assert len(found.write("swarm", 1, "日本 🎉 ", 12)) > 0
    rules = json.loads(kept.read_text())
    vocabulary = rules["model"]["vocab"]
    last, before = sorted(vocabulary, key=vocabulary.get)[-2:]
    vocabulary[last], vocabulary[before] = vocabulary[before], vocabulary[last]
    whole = kept.read_text()
    kept.write_text(json.dumps(rules))
    with pytest.raises(ConfigError, match="holds other tokens than the training text gives now"):
        swarm.resume(run.folder, {"rounds": 3})
    kept.write_text("{}")
    with pytest.raises(ConfigError, match="is no tokenizer"):
        found.write("swarm", 1)
    kept.write_text(whole)
    swarm.resume(run.folder, {"rounds": 3})
    long = swarm.run(overrides=[*given, "rounds=3", "schedule.rounds=2"], folder=tmp_path / "long")
    hashes = [
        one.summary["arms"]["swarm"]["params_sha256"] for one in (swarm.load(run.folder), long)
    ]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tokens": "bpe", "vocabulary": 256}, "^vocabulary=256: must be at least 257, the 256 bytes"),
        ({"tokens": "bpe", "vocabulary": 70000}, "^vocabulary=70000: must be at least 257 and at most"),
        ({"tokens": "bpe", "vocabulary": 60000}, r"^vocabulary=60000: must be at most \d+: the training text has no further"),
        ({"tokens": "bytes", "vocabulary": 300}, "^vocabulary=300: must be null with data.tokens=bytes"),
        ({"tokens": "bpe", "characters": "abc"}, "^characters=abc: must be null with data.tokens=bpe"),
        ({"tokens": "bpe", "context": 200, "min_chars": 2100}, r"^context=200: must be at most \d+ with data.tokens=bpe"),
    ],
)  # fmt: skip
def test_what_cannot_be_tokens(file: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Text(file, **{"context": 8, "min_chars": 400, **options}).load()


def test_another_runs_tokens_can_be_taken(tmp_path: Path, file: str, pairs: BytePairs) -> None:
    kept = tmp_path / FILE
    kept.write_text(pairs.rules)
    given: dict[str, Any] = {
        "context": 8,
        "min_chars": 400,
        "tokens": "bpe",
        "tokenizer": str(kept),
    }
    assert Text(file, **given).load().tokens == pairs
    for change, said in (
        ({"vocabulary": 300}, "^vocabulary=300: must be null with data.tokenizer"),
        ({"tokens": "bytes"}, "^tokenizer=.*: must be null with data.tokens=bytes"),
        (
            {"tokenizer": str(tmp_path / "gone")},
            "^tokenizer=.*gone: must be an existing regular file",
        ),
    ):
        with pytest.raises(ConfigError, match=said):
            Text(file, **{**given, **change}).load()
    rules = json.loads(pairs.rules)
    rules["normalizer"] = {"type": "Lowercase"}
    kept.write_text(json.dumps(rules))
    with pytest.raises(ConfigError, match="changes text as it encodes it"):
        Text(file, **given).load()
    kept.write_text("[]")
    with pytest.raises(ConfigError, match="is no tokenizer of the package"):
        Text(file, **given).load()


def test_without_the_package_a_sentence_says_how_to_get_it(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(
        ConfigError, match=r"tokens=bpe: needs the package tokenizers; `pip install \.\[text\]`"
    ):
        Text(file, context=8, min_chars=400, tokens="bpe").load()


def test_runs_of_before_are_the_same_runs(file: str) -> None:
    from swarm.results.provenance import identity

    now = config("data=text", f"data.path={file}")
    then = {
        **now,
        "data": {
            k: v for k, v in now["data"].items() if k not in ("tokens", "vocabulary", "tokenizer")
        },
    }
    assert identity(now) == identity(then)
    assert ALPHABET[0] == "\n"
    assert prepared(*FAST[:9], f"data.path={file}").dataset.tokens == Characters(ALPHABET)


def test_the_pooled_arm_alone_is_read_again_and_writes(tmp_path: Path, file: str) -> None:
    """Its one model is nobody's: the graph of such a run has one node, and no names."""
    given = [*FAST, f"data.path={file}", "scenario.arms=[centralised]", "rounds=1"]
    run = swarm.run(overrides=given, folder=tmp_path / "run")
    found = swarm.load(run.folder)
    assert isinstance(found, LoadedRun)
    assert len(found.write("centralised", 0, length=9)) == 9


def test_a_personal_model_writes_byte_pairs(tmp_path: Path, file: str) -> None:
    given = [*FAST, f"data.path={file}", "data.tokens=bpe", "data.vocabulary=300"]
    run = swarm.run(
        overrides=[*given, "personal=ditto", "personal.strength=0.1"], folder=tmp_path / "run"
    )
    found = swarm.load(run.folder)
    assert isinstance(found, LoadedRun)
    shared, own, again = (
        found.write("swarm", 2, "la", 40, 3.0, own=own) for own in (False, True, True)
    )
    assert own == again != shared
