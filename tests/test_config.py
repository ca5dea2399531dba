"""The shipped configurations against the paper's tables, and the checks that refuse others."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from snntha import config as configuration
from snntha.config import CHOICES, TUNED, Config, ConfigError, compose, conf_folder, from_yaml, override
from snntha.config.schema import Optimizer
from snntha.published import published
from snntha.threshold import Annealing

DATASETS = TUNED
MODES = CHOICES["mode.name"]

# Tables 3, 4 and 6, as printed: beta, theta, k, eta, GC, WC, BN, DO1, DO2; "-": not in the table.
TABLES = """
temporal_coding flt32       0.6  2.0  5.0 1e-3   - - - - -
temporal_coding bsnn_theta1 0.15 1.0  5.0 1e-3   - - - - -
temporal_coding bsnn        0.15 50.0 5.0 1e-3   - - - - -
temporal_coding annealed    0.15 -    5.0 1e-3   - - - - -
mnist           flt32       0.92 2.0  6.0 1.9e-3 1 1 1 0.09 -
mnist           bsnn_theta1 0.74 1.0  4.7 6.5e-3 0 0 1 0.87 -
mnist           bsnn        0.84 6.4  2.8 2.7e-3 0 0 1 0.06 -
mnist           annealed    0.99 -    10.2 1.0e-2 0 0 1 0.03 -
fashion_mnist   flt32       0.39 1.5  7.7 2.0e-3 1 1 1 0.13 -
fashion_mnist   bsnn_theta1 0.82 1.0  4.3 1.2e-3 1 1 1 0.86 -
fashion_mnist   bsnn        0.87 9.7  6.7 1.6e-2 1 0 1 0.01 -
fashion_mnist   annealed    0.87 -    0.2 8.4e-4 0 0 1 0.65 -
dvs_gesture     flt32       0.72 2.5  5.4 7.5e-3 0 1 1 0.29 -
dvs_gesture     bsnn_theta1 0.1  1.0  0.1 3.6e-3 0 0 0 0.64 -
dvs_gesture     bsnn        0.78 8.7  0.3 9.6e-4 1 1 0 0.06 -
dvs_gesture     annealed    0.93 -    0.2 1.8e-3 1 0 0 0.43 -
shd             flt32       0.98 1.7  2.0 2.7e-4 0 0 - 0.05 0.04
shd             bsnn_theta1 0.61 1.0  0.4 1.9e-4 1 1 - 0.09 0.11
shd             bsnn        0.33 3.4  0.1 5.0e-4 1 1 - 0.22 0.07
shd             annealed    0.95 -    0.3 6.5e-4 1 1 - 0.02 0.19
"""
ROWS = [line.split() for line in TABLES.strip().splitlines()]

# Tables 3, 5 and 7: theta_0, theta_inf and alpha of each layer.
ANNEALED = {
    "temporal_coding": [("5.0", "50.0", "5e-3"), ("5.0", "50.0", "5e-3")],
    "mnist": [("11.7", "16.0", "2.4e-2"), ("14.1", "30.4", "0.12"), ("0.7", "4.2", "1.1e-3")],
    "fashion_mnist": [("6.9", "14.0", "3.7e-2"), ("10.3", "23.1", "0.30"), ("18.0", "27.9", "0.10")],
    "dvs_gesture": [("10.4", "12.2", "3.3e-3"), ("16.6", "19.1", "6.1e-3"), ("6.8", "16.5", "0.17")],
    "shd": [("13.5", "45.2", "2.8e-5"), ("11.2", "51.1", "1.36e-5")],
}

SURROUNDINGS = {  # batch size, epochs, time steps, bin_ms, topology; of the binary networks
    "digits": (32, 30, 50, None, "64Conv3-AP2-576Dense10"),
    "mnist": (128, 500, 100, None, "16Conv5-AP2-64Conv5-AP2-1024Dense10"),
    "fashion_mnist": (128, 500, 100, None, "16Conv5-AP2-64Conv5-AP2-1024Dense10"),
    "dvs_gesture": (8, 500, 100, 5.0, "16Conv5-AP2-32Conv5-AP2-800Dense11"),
    "shd": (32, 500, 333, 3.0, "700Dense3000Dense20"),
    "temporal_coding": (1, 1000, 100, None, "100Dense1000Dense1"),
}


def as_printed(text: str) -> object:
    """Equal to within one unit of the last digit that a table prints: some are rounded, some are cut."""
    unit = Decimal(1).scaleb(int(Decimal(text).as_tuple().exponent))
    return pytest.approx(float(text), rel=0, abs=float(unit))


@pytest.fixture(scope="module")
def composed() -> dict[tuple[str, str], Config]:
    return {(dataset, mode): compose([f"dataset={dataset}", f"mode={mode}"]) for dataset in DATASETS for mode in MODES}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "_".join(row[:2]))
def test_hyperparameters_are_the_published_ones(composed, row):
    dataset, mode, beta, theta, slope, lr, grad_clip, weight_clip, batch_norm, first, second = row
    config = composed[dataset, mode]
    hparams = config.hparams
    annealed = mode == "annealed"
    equal = as_printed if annealed else float  # the annealed sets are the reference code's, which the tables round
    assert hparams.beta == equal(beta)
    assert hparams.slope == equal(slope)
    assert config.optimizer.lr == equal(lr)
    assert hparams.grad_clip == (1.0 if grad_clip == "1" else None)
    assert hparams.weight_clip == (1.0 if weight_clip == "1" else None)
    assert hparams.batch_norm == (batch_norm == "1")
    printed = [rate for rate in (second, first) if rate != "-"]  # Table 6: DO1 is the output layer
    assert hparams.dropout == [equal(rate) for rate in printed or ["0.0", "0.0"]]
    if not annealed:
        published_theta = 1.0 if (dataset, mode) == ("temporal_coding", "flt32") else float(theta)  # Table 3 has a slip
        assert set(hparams.threshold.start) == {published_theta}


@pytest.mark.parametrize("dataset", ANNEALED)
def test_thresholds_are_the_published_ones(composed, dataset):
    threshold = composed[dataset, "annealed"].hparams.threshold
    layers = zip(threshold.start, threshold.rise, threshold.rate, strict=True)
    assert [(start, start + rise, rate) for start, rise, rate in layers] == [
        tuple(as_printed(value) for value in layer) for layer in ANNEALED[dataset]
    ]


def test_annealed_sets_have_the_digits_of_the_reference_code(composed):
    mnist = composed["mnist", "annealed"]
    assert (mnist.hparams.slope, mnist.optimizer.lr, mnist.hparams.dropout) == (10.22, 9.97e-3, [0.02856])
    assert mnist.hparams.threshold.start == [11.666, 14.105, 0.6656]
    fashion = composed["fashion_mnist", "annealed"]
    assert (fashion.optimizer.name, fashion.optimizer.momentum, fashion.optimizer.lr) == ("sgd", 0.855, 8.4e-4)
    assert fashion.hparams.threshold.rise == [7.1456, 12.826, 9.936668]
    dvs = composed["dvs_gesture", "annealed"]
    assert (dvs.hparams.beta, dvs.hparams.slope, dvs.optimizer.lr) == (0.9297, 0.24, 1.765e-3)
    assert dvs.hparams.threshold.rate == [0.00333, 0.0061, 0.173]
    shd = composed["shd", "annealed"].hparams
    assert shd.dropout == [0.186, 0.0176]
    assert shd.threshold.rise == [31.767, 39.92]


def test_temporal_coding_anneals_as_the_notebook(composed):
    threshold = composed["temporal_coding", "annealed"].hparams.threshold
    start, rise, rate = threshold.start[0], threshold.rise[0], threshold.rate[0]
    assert [round(Annealing(start, rise, rate).after(n), 2) for n in (100, 400, 1000)] == [22.74, 43.94, 49.70]


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("mode", MODES)
def test_what_follows_from_dataset_and_mode(composed, dataset, mode):
    config = composed[dataset, mode]
    batch_size, epochs, time_steps, bin_ms, topology = SURROUNDINGS[dataset]
    if mode == "flt32" and dataset == "shd":
        time_steps, bin_ms = 500, 2.0
    if mode == "flt32" and dataset == "dvs_gesture":
        batch_size = 16
    assert config.hparams.name == f"{dataset}_{mode}"
    assert config.hparams.batch_size == batch_size
    assert config.epochs == epochs
    assert (config.dataset.time_steps, config.dataset.bin_ms) == (time_steps, bin_ms)
    assert config.model.topology == topology
    assert (config.mode.binarize, config.mode.anneal) == (mode != "flt32", mode == "annealed")
    assert any(config.hparams.threshold.rise) == (mode == "annealed")
    unscheduled = dataset == "temporal_coding" or (dataset, mode) == ("mnist", "flt32")
    half_period = 30.0 if dataset == "digits" else 10.0
    assert config.hparams.cosine_epochs == (None if unscheduled else half_period)


def test_the_peak_of_temporal_coding_belongs_to_the_threshold(composed):
    peaks = {mode: composed["temporal_coding", mode].dataset.target_peak for mode in MODES}
    assert peaks == {"flt32": 1.05, "bsnn_theta1": 1.05, "bsnn": 55.0, "annealed": 55.0}


def test_fidelity_switches():
    code = compose(["dataset=shd", "fidelity=code"])
    assert vars(code.fidelity) == {
        "name": "code",
        "surrogate": "moving",
        "spike": "above_threshold",
        "init": "glorot",
        "weight_clip": "all_before_step",
        "trial_seed": "same",
    }
    assert (code.selection, code.dataset.window) == ("test", "first_T_ms")
    paper = compose(["dataset=shd"])
    assert (paper.selection, paper.dataset.window) == ("validation", "full")


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_code_cuts_the_recordings_of_one_data_set_alone(dataset):
    code = compose([f"dataset={dataset}", "fidelity=code"])
    assert code.dataset.window == ("first_T_ms" if dataset == "shd" else "full")
    assert code.selection == "test"


def test_no_key_copies_what_is_tuned():
    for file in conf_folder().rglob("*.yaml"):
        assert "${hparams." not in file.read_text(), file


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("debug", ["smoke", "overfit"])
def test_debug_fits_every_dataset(dataset, debug):
    config = compose([f"dataset={dataset}", f"debug={debug}", "epochs=2"])
    assert config.dataset.limit is not None
    assert config.epochs == 2, "the command line wins over the debug group"
    if debug == "overfit":
        assert not any(config.hparams.dropout)


def test_every_hparams_file_names_its_source():
    files = sorted((conf_folder() / "hparams").iterdir())
    assert [file.stem for file in files] == sorted(
        ["auto", *(f"{dataset}_{mode}" for dataset in DATASETS for mode in MODES)]
    )
    for file in files:
        header, source = file.read_text().splitlines()[:2]
        assert header == "# @package _global_"
        assert source.startswith("# our own" if file.stem.startswith(("digits", "auto")) else "# Table "), file


def test_conf_holds_nothing_but_configs():
    assert {path.suffix for path in conf_folder().rglob("*") if path.is_file()} == {".yaml"}


def test_sgd_has_momentum_and_adam_has_none():
    assert compose(["optimizer=sgd"]).optimizer.momentum == 0.9
    assert compose(["dataset=fashion_mnist", "optimizer=adam"]).optimizer.momentum == 0.0


def test_data_and_cache_folders_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("SNNTHA_DATA", "somewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", "xdg")
    monkeypatch.delenv("SNNTHA_CACHE", raising=False)
    dataset = compose().dataset
    assert (dataset.root, dataset.cache) == ("somewhere", "xdg/snntha")


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["hparams.bta=1"], ["hparams.bta", "Did you mean: 'beta'"]),
        (["+hparams.bta=1"], ["hparams.bta", "Did you mean: 'beta'"]),
        (["datset=shd"], ["datset", "Did you mean: 'dataset'"]),
        (["dataset=shd2"], ["dataset=shd2", "temporal_coding", "did you mean 'shd'?"]),
        (["hparams.beta=high"], ["hparams.beta=high", "could not be converted to Float"]),
        (["hparams.beta=1.5"], ["hparams.beta=1.5", "expected 0 to 1"]),
        (["hparams.beta=nan"], ["hparams.beta=NaN", "expected 0 to 1"]),
        (["hparams.dropout=[0.1,1.0]", "dataset=shd"], ["hparams.dropout", "less than 1 in every entry"]),
        (["hparams.dropout=[0.1,0.2]"], ["hparams.dropout=[0.1, 0.2] has 2 entries", "1 dense layer"]),
        (["hparams.threshold.start=[5]"], ["hparams.threshold.start=[5.0] has 1 entry", "2 spiking layers"]),
        (["hparams.threshold.rate=[1,1,1]"], ["hparams.threshold.rate", "3 entries", "one entry per spiking layer"]),
        (["hparams.threshold.start=[0,1]"], ["hparams.threshold.start=[0.0, 1.0]", "more than 0 in every entry"]),
        (["hparams.threshold.rise=[-1,1]"], ["hparams.threshold.rise", "0 or more in every entry"]),
        (["mode=bsnn", "hparams.threshold.rise=[1,1]"], ["hparams.threshold.rise", "pass mode=annealed"]),
        (
            ["mode=bsnn", "hparams.threshold.rise.0=9"],
            ["threshold.rise.0=9", "the list is shorter: pass all"],
        ),
        (["mode=bsnn_theta1", "hparams.threshold.start=[2,2]"], ["hparams.threshold.start", "pass mode=bsnn"]),
        (["hparams=shd_annealed"], ["hparams=shd_annealed", "pass dataset=shd mode=annealed"]),
        (["hparams=digits_bsnn"], ["hparams=digits_bsnn", "pass dataset=digits mode=bsnn"]),
        (["epochs=0"], ["epochs=0", "1 or more"]),
        (["hparams.batch_size=0"], ["hparams.batch_size=0", "1 or more"]),
        (["device=gpu"], ["device=gpu", "auto | cpu | cuda"]),
        (["selection=tst"], ["selection=tst", "did you mean 'test'?"]),
        (["dataset.validation_fraction=0"], ["dataset.validation_fraction=0", "selection=test"]),
        (["optimizer.momentum=0.5"], ["optimizer.momentum=0.5", "pass optimizer=sgd"]),
        (["optimizer.betas=[0.9]"], ["optimizer.betas=[0.9]", "[0.9,0.999]"]),
        (["dataset=shd", "hparams.batch_norm=true"], ["hparams.batch_norm=true", "pass false"]),
        (["dataset=shd", "dataset.bin_ms=null"], ["dataset.bin_ms=null", "dataset.bin_ms=3"]),
        (["dataset=shd", "dataset.bin_ms=0.0001"], ["dataset.bin_ms=0.0001", "0.001 or more"]),
        (["model.topology=64Conv3-AP2-576Dense11"], ["model.topology", "11 neurons", "needs 10"]),
        (["model.topology=32Conf3"], ["model.topology", "position 0"]),
        (["model=shd"], ["model.topology", "700"]),
        (["dataset.root=???"], ["dataset.root", "missing mandatory value"]),
        (["epochs"], ["epochs: expected key=value"]),
        (["hparams.time_steps=20"], ["hparams.time_steps=20: this key is dataset.time_steps now", "pass dataset.time"]),
        (["hparams.optimizer=sgd"], ["this key is optimizer.name now: pass optimizer.name=sgd"]),
        (["++hparams.epochs=9"], ["++hparams.epochs=9: this key is epochs now: pass epochs=9"]),
        (["fidelity.selection=test"], ["this key is selection now: pass selection=test"]),
        (["dataset.bin_ms=2"], ["no effect", "only dataset=dvs_gesture | shd | nmnist | ssc"]),
        (["fidelity.name=code"], ["fidelity.name=code", "choose one with fidelity="]),
        (["mode.binarize=false"], ["mode.binarize=false", "not mode=annealed"]),
        (["seed=20000000000000"], ["seed=20000000000000", "2^40"]),
    ],
    ids=lambda value: " ".join(value) if "=" in value[0] else None,
)
def test_a_wrong_configuration_is_refused(overrides, words):
    with pytest.raises(ValueError) as error:
        compose(overrides)
    for word in words:
        assert word in str(error.value)


def test_a_search_keeps_the_epochs_of_a_training_for_its_best_set():
    config = compose(["search=tpe", "search.epochs=9"])
    assert config.search is not None
    assert (config.search.epochs, config.epochs, configuration.tuned(config)["epochs"]) == (9, 30, 30)
    published = compose(["search=tpe"]).search
    assert published is not None
    assert published.epochs == 30


@pytest.mark.parametrize("name", ["digits_annealed", "mine", "5"])
def test_a_file_of_hyperparameters_is_taken_whatever_its_name(name, tmp_path):
    shipped = yaml.safe_load((conf_folder() / "hparams" / "digits_annealed.yaml").read_text())
    shipped["hparams"]["beta"] = 0.123
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(shipped))
    config, published = compose([f"hparams={configuration.add_hparams(path)}"]), compose()
    assert config.hparams == replace(published.hparams, beta=0.123)
    assert (config.optimizer, config.epochs, config.patience) == (published.optimizer, 30, None)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("mode", ["flt32", "annealed"])
def test_what_is_tuned_makes_the_same_run_again_as_a_file(composed, dataset, mode, tmp_path):
    config = composed[dataset, mode]
    path = tmp_path / "best.yaml"
    path.write_text(yaml.safe_dump(configuration.tuned(config)))
    overrides = (f"dataset={dataset}", f"mode={mode}", f"output_dir={config.output_dir}")
    assert compose([*overrides, f"hparams={configuration.add_hparams(path)}"]) == config


FLAT = {  # a file of hyperparameters as earlier versions wrote it
    **{"name": "flat", "dataset": "shd", "mode": "bsnn", "beta": 0.5, "slope": 1.0, "batch_size": 8},
    **{"optimizer": "sgd", "lr": 0.25, "momentum": 0.5, "epochs": 7, "patience": None, "cosine_epochs": None},
    **{"time_steps": 40, "bin_ms": 25.0, "target_peak": None, "threshold": {"start": [2, 3], "rise": [], "rate": []}},
}


def compose_file(tmp_path: Path, values: dict[str, Any], *overrides: str) -> Config:
    path = tmp_path / "flat.yaml"
    path.write_text(yaml.safe_dump(values))
    return compose(["dataset=shd", "mode=bsnn", f"hparams={configuration.add_hparams(path)}", *overrides])


def test_a_flat_file_of_an_earlier_version_is_taken(tmp_path):
    config = compose_file(tmp_path, FLAT)
    assert (config.hparams.beta, config.hparams.threshold.start) == (0.5, [2.0, 3.0])
    assert config.optimizer == Optimizer("sgd", 0.25, 0.5, [0.9, 0.999])
    assert (config.epochs, config.patience, config.hparams.cosine_epochs) == (7, None, None)
    assert (config.dataset.time_steps, config.dataset.bin_ms) == (40, 25.0)


def test_what_a_flat_file_leaves_out_is_as_it_was(tmp_path):
    needed = ("name", "dataset", "mode", "beta", "slope", "batch_size", "lr", "epochs", "threshold")
    config = compose_file(tmp_path, {key: FLAT[key] for key in needed})
    assert (config.optimizer.name, config.optimizer.momentum, config.patience) == ("adam", 0.0, 100)
    assert (config.hparams.cosine_epochs, config.hparams.dropout) == (None, [0.0, 0.0])


def test_the_command_line_wins_over_a_file_of_hyperparameters(tmp_path):
    config = compose_file(tmp_path, FLAT, "optimizer=adam", "optimizer.lr=0.125", "epochs=3", "dataset.time_steps=9")
    assert config.optimizer == Optimizer("adam", 0.125, 0.0, [0.9, 0.999])
    assert (config.epochs, config.dataset.time_steps, config.dataset.bin_ms) == (3, 9, 25.0)


@pytest.mark.parametrize("text", ["a: [cut", "- a list"])
def test_a_damaged_file_of_hyperparameters_is_named(text, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"hparams=.*mine\.yaml (is not YAML|holds no keys)"):
        configuration.add_hparams(tmp_path / "mine.yaml")


def test_a_file_of_hyperparameters_must_name_those_without_a_default(tmp_path):
    with pytest.raises(ConfigError, match="hparams.beta"):
        compose_file(tmp_path, {key: value for key, value in FLAT.items() if key != "beta"})
    with pytest.raises(ConfigError, match="optimizer.lr"):
        compose_file(tmp_path, {key: value for key, value in FLAT.items() if key != "lr"})


def test_a_composed_configuration_is_plain_and_resolved():
    config = compose(["dataset=shd", "epochs=3"])
    assert type(config) is Config
    assert config.epochs == 3
    assert "${" not in configuration.to_yaml(config)


def test_output_dirs_differ():
    first, second = compose().output_dir, compose().output_dir
    assert first != second
    assert first.startswith("outputs/digits/annealed/")


def test_config_yaml_reads_back(tmp_path):
    config = compose(["dataset=fashion_mnist", "hparams.threshold.start.0=7.5"])
    (tmp_path / "config.yaml").write_text(configuration.to_yaml(config))
    assert from_yaml(tmp_path / "config.yaml") == config


def test_config_yaml_of_an_earlier_version_reads_back(tmp_path):
    config = compose(["dataset=shd", "fidelity=code", "optimizer.lr=0.5"])
    values = yaml.safe_load(configuration.to_yaml(config))
    values["hparams"] |= {"optimizer": "adam", "lr": 6.54e-4, "momentum": 0.0, "epochs": 500, "patience": 100}
    values["hparams"] |= {"time_steps": 333, "bin_ms": 3.0, "target_peak": None}
    values["fidelity"] |= {"shd_window": "first_T_ms", "selection": "test"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    assert from_yaml(tmp_path / "config.yaml") == config


def test_from_yaml_names_what_is_wrong(tmp_path):
    with pytest.raises(ConfigError, match="config.yaml does not exist: name the folder of a run"):
        from_yaml(tmp_path / "config.yaml")
    values = yaml.safe_load(configuration.to_yaml(compose()))
    values["hparams"]["bta"] = 1
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match="bta"):
        from_yaml(tmp_path / "config.yaml")
    for damaged in ("- a list", "a: [cut"):
        (tmp_path / "config.yaml").write_text(damaged)
        with pytest.raises(ConfigError, match="config.yaml is damaged"):
            from_yaml(tmp_path / "config.yaml")


def test_override_changes_what_a_resumed_run_may_change():
    config = compose(["epochs=5"])
    changed = override(config, ["epochs=7", "patience=null", "threads=1"])
    assert (changed.epochs, changed.patience, changed.threads) == (7, None, 1)
    assert config.epochs == 5
    assert changed.output_dir == config.output_dir
    with pytest.raises(ConfigError, match="optimizer.lr=1: a resumed run keeps its configuration"):
        override(config, ["optimizer.lr=1"])
    with pytest.raises(ConfigError, match="epochs=0: expected 1 or more"):
        override(config, ["epochs=0"])


def test_published_accuracies():
    assert published("shd", "annealed") == (66.35, 65.68, 0.66)
    assert published("mnist", "flt32") == (99.45, 99.31, 0.12)
    assert published("digits", "annealed") is None
