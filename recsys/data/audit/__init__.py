"""Audit: what may be wrong with a data set and its split.

    checks      The checks, in order.
    overlap     Pairs that occur more than once.
    time_order  Held-out pairs that are older than what is known.
    coverage    Unknown users and items, unused items, a lost k-core.
    shift       Popularity that differs between the parts.
    log_time    Events after a cut, events without an order.
    log_sessions  Sessions that are cut in two, or shared.
    answers     Answers that the log knows, or that are masked.
    attributes  Attributes of users and items.
    auxiliary   Answers that auxiliary events know.
    leakage     Features and labels that leak the held-out interactions.
    popularity  Features that know the held-out popularity.
    ranks       Rank correlations.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.data.audit.checks import audit, table, worst
from recsys.data.audit.leakage import feature_findings, label_findings
from recsys.data.audit.popularity import oracle_bound

__all__ = ["audit", "feature_findings", "label_findings", "oracle_bound", "table", "worst"]
