"""The configuration: its types (schema), how it is composed (compose) and read back (files), what it may hold (rules).

Everything else receives the plain dataclasses of schema; only this package knows OmegaConf.
"""

from snntha.choices import CHOICES, OPEN, READY, TUNED
from snntha.config.compose import (
    add_hparams,
    as_texts,
    compose,
    conf_folder,
    explain,
    from_yaml,
    load,
    located,
    merged,
    override,
    register,
)
from snntha.config.files import differing, flatten, nested, read_recorded, to_yaml, tuned
from snntha.config.meaning import meaning
from snntha.config.opened import open_numbers
from snntha.config.rules import is_images
from snntha.config.schema import Config
from snntha.errors import ConfigError, did_you_mean
