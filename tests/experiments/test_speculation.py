"""Small models draft and large ones check: exactly the large one's distribution, by enumeration of
all choices and by draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

import swarm
from swarm.cli.main import main
from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.experiments.loading import LoadedRun
from swarm.experiments.speculation import Counts, speculated
from swarm.experiments.writing import drawn, shares
from swarm.learning.models.gru import GRU
from swarm.learning.models.transformer import Transformer

KNOWN = 3  # tokens that are written; the fourth class never is


def models() -> tuple[Transformer, GRU]:
    torch.manual_seed(3)
    large = Transformer((4,), 4, width=8, heads=2, depth=1, hidden=8)
    draft = GRU((4,), 4, width=4, depth=1)
    for each in (large, draft):
        for parameter in each.parameters():
            torch.nn.init.normal_(parameter, std=1.5)
    return large.eval(), draft.eval()


class Choices:
    """The choices of one play: those of ``first``, and then the first possible one each time."""

    def __init__(self, first: list[int]) -> None:
        self.first, self.taken, self.chance = first, [], 1.0
        self.others: list[list[int]] = []

    def __call__(self, share_n: Tensor) -> int:
        place = len(self.taken)
        if place < len(self.first):
            chosen = self.first[place]
        else:
            chosen, *others = torch.nonzero(share_n).flatten().tolist()
            self.others += [[*self.taken, each] for each in others]
        self.taken.append(chosen)
        self.chance *= float(share_n[chosen])
        return chosen


def every_choice(play: Callable[[Choices], object]) -> Iterator[tuple[object, float]]:
    """Each result of ``play``, with the probability of the choices that lead to it."""
    left: list[list[int]] = [[]]
    while left:
        path = Choices(left.pop())
        result = play(path)
        left += path.others
        yield result, path.chance


def alone(
    model: Transformer, told: list[int], length: int, share: Callable[[Tensor], Tensor]
) -> np.ndarray:
    """The large model's own probabilities of the next ``length`` tokens, by whole sequences."""
    found = np.ones([KNOWN] * length)
    for tokens in np.ndindex(*found.shape):
        with torch.no_grad():
            logits = model(torch.tensor([[*told, *tokens]]))
        for place, token in enumerate(tokens):
            found[tokens] *= float(share(logits[:, len(told) - 1 + place])[token])
    return found


@pytest.mark.parametrize("ahead", [1, 2, 5])
@pytest.mark.parametrize("temperature", [1.0, 0.4, 0])
def test_all_choices_together_give_the_large_models_distribution(
    ahead: int, temperature: float
) -> None:
    large, draft = (each.double() for each in models())
    share = partial(shares, known=KNOWN, temperature=temperature)
    found = np.zeros((KNOWN, KNOWN, KNOWN))
    for result, chance in every_choice(
        lambda choose: speculated(large, draft, [0, 2], 3, ahead, share, choose)
    ):
        tokens, counts = result
        found[tuple(tokens)] += chance
        assert counts.checks <= 3
    assert found == pytest.approx(alone(large, [0, 2], 3, share), abs=1e-12)
    other = alone(draft, [0, 2], 3, share)
    assert np.abs(found - other).max() > 0.05  # which the small model's is not


def test_draws_have_the_large_models_distribution() -> None:
    large, draft = (GRU((4,), 4, width=4, depth=1).eval() for _ in range(2))
    with torch.no_grad():
        for each, logits in ((large, [0.0, 0.7, -0.5, 9.0]), (draft, [0.8, -0.6, 0.3, 9.0])):
            each.head.bias.copy_(torch.tensor(logits))
    share = partial(shares, known=KNOWN, temperature=1.0)
    count = np.zeros((KNOWN, KNOWN))
    for seed in range(400):
        draw = iter(Keys(seed, "speculate").uniform(0, np.arange(10), 1)[:, 0])
        tokens, _ = speculated(
            large, draft, [1], 2, 3, share, lambda share_n, d=draw: drawn(share_n, float(next(d)))
        )
        count[tuple(tokens)] += 1
    expected, other = (400 * alone(each, [1], 2, share) for each in (large, draft))
    assert chisquare(count, expected, axis=None).pvalue > 1e-3
    assert chisquare(count, other, axis=None).pvalue < 1e-6


def test_calls_and_tokens_are_counted() -> None:
    """A model that drafts for itself is always right; one whose tokens never fit, never."""
    large, _ = models()
    share = partial(shares, known=KNOWN, temperature=1.0)
    tokens, counts = speculated(
        large, large, [0, 1], 11, 4, share, lambda share_n: int(share_n.argmax())
    )
    assert len(tokens) == 11
    # 5 + 5 + 1 tokens; the first call reads the prompt, each later one the token before
    assert counts == Counts(3, 2 + 8 + 2, 8, 8, 2 + 8 + 2)

    def greedy(token: int, logits: Tensor) -> Tensor:
        return torch.eye(KNOWN, dtype=torch.float64)[token]

    calls = iter([0, 1] * 99)
    tokens, counts = speculated(
        large,
        large,
        [0],
        4,
        1,
        lambda logits: greedy(next(calls), logits),
        lambda share_n: int(share_n.argmax()),
    )
    assert counts.accepted < counts.drafted


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("speculation")
    pd.DataFrame({"owner": ["ann", "bob"], "text": ["abc" * 100, "acb" * 100]}).to_parquet(
        folder / "t.parquet"
    )
    given = [
        "data=text", f"data.path={folder / 't.parquet'}", "data.context=8", "data.min_chars=100",
        "partition=natural", "devices=2", "topology=none", "protocol=none", "rounds=2",
        "optimizer.lr=1.0", "train.batch=4", "tracker=none", "report=false", "evaluate.every=2",
        "scenario.arms=[swarm,centralised]",
    ]  # fmt: skip
    for name, model in (
        ("large", ["model=transformer", "model.width=16"]),
        ("small", ["model=gru", "model.width=8"]),
    ):
        swarm.run(overrides=[*given, *model], folder=folder / name)
    return folder / "large", folder / "small"


def test_runs_write_together(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    large, small = (swarm.load(run) for run in runs)
    assert isinstance(large, LoadedRun)
    assert isinstance(small, LoadedRun)
    one, again, other = (
        swarm.speculate(large, small, "swarm", "bob", "swarm", 1, "ab", 30, seed=seed)
        for seed in (0, 0, 1)
    )
    assert one == again != other
    assert len(one.text) == 30
    assert one.counts.drafted >= one.counts.accepted
    assert one.flops > 0
    assert one.flops_alone > 0
    # at temperature 0 there is one text only, whoever drafts
    assert swarm.speculate(
        large, small, "swarm", 0, "swarm", 1, "ab", 20, temperature=0
    ).text == large.write("swarm", 0, "ab", 20, 0)
    assert (
        main(
            [
                "write",
                str(runs[0]),
                "--device",
                "bob",
                "--prompt",
                "ab",
                "--length",
                "30",
                "--draft",
                str(runs[1]),
                "--draft-device",
                "bob",
            ]
        )
        == 0
    )
    said = capsys.readouterr()
    assert said.out == f"ab{one.text}\n"
    assert "drafted tokens accepted" in said.err


def test_other_tokens_are_refused(runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = (swarm.load(run) for run in runs)
    assert isinstance(large, LoadedRun)
    assert isinstance(small, LoadedRun)
    from swarm.data.tokens.base import Bytes

    monkeypatch.setattr(
        LoadedRun,
        "tokens_kept",
        lambda run, data: data if run is large else replace(data, tokens=Bytes()),
    )
    with pytest.raises(ConfigError, match="has other tokens than the run whose texts"):
        swarm.speculate(large, small, "swarm", 0, "swarm", 0)


def test_the_command_writes_as_the_library_does(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found = swarm.load(runs[0])
    assert isinstance(found, LoadedRun)
    words = [
        "write",
        str(runs[0]),
        "--device",
        "1",
        "--prompt",
        "ab",
        "--temperature",
        "0.5",
        "--length",
        "20",
        "--seed",
        "7",
    ]
    for _ in range(2):
        assert main(words) == 0
        assert (
            capsys.readouterr().out == "ab" + found.write("swarm", "bob", "ab", 20, 0.5, 7) + "\n"
        )
    assert main(["write", str(runs[0]), "--arm", "centralised", "--length", "5"]) == 0
    assert len(capsys.readouterr().out) == 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--device", "eve"], "error: device=eve: no device is called so"),
        (["--device", "9"], "error: device=9: the arm swarm has the devices 0 to 1"),
        (["--arm", "no"], "no"),
        (["--length", "0"], "error: length=0: must be at least 1"),
        (["--length", "x"], "error: argument --length: invalid int value: 'x'"),
        (["--temperature", "-1"], "error: temperature=-1: must be"),
        (["--temperature", "nan"], "error: temperature=nan"),
        (["--seed", "-1"], "error: seed=-1: must be"),
        (["--prompt", "é"], "error: prompt=é: must be a character that the run tells apart"),
        (["--ahead", "3"], "error: --ahead=3: is for drafts; --draft=RUN says whose"),
        (["--draft", "gone"], "error: --draft=gone: "),
        (["--draft", "SMALL", "--draft-arm", "no"], "error: --draft-arm=no: "),
        (["--draft", "SMALL", "--draft-device", "9"], "error: --draft-device=9: "),
        (["--draft", "SMALL", "--draft-device", "eve"], "error: --draft-device=eve: "),
        (["--draft", "SMALL", "--device", "9"], "error: device=9: "),
        (["--draft", "SMALL", "--ahead", "0"], "error: --ahead=0: must be at least 1"),
        (["--own"], ""),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(
    runs: tuple[Path, Path], words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(runs[1]) if word == "SMALL" else word for word in words]
    if not said:  # a run without personal has the shared model for its own
        assert main(["write", str(runs[0]), *words, "--length", "3"]) == 0
        return
    try:
        code = main(["write", str(runs[0]), *words])
    except SystemExit as ended:
        code = ended.code  # type: ignore[assignment]
    assert code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["write", str(tmp_path / "gone")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
