"""One worker of a search: the Optuna plugin's loop, with a study that others share and that survives its workers."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import optuna
from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl, create_params_from_overrides
from optuna.trial import TrialState
from rich.console import Console

from snntha import config as configuration
from snntha import data as datasets
from snntha.errors import UserError
from snntha.search import space
from snntha.search.failures import check_failures
from snntha.search.report import finish, print_lines
from snntha.search.sampler import build_pruner, build_sampler
from snntha.search.storage import StudyFull
from snntha.search.study import give_back, join, study_folder, trials_left
from snntha.search.workers import Heartbeat

# Overrides that `snntha train hparams=best.yaml` must not repeat.
_OF_THE_SEARCH = ("search", "launcher", "hydra", "hparams", "dataset=", "mode=", "threads=")


class Loop(OptunaSweeperImpl):
    """The plugin asks Optuna for trials, has Hydra's launcher run them, and tells Optuna their values.

    What is added around it: the study has `search.n_trials` in all, over every worker and start; a trial of a dead
    worker is taken up again; each job is told the number of its trial; a failure does not end the search, too many do.
    """

    def sweep(self, arguments: list[str]) -> None:
        """Work on the study until it has all its trials.

        Raises:
            UserError: the configuration cannot be searched, or too many trials failed.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        for name in ("hydra", "hydra_plugins"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # a trial prints one line of its own, failed or not
        _check_swept(arguments)
        assert self.config is not None
        self.base = configuration.load(self.config)
        search = self.base.search
        assert search is not None
        datasets.load(self.base.dataset, selection=self.base.selection, seed=self.base.seed)  # missing files show here
        self.study = join(self.base)
        self.study.set_user_attr("overrides", [text for text in arguments if not text.startswith(_OF_THE_SEARCH)])
        self.study_name, self.storage = search.study_name, self.study._storage
        self.sampler = build_sampler(search, self.base.seed)
        build_pruner(search)  # the jobs use it; a mistake in its arguments shall show here
        self.custom_search_space_extender = lambda _, trial: space.suggest(self.base, trial)

        self.began = datetime.now()
        with Heartbeat(self.storage, search.heartbeat_s) as self.heartbeat:
            try:
                while trials := trials_left(self.study, search):
                    self.n_trials = trials
                    self._sweep_until_full(arguments)
            except KeyboardInterrupt:
                again = (
                    f"stopped; the same command goes on, and snntha search {study_folder(search)} shows how far it is"
                )
                Console().print(again, soft_wrap=True, highlight=False, markup=False)
                raise
            finally:
                give_back(self.study)
        others = len(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
        finish(self.study, study_folder(search), pictures=not others)
        if others:
            last = f"{others} running in other workers, the last of which draws the pictures"
            print_lines([("note", f"{last}; snntha search {study_folder(search)} draws them at any time")])

    def _sweep_until_full(self, arguments: list[str]) -> None:
        try:
            super().sweep(arguments)
        except StudyFull:  # other workers were faster; of a batch, some trials may have been asked for
            give_back(self.study)
            self.heartbeat.trial_ids.clear()  # another worker's from now on
        except ValueError:  # the plugin reads the best trial at its end, and all may have failed
            trials = self.study.get_trials(deepcopy=False)
            if not all(trial.state.is_finished() and trial.state != TrialState.COMPLETE for trial in trials):
                raise

    def _configure_trials(
        self,
        trials: list[optuna.Trial],
        search_space_distributions: dict[str, Any],
        fixed_params: dict[str, Any],
        fixed_overrides: list[str],
    ) -> Sequence[Sequence[str]]:
        """The overrides of each job: what the plugin makes of the parameters, and the trial's number."""
        for trial in trials:
            self.heartbeat.watch(trial._trial_id)
        assert self.base.search is not None
        check_failures(self.study.get_trials(deepcopy=False), self.base.search, self.began)
        jobs = super()._configure_trials(trials, search_space_distributions, fixed_params, fixed_overrides)
        return [
            (*overrides, *space.implied(self.base, trial), f"search.trial={trial.number}")
            for overrides, trial in zip(jobs, trials, strict=True)
        ]


def _check_swept(arguments: list[str]) -> None:
    """Only hyperparameters can be searched: best.yaml holds nothing else."""
    ranges, _, _ = create_params_from_overrides(arguments)
    for key in ranges:
        if not key.startswith("hparams."):
            raise UserError(
                f"{key} has several values, but a search varies hparams.* alone: pass one value, "
                f"and run the command once for each of the others"
            )
