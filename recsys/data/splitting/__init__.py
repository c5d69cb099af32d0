"""Splitting: train, valid and test; injected noise; missing modalities.

    splits              The split of a data set.
    settings            Settings `[split]`.
    rules               The rules of pairs: by ratio, by last, by time, by new item, as LibCML.
    folds               k folds.
    parts               Parts of pairs, on their way from a rule to a split.
    ties                Rows of equal time.
    log_cut             The training log: events without those of held-out pairs.
    auxiliary_cut       Auxiliary events that do not know an answer.
    next_item           The last events of each user, asked with those before.
    global_time         What users do from a point in time on; windows in time.
    by_session          Whole sessions, position by position.
    by_basket           Whole baskets: what goes with an item.
    new_user            Whole users, given a part of what they did.
    cold_user           Whole users of whom only attributes are known.
    paths               Events in order, and the path of each user or session through them.
    questions           Questions about places on paths, as queries with answers.
    event_pairs         From pairs to events and back.
    asking              From a rule that asks with histories to a split.
    several             All splits of folds or windows.
    splitters           Splitters of other packages.
    noise               False interactions that are added to train and valid.
    missing_modalities  Modalities that items lose, and their imputation.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.data.splitting.missing_modalities import Missing
from recsys.data.splitting.noise import Noise, inject, labelled
from recsys.data.splitting.settings import SplitRule
from recsys.data.splitting.several import each_rule, each_split
from recsys.data.splitting.splits import presplit, split
from recsys.data.splitting.splitters import Splitter, splitter_names

__all__ = [
    "Missing",
    "Noise",
    "SplitRule",
    "Splitter",
    "each_rule",
    "each_split",
    "inject",
    "labelled",
    "presplit",
    "split",
    "splitter_names",
]
