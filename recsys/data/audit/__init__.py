"""Audit: what may be wrong with a data set and its split.

    checks   The checks, in order.
    leakage  Features and labels that leak the test set.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.data.audit.checks import audit, table, worst
from recsys.data.audit.leakage import feature_findings, label_findings

__all__ = ["audit", "feature_findings", "label_findings", "table", "worst"]
