"""Statistics: confidence intervals, paired tests, several seeds, critical differences.

    units                Rows that belong to units: sums, means and linearised values.
    intervals            Bootstrap intervals of means, units resampled.
    paired_tests         Two methods on the same units, effect sizes, Holm's correction.
    seeds                Means and differences over users and training seeds.
    critical_difference  Mean ranks over data sets and their critical difference.
    roc                  Area under the ROC curve from ranks.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.statistics.critical_difference import MethodRanks, diagram, ranking
from recsys.statistics.intervals import Interval, bootstrap, interval_method
from recsys.statistics.paired_tests import Paired, cliffs_delta, holm, paired
from recsys.statistics.roc import auc
from recsys.statistics.seeds import Gap, Seeds, gap, over_seeds

__all__ = [
    "Gap",
    "Interval",
    "MethodRanks",
    "Paired",
    "Seeds",
    "auc",
    "bootstrap",
    "cliffs_delta",
    "diagram",
    "gap",
    "holm",
    "interval_method",
    "over_seeds",
    "paired",
    "ranking",
]
