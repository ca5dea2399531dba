"""The typed schema of the configuration: what the YAML files may say. Checks and allowed values: rules.py."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class Dataset:
    name: str = "???"  # which data set
    title: str | None = None  # what tables and figures call the data; null: the name
    class_: str | None = None  # tonic, torchvision: class of the library; dataset.class on the command line
    _target_: str | None = None  # own: module:Class of the user, never taken from the folder of a run
    arguments: dict[str, Any] = field(default_factory=dict)  # of that class
    root: str = "???"  # folder that holds the files; unused by generated data
    download: bool = False  # let torchvision or tonic fetch what is missing
    cache: str = "???"  # folder for binned event data
    time_steps: int = 0  # of training, and of evaluation where test_time_steps is null
    test_time_steps: int | None = None  # validation and test; null: as in training
    bin_ms: float | None = None  # event data: milliseconds a time step
    window: str = "full"  # full: time_steps * bin_ms; first_T_ms: only the first time_steps milliseconds (fidelity)
    input_shape: list[int] = field(default_factory=list)  # (N,) or (C, H, W)
    classes: int = 0  # neurons of the output layer
    class_names: list[str] = field(default_factory=list)  # empty: those of the data set, or numbers
    kind: str | None = None  # images | events; null: what every sample of this data set is
    resize: bool = False  # scale images to input_shape
    sensor: int = 0  # events of pixels: columns of the sensor, whose pixels are summed down to input_shape
    unit_us: int = 0  # microseconds of a unit of time in plain arrays of events
    validation_fraction: float = 0.0  # of the training samples, with selection=validation
    limit: int | None = None  # use only that many samples of each split
    target_peak: float | None = None  # temporal_coding: peak A of the target membrane
    target_step: int | None = None  # temporal_coding: its time step


@dataclass
class Model:
    topology: str = "???"  # layers as the paper writes them: 16Conv5-AP2-1024Dense10
    zero_bias: bool = False  # biases start at 0 whatever fidelity.init says


@dataclass
class Loss:
    correct_rate: float = 0.0  # target spikes a step of the right class, Eq. (30)
    incorrect_rate: float = 0.0  # and of the others


@dataclass
class Mode:
    name: str = "???"  # flt32: no binarization; bsnn_theta1: threshold 1; bsnn: fixed; annealed: rising
    binarize: bool = True  # the forward pass has the signs of the weights
    anneal: bool = True  # false: every rise must be 0


@dataclass
class Fidelity:
    name: str = "???"  # paper: what the text says; code: what the published code does
    surrogate: str = "clamped"  # clamped (at the start threshold) | moving (with the current one)
    spike: str = "at_threshold"  # at_threshold: u >= theta | above_threshold: u > theta
    init: str = "pytorch"  # pytorch | glorot (binary layers: U(+-sqrt(1.5 / (fan_in + fan_out))), bias 0)
    weight_clip: str = "weights_after_step"  # weights_after_step | all_before_step
    trial_seed: str = "seed_plus_trial"  # seed_plus_trial | same


@dataclass
class Optimizer:
    name: str = "???"  # adam | sgd
    lr: float = MISSING  # learning rate at the start
    momentum: float = 0.0  # sgd only
    betas: list[float] = field(default_factory=list)  # adam only


@dataclass
class Threshold:
    start: list[float] = field(default_factory=list)  # theta at minibatch 0, one per spiking layer
    rise: list[float] = field(default_factory=list)  # final - start; empty: none, the threshold stays
    rate: list[float] = field(default_factory=list)  # alpha of Eq. (4), per minibatch


@dataclass
class Hparams:
    name: str = "???"  # what the set is called
    dataset: str = "???"  # what it was tuned for: a mismatch is refused
    mode: str = "???"  # likewise
    beta: float = MISSING  # share of the membrane that a step leaves, Eq. (1); with another scope its start
    beta_scope: str = "network"  # network | layer | neuron: what has a beta of its own; channels of a convolution
    beta_spread: float = 0.0  # of the time constants at the start: standard deviation / mean; 0: all alike
    beta_trainable: bool = False  # betas are learned with the weights
    slope: float = MISSING  # k of the surrogate gradient, Eq. (8)
    batch_size: int = MISSING  # samples of a minibatch
    dropout: list[float] = field(default_factory=list)  # one per dense layer, input to output; empty: none
    recurrent_dropout: bool = False  # dropout acts on the whole current of a recurrent layer, not on its inputs' alone
    recurrent_gradient: float = 1.0  # share that passes back through the spikes a recurrent layer has from itself
    delays: list[int] = field(default_factory=list)  # largest, in steps; one per dense layer; empty or 0: none
    delays_trainable: bool = True  # false: they stay as drawn
    batch_norm: bool = False  # of the currents of convolutions
    grad_clip: float | None = None  # global norm
    weight_clip: float | None = None  # latent weights stay in [-clip, clip]; null: anywhere
    cosine_epochs: float | None = None  # half period T of Eq. (28) in epochs; null: constant rate
    threshold: Threshold = field(default_factory=Threshold)


@dataclass
class Dimension:
    """One thing a search varies: a range of numbers or choices, for some data sets and modes."""

    key: str = "???"  # as on the command line
    low: float | None = None
    high: float | None = None
    log: bool = False  # uniform in the logarithm
    choices: list[Any] = field(default_factory=list)
    each: str | None = None  # layer | dense: one value for each spiking or dense layer
    when: str | None = None  # convolution | sgd: only for networks or trials with it
    datasets: list[str] = field(default_factory=list)  # empty: all
    modes: list[str] = field(default_factory=list)  # empty: all


@dataclass
class Search:
    n_trials: int = 0  # of the study as a whole, over all its workers and starts
    study_name: str = "???"  # also the name of its folder
    dir: str = "???"  # holds the studies' folders
    storage: str = "???"  # SQLAlchemy URL
    epochs: int = 0  # of a trial
    limit: int | None = None  # samples of each split
    seeds: int = 1  # a trial's value is the mean over that many
    pruner: str = "none"  # one of pruners
    pruners: dict[str, dict[str, Any]] = field(default_factory=dict)  # Optuna's classes and their arguments
    workers: int = 1  # trials at a time, each a job of Hydra's launcher
    max_failure_share: float = 1.0  # more than that of the last failure_window trials failed: stop
    failure_window: int = 1  # trials over which max_failure_share counts
    max_deaths: int = 1  # processes that may die in one trial before it counts as failed
    heartbeat_s: int = 1  # seconds between a worker's signs of life
    stale_s: int = 2  # seconds without one after which a worker counts as dead
    trial: int | None = None  # number of the trial that the folder is named by; set by the search
    attempt: int | None = None  # number of the trial in the study, another one where it is taken up again
    space: dict[str, Dimension] = field(default_factory=dict)  # what is searched


@dataclass
class Config:
    seed: int = 0  # of weights, order of samples and validation split; the k-th seed of a run adds k
    trials: int = 1  # seeds of the run, one after another: folders trial_0, trial_1, ...
    epochs: int = 0  # passes over the training samples, at most
    patience: int | None = None  # stop after so many epochs without a better selection score; null: never
    device: str = "auto"  # auto | cpu | cuda
    backend: str = "auto"  # auto | reference | numba | triton
    precision: str = "float32"  # float32 | bf16: of the products of synapses
    batch_statistics: str = "shared"  # shared | own: BatchNorm's, where several processes train a run
    threads: int | None = None  # null: all processors
    selection: str = "validation"  # validation | test
    logger: str = "none"  # whose records are written beside metrics.jsonl: none | tensorboard | mlflow | wandb
    resume: str | None = None  # go on with this run: its folder, its short id, or last
    output_dir: str = "???"  # the run's own folder
    plots: bool = True  # end with the run's pictures in <run>/plots/ and a small one in the terminal
    target_train_accuracy: float | None = None  # percent; stop a trial as soon as an epoch reaches it
    dataset: Dataset = field(default_factory=Dataset)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    mode: Mode = field(default_factory=Mode)
    fidelity: Fidelity = field(default_factory=Fidelity)
    optimizer: Optimizer = field(default_factory=Optimizer)
    hparams: Hparams = field(default_factory=Hparams)
    search: Search | None = None  # of a trial of a hyperparameter search
