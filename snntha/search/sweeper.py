"""The Hydra plugin behind `search=tpe`. Light to import: Hydra composes, and Tab completes, without Optuna."""

from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper


class StudySweeper(OptunaSweeper):
    """The Optuna plugin's sweeper with Optuna's own loop in place of ask and tell; conf/search/ names it."""

    def sweep(self, arguments: list[str]) -> None:
        """Work on the study until it has all its trials; arguments: the command line's overrides."""
        from snntha.search.worker import work

        plugin = self.sweeper
        assert plugin.config is not None and plugin.launcher is not None
        work(plugin.config, plugin.launcher, [f"{k}={value}" for k, value in (plugin.params or {}).items()] + arguments)
