"""Evaluation: metrics with confidence intervals, by full or by sampled ranking.

    settings      Settings `[evaluate]`.
    evaluator     Evaluate a scorer on held-out interactions, and the report of it.
    full          Metrics over the full catalogue, for all, new or warm items.
    sampled       Metrics over sampled candidates, and estimators that correct them.
    draws         Samples of candidates.
    metrics       Ranking metrics by name.
    list_metrics  Metrics of recommendation lists: coverage, Gini, novelty, diversity.
    partial_auc   One-way and two-way partial AUC.
    breakdown     Metrics by user activity and by item popularity.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.evaluation.breakdown import by_activity, by_popularity
from recsys.evaluation.evaluator import Report, evaluate
from recsys.evaluation.settings import Evaluation

__all__ = ["Evaluation", "Report", "by_activity", "by_popularity", "evaluate"]
