"""Lets a sequence model write: one token after the other, each drawn from what it predicts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.data.dataset import Dataset
from swarm.data.tokens.base import Tokens
from swarm.learning.models.sequence import SequenceModel, State, sequence_model_in

LONGEST = 100_000  # tokens


def written(
    model: nn.Module,
    data: Dataset,
    prompt: str,
    length: int,
    temperature: float,
    seed: int,
) -> str:
    """The ``length`` tokens that ``model`` writes after ``prompt``, as text: characters, bytes or
    byte pairs, as ``data`` has them.

    Each is drawn with probabilities ∝ exp(z / ``temperature``) from the logits z of the tokens
    (not of the class of all other characters); with temperature 0 it is the most probable one. An
    empty prompt stands for a line's end, or for the first of the known ``data.characters``.

    Raises:
        ConfigError: The data are no text, the model does not predict the next token, the prompt
            has a character that the model does not know, or a number is out of range.
    """
    number("length", length, 1, LONGEST)
    number("temperature", temperature, 0)
    number("seed", seed, 0)
    tokens, sequence = tokens_of(data), sequence_model(model)
    told = tokens.of_prompt(prompt)
    draw = Keys(seed, "write").uniform(0, np.arange(length), 1)[:, 0]
    with torch.no_grad():
        found = _tokens(sequence.eval(), told, draw, tokens.known, temperature)
    return tokens.decode(found)


def tokens_of(data: Dataset) -> Tokens:
    """What the classes of ``data`` stand for. Raises :class:`ConfigError` if that is no text."""
    if data.tokens is None:
        raise ConfigError("/data", "(of this run)", "must be text, which devices can go on with")
    return data.tokens


def sequence_model(model: nn.Module) -> SequenceModel:
    """``model`` as one that takes a token at a time and predicts the next.

    Raises :class:`ConfigError` if it is none."""
    found = sequence_model_in(model)
    if found is None or found.predict != "every":
        valid = "must be a sequence model with predict=every: gru, mcsd, transformer"
        raise ConfigError("/model", type(model).__name__, valid)
    return found


def _tokens(
    model: SequenceModel,
    told: Sequence[int],
    draw_T: np.ndarray[tuple[int], np.dtype[np.float64]],
    known: int,
    temperature: float,
) -> list[int]:
    """The tokens after those that the model is ``told``, one for each number of ``draw_T`` in (0,
    1), out of the first ``known``."""
    state: list[State] = model.empty(1)
    logits_bC = torch.empty(0)
    for token in told:
        logits_bC, state = model.step(torch.tensor([token]), state)
    found: list[int] = []
    for draw in draw_T:
        found.append(drawn(shares(logits_bC, known, temperature), float(draw)))
        logits_bC, state = model.step(torch.tensor(found[-1:]), state)
    return found


def shares(logits_1C: Tensor, known: int, temperature: float) -> Tensor:
    """The probabilities of the first ``known`` tokens, in float64; with temperature 0 the most
    probable one has all."""
    logits_C = logits_1C[0, :known].double()
    if temperature == 0:
        return torch.zeros_like(logits_C).index_fill_(0, logits_C.argmax(), 1)
    # the largest is 0 before the division, which may leave the range of numbers otherwise
    return torch.softmax((logits_C - logits_C.max()) / temperature, 0)


def drawn(share_C: Tensor, draw: float) -> int:
    """The outcome that a number ``draw`` in (0, 1) selects."""
    ends_C = share_C.cumsum(0)
    return int(torch.searchsorted(ends_C, draw * ends_C[-1]).clamp_max(len(ends_C) - 1))
