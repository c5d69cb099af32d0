"""Statistics: confidence intervals, paired tests, several seeds, critical differences.

    intervals            Bootstrap intervals, paired tests, correction for several tests, means over seeds.
    seeds                Difference of two methods over users and seeds.
    critical_difference  Mean ranks over data sets and their critical difference.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.statistics.critical_difference import diagram, ranking
from recsys.statistics.intervals import (
    Interval,
    Paired,
    Seeds,
    bootstrap,
    cliffs_delta,
    holm,
    interval_method,
    over_seeds,
    paired,
)
from recsys.statistics.seeds import Gap, gap

__all__ = [
    "Gap",
    "Interval",
    "Paired",
    "Seeds",
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
