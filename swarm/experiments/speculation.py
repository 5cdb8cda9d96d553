"""Speculative decoding (Leviathan et al., ICML 2023, arXiv 2211.17192): a small model drafts some
tokens, a large one checks all of them in one call, and what is written is distributed exactly as if
the large one had written it alone.

Here the large model reads a draft token by token, with the same result: calls are counted as they
would be made, and a text takes no less time than without drafts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.common.tensors import reading
from swarm.experiments.loading import LoadedRun
from swarm.experiments.runs.prepared import PreparedRun
from swarm.experiments.writing import LONGEST, drawn, sequence_model, shares, tokens_of
from swarm.learning.kernels.flops import flops_of_prediction
from swarm.learning.models.sequence import SequenceModel, State

Choose = Callable[[Tensor], int]
"""From the probabilities of some outcomes, ``[n]`` in float64, to the number of one of them."""
Place = tuple[Tensor, list[State]]  # the prediction after some tokens, and the state
MOST_AHEAD = 100


@dataclass(frozen=True)
class Counts:
    """What a text took.

    Attributes:
        checks: Calls of the large model, if each reads all tokens of a draft at once.
        checked: Tokens that the large model has read, the prompt's among them.
        drafted: Tokens that the small model has proposed.
        accepted: How many of these the large model has taken.
        read: Tokens that the small model has read, likewise.
    """

    checks: int = 0
    checked: int = 0
    drafted: int = 0
    accepted: int = 0
    read: int = 0


@dataclass(frozen=True)
class Speculation:
    """A text, and what it took.

    Attributes:
        text: What was written.
        counts: Calls and tokens of both models.
        flops: FLOP of both models.
        flops_alone: FLOP of the large model, had it written the text alone.
    """

    text: str
    counts: Counts
    flops: float
    flops_alone: float

    def __str__(self) -> str:
        c = self.counts
        return (
            f"{c.accepted} of {c.drafted} drafted tokens accepted; {c.checks} calls of the large"
            f" model, and {self.flops / self.flops_alone:.2f} times the FLOP of writing without"
            " drafts"
        )


def speculate(
    large: LoadedRun,
    draft: LoadedRun,
    arm: str,
    device: int | str,
    draft_arm: str,
    draft_device: int | str,
    prompt: str = "",
    length: int = 200,
    temperature: float = 1.0,
    seed: int = 0,
    ahead: int = 4,
    trust: bool = False,
    best: bool = False,
    own: bool = False,
) -> Speculation:
    """What a device of ``large`` writes with drafts of a device of ``draft``: up to ``ahead``
    tokens are drafted at a time. The options are those of :meth:`LoadedRun.write`; ``best`` and
    ``own`` are for the device of ``large``.

    The text has the distribution of the large model's own, and other draws: equal seeds give equal
    texts, but not that of :meth:`LoadedRun.write`.

    Raises:
        ConfigError: :meth:`LoadedRun.write` would raise it for one of the two, their texts have
            other tokens, or ``ahead`` is out of range.
    """
    number("length", length, 1, LONGEST)
    number("ahead", ahead, 1, MOST_AHEAD)
    for key, value in (("temperature", temperature), ("seed", seed)):
        number(key, value, 0)
    first, ready = large.model(arm, device, best, trust, own)
    second, other = _drafting(draft, draft_arm, draft_device, trust)
    tokens = tokens_of(large.tokens_kept(ready.dataset))
    if tokens_of(draft.tokens_kept(other.dataset)) != tokens:
        valid = "has other tokens than the run whose texts it is to draft; both need the same"
        raise ConfigError("/draft", draft.folder, valid)
    told = tokens.of_prompt(prompt)
    share = partial(shares, known=tokens.known, temperature=temperature)
    models = sequence_model(first).eval(), sequence_model(second).eval()
    found, counts = speculated(
        *models, told, length, ahead, share, _choices(seed, length * (2 * ahead + 1))
    )
    sample = reading(ready.dataset.x[:1])
    each, small = (flops_of_prediction(model, sample, 1) / sample.shape[1] for model in models)
    flops = each * counts.checked + small * counts.read
    return Speculation(tokens.decode(found), counts, flops, each * (len(told) + length - 1))


def _drafting(
    draft: LoadedRun, arm: str, device: int | str, trust: bool
) -> tuple[nn.Module, PreparedRun]:
    """The model that drafts, and its run. Errors name the parameters of :func:`speculate`."""
    try:
        return draft.model(arm, device, trust=trust)
    except ConfigError as error:
        name = error.key.removeprefix("/")
        if name not in ("arm", "device"):
            raise
        raise ConfigError(f"/draft_{name}", error.value, error.valid) from None


def _choices(seed: int, most: int) -> Choose:
    """At most ``most`` random choices, which the seed decides."""
    draw = iter(Keys(seed, "speculate").uniform(0, np.arange(most), 1)[:, 0])
    return lambda share_n: drawn(share_n, float(next(draw)))


def speculated(
    large: SequenceModel,
    draft: SequenceModel,
    told: Sequence[int],
    length: int,
    ahead: int,
    share: Callable[[Tensor], Tensor],
    choose: Choose,
) -> tuple[list[int], Counts]:
    """The ``length`` tokens that ``large`` writes after those that both are ``told``.

    A drafted token x is accepted with probability min(1, p(x) / q(x)), where q are the shares of
    the small model and p those of the large one; in the place of the first that is not, one is
    drawn ∝ max(0, p − q). After a draft that is accepted whole the large model adds a token.
    ``share`` makes probabilities of logits ``[1, C]``, and ``choose`` makes every random choice.
    """
    with torch.no_grad():
        at, small = _read(large, told), _read(draft, told)
        found: list[int] = []
        checks, drafted, accepted = 0, 0, 0
        while len(found) < length:
            many = min(ahead, length - len(found) - 1)
            smalls, tokens, q = [small], [], []
            for _ in range(many):
                q.append(share(smalls[-1][0]))
                tokens.append(choose(q[-1]))
                smalls.append(_step(draft, tokens[-1], smalls[-1]))
            places = [at]
            for token in tokens:
                places.append(_step(large, token, places[-1]))
            p = [share(logits) for logits, _ in places]
            kept = _accepted(tokens, p, q, choose)
            last = choose(p[kept] if kept == many else _left(p[kept], q[kept]))
            found += [*tokens[:kept], last]
            checks, drafted, accepted = checks + 1, drafted + many, accepted + kept
            if len(found) < length:  # the next call reads the last token with the next draft
                at, small = _step(large, last, places[kept]), _step(draft, last, smalls[kept])
    read = len(told) + drafted + checks - 1
    return found, Counts(checks, read, drafted, accepted, read)


def _read(model: SequenceModel, told: Sequence[int]) -> Place:
    """Where a model is after these tokens."""
    place: Place = (torch.empty(0), model.empty(1))
    for token in told:
        place = _step(model, token, place)
    return place


def _step(model: SequenceModel, token: int, place: Place) -> Place:
    return model.step(torch.tensor([token]), place[1])


def _accepted(tokens: list[int], p: list[Tensor], q: list[Tensor], choose: Choose) -> int:
    """How many of the drafted tokens are accepted before the first that is not."""
    for place, (token, p_C, q_C) in enumerate(zip(tokens, p, q, strict=False)):
        chance = float((p_C[token] / q_C[token]).clamp_max(1))
        if choose(torch.tensor([chance, 1 - chance], dtype=torch.float64)):
            return place
    return len(tokens)


def _left(p_C: Tensor, q_C: Tensor) -> Tensor:
    """What the large model gives a token beyond what the small one does, as probabilities."""
    left_C = (p_C - q_C).clamp_min(0)
    total = left_C.sum()
    return left_C / total if total > 0 else p_C  # of equal models, which differ by rounding
