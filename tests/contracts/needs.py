"""What an option of conf/ cannot run without, so that every option can be tried alike."""

from __future__ import annotations

from pathlib import Path

from tests.contracts.input_files import (
    base_file,
    behaviour_file,
    capacity_file,
    cifar_folder,
    client_file,
    client_texts_file,
    contact_file,
    flight_file,
    graph_file,
    idx_folder,
    image_folder,
    leaf_folder,
    people_folder,
    table_file,
    text_file,
    tile_file,
    trace_file,
)

STREAM = ["update=online", "partition=iid", "train.batch=2", "train.local_steps=2"]
STREAMED = [
    ("drift", "label_swap"),
    ("drift", "rotation"),
    ("labels", "meetings"),
    ("update", "online"),
    ("update", "frozen"),
]
STREAMED += [("replay", name) for name in ("ring", "reservoir", "class_balanced")]
USER_DATA = Path(__file__).parents[1] / "data" / "user_data.py"
USER_MODELS = Path(__file__).parents[1] / "learning" / "models" / "user_models.py"


def needs(group: str, name: str, tmp_path: Path) -> list[str]:
    """What an option cannot run without: a size it is possible at, a file of its kind, data of its
    kind.
    """
    special = {
        ("attack", "not_a_number"): lambda: ["topology=complete", "aggregator=coordinate_median"],
        ("metric", "backdoor_success"): lambda: ["attack=backdoor"],
        ("topology", "hypercube"): lambda: ["devices=16"],
        ("topology", "social"): lambda: ["devices=34"],
        ("topology", "file"): lambda: ["devices=10", f"topology.path={graph_file(tmp_path)}"],
        **{
            ("topology", name): lambda: [
                "devices=10",
                f"topology.path={graph_file(tmp_path)}",
                "topology.length=null",
            ]
            for name in ("chitchat", "zoo")
        },
        ("topology", "contacts"): lambda: [f"topology.path={contact_file(tmp_path)}"],
        ("data", "idx"): lambda: [f"data.path={idx_folder(tmp_path / 'idx')}"],
        **{
            ("augmentation", name): lambda: ["data=digits", "data.flat=false"]
            for name in ("flip", "crop")
        },
        ("data", "fashion_mnist"): lambda: ["data.limit=600"],
        ("data", "linear_regression"): lambda: ["partition=iid"],
        ("data", "markov"): lambda: ["partition=natural", "model=gru"],
        **{
            ("model", name): lambda: [
                "data=markov",
                "data.context=8",
                "partition=natural",
                "model.width=16",
            ]
            for name in ("gru", "mcsd", "transformer")
        },
        ("model", "lora"): lambda: [
            "data=markov",
            "data.context=8",
            "partition=natural",
            "model.base={gru: {width: 16}}",
            f"model.base_file={base_file(tmp_path)}",
        ],
        ("model", "lenet"): lambda: ["model.channels=[4]", "model.groups=[2]"],
        ("model", "custom"): lambda: [
            f"plugins=[{USER_MODELS}]",
            "model._target_=user_models.NormMLP",
        ],
        ("fleet", "speedtest"): lambda: [f"fleet.path={tile_file(tmp_path)}"],
        ("fleet", "capacity"): lambda: [f"fleet.path={capacity_file(tmp_path)}"],
        ("delay", "speedtest"): lambda: [f"delay.path={tile_file(tmp_path)}"],
        ("churn", "behaviour"): lambda: [f"churn.path={behaviour_file(tmp_path)}"],
        ("churn", "trace"): lambda: [f"churn.path={trace_file(tmp_path)}"],
        ("churn", "crash"): lambda: ["churn.at=1"],
        ("clock", "speed"): lambda: [
            "fleet=uniform",
            "network.round_seconds=0.0001",
            "network.max_delay=99",
        ],
        ("delay", "distance"): lambda: ["topology=geometric"],
        ("data", "table"): lambda: [f"data.path={table_file(tmp_path)}"],
        ("data", "image_folder"): lambda: [f"data.path={image_folder(tmp_path / 'images')}"],
        ("data", "cifar"): lambda: [f"data.path={cifar_folder(tmp_path / 'cifar')}"],
        ("data", "leaf"): lambda: [
            f"data.path={leaf_folder(tmp_path / 'leaf')}",
            "partition=natural",
        ],
        ("data", "tff"): lambda: [
            f"data.path={client_file(tmp_path / 'tff.h5')}",
            "partition=natural",
        ],
        ("data", "tff_text"): lambda: [
            f"data.path={client_texts_file(tmp_path / 'texts.h5')}",
            "data.context=8",
            "data.min_chars=400",
            "partition=natural",
            "model=gru",
        ],
        ("data", "custom"): lambda: [
            f"plugins=[{USER_DATA}]",
            "data._target_=user_data.Moons",
        ],
        **{("data", name): lambda: ["partition=natural"] for name in ("sea", "hyperplane")},
        **{(group, name): lambda: STREAM for group, name in STREAMED},
        ("update", "nightly"): lambda: [*STREAM, "update=nightly", "replay=ring", "update.day=2"],
        ("data", "electricity"): lambda: [
            f"data.path={flight_file(tmp_path)}",
            "data.label=late",
            "data.time=departure",
        ],
        ("data", "flights"): lambda: [f"data.path={flight_file(tmp_path)}", "partition=natural"],
        ("data", "activity"): lambda: [
            f"data.path={people_folder(tmp_path / 'people')}",
            "data.window=4",
            "partition=natural",
        ],
        ("data", "hf"): lambda: [
            f"data.path={flight_file(tmp_path)}",
            "data.label=late",
            "data.device=carrier",
            "partition=natural",
        ],
        **{
            ("data", name): lambda: [
                f"data.path={text_file(tmp_path)}",
                "data.context=8",
                "data.min_chars=400",
                "partition=natural",
                "model=gru",
            ]
            for name in ("text", "shakespeare", "chitchat")
        },
        ("partition", "natural"): lambda: ["data=gaussian"],
        ("loss", "huber"): lambda: ["data=linear_regression", "partition=iid"],
        ("protocol", "averaging"): lambda: ["init=independent"],
        **{("protocol", name): lambda: ["init=common"] for name in ("fedadam", "diloco")},
        ("protocol", "push_sum_averaging"): lambda: ["init=independent"],
        ("protocol", "choco_gossip"): lambda: ["init=independent"],
        ("protocol", "d2"): lambda: ["mixing=lazy"],
        **{
            ("protocol", name): lambda: ["data.local_validation=0.3", "init=common"]
            for name in ("best_neighbour", "ifca")
        },
        ("protocol", "fedmd"): lambda: ["data.public=0.1"],
        **{
            ("aggregator", name): lambda: ["data.local_validation=0.3", "partition=iid"]
            for name in ("ubar", "reputation", "fedfomo")
        },
        **{
            ("pre_aggregator", name): lambda: ["aggregator=coordinate_median", "aggregator.f=1"]
            for name in ("nnm", "bucketing")
        },
        ("personal", "fedrep"): lambda: ["share=body", "personal.head_steps=1"],
        **{
            ("goal", name): lambda: ["data.local_validation=0.3", "partition=iid"]
            for name in ("weakest", "gap", "comparative_advantage")
        },
        ("metric", "specialisation"): lambda: ["goal=random"],
        ("tracker", "wandb"): lambda: ["tracker.mode=disabled"],
        ("metric", "asking"): lambda: [
            "+cohorts={small: {devices: 0.5, model: {hidden: [4]}}}",
            "scenario.arms=[swarm]",
        ],
        ("metric", "speed"): lambda: ["data=markov", "partition=natural", "model=gru"],
        ("metric", "label_accuracy"): lambda: ["evaluate.label=3"],
        ("metric", "perplexity"): lambda: ["data=markov", "partition=natural", "model=gru"],
        **{
            ("metric", name): lambda: ["data=linear_regression", "partition=iid"]
            for name in ("r2", "prequential_mse", "faded_mse", "stream_mse")
        },
        ("metric", "local_accuracy"): lambda: ["data.local_test=0.3"],
        ("metric", "local_perplexity"): lambda: [
            "data=markov",
            "partition=natural",
            "model=gru",
            "data.local_test=0.3",
        ],
        **{
            ("metric", name): lambda: [
                "data=text",
                f"data.path={text_file(tmp_path)}",
                "data.context=8",
                "data.min_chars=100",
                "partition=natural",
                "model=gru",
                "data.local_test=0.3",
            ]
            for name in ("bits_per_byte", "local_bits_per_byte")
        },
        **{
            ("metric", name): lambda: [
                "data=linear_regression",
                "partition=iid",
                "data.local_test=0.3",
            ]
            for name in ("local_mse", "local_r2")
        },
    }
    return special.get((group, name), list)()
