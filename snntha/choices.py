"""Names of data sets, and what keys that are words may be: apart from what needs Hydra, which takes long to import."""

TUNED = ("digits", "mnist", "fashion_mnist", "dvs_gesture", "shd", "temporal_coding")  # with sets of hyperparameters
READY = (*TUNED, "nmnist", "ssc")  # whose files are known
OPEN = ("folder", "torchvision", "tonic", "own")  # data that describe themselves

CHOICES: dict[str, tuple[str, ...]] = {
    "device": ("auto", "cpu", "cuda"),
    "backend": ("auto", "reference", "numba", "triton"),
    "precision": ("float32", "bf16"),
    "batch_statistics": ("shared", "own"),
    "selection": ("validation", "test"),
    "logger": ("none", "tensorboard", "mlflow", "wandb"),
    "dataset.name": (*READY, *OPEN),
    "dataset.window": ("full", "first_T_ms"),
    "mode.name": ("flt32", "bsnn_theta1", "bsnn", "annealed"),
    "fidelity.surrogate": ("clamped", "moving"),
    "fidelity.spike": ("at_threshold", "above_threshold"),
    "fidelity.init": ("pytorch", "glorot"),
    "fidelity.weight_clip": ("weights_after_step", "all_before_step"),
    "fidelity.trial_seed": ("seed_plus_trial", "same"),
    "optimizer.name": ("adam", "sgd"),
    "hparams.beta_scope": ("network", "layer", "neuron"),
}
