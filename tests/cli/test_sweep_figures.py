"""What a sweep says of its runs: means over seeds, controls, scores and names."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from swarm.experiments.sweep.gather import label

from .conftest import SMALL, Command
from .test_sweep import summary


def test_controls_that_the_swept_keys_do_not_touch_stand_there_once(command: Command) -> None:
    words = [word for word in SMALL if "arms" not in word]
    assert (
        command(
            "-m", "topology=ring,complete", "seed=0,1", *words, "scenario.arms=[swarm,isolated]"
        ).code
        == 0
    )
    table = pd.read_csv("s/table.csv")
    assert [*zip(table["topology"], table["arm"], strict=True)] == [
        ("ring", "swarm"), ("complete", "swarm"), ("any", "isolated")
    ]  # fmt: skip
    assert [*table["seeds"]] == [2, 2, 2]
    # that of a graph it does not have
    assert [*table["spectral_gap"].isna()] == [False, False, True]
    assert [*pd.read_csv("s/curves.csv").groupby(["topology", "arm"])["seeds"].max()] == [2, 2, 2]
    words = [word for word in words if "sweep.dir" not in word and "batch" not in word]
    other = command(
        "-m", "train.batch=4,8", *words, "scenario.arms=[swarm,isolated]", "hydra.sweep.dir=t"
    )
    assert other.code == 0
    assert "batch=4, isolated" in other.out
    assert [*pd.read_csv("t/table.csv")["arm"]] == ["swarm", "isolated", "swarm", "isolated"]


def test_a_run_that_diverged_is_counted_and_left_out_of_the_means(command: Command) -> None:
    words = [word for word in SMALL if "lr" not in word]
    assert (
        command("-m", "optimizer.lr=0.1,1e18", "seed=0,1", *words, "train.local_steps=3").code == 0
    )
    table = pd.read_csv("s/table.csv")
    assert [*zip(table["seeds"], table["diverged"], strict=True)] == [(2, 0), (0, 2)]
    assert pd.isna(table["accuracy"].iloc[1])
    assert {*pd.read_csv("s/curves.csv")["optimizer.lr"]} == {0.1}
    assert "2 diverged and are left out of the means" in Path("s/table.md").read_text()


@pytest.mark.parametrize(
    ("setting", "said"),
    [("optimizer.lr=1e18", "2 diverged"), ("metrics=[loss]", "2 are scored otherwise")],
)
def test_a_sweep_without_any_score_has_its_files(command: Command, setting: str, said: str) -> None:
    """All runs have diverged, or none measures a score."""
    words = [word for word in SMALL if word.partition("=")[0] not in setting]
    done = command("-m", "topology=ring,complete", *words, "train.local_steps=3", setting)
    assert done.code == 0, done.err
    assert said in Path("s/table.md").read_text()
    assert {"sweep.png", "curves.csv", "summary.json"} <= {p.name for p in Path("s").iterdir()}


def test_a_sweep_without_learning(command: Command) -> None:
    words = (
        "scenario=consensus",
        "devices=9",
        "rounds=5",
        "tracker=none",
        "report=false",
        "hydra.sweep.dir=s",
    )
    assert command("-m", "topology=ring,torus", "seed=0,1", *words).code == 0
    table = pd.read_csv("s/table.csv")
    assert (table["consensus_distance"].diff().dropna() < 0).all()  # a torus contracts faster


def test_what_the_table_says_of_an_arm_is_what_its_runs_say(command: Command) -> None:
    words = [word for word in SMALL if "arms" not in word]
    assert command("-m", "seed=0,1", *words, "scenario.arms=[swarm,isolated,centralised]").code == 0
    runs = [json.loads(file.read_text()) for file in Path("s").glob("seed=*/summary.json")]
    table = pd.read_csv("s/table.csv").set_index("arm")
    for arm, row in table.iterrows():
        for ours, theirs in {
            "worst_decile": "accuracy_p10",
            "bytes_total": "bytes_total",
            "lr": "lr",
        }.items():
            assert row[ours] == pytest.approx(sum(run["arms"][arm][theirs] for run in runs) / 2)
    assert table["gap_closed"]["swarm"] == pytest.approx(sum(run["gap_closed"] for run in runs) / 2)
    assert table["gap_closed"].isna().sum() == 2  # it is the swarm's


def test_a_control_with_the_same_parameters_and_other_costs_has_a_row_for_each(
    command: Command,
) -> None:
    words = [word for word in SMALL if "arms" not in word]
    assert (
        command("-m", "network.round_seconds=1,2", *words, "scenario.arms=[swarm,isolated]").code
        == 0
    )
    table = pd.read_csv("s/table.csv")
    assert [*table["arm"]] == ["swarm", "isolated", "swarm", "isolated"]
    assert [*table["virtual_s"]] == [3, 3, 6, 6]


def test_a_control_is_common_only_where_one_seed_was_run_in_every_combination(
    command: Command,
) -> None:
    """Batches of 8 and 4 have no seed in common: that the controls are the same is not known (and
    they are not).
    """
    words = [word for word in SMALL if "arms" not in word and "batch" not in word] + [
        "scenario.arms=[swarm,isolated]"
    ]
    assert (
        command(
            "-m", "topology=ring,complete", "train.batch=range(8,9)", "seed=range(0,1)", *words
        ).code
        == 0
    )
    assert [*pd.read_csv("s/table.csv")["arm"]] == ["swarm", "swarm", "isolated"]
    assert (
        command(
            "-m", "topology=glob(ring)", "train.batch=range(4,5)", "seed=range(1,2)", *words
        ).code
        == 0
    )
    assert [*pd.read_csv("s/table.csv")["arm"]] == ["swarm", "isolated"] * 3


def test_the_leading_arm_is_the_swarm_wherever_it_first_appears(command: Command) -> None:
    words = [word for word in SMALL if "arms" not in word]
    assert command("-m", "scenario.arms=[isolated],[isolated,swarm]", *words).code == 0
    assert summary()["arm"] == "swarm"


def test_runs_with_another_score_are_counted(command: Command) -> None:
    done = command("-m", "data=digits,linear_regression", "partition=iid", "model=softmax", *SMALL)
    assert done.code == 0
    said = "one seed, so there are no intervals; 1 are scored otherwise and have no accuracy."
    assert said in " ".join(done.out.split())


def test_the_number_of_seeds_is_that_of_a_combination(command: Command) -> None:
    assert command("-m", "train.clip_norm=1,2", "seed=0,1", *SMALL).code == 0
    assert "over 2 seeds." in Path("s/table.md").read_text()
    assert (
        "over up to 3 seeds."
        in command("-m", "train.clip_norm=range(1,2)", "seed=range(2,3)", *SMALL).out
    )


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"topology": "ring"}, "ring"),
        ({"optimizer.lr": "1e+30"}, "lr=1e+30"),
        ({"a.b": "-1.5", "c": "true"}, "b=-1.5, c=true"),
        ({"topology": "ring", "seeds": "any"}, "ring, seeds=any"),
    ],
)
def test_a_combination_is_called_so_that_no_value_stands_alone(
    values: dict[str, str], name: str
) -> None:
    assert label(values) == name


def test_a_sentence_about_the_graph_is_said_once_for_all_arms(
    command: Command, recwarn: pytest.WarningsRecorder
) -> None:
    Path("links.txt").write_text("0 1 1.5\n1 2 2\n2 3 1\n3 0 1\n")
    words = ("topology=file", "topology.path=links.txt", "devices=4", "rounds=1", "tracker=none", "report=false",
             "optimizer.lr=0.1", "scenario.arms=[swarm,isolated]", "hydra.run.dir=r", "model=softmax")  # fmt: skip
    assert command(*words).code == 0
    said = [str(each.message) for each in recwarn]
    assert sum("edge weights are not used" in text for text in said) == 1
