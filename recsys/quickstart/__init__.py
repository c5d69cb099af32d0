"""Quickstart: an experiment about a file, a name or a frame, without a TOML file.

    method_words  Names of the methods, as other libraries and papers write them too.
    words         What a user wrote in the place of a TOML file.
    own_data      The data of such an experiment, with its columns by name.
    first_look    The experiment itself, as plain values and as TOML.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.quickstart.first_look import (
    BASELINES,
    METHOD,
    TRAIN,
    K,
    Wish,
    benchmark_tree,
    commented_toml,
    data_name,
    evaluation_table,
    metric_at,
    starting_rule,
    starting_tree,
)
from recsys.quickstart.method_words import ALIASES, canonical, method_names
from recsys.quickstart.own_data import StartingData, starting_data
from recsys.quickstart.words import data_table, is_data, is_method, refuse_unknown

__all__ = [
    "ALIASES",
    "BASELINES",
    "METHOD",
    "TRAIN",
    "K",
    "StartingData",
    "Wish",
    "benchmark_tree",
    "canonical",
    "commented_toml",
    "data_name",
    "data_table",
    "evaluation_table",
    "is_data",
    "is_method",
    "method_names",
    "metric_at",
    "refuse_unknown",
    "starting_data",
    "starting_rule",
    "starting_tree",
]
