"""Splitting: train, valid and test; injected noise; missing modalities.

    splits              The split of a data set.
    settings            Settings `[split]`.
    rules               The rules: by ratio, by last, by time, by new item, as LibCML.
    ties                Rows of equal time.
    log_cut             The training log: events without those of held-out pairs.
    splitters           Splitters of other packages.
    noise               False interactions that are added to train and valid.
    missing_modalities  Modalities that items lose, and their imputation.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.data.splitting.missing_modalities import Missing
from recsys.data.splitting.noise import Noise, inject, labelled
from recsys.data.splitting.settings import SplitRule
from recsys.data.splitting.splits import presplit, split
from recsys.data.splitting.splitters import Splitter, splitter_names

__all__ = [
    "Missing",
    "Noise",
    "SplitRule",
    "Splitter",
    "inject",
    "labelled",
    "presplit",
    "split",
    "splitter_names",
]
