"""Settings: TOML to frozen, typed values and back, with strict checks.

A settings class is declared once, with types, bounds and defaults:

    @settings
    class Train:
        \"\"\"How to train.\"\"\"
        lr: Annotated[float, Bound(gt=0)] = 1e-3

Construction from Python and reading from a file run the same checks. Both report a mistake as an
`InputError`, which names the place and suggests the word that was probably intended.

    classes      Settings classes: the decorator, defaults and types of the fields.
    trees        Plain values to settings objects and back.
    toml         TOML files, overrides, and TOML as text.
    shipped      The experiments that ship with the package, by name.
    reference    The settings of a class as a table and as a JSON Schema.
    mistakes     Complaints of pydantic as errors for users.
    aliases      Names that other libraries use for the same settings.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.config.aliases import ALIASES
from recsys.config.classes import Bound, current_names, defaults, settings
from recsys.config.reference import describe, schema
from recsys.config.shipped import find_shipped, located, shipped_folder, shipped_names
from recsys.config.toml import from_toml, no_such_file, override, read_toml, to_toml
from recsys.config.trees import build, difference, to_dict

__all__ = [
    "ALIASES",
    "Bound",
    "build",
    "current_names",
    "defaults",
    "describe",
    "difference",
    "find_shipped",
    "from_toml",
    "located",
    "no_such_file",
    "override",
    "read_toml",
    "schema",
    "settings",
    "shipped_folder",
    "shipped_names",
    "to_dict",
    "to_toml",
]
