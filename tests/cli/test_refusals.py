"""The error table: every mistake ends with exit code 2 and one sentence that names key, value and
what is valid.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from swarm.common.errors import ConfigError

from .conftest import Command, FakeRunner

KEYS = "; valid keys: aggregator, attack, augment, buffers, checkpoint, churn, clock, "
TOPOLOGIES = "; valid options: barabasi_albert, base_graph, chitchat, clusters, "
LEVEL = " is a value and has no keys of its own"
UNREADABLE = ": cannot be read: check brackets, quotes and spaces"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        # keys
        ("devces=5", "devces=5: no such key (did you mean devices?)" + KEYS),
        ("lr=0.1", "lr=0.1: no such key (did you mean optimizer.lr?)" + KEYS),
        ("+devces=5", "devces=5: no such key (did you mean devices?)" + KEYS),
        ("+new.key=1", "new={key: 1}: no such key (did you mean network?)" + KEYS),
        ("train.bach=5", "train.bach=5: no such key (did you mean batch?); valid keys: batch, class_weights, clip_norm, "),
        ("topology.q=5", "topology.q=5: no such key; valid keys: allow_disconnected, k, p"),
        ("devices.x=5", "devices.x=5: devices" + LEVEL),
        ("topology.k.z=5", "topology.k.z=5: topology.k" + LEVEL),
        ("~nope", "~nope: no such key" + KEYS),
        ("metric=auc", "metric=auc: metrics is a list: write metrics=[standard,auc]; valid names: accuracy, asking, auc, "),
        ("metric.bins=3", "metric.bins=3: metrics is a list: write metrics=[standard,{NAME:{bins: 3}}]; valid"),
        ("metrics.calibration.bins=3",
         "metrics.calibration.bins=3: metrics is a list: write metrics=[standard,{calibration:{bins: 3}}]; valid"),
        ("transform=clip", "transform=clip: transforms is a list: write transforms=[clip]; valid names: clip, noise"),
        ("transforms.noise.std=1", "transforms.noise.std=1: transforms is a list: write transforms=[{noise:{std: 1}}]"),
        ("~devices", "devices=???: must be a whole number"),
        ("~topology", "topology=???: must be a section with a _target_"),
        ("+devices=5", "+devices=5: devices is there already: write devices=5"),
        ("cohorts=[a]", "cohorts=[a]: must be sections by name, such as +cohorts={small:{devices:0.5,model:{hidden:[8]}}}"),
        ("+cohorts=a", "cohorts=a: must be sections by name, such as "),
        ("cohorts=3", "cohorts=3: must be sections by name, such as "),
        ("cohorts={a:{devices:2,model:softmax}}", "cohorts={a:{devices:2,model:softmax}}: is added to what is there: write +cohorts={a:"),
        ("train={btch:8}", "train.btch=8: no such key (did you mean batch?); valid keys: batch, class_weights, "),
        ("network={drop:0.5,delay:3}", "network.delay=3: no such key (did you mean max_delay?); valid keys: drop, "),
        ("topology={foo:2}", "topology.foo=2: no such key; valid keys: allow_disconnected, k, p"),
        ("model=custom model._target_=my.Net model.width=3",
         "model.width=3: is a parameter of a class of your own, and is added: write +model.width=3"),
        ("hydra.nope=1", "hydra.nope=1: no such key; valid keys: callbacks, env, "),
        # options
        ("topology=rnig", "topology=rnig: no such option (did you mean ring?)" + TOPOLOGIES),
        ("topolgy=ring", "topolgy=ring: no such key (did you mean topology?)" + KEYS),
        ("topology@x=ring", "topology@x=ring: no such group (did you mean topology?); valid groups: aggregator, attack, augmentation, churn, clock, "),
        ("+topology=ring", "+topology=ring: topology is there already: write topology=ring"),
        ("topology=ring +topology=torus", "+topology=torus: topology is there already: write topology=torus"),
        ("topology=[ring,torus]", "topology=[ring,torus]: must be the name of one option and no list; "
                                  "-m topology=ring,torus makes one run of each"),
        ("data=[]", "data=[]: must be the name of one option and no list"),
        ("hydra/launcher=[basic]", "hydra/launcher=[basic]: must be the name of one option and no list"),
        ("-m topology=[ring,torus],star", "topology=[ring,torus]: must be the name of one option and no list; "),
        ("metric=[auc]", "metric=[auc]: metrics is a list: write metrics=[standard,"),
        ("topology=ring,torus", "topology=ring,torus: is several values: -m makes one run of each"),
        ("topology=null", "topology=null: no such option (did you mean none?)" + TOPOLOGIES),
        ("topology=3", "topology=3: no such option" + TOPOLOGIES),
        ("model=../model/mlp", "model=../model/mlp: no such option; valid options: "),
        ("model=/etc/passwd", "model=/etc/passwd: no such option; valid options: "),
        ("hydra/job_logging=foo", "hydra/job_logging=foo: no such option; valid options: default, disabled"),
        ("+experiment=digits_topology",
         "experiment=digits_topology: no such option (did you mean digits_topologies?); valid options: base_graph, "),
        ("experiment=x", "experiment=x: is added to what is chosen: write +experiment=x"),
        # values
        ("devices=0", "devices=0: must be a whole number from 1 to 10,000,000"),
        ("devices=-5", "devices=-5: must be a whole number from 1 to 10,000,000"),
        ("devices=1.5", "devices=1.5: must be a whole number from 1 to 10,000,000"),
        ("devices=1e9", "devices=1e9: must be a whole number from 1 to 10,000,000, written without a point or an exponent "
                        "(here 1000000000)"),
        ("-m devices=1e2 seed=1,2", "devices=1e2: must be a whole number from 1 to 10,000,000, written without a point"),
        ("devices=true", "devices=true: must be a whole number from 1 to 10,000,000"),
        ("devices=abc", "devices=abc: must be a whole number from 1 to 10,000,000"),
        ("devices=", "devices=: must be a whole number from 1 to 10,000,000"),
        ("devices=[5]", "devices=[5]: must be a whole number from 1 to 10,000,000"),
        ("rounds=1e400", "rounds=1e400: must be a whole number from 0 to 10,000,000"),
        ("train=5", "train=5: must be a section with the keys batch, local_steps"),
        ("train.local_epochs=2", "train.local_epochs=2: must be null beside train.local_steps=5; to count epochs, "),
        ("train.local_steps=null", "train.local_steps=null: must be a whole number unless train.local_epochs is: "),
        ("devices=${nope}", "devices=${nope}: cannot be resolved: there is no key nope"),
        ("rounds=${sed}", "rounds=${sed}: cannot be resolved: there is no key sed (did you mean ${seed}?)"),
        ("seed=${train.btch}", "seed=${train.btch}: cannot be resolved: there is no key train.btch (did you mean ${train.batch}?)"),
        ("devices=${oc.env:SURELY_NOT_SET}", "devices=${oc.env:SURELY_NOT_SET}: cannot be resolved: the environment has "
                                             "no variable SURELY_NOT_SET; ${oc.env:SURELY_NOT_SET,VALUE} names a default"),
        ("devices=???", "devices=???: has no default and must be given a value"),
        # what cannot be read
        ("foo", "foo: settings are written KEY=VALUE, such as devices=100, and no command is called so; valid commands: audit, "),
        ("reprot outputs/x", "reprot: settings are written KEY=VALUE, such as devices=100, and no command is called so "
                             "(did you mean report?); valid commands: audit, doctor, "),
        ("help", "help: settings are written KEY=VALUE, such as devices=100, and no command is called so (did you mean --help?)"),
        ("devices=3 foo", "foo: settings are written KEY=VALUE, such as devices=100; a value with blanks is "),
        ("data.path=~/x.csv", "data.path=~/x.csv: cannot be read: a value with such characters needs quotes; "
                              "write 'data.path=\"~/x.csv\"'"),
        ("data.path=Größe.csv", "data.path=Größe.csv: cannot be read: a value with such characters needs quotes; "
                                "write 'data.path=\"Größe.csv\"'"),
        ("data.sep=,", "data.sep=,: cannot be read: a value with such characters needs quotes; write 'data.sep=\",\"'"),
        ("=3", "=3: a setting needs a key before the ="),
        ("a=[1", "a=[1" + UNREADABLE),
        ("seed='", "seed='" + UNREADABLE),
        ("a b=3", "a b=3" + UNREADABLE),
        ("devices=${", "devices=${" + UNREADABLE),
        ("plugins=[a,b", "plugins=[a,b" + UNREADABLE),
        ("devices=1,2", "devices=1,2: is several values: -m makes one run of each"),
        ("scenario.arms=swarm,isolated", "scenario.arms=swarm,isolated: is several values: -m makes one run of each, scenario.arms=[…] makes a list"),
        ("lr_search.lrs=0.1,1", "lr_search.lrs=0.1,1: is several values: -m makes one run of each, lr_search.lrs=[…] makes a list"),
        ("seed=range(1,3)", "seed=range(1,3): is several values: -m makes one run of each"),
        # flags
        ("--multirn", "--multirn: no such flag (did you mean --multirun?); settings are written KEY=VALUE"),
        ("--devices 5", "--devices: no such flag; settings are written KEY=VALUE"),
        ("--config-dir nowhere", "--config-dir=nowhere: must be a folder of config groups"),
        ("--config-name nope", "--config-name=nope: no such file"),
        ("--config-path x", "--config-path=x: is not supported"),
        ("--experimental-rerun x", "--experimental-rerun=x: is not supported"),
        ("--cfg job -m", "--cfg and -m are different things to do: choose one"),
        ("--cfg nope", "argument --cfg/-c: invalid choice: 'nope'"),
        ("--cfg job devces=5", "devces=5: no such key"),
        ("--help devces=5", "devces=5: no such key"),
        # sweeps
        ("-m devces=1,2", "devces=1: no such key (did you mean devices?)"),
        ("-m topology=ring,foo", "topology=foo: no such option (did you mean zoo?)" + TOPOLOGIES),
        ("-m devices=4,0 seed=1", "devices=0: must be a whole number from 1 to 10,000,000 (in the job devices=0)"),
        ("-m devices=interval(1,2)", "devices=interval(1,2): is an interval; give values: "),
        ("-m seed=1,2,1", "seed=1,2,1: names 1 twice, and each value makes runs of its own"),
        ("-m topology=ring,ring seed=1", "topology=ring,ring: names ring twice, and each value makes "),
        ("-m seed=1 devices=range(1,0)", "devices=range(1,0): stands for no value at all, so there is nothing to run"),
        ("-m seed=1 topology=glob(zz*)", "topology=glob(zz*): stands for no value at all"),
        ("-m seed=range(0,3,0) devices=8", "seed=range(0,3,0): cannot be expanded: range() arg 3 must not be zero"),
        ("hydra.mode=MANY", "hydra.mode=MANY: cannot be set: Invalid value 'MANY', expected one of [RUN, MULTIRUN]"),
        ("hydra.sweeper.params.sed=1,2", "sed=1: no such key (did you mean seed?)" + KEYS),
        ("hydra.sweeper.params.topology=ring,rnig", "topology=rnig: no such option (did you mean ring?)" + TOPOLOGIES),
        ("hydra.sweeper.params={sed:1}", "sed=1: no such key (did you mean seed?)" + KEYS),
        ("hydra.sweeper.params={seed:[1,2]}", "hydra.sweeper.params.seed=[1, 2]: must be a text with the values as they "),
        ("hydra.sweeper.params=3", "hydra.sweeper.params=3: must be keys with their values, such as "),
        # resume
        ("resume=nowhere", "resume=nowhere: must be the folder of an earlier run; there is no such folder"),
        ("resume=", "resume=: must be the folder of an earlier run; there is no such folder"),
        ("resume=. -m", "resume=.: does not go with -m"),
        ("resume=. --cfg job", "resume=.: does not go with --cfg"),
        ("resume=. devices=1,2", "devices=1,2: must be a plain KEY=VALUE beside resume"),
        ("resume=. +devices=1", "devices=1: must be a plain KEY=VALUE beside resume"),
        ("resume=. ~devices", "devices=: must be a plain KEY=VALUE beside resume"),
        # where the run goes
        ("hydra.run.dir=/proc/x", "hydra.run.dir=/proc/x: must be a folder that can be written; /proc is not one"),
        ("hydra.run.dir=a-file", "hydra.run.dir=a-file: must be a folder that can be written; "),
        ("hydra.run.dir=a-file/x", "hydra.run.dir=a-file/x: must be a folder that can be written; "),
        ("hydra.run.dir=a-run", "hydra.run.dir=a-run: holds a run already: choose another folder, or go on "),
        ("hydra.run.dir=${nope}", "hydra.run.dir=${nope}: cannot be resolved: "),
        ("hydra.run.dir=${sed}", "hydra.run.dir=${sed}: cannot be resolved: there is no key sed (did you mean ${seed}?)"),
        ("hydra.run.dir=null", "hydra.run.dir=null: must have a value; without this setting it has its default"),
        ("-m seed=1 hydra.sweep.dir=null", "hydra.sweep.dir=null: must have a value; without this setting it has its default"),
        ("hydra.run.dir=", "hydra.run.dir=: must be a folder, a new or an empty one"),
        ("hydra.run.dir=.", "hydra.run.dir=.: must be a new or an empty folder; a-file is in ."),
        ("hydra.run.dir=mine", "hydra.run.dir=mine: must be a new or an empty folder; notes.txt is in mine"),
        ("-m seed=1,2 hydra.sweep.dir=", "hydra.sweep.dir=: must be a folder, a new or an empty one"),
        ("-m seed=1,2 hydra.sweep.dir=a-file", "hydra.sweep.dir=a-file: must be a folder that can be written; "),
        ("-m seed=1,2 hydra.sweep.dir=runs", "hydra.sweep.dir=runs: runs/1 holds a run already: choose another "),
        ("-m seed=1,2 hydra.sweep.dir=. hydra.sweep.subdir=mine", "hydra.sweep.dir=.: must be a new or an empty folder; "),
        ("-m seed=1,2 hydra.sweep.dir=d hydra.sweep.subdir=x", "hydra.sweep.subdir=x: is the folder of another job too; "),
        ("-m seed=1,2 hydra.sweep.dir=d hydra.sweep.subdir=${nope}", "hydra.sweep.subdir=${nope}: cannot be resolved: "),
        ("-m seed=1,2 hydra.run.dir=d", "hydra.run.dir=d: is the folder of one run, and this command makes many: "
                                        "write hydra.sweep.dir=d"),
        ("hydra.sweep.dir=d", "hydra.sweep.dir=d: is the folder of a sweep, and this command makes one run: write "
                              "hydra.run.dir=d, or -m in front for a sweep"),
        # Hydra's own doors to running code
        ("+hydra.callbacks.a._target_=os.system", "hydra.callbacks={a: {_target_: os.system}}: is not supported"),
        ("hydra.sweeper._target_=os.system", "hydra.sweeper._target_=os.system: must be a sweeper installed"),
        ("-m hydra.launcher._target_=os.system", "hydra.launcher._target_=os.system: must be a launcher installed"),
        ("+hydra.launcher.x._target_=os.system", "hydra.launcher.x._target_=os.system: must be a launcher"),
        ("hydra.launcher=basic", "hydra.launcher=basic: is a section; one is chosen with hydra/launcher=NAME"),
        ("+hydra.job_logging.formatters.f.()=os.system", "+hydra.job_logging.formatters.f.()=os.system" + UNREADABLE),
        ("+hydra.job_logging.handlers.h.class=os.system", "hydra.job_logging=: must be one of Hydra's own, "),
        ("hydra.job.chdir=true", "hydra.job.chdir=true: must be false"),
        ("+hydra.job.env_set.LD_PRELOAD=x.so", "hydra.job.env_set={LD_PRELOAD: x.so}: must be empty"),
    ],
)  # fmt: skip
def test_a_refusal(
    argv: str, said: str, command: Command, runner: FakeRunner, tmp_path: Path
) -> None:
    (tmp_path / "a-file").touch()
    (tmp_path / "a-run").mkdir()
    (tmp_path / "a-run/metrics.jsonl").touch()
    (tmp_path / "runs/1").mkdir(parents=True)
    (tmp_path / "runs/1/config.yaml").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    words = [argv] if argv == "a b=3" else argv.split()
    done = command(*words)
    assert done.sentence.startswith(said.strip()), done.sentence
    assert not runner.of("run")
    assert not runner.of("resume")


def test_only_a_key_that_takes_a_list_is_told_of_one(command: Command) -> None:
    for key in ("devices", "train.batch", "optimizer.nesterov", "topology.k", "topology"):
        assert "makes a list" not in command(f"{key}=1,2").sentence, key
    for key in ("scenario.arms", "plugins", "lr_search.lrs", "evaluate.label"):
        assert f", {key}=[…] makes a list" in command(f"{key}=1,2").sentence, key


def test_what_only_the_full_check_finds_is_refused_before_anything_is_made(
    command: Command, runner: FakeRunner
) -> None:
    runner.check_raises = lambda cfg: (
        ConfigError("devices", cfg.devices, "a torus needs …") if cfg.devices == 13 else None
    )
    assert command("devices=13").sentence == "devices=13: a torus needs …"
    refused = command("-m", "devices=13", "seed=0,1", "hydra.sweep.dir=sweep").sentence
    assert refused == "devices=13: a torus needs … (in the job seed=1)"


def test_only_the_settings_of_the_later_jobs_of_a_large_sweep_are_looked_at(
    command: Command, runner: FakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarm.experiments.sweep.plan.MOST_JOBS_CHECKED", 2)
    assert "(in the job devices=0)" in command("-m", "devices=1,2,3,0").sentence
    assert runner.of("check") == []
    assert command("-m", "devices=1,2,3,4", "hydra.sweep.dir=sweep").code == 0
    assert [cfg.devices for cfg in runner.of("check")] == [1, 2]
    assert len(runner.of("run")) == 4


def test_a_yaml_of_ones_own_that_is_no_yaml(
    command: Command, runner: FakeRunner, tmp_path: Path
) -> None:
    (tmp_path / "mine/topology").mkdir(parents=True)
    (tmp_path / "mine/topology/bad.yaml").write_text("a: [1\nb: }")
    assert "mine/topology/bad.yaml" in command("--config-dir", "mine", "topology=bad").sentence


def test_a_missing_option_in_a_defaults_list_of_ones_own(
    command: Command, runner: FakeRunner, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/run.yaml").write_text(
        "defaults:\n  - config\n  - override topology: nope\n  - _self_\n"
    )
    said = command("--config-dir", "mine", "--config-name", "run").sentence
    assert said.startswith("topology=nope: no such option (did you mean none?)" + TOPOLOGIES)


@pytest.mark.parametrize(
    ("hydra", "said"),
    [
        ("mode: MANY", "hydra.mode: Invalid value 'MANY', expected one of [RUN, MULTIRUN] (in experiment/mine.yaml)"),
        ("sweeper: {params: 3}", "hydra.sweeper.params: Cannot assign int to Dict[str, str] (in experiment/mine.yaml)"),
        ("sweeper: {params: {sed: '1,2'}}", "sed=1: no such key (did you mean seed?)" + KEYS),
        ("sweeper: {params: {seed: [1, 2]}}", "hydra.sweeper.params.seed=[1, 2]: must be a text with the values as they "),
    ],
)  # fmt: skip
def test_a_refusal_of_what_a_yaml_says_of_the_sweep(
    hydra: str, said: str, command: Command
) -> None:
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/mine.yaml").write_text(f"# @package _global_\nhydra: {{{hydra}}}\n")
    done = command("--config-dir", "mine", "+experiment=mine")
    assert done.sentence.startswith(said.strip()), done.sentence
