"""Combinations of settings that cannot work are refused by the checks of a real run, each with one
sentence that names what was typed.
"""

from __future__ import annotations

import pytest

from .conftest import Command


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("topology=torus devices=13", "devices=13: "),
        ("topology=hypercube devices=100", "devices=100: "),
        (
            "+topology.kk=5",
            "topology.kk=5: no such key (did you mean k?); valid keys: allow_disconnected, k, p",
        ),
        ("topology.k=abc", "topology.k=abc: must be a whole number"),
        ("topology.k=2.5", "topology.k=2.5: must be a whole number"),
        (
            "topology.k=4e0",
            (
                "topology.k=4e0: must be a whole number, written without a point or an exponent"
                " (here 4)"
            ),
        ),
        (
            "model.hidden=[1e1,8]",
            (
                "model.hidden=[1e1,8]: must be a list, each item a whole number, written without a"
                " point or an exponent (here [10, 8])"
            ),
        ),
        (
            "model.hidden=64",
            "model.hidden=64: must be a list, each item a whole number; [64] is one",
        ),
        ("model.hidden=a", "model.hidden=a: must be a list, each item a whole number"),
        (
            "scenario.arms=swarm",
            "scenario.arms=swarm: must be a list, each item text; [swarm] is one",
        ),
        ("plugins=my.py", "plugins=my.py: must be a list, each item text; [my.py] is one"),
        ("lr_search.lrs=0.1", "lr_search.lrs=0.1: must be a list that is not empty, "),
        (
            "tracker._target_=swarm.results.track.base.Tracker",
            (
                "tracker._target_=swarm.results.track.base.Tracker: has no parameter mode, which"
                " tracker=wandb has; tracker=none in front leaves the keys of that option out"
            ),
        ),
        ("optimizer.lr=nan", "optimizer.lr=nan: must be a finite number or auto"),
        ("optimizer.weight_decay=nan", "optimizer.weight_decay=nan: must be a finite number"),
        (
            "topology._target_=os.system",
            "topology._target_=os.system: must be in swarm, scenarios, torch.nn, or a module",
        ),
        (
            "topology._target_=swarm.learning.models.dense.MLP",
            "topology._target_=swarm.learning.models.dense.MLP: must be a Topology",
        ),
        ("model._target_=builtins.eval", "model._target_=builtins.eval: must be in swarm, "),
        ("model.activation=sine", "model.activation=sine: "),
        ("optimizer.lr=-1", "optimizer.lr=-1"),
        ("optimizer.lr=abc", "optimizer.lr=abc: "),
        ("optimizer.momentum=2", "optimizer.momentum=2: must lie in [0, 1)"),
        ("partition.alpha=0", "partition.alpha=0"),
        ("partition=pathological partition.classes=11", "partition.classes"),
        (
            "devices=5000",
            (
                "devices=5000: 1257 training samples cannot give every device 2; at most"
                " devices=628 would do"
            ),
        ),
        ("devices=4", "topology.k=6: must be even, at least 2 and below devices=4; 2 would do"),
        ("engine.block=0", "engine.block=0: "),
        ("engine.shards=0", "engine.shards=0: "),
        ("mixing=nope", "mixing=nope: "),
        ("init=nowhere.safetensors", "init=nowhere.safetensors: "),
        ("train.loss=mse", "train.loss=mse: "),
        ("data=idx data.folder=/nowhere", "data.folder=/nowhere: "),
        ("topology=file topology.path=nowhere.graphml", "topology.path=nowhere.graphml: "),
        ("topology=file", "topology.path=null: must name a graph file"),
        (
            "scenario.arms=[swarm,nope]",
            "scenario.arms=[swarm, nope]: must be a list of different arms out of swarm, ",
        ),
        (
            "data.test=0",
            "data.test=0: leaves no test samples; must be a fraction above 0 and below 1",
        ),
        ("data=gaussian partition=natural data.test=0", "data.test=0: leaves no test samples; "),
        (
            "data.test=0.5 data.validation=0.5",
            "data.test=0.5: must be a fraction that, with data.validation=0.5, leaves ",
        ),
        (
            "data.validation=2",
            "data.validation=2: must be a fraction from 0 up to, not including, 1",
        ),
        (
            "data.validation=0",
            (
                "data.validation=0: leaves no validation samples, on which the arm swarm chooses"
                " its lear"
            ),
        ),
        (
            "data.validation=0 optimizer.lr=0.1",
            (
                "data.validation=0: leaves no validation samples, on which the arm centralised"
                " chooses its learning rate and b"
            ),
        ),
        (
            "model.hidden=[1000000,1000000]",
            "model=mlp: would need at least 3,725.6 GiB for one device",
        ),
        (
            "model.hidden=[1000000000000]",
            "model.hidden=[1000000000000]: must be a list of at most 1,000 layers, each",
        ),
        (
            "model.hidden=[10000000000000000000]",
            "model.hidden=10000000000000000000: must be a whole number of at most",
        ),
        (
            "model=gru data=markov partition=natural model.depth=1000000000",
            "model.depth=1000000000: must be a whole number from 1 to 1,000",
        ),
        (
            "scenario=consensus devices=10000000 topology=ring model.hidden=[4096]",
            "devices=10000000: would need at least ",
        ),
        (
            "model._target_=swarm.nope.Net",
            "model._target_=swarm.nope.Net: swarm has no module or class nope",
        ),
        ("tracker.mode=sometimes", "tracker.mode=sometimes: must be one of "),
        (
            "tracker.mode=onlin",
            "tracker.mode=onlin: must be one of offline, online, disabled or null (did you mean online?)",
        ),
        (
            "train.loss=mase",
            "train.loss=mase: no such option (did you mean mse?); valid options: auto, cross_entropy, ",
        ),
        (
            "mixing=metroplis",
            (
                "mixing=metroplis: must be one of auto, metropolis, uniform, lazy, max_degree,"
                " column, topology (did you mean metropolis?)"
            ),
        ),
        (
            "model.activation=rleu",
            (
                "model.activation=rleu: must be one of relu, tanh, sigmoid, gelu, silu (did you"
                " mean relu?)"
            ),
        ),
        (
            "engine.block=atuo",
            "engine.block=atuo: must be a whole number or auto (did you mean auto?)",
        ),
        (
            "scenario.arms=[swarm,isoalted]",
            (
                "scenario.arms=[swarm, isoalted]: must be a list of different arms out of swarm,"
                " isolated, centralised, fedavg (did you mean isolated?)"
            ),
        ),
        ("plugins=[nowhere.py]", "plugins=nowhere.py: no such file"),
        ("-m devices=13,14 topology=torus", "devices=14: "),
    ],
)
def test_impossible_combinations_with_the_real_checks(
    argv: str, said: str, command: Command
) -> None:
    assert command(*argv.split()).sentence.startswith(said)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ("protocol=d2", "topology=ring", "mixing=uniform", "devices=8"),
            "protocol=d2: needs weights whose eigenvalues",
        ),
        (
            ("protocol=choco", "network.drop=0.1"),
            "protocol=choco: remembers each link, so it needs a network without loss",
        ),
        (("protocol=choco", "topology=epidemic"), "topology=epidemic: must not change under"),
        (("compressor=top_k", "protocol=power_gossip"), "compressor=top_k: must be none with"),
        (
            ("protocol=d2", "delay=constant", "mixing=lazy"),
            "delay=constant: must be less than a round",
        ),
        (("fleet=uniform", "fleet.memory=1000"), "fleet=uniform: device 0 has"),
    ],
)
def test_a_choice_is_named_as_it_was_typed(
    command: Command, argv: tuple[str, ...], said: str
) -> None:
    """Not by its class, which nobody has to know."""
    assert command(*argv, "tracker=none").sentence.startswith(said)
