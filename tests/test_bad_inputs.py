"""What users mistype and files that are not what they seem: one message with its remedy, status 1, nothing written."""

import os
import sys
from pathlib import Path

import pytest

from snntha import cli
from snntha.config import Config, compose
from snntha.config.compose import changed
from snntha.errors import UserError

BIG = "1" + "0" * 30
HOSTILE = "\x1b[31m[bold]ü ${oc.env:HOME} $(touch x) 'q"

TRAIN = [  # overrides that Hydra composes, and what the message says
    # names and numbers of the groups
    (["dataset=3"], "dataset=3: expected digits | "),
    (["dataset=null"], "dataset=null: expected digits"),
    (["dataset=true"], "dataset=true: expected digits"),
    (["dataset="], "dataset"),
    (["dataset=Digits"], "did you mean 'digits'?"),
    (["dataset=shd2"], "did you mean 'shd'?"),
    (["dataset=../mnist"], "('../mnist')"),
    (["mode=1"], "mode=1: expected annealed"),
    (["mode=aneal"], "did you mean 'annealed'?"),
    (["mode=null"], "mode=null: expected"),
    (["model=7"], "model=7: expected"),
    (["hparams=1"], "hparams=1: expected"),
    (["hparams=no_such"], "hparams=no_such: expected"),
    (["hparams=shd_annealed"], "pass dataset=shd mode=annealed"),
    (["fidelity=3"], "fidelity=3: expected"),
    (["optimizer=3"], "optimizer=3: expected adam"),
    (["optimizer=null"], "optimizer=null: expected adam"),
    (["launcher=3"], "launcher=3: expected"),
    (["search=1"], "search=1: expected beyond | tpe"),
    (["debug=0"], "debug=0: expected"),
    # forms
    (["epochs"], "epochs: expected key=value"),
    (["epochs 3"], "expected key=value"),
    (["=3"], "expected key=value"),
    (["epochs=[1"], "expected key=value"),
    (["epochs=1,2"], "epochs"),
    (["epohcs=3"], "epohcs"),
    (["hparams.bta=1"], "Did you mean: 'beta'?"),
    (["+hparams.bta=1"], "bta"),
    (["nothing.at.all=1"], "nothing"),
    (["~dataset"], "dataset"),
    (["~epochs"], "epochs"),
    (["-m", "--cfg", "job"], "looks at one configuration: leave out -m"),
    (["-m", "--info", "searchpath"], "looks at one configuration"),
    (["hparams.threshold.start.7=1"], "one entry per layer"),
    (["hparams.lr=0.1"], "this key is optimizer.lr now"),
    (["hparams.optimizer=sgd"], "this key is optimizer.name now"),
    # with a data set or mode
    (["dataset=shd", "dataset.bin_ms=0"], "dataset.bin_ms=0.0: expected 0.001 or more, in whole microseconds"),
    (["dataset=shd", "dataset.bin_ms=0.33333"], "in whole microseconds"),
    (["dataset=shd", "dataset.bin_ms=inf"], "dataset.bin_ms=Infinity"),
    (["dataset=shd", "dataset.bin_ms=null"], "dataset.bin_ms=null: event data need the milliseconds"),
    (["dataset=shd", "dataset.window=half"], "dataset.window=half: expected full | first_T_ms"),
    (["optimizer=sgd", "optimizer.momentum=1"], "optimizer.momentum=1.0: expected 0 to less than 1"),
    (["mode=bsnn", "hparams.threshold.rise=[1,1]"], "keeps the threshold fixed"),
    (["mode=bsnn_theta1", "hparams.threshold.start=[2,1]"], "mode=bsnn_theta1 fixes it at 1"),
    (["model=shd"], "model.topology"),
    (["dataset.bin_ms=3"], "has no effect: only dataset=dvs_gesture | shd | "),
    (["fidelity.name=code"], "choose one with fidelity="),
    (["epochs=1e30"], "epochs=1e30"),
    (["epochs=true"], "epochs=true"),
    (["hparams.beta=high"], "hparams.beta=high"),
    (["plots=7"], "plots=7: expected true | false"),
    # texts
    (["output_dir="], "output_dir= is empty, perhaps by an unset variable"),
    (["output_dir=''"], "output_dir is empty"),
    (["output_dir=???"], "output_dir"),
    (["dataset.root="], "dataset.root= is empty"),
    (["dataset.cache="], "dataset.cache= is empty"),
    (["resume="], "resume= is empty"),
    (["resume=nowhere"], "nowhere/config.yaml does not exist: name the folder of a run"),
    (["resume=nowhere", "search=tpe"], "resume= is for a single run"),
    ([f"resume={HOSTILE}"], "does not exist"),
    (["hparams=nowhere.yaml"], "there is no such file"),
    (["hparams=~/nowhere/x (1).yaml"], "there is no such file"),
    (["dataset=mnist", f"dataset.root={HOSTILE}"], "is incomplete in dataset.root"),
    (["dataset=mnist", "dataset.root=nowhere"], "there is no folder"),
    (["dataset=shd", "dataset.root=nowhere"], "there is no folder"),
    (["dataset=dvs_gesture", "dataset.root=nowhere"], "there is no folder"),
    # searches
    (["search=tpe", "search.study_name=../../x"], "names a folder below search.dir"),
    (["search=tpe", "search.study_name=a/b"], "names a folder below search.dir"),
    (["search=tpe", "search.study_name=.."], "names a folder below search.dir"),
    (["search=tpe", "search.study_name="], "search.study_name= is empty"),
    (["search=tpe", "search.study_name=a?mode=memory"], "names a folder below search.dir"),
    (["search=tpe", "search.n_trials=0"], "search.n_trials=0: expected 1 or more"),
    (["search=tpe", "search.pruner=best"], "search.pruner=best: expected none | median | hyperband"),
    (["search=tpe", "search.stale_s=1"], "would count as dead"),
    (["search=tpe", "search.max_failure_share=1"], "search.max_failure_share=1.0: expected 0 to less than 1"),
    (["search=tpe", "search.workers=2"], "without launcher="),
    (["search=tpe", "selection=test"], "selection=test: a search would choose"),
    (["search=tpe", "trials=3"], "trials=3: in a search, set search.seeds instead"),
    (["search=tpe", "dataset.limit=3"], "dataset.limit=3: in a search, set search.limit instead"),
    (["search=tpe", "optimizer.lr=interval(1,0)"], "optimizer.lr"),
    (["search=tpe", "hparams.beta=interval(0,0.5,1)"], "hparams.beta"),
    (["search=tpe", "hparams.beta=range(5,1)"], "hparams.beta"),
    (["search=tpe", "search.space.beta.low=2"], "search.space.beta: low=2.0 must not be above high"),
    (["search=tpe", "search.space.slope.low=0"], "above 0 for log"),
    (["search=tpe", "search.space.beta.each=neuron"], "expected null | layer | dense"),
    (["search=tpe", "hydra.sweeper.sampler.n_startup_trials=null"], "n_startup_trials"),
    (["search=tpe", "hydra/sweeper/sampler=grid"], "choose another"),
    (["search=tpe", "hydra/sweeper/sampler=nonsense"], "nonsense"),
    (["search=tpe", "dataset=shd", "dataset.root=nowhere"], "there is no folder"),
]

VALUES = [  # of keys, over the configuration of digits and annealed
    # numbers
    (["epochs=0"], "epochs=0: expected 1 or more"),
    (["epochs=-3"], "epochs=-3: expected 1 or more"),
    (["epochs=3.7"], "could not be converted to "),
    (["epochs=1e30"], "could not be converted to "),
    ([f"epochs={BIG}"], f"epochs={BIG}: expected 1 or more, below 2^31"),
    (["epochs=many"], "could not be converted to "),
    (["epochs=true"], "could not be converted to "),
    (["epochs=null"], "Incompatible value 'None'"),
    (["epochs=nan"], "could not be converted to "),
    (["epochs=[3]"], "epochs"),
    (["epochs='3 4'"], "epochs"),
    (["patience=0"], "patience=0: expected 1 or more"),
    (["trials=0"], "trials=0: expected 1 or more"),
    ([f"trials={BIG}"], "below 2^31"),
    (["threads=0"], "threads=0: expected 1 to 1024"),
    ([f"threads={BIG}"], "expected 1 to 1024"),
    (["seed=-1"], "seed=-1: expected 0 to 2^40"),
    (["seed=1.5"], "could not be converted to "),
    (["seed=null"], "Incompatible value 'None'"),
    (["seed=20000000000000"], "expected 0 to 2^40"),
    (["hparams.batch_size=0"], "hparams.batch_size=0: expected 1 or more"),
    (["hparams.batch_size=1e30"], "could not be converted to "),
    ([f"hparams.batch_size={BIG}"], "below 2^31"),
    (["dataset.time_steps=0"], "dataset.time_steps=0: expected 1 or more"),
    ([f"dataset.time_steps={BIG}"], "below 2^31"),
    (["dataset.test_time_steps=0"], "dataset.test_time_steps=0: expected 1 or more"),
    (["dataset.limit=0"], "dataset.limit=0: expected 1 or more"),
    (["dataset.limit=some"], "could not be converted to "),
    (["dataset.validation_fraction=1"], "dataset.validation_fraction=1.0: expected 0 to less than 1"),
    (["dataset.validation_fraction=0"], "leaves nothing to select the model on"),
    (["dataset.validation_fraction=nan"], "dataset.validation_fraction=NaN"),
    (["hparams.beta=2"], "hparams.beta=2.0: expected 0 to 1"),
    (["hparams.beta=nan"], "hparams.beta=NaN: expected 0 to 1"),
    (["hparams.beta=inf"], "hparams.beta=Infinity: expected 0 to 1"),
    (["hparams.beta=high"], "could not be converted to "),
    (["hparams.beta=[0.9]"], "hparams.beta"),
    (["hparams.slope=0"], "hparams.slope=0.0: expected more than 0"),
    (["hparams.slope=-1"], "hparams.slope=-1.0: expected more than 0"),
    (["optimizer.lr=0"], "optimizer.lr=0.0: expected more than 0"),
    (["optimizer.lr=inf"], "optimizer.lr=Infinity: expected more than 0"),
    (["optimizer.lr=nan"], "optimizer.lr=NaN: expected more than 0"),
    (["optimizer.momentum=0.5"], "belongs to sgd"),
    (["optimizer.betas=[0.9]"], "adam needs two"),
    (["optimizer.betas=[0.9,1]"], "expected 0 to less than 1 in every entry"),
    (["optimizer.betas=0.9"], "optimizer.betas"),
    (["hparams.dropout=[1]"], "expected 0 to less than 1 in every entry"),
    (["hparams.dropout=[0.1,0.2,0.3]"], "pass one entry per dense layer"),
    (["hparams.dropout=[nan]"], "expected 0 to less than 1 in every entry"),
    (["hparams.dropout=[null]"], "hparams.dropout"),
    (["hparams.grad_clip=0"], "hparams.grad_clip=0.0: expected more than 0"),
    (["hparams.weight_clip=-1"], "hparams.weight_clip=-1.0: expected more than 0"),
    (["hparams.cosine_epochs=0"], "hparams.cosine_epochs=0.0: expected more than 0"),
    (["hparams.threshold.start=[1,2,3]"], "pass one entry per spiking layer"),
    (["hparams.threshold.start=[0,1]"], "expected more than 0 in every entry"),
    (["hparams.threshold.start=[nan,1]"], "expected more than 0 in every entry"),
    (["hparams.threshold.rise=[-1,1]"], "expected 0 or more in every entry"),
    (["hparams.threshold.rate=[2,1]"], "expected 0 to 1 in every entry"),
    (["hparams.threshold.rate=0.1"], "hparams.threshold.rate"),
    (["loss.correct_rate=2"], "loss.correct_rate=2.0: expected 0 to 1"),
    (["loss.incorrect_rate=nan"], "loss.incorrect_rate=NaN: expected 0 to 1"),
    (["target_train_accuracy=0"], "target_train_accuracy=0.0: expected percent"),
    (["target_train_accuracy=101"], "target_train_accuracy=101.0: expected percent"),
    # choices and switches
    (["device=gpu"], "device=gpu: expected auto | cpu | cuda"),
    (["backend=cupy"], "backend=cupy: expected auto"),
    (["precision=fp8"], "precision=fp8: expected float32"),
    (["selection=train"], "selection=train: expected validation | test"),
    (["logger=aim"], "logger=aim: expected none | tensorboard | mlflow | wandb"),
    (["plots=7"], "plots=7: expected true | false"),
    (["plots=-1"], "plots=-1: expected true | false"),
    (["plots=maybe"], "is not a valid bool"),
    (["plots=null"], "Incompatible value 'None'"),
    (["dataset.download=7"], "dataset.download=7: expected true | false"),
    (["mode.binarize=7"], "mode.binarize=7: expected true | false"),
    (["mode.binarize=false"], "not mode=annealed"),
    (["mode.anneal=2"], "mode.anneal=2: expected true | false"),
    (["hparams.batch_norm=0.5"], "hparams.batch_norm=0.5: expected true | false"),
    (["model.zero_bias=3"], "model.zero_bias=3: expected true | false"),
    (["fidelity.init=zero"], "fidelity.init=zero: expected pytorch | glorot"),
    # topologies
    (["model.topology="], "model.topology= is empty"),
    (["model.topology=x"], "unknown token"),
    (["model.topology=-"], "unknown token"),
    (["model.topology=64Conv3"], "ends without a dense layer"),
    (["model.topology=64Conv3-AP2"], "ends without a dense layer"),
    (["model.topology=AP2-64Dense10"], "average pooling acts on"),
    (["model.topology=64Conv3-AP2-AP2-144Dense10"], "average pooling acts on"),
    (["model.topology=64Conv9-64Dense10"], "a 9x9 kernel does not fit"),
    (["model.topology=64Conv3-AP7-64Dense10"], "7x7 pooling does not fit"),
    (["model.topology=0Conv3-36Dense10"], "at least one filter"),
    (["model.topology=4Conv0-36Dense10"], "at least one filter of size 1"),
    (["model.topology=64Conv3-AP2-577Dense10"], "577 inputs do not fit"),
    (["model.topology=64Conv3-AP2-576Dense0Dense10"], "every layer needs at least one neuron"),
    (["model.topology=64Conv3-AP2-576Dense11"], "needs 10"),
    (["model.topology=64Dense10-10Conv3"], "a convolution needs"),
    ([f"model.topology=64Dense{BIG}Dense10"], "model.topology"),
    ([f"model.topology={BIG}Conv3-AP2-36Dense10"], "model.topology"),
    (["model.topology=64Dense999999999Dense10"], "more than 2^31 weights"),
    (["model.topology=64conv3-ap2-576dense10"], "unknown token"),
    (["model.topology=1e30"], "unknown token"),
]

OTHERS = [
    (["trian"], "unknown command 'trian'; did you mean 'train'?"),
    (["-x"], "unknown command '-x'"),
    ([""], "unknown command ''"),
    (["eval"], "run= is missing"),
    (["eval", "run="], "run= is missing"),
    (["eval", "rn=x"], "unknown argument 'rn=x'; did you mean 'run'?"),
    (["eval", "run"], "run: expected run=RUN"),
    (["eval", "x"], "unknown argument 'x'"),
    (["eval", "run=nowhere"], "nowhere is not the folder of a run"),
    (["eval", "run=~/nowhere at all"], f"{Path.home()}/nowhere at all is not the folder of a run"),
    (["eval", f"run={HOSTILE}"], "is not the folder of a run"),
    (["eval", "run=" + "x" * 300], "File name too long"),
    (["eval", "run=x", "checkpoint=first"], "checkpoint=first: expected best | last"),
    (["eval", "run=x", "trial=one"], "trial=one: expected a whole number, 0 or more"),
    (["eval", "run=x", "trial=-1"], "trial=-1: expected a whole number, 0 or more"),
    (["eval", "run=x", "trial=1.5"], "trial=1.5: expected a whole number, 0 or more"),
    (["report", "nowhere"], "nowhere is not a folder"),
    (["report", ""], "RUN is empty, perhaps by an unset variable"),
    (["report", "."], "no run found in ."),
    (["report", "--format", "word"], "--format=word: expected rich | markdown | csv | json | latex"),
    (["report", "--format"], "--format: expected --format=rich"),
    (["report", "--html"], "--html: expected --html=FILE"),
    (["report", "--tabel=cost"], "unknown argument '--tabel=cost'; did you mean '--table'?"),
    (["report", "--table=costs"], "--table=costs: expected results | accuracy | cost"),
    (["plot", "run=nowhere"], "nowhere is not the folder of a run"),
    (["plot", "figure=curve"], "did you mean 'curves'?"),
    (["plot", "figure=curves"], "run= is missing"),
    (["plot", "figure=neuron", "beta=x"], "beta=x: expected a number, 0 or more"),
    (["plot", "figure=neuron", "beta=nan"], "beta=nan: expected a number, 0 or more"),
    (["plot", "figure=neuron", "beta=-1"], "beta=-1: expected a number, 0 or more"),
    (["plot", "figure=neuron", "start=x"], "start=x: expected a number"),
    (["plot", "frames=0"], "frames=0: expected a whole number, 1 or more"),
    (["plot", "iterations=1,x"], "iterations=x: expected a whole number, 0 or more"),
    (["search", "one", "two"], "one two: name one study"),
    (["search", "nowhere"], "nowhere: there is no such study"),
    (["search", "../.."], "there is no such study"),
    (["search", "pictures=no"], "pictures=no: expected true | false"),
    (["search", "x", "storage=nonsense"], "nonsense does not answer"),
    (["search", "storage=sqlite:///nowhere/x.db"], "does not answer"),
    (["search", "x", "storage=postgresql://u:secret@localhost:1/x"], "u:***@localhost"),
    (["export"], "run= is missing"),
    (["export", "run=nowhere"], "nowhere is not the folder of a run"),
    (["export", "run=x", "format=word"], "format=word: expected packed | c | nir | onnx"),
    (["export", "run=x", "quantize=int4"], "quantize=int4: expected int8 | int16"),
    (["export", "run=x", "profile=short"], "profile=short: expected exact | portable"),
    (["export", "run=x", "strict=all"], "strict=all: expected weights | thresholds | multiplier_free"),
    (["export", "run=x", "golden=-1"], "golden=-1: expected a whole number, 0 or more"),
    (["predict"], "model= is missing"),
    (["predict", "mdel=x"], "did you mean 'model'?"),
    (["predict", "model=nowhere", "x"], "model=nowhere: neither a file nor a model"),
    (["predict", "model=.", "x"], ". cannot be read: Is a directory"),
    (["predict", "model=/dev/null", "x"], "/dev/null is not a packed network that can be used"),
    (["predict", "model=x", ""], "INPUT is empty, perhaps by an unset variable"),
    (["verify", "model=x"], "run= is missing"),
    (["verify", "model=nowhere", "run=x"], "nowhere cannot be read: No such file or directory"),
    (["cost", "run=nowhere"], "nowhere is not the folder of a run"),
    (["cost", "run=x", "samples=0"], "samples=0: expected a whole number, 1 or more"),
    (["bench", "--jsn"], "unknown argument '--jsn'; did you mean '--json'?"),
    (["bench", "case=cifar"], "case=cifar: expected mnist"),
    (["bench", "repeats=0"], "repeats=0: expected a whole number, 1 or more"),
    (["bench", "sweeps=7"], "sweeps=7: expected true | false"),
    (["data", "dataset=shd2"], "did you mean 'shd'?"),
    (["data", "dataset.rot=x"], "did you mean 'dataset.root'?"),
    (["list", "all"], "unknown argument 'all'"),
]


@pytest.fixture
def refuse(monkeypatch, tmp_path, capsys):
    """Call `snntha ...` in an empty folder, in this process; returns its one message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["snntha", *arguments])
        assert cli.main() == 1
        error = capsys.readouterr().err
        assert error.startswith(f"snntha {arguments[0]}: ") and "Traceback" not in error and "\x1b" not in error
        return error

    return call


def named(arguments: list[str]) -> str:
    return " ".join(arguments)[:60].encode("ascii", "replace").decode().replace("\x1b", "ESC")


@pytest.mark.parametrize(("arguments", "words"), TRAIN, ids=lambda value: named(value) if type(value) is list else "")
def test_a_wrong_run_is_refused(refuse, tmp_path, arguments, words):
    assert words in refuse("train", *arguments)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("arguments", "words"), OTHERS, ids=lambda value: named(value) if type(value) is list else "")
def test_a_wrong_command_is_refused(refuse, tmp_path, arguments, words):
    assert words in refuse(*arguments)
    assert os.listdir(tmp_path) == []


@pytest.fixture(scope="module")
def composed() -> Config:
    return compose(["dataset=digits", "mode=annealed"])


@pytest.mark.parametrize(("arguments", "words"), VALUES, ids=lambda value: named(value) if type(value) is list else "")
def test_a_wrong_value_is_refused(composed, arguments, words):
    with pytest.raises(UserError) as caught:
        changed(composed, arguments)
    assert words in str(caught.value) and arguments[0].partition("=")[0].split(".")[-1] in str(caught.value)


def test_there_are_many():
    assert len(TRAIN) + len(VALUES) + len(OTHERS) >= 200
