"""Splitting: train, validation and test; injected noise; missing modalities.

    splits              Settings `[split]`, and the split of a data set.
    rules               The rules: by ratio, by time, by item, leave-one-out.
    inject_noise        False interactions that are added to train and valid.
    missing_modalities  Modalities that items lose.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.data.splitting.inject_noise import Noise, inject, labelled
from recsys.data.splitting.missing_modalities import Missing
from recsys.data.splitting.splits import SplitRule, split

__all__ = ["Missing", "Noise", "SplitRule", "inject", "labelled", "split"]
