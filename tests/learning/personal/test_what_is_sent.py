"""share=body and share=head: which layer stays on a device, and that nothing of it is ever sent."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.learning.running_statistics import layout_of, running_statistics
from tests.learning.models.published_models import BatchNormMLP
from tests.support import experiment, options, prepared, require_same_bits, simulation


class Bare(nn.Module):
    """Its parameters belong to the whole module, and one's name is the start of another's."""

    def __init__(self) -> None:
        super().__init__()
        self.weights, self.weight = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))


def kept(module: nn.Module, share: str, sample: Tensor | None = None) -> set[str]:
    """The names of what devices keep for themselves."""
    statistics = [] if sample is None else running_statistics(module, sample)
    layout = layout_of(module, statistics, "average", share)
    return {s.name for s in layout.slots[len(layout.slots) - layout.local :]}


def test_the_head_is_the_last_layer_that_has_parameters() -> None:
    chain = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU())
    assert kept(chain, "body") == {"2.weight", "2.bias"}
    assert kept(chain, "head") == {"0.weight", "0.bias"}
    named = nn.ModuleDict({f"layer{i}": nn.Linear(3, 3) for i in (11, 1)})
    assert kept(named, "body") == {"layer1.weight", "layer1.bias"}  # and none of layer11
    chain[2].requires_grad_(False)  # frozen: of no row
    with pytest.raises(ConfigError, match=r"^share=body: must be all: Sequential has one layer"):
        kept(chain, "body")


def test_a_parameter_of_the_whole_module_is_a_layer_of_its_own() -> None:
    assert kept(Bare(), "body") == {"weight"}
    assert kept(Bare(), "head") == {"weights"}


def test_running_statistics_stay_with_their_layer() -> None:
    x = torch.randn(4, 64)
    statistics = {"bn.running_mean", "bn.running_var", "bn.num_batches_tracked"}
    learnt = {"first.weight", "first.bias", "bn.weight", "bn.bias"}
    assert kept(BatchNormMLP((64,), 10), "head", x) == learnt | statistics
    head = {"head.weight", "head.bias"}
    assert kept(BatchNormMLP((64,), 10), "body", x) == {*head, "bn.num_batches_tracked"}


@pytest.mark.parametrize("share", ["body", "head"])
def test_a_model_of_one_layer_is_refused(share: str) -> None:
    with pytest.raises(ConfigError, match=rf"^share={share}: must be all: Softmax has one layer"):
        experiment("model=softmax", f"share={share}")


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (
            "bodies",
            "is none of all, body, head, no_batch_norm .did you mean body.*, and matches no param",
        ),
        ("bodies.*", "matches no parameter of the model, which has 1.weight"),
        ("[body]", "must stand alone, and not in a list"),
    ],
)
def test_a_word_or_pattern_that_stands_for_nothing_is_refused(share: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^share={share.strip('[]')}: {said}".replace("*", ".")):
        experiment(f"share={share}")


# --- the wire -------------------------------------------------------------------------------------

STILL = ("devices=6", "update=frozen", "partition=iid", "train.batch=2", "model.hidden=[4]")
NEEDS = {
    "d2": ("mixing=lazy",),
    "gossip_learning": ("topology=one_peer_exponential",),
}
# whose devices choose by samples of their own whom they hear, so that a head changes a body
CHOOSE = {"best_neighbour", "ifca"}
# which send no parameter at all, and refuse to share a part of a model
PREDICT = {"fedmd"}
SENDING = sorted(set(options("protocol")) - CHOOSE - PREDICT - {"none"})


def after(rows_NP: Tensor, sent: int, own: float, *words: str) -> Tensor:
    """All rows after two rounds in which nobody learns, from ``rows_NP``; device 0 has ``own`` more
    in all that it keeps."""
    with simulation(prepared(*STILL, "share=body", "rounds=2", *words)) as running:
        assert running.experiment.model.layout.sent.width == sent
        arrays = {name: rows.clone() for name, rows in running.engine.snapshot().items()}
        arrays["x"] = rows_NP.clone()
        arrays["x"][0, sent:] += own
        running.engine.restore(arrays, 0)
        for _ in running.engine.advance(2):
            pass
        return running.engine.snapshot()["x"].clone()


@pytest.mark.parametrize("protocol", SENDING)
def test_what_is_not_shared_is_in_no_message(protocol: str) -> None:
    sent = 64 * 4 + 4
    rows_NP = torch.randn(6, sent + 50, generator=torch.Generator().manual_seed(0))
    words = ("topology=ring", *NEEDS.get(protocol, ()), f"protocol={protocol}")
    plain, marked = after(rows_NP, sent, 0.0, *words), after(rows_NP, sent, 1000.0, *words)
    assert torch.equal(plain[:, :sent], marked[:, :sent])
    assert torch.equal(plain[1:], marked[1:])
    assert torch.equal(plain[:, sent:], rows_NP[:, sent:])  # and nobody's changes by what is heard
    if protocol != "delta_sharing":  # which sends what was learnt, and nothing was
        assert not torch.equal(plain[:, :sent], rows_NP[:, :sent])


def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path) -> None:
    words = ("share=body", "devices=10", "topology=ring", "engine.block=2")
    require_same_bits(tmp_path, *words, rounds=2, cut=1)
