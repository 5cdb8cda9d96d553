"""Runs of every kind of communication, learning and measuring, which have the same bits on actors as
in one process; tests/simulation/engine/test_ray.py plays them.
"""

from __future__ import annotations

from pathlib import Path

MODELS = Path(__file__).parents[2] / "learning/models/published_models.py"
METRICS = Path(__file__).parents[1] / "metrics/user_metrics.py"
CASES = {
    "dpsgd": ("topology=small_world",),
    "as published, time-varying": ("topology=one_peer_exponential", "protocol=dpsgd_published", "optimizer=adamw"),
    "a server": ("protocol=fedavg", "topology=none", "protocol.shares=samples"),
    "everybody with everybody": ("topology=complete",),
    "nobody with anybody": ("topology=none", "optimizer=momentum"),
    "each its own start, in float64": ("topology=ring", "init=independent", "compute.dtype=float64"),
    "only some are linked, metrics of a user's own look at them": (
        "topology=star", "evaluate.devices=4", "evaluate.every=3", "checkpoint.every=2", f"plugins=[{METRICS}]",
        "metrics=[{_target_: user_metrics.LinkGap}, standard, {_target_: user_metrics.OnItsOwn},"
        " {_target_: user_metrics.Voters}]",
    ),
    "consensus": ("scenario=consensus", "protocol=averaging", "init=independent", "topology=ring"),
    "a drifting stream, told and remembered": (
        "update=online", "drift=label_swap", "labels=meetings", "labels.chance=0.5", "replay=class_balanced", "replay.size=6",
        "partition=iid", "train.batch=4", "topology=ring",
    ),
    "by night": ("update=nightly", "update.day=2", "replay=reservoir", "partition=iid", "train.batch=4", "topology=complete"),
    "text": ("data=markov", "partition=natural", "model=mcsd", "model.width=8", "model.channels=2", "data.context=6"),
    "compressed, with a memory": ("protocol=choco", "compressor=top_k", "compressor.feedback=false", "topology=complete"),
    "lost, late and asleep": (
        "protocol=gradient_tracking", "topology=small_world", "network.drop=0.2", "network.symmetric=true", "churn=markov",
    ),
    "pushed, lost and late": (
        "protocol=push_sum", "mixing=column", "topology=exponential", "network.drop=0.2", "delay=exponential",
        "delay.mean=1.0", "clock=poisson", "network.round_seconds=1.0",
    ),
    "predictions, lost, late and compressed": (
        "protocol=fedmd", "data.public=60", "protocol.samples=40", "topology=torus", "devices=16", "network.drop=0.2",
        "delay=exponential", "delay.mean=1.0", "churn=markov", "compressor=qsgd", "compressor.feedback=true",
        "compressor.unbiased=false", "aggregator=coordinate_median", "aggregator.f=1", "aggregator.unsafe=warn",
    ),
    "by link": ("protocol=relay_sgd", "topology=small_world"),
    "in pairs": ("protocol=ad_psgd", "clock=poisson", "clock.rate=0.2"),
    "by message": ("protocol=gossip_learning", "protocol.variant=um", "topology=epidemic", "topology.fanout=1"),
    "by message, from the best of late ones": (
        "protocol=best_neighbour", "data.local_validation=0.2", "topology=complete", "network.drop=0.2", "delay=exponential",
        "delay.mean=1.0",
    ),
    "groups that find themselves": (
        "protocol=ifca", "protocol.groups=3", "data.local_validation=0.2", "topology=complete", "network.drop=0.2",
    ),
    "a server with a memory": ("protocol=scaffold", "protocol.fraction=0.5", "topology=none"),
    **{
        f"aggregated by {rule}": (
            f"aggregator={rule}", "aggregator.f=1", "topology=torus", "devices=16", "delay=exponential", "delay.mean=1.0",
            "network.round_seconds=1.0", "compressor=qsgd", "transforms=[clip,noise]", "data.local_validation=0.2", *before,
        )
        for rule, *before in (
            ("coordinate_median", "pre_aggregators=[bucketing]"), ("clipped_gossip", "aggregator.radius=auto"), ("ubar",),
        )
    },
    "attacked by colluders, late and compressed": (
        "attack=alie", "attack.devices=3", "topology=torus", "devices=16", "delay=exponential", "delay.mean=1.0",
        "compressor=qsgd", "churn=markov",
    ),
    "metrics of all kinds, one of them of a backdoor": (
        "metrics=[standard,macro_f1,balanced_accuracy,auc,calibration,fairness]",
        "attack=backdoor",
        "data.local_test=0.2",
    ),
    "under masks, at a server": (
        "secure_sum=bonawitz", "protocol=fedavg", "topology=none", "churn=markov", "privacy=device_level",
        "privacy.noise=distributed", "partition=iid", "secure_sum.partners=4",
    ),
    "under masks, from neighbours": (
        "secure_sum=bonawitz", "topology=torus", "devices=16", "churn=markov", "secure_sum.threshold=0.51",
    ),
    "noise that neighbours share, several exchanges a round": (
        "privacy=correlated", "protocol=multi_gossip", "topology=erdos_renyi", "churn=markov", "partition=iid",
    ),
    "models of their own, a rule that remembers, a metric of membership": (
        "personal=ditto", "share=body", "aggregator=reputation", "aggregator.memory=0.5", "data.local_validation=0.2",
        "data.local_test=0.2", "metrics=[standard,membership]", "topology=complete", "churn=markov",
    ),
    "models of several shapes": (
        "cohorts={small: {devices: 0.4, model: {hidden: [16]}}, tiny: {devices: [0, 7], model: {hidden: [5]}}}",
        "topology=small_world", "optimizer=momentum", "network.drop=0.2", "data.local_test=0.2",
        "metrics=[standard,asking]",
    ),
    "models of several shapes at a server": (
        "cohorts={small: {devices: 0.4, model: {hidden: [16]}}}", "protocol=fedavg", "protocol.fraction=0.6",
    ),
    "models of several shapes, packed and trimmed": (
        "cohorts={small: {devices: 0.4, model: {hidden: [16]}}}", "topology=small_world", "compressor=top_k",
        "transforms=[noise]", "aggregator=trimmed_mean", "privacy=device_level", "partition=iid", "churn=markov",
    ),
    "goals, whose messages are lost or late": (
        "goal=gap", "data.local_validation=0.2", "partition=iid", "network.drop=0.3", "delay=exponential", "delay.mean=1.0",
        "churn=markov", "metrics=[standard,specialisation,best_in_group]",
    ),
    "parameters of few bits": (
        "optimizer=quantised_sgd", "optimizer.bits=4", "optimizer.momentum=0.5", "topology=small_world", "churn=markov",
        "network.drop=0.2",
    ),
    "regression": ("data=linear_regression", "partition=natural", "model=softmax", "optimizer.lr=0.05"),
    "running statistics of its own": (
        f"plugins=[{MODELS}]", "model=custom", "model._target_=published_models.BatchNormMLP", "buffers=local", "churn=markov",
    ),
    "stopped early, by a loss of its own": (
        "train.loss=focal", "early_stopping.metric=validation_loss", "early_stopping.patience=1", "optimizer.lr=3",
    ),
}  # fmt: skip

FEW_AND_MANY = (
    "dpsgd",
    "a server",
    "lost, late and asleep",
    "by link",
    "a drifting stream, told and remembered",
)
