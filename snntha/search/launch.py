"""Between the plugin's loop and Hydra's launcher: a value comes back for every trial, or the batch counts as lost."""

import math
from collections.abc import Sequence
from typing import Any

import optuna
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from omegaconf.errors import OmegaConfBaseException
from optuna.exceptions import StorageInternalError

from snntha.search.failures import describe
from snntha.search.job import Superseded, print_failure


class BatchLost(Exception):
    """Not every job of a batch brought a value. Its text is what ended a job, empty where the trial is not to blame."""


class Batches(Launcher):
    """The launcher that the plugin's loop sees. It is told the trials of a batch before their jobs."""

    def __init__(self, launcher: Launcher):
        self.launcher = launcher
        self.trials: Sequence[optuna.Trial] = ()

    def setup(self, **context: Any) -> None:
        self.launcher.setup(**context)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the batch; a failed job comes back with nan, its reason recorded and printed.

        Raises:
            BatchLost: a job was killed or did not start, or its trial was taken by another worker meanwhile.
        """
        try:
            returns = self.launcher.launch(job_overrides, initial_job_idx)
        except (HydraException, OmegaConfBaseException):
            raise  # the configuration is wrong, for every trial
        except Exception as error:
            raise BatchLost(describe(error)) from error
        for trial, job in zip(self.trials, returns, strict=True):
            if job.status == JobStatus.FAILED:
                _accept_failure(trial, job)
        return returns


def _accept_failure(trial: optuna.Trial, job: JobReturn) -> None:
    """Most failures are told by the job itself; what arrives here happened before it knew its trial."""
    error = job._return_value
    if isinstance(error, Superseded | StorageInternalError):
        raise BatchLost from error
    trial.set_user_attr("failure", describe(error))
    print_failure(trial.number, describe(error))
    job.return_value, job.status = math.nan, JobStatus.COMPLETED
