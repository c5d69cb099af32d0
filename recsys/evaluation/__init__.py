"""Evaluation: metrics with confidence intervals, by full or by sampled ranking.

    settings           Settings `[evaluate]`.
    evaluator          Evaluate a scorer on held-out interactions.
    report             The result: values per query, means, intervals, and its two files.
    query_rows         The rows of a report: the unit, the query and the test part of each.
    report_file        The content of report.json, and its checks.
    pooled             One report of several test parts.
    slices             Slices of the test set: new items, popular items, cold users.
    contexts           The data that a metric is a function of.
    metrics            The table of metrics, names, and metrics of other packages.
    ranking_metrics    Metrics of the positions of test items.
    list_metrics       Metrics of recommendation lists: coverage, Gini, novelty, diversity.
    partial_auc        One-way, two-way and lower-left partial AUC.
    full               Metrics of full rankings, slice by slice.
    sampled            Metrics from sampled candidates.
    draws              Samples of candidates.
    estimators         Estimates of full metrics from ranks among sampled candidates.
    rank_distribution  Distributions of ranks that the estimators learn.
    item_terms         Metrics as sums over test items, for the estimators.
    measured           Values of metrics while an evaluation collects them.
    breakdown          Metrics by user activity and by item popularity.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.evaluation.breakdown import by_activity, by_popularity
from recsys.evaluation.contexts import DrawContext, ListContext, RankContext
from recsys.evaluation.evaluator import evaluate
from recsys.evaluation.item_terms import PerItem
from recsys.evaluation.metrics import ListMetric, MetricKind, RankMetric
from recsys.evaluation.pooled import pool_reports
from recsys.evaluation.report import Report
from recsys.evaluation.settings import Evaluation
from recsys.evaluation.slices import Slice

__all__ = [
    "DrawContext",
    "Evaluation",
    "ListContext",
    "ListMetric",
    "MetricKind",
    "PerItem",
    "RankContext",
    "RankMetric",
    "Report",
    "Slice",
    "by_activity",
    "by_popularity",
    "evaluate",
    "pool_reports",
]
