"""The Hydra plugin behind `search=tpe`. Light to import: Hydra composes, and Tab completes, without Optuna."""

from typing import Any

from hydra.plugins.sweeper import Sweeper


class StudySweeper(Sweeper):
    """The Optuna plugin's sweeper on a study that can be shared, killed and gone on with; see loop.py.

    `snntha train` registers it with Hydra and conf/search/ names it.
    """

    def __init__(self, **options: Any):
        from snntha.search.loop import Loop

        self._loop = Loop(**options)

    def setup(self, **context: Any) -> None:
        self._loop.setup(**context)

    def sweep(self, arguments: list[str]) -> None:
        self._loop.sweep(arguments)
