"""The configuration: its types (schema), how it is composed and read (compose), and what it may hold.

What it may hold is said in three places: rules checks values, overrides the command line, and migrate knows the keys
of earlier versions. Everything else receives the plain dataclasses of schema; only this package knows OmegaConf.
"""

from snntha.config.compose import (
    add_hparams,
    compose,
    conf_folder,
    explain,
    flatten,
    from_yaml,
    load,
    override,
    read_recorded,
    register,
    to_yaml,
    tuned,
)
from snntha.config.migrate import REPLACED, without_replaced
from snntha.config.overrides import check_names
from snntha.config.rules import CHOICES
from snntha.config.schema import Config
from snntha.errors import ConfigError, did_you_mean
