"""Leakage and health of a split: does a number measured on it mean what it says?

Every check returns one `Finding`, whether it found something or not:

    error    a number measured on this split is wrong: the answer leaks into training, or cannot be
             given at all
    warning  the number is right, but for a question that may not be the one that is asked
    ok       nothing found, or too little to matter
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl

from recsys.data.audit.answers import NamedQuestions, in_the_log, masked_answers
from recsys.data.audit.attributes import attribute_findings
from recsys.data.audit.auxiliary import known_answers, missing_events
from recsys.data.audit.coverage import cold, core_after_split, silent_items
from recsys.data.audit.leakage import feature_findings, label_findings
from recsys.data.audit.log_sessions import across_the_cut, shared_sessions
from recsys.data.audit.log_time import (
    after_the_cut,
    constant_times,
    later_of_others,
    single_events,
)
from recsys.data.audit.overlap import duplicates, masked_users, overlap
from recsys.data.audit.shift import popularity_shift
from recsys.data.audit.time_order import (
    equal_times,
    future_in_train,
    is_exchangeable,
    time_order,
)
from recsys.data.finding import Finding
from recsys.data.held_out import HeldOut
from recsys.data.types import FeatureTable, Interactions, Split

__all__ = ["Finding", "audit", "table", "worst"]


def audit(
    split: Split,
    *,
    features: Mapping[str, FeatureTable] | None = None,
    core: int | None = None,
    seed: int = 0,
) -> list[Finding]:
    """Look for what would make numbers measured on a split wrong or misleading.

    Args:
        split: the split. Its test is opened once, with the reason "audit".
        features: item features to check [n_items, d]; by default those of the training data.
        core: the k of the k-core that the data should be; by default read from the data's history.
        seed: of the permutations and simulations.

    Returns:
        One finding per check, in a fixed order; the same ones for the same seed. Checks of the log
        are made where one is kept or questions bring histories. Findings of reading and splitting
        come last.
    """
    train = split.train.pairs
    features = split.train.features if features is None else features
    questions: list[tuple[str, HeldOut]] = []
    if split.valid is not None and len(split.valid):
        questions.append(("valid", split.valid))
    if split.test is not None and len(split.test):
        questions.append(("test", split.test.open("audit")))
    held = [(name, part.pairs) for name, part in questions]
    parts = [("train", train), *held]
    # Answers of questions with a history may repeat pairs of train: see `masked_answers`.
    apart = [("train", train), *((name, part.pairs) for name, part in questions if part.by_user)]
    # Users whose question brings their history need no row in train.
    of_users = [(name, part.pairs) for name, part in questions if part.queries.user is not None]
    repeated = duplicates(parts)
    if not len(train) or not held:
        return [repeated, _empty_parts(train)]
    rng = np.random.default_rng(seed)
    name, asked = held[-1]
    findings = [
        repeated,
        overlap(apart),
        masked_users(apart),
        time_order(train, held, split.rule),
        equal_times(train, held, split.rule),
        future_in_train(train, held),
        cold("user", train, of_users, with_features=bool(split.train.user_features)),
        cold("item", train, held, with_features=bool(features)),
        silent_items(train, held),
        popularity_shift(train, name, asked, rng),
        core_after_split(train, split.train.history, core),
    ]
    findings += _log_findings(split, questions)
    if split.train.auxiliary is not None:
        findings += [known_answers(split, questions), missing_events(split, questions)]
    by_chance = is_exchangeable(train, asked, split.rule)
    findings += feature_findings(train, name, asked, features, rng, by_chance=by_chance)
    users = split.train.user_features
    findings += attribute_findings(train, name, asked, users, "user", by_chance=by_chance)
    findings += attribute_findings(train, name, asked, features, "item", by_chance=by_chance)
    findings += label_findings(train, held, features)
    return [*findings, *split.train.findings]


def _log_findings(split: Split, questions: NamedQuestions) -> list[Finding]:
    """Return the findings about the events of train, if a log is kept or questions bring histories.

    Args:
        split: the split.
        questions: the held-out parts.
    """
    if split.train.events is None and all(part.by_user for _, part in questions):
        return []
    log, rule = split.train.log, split.rule
    held = [(name, part.pairs) for name, part in questions]
    return [
        after_the_cut(split, held),
        in_the_log(split, questions),
        masked_answers(questions),
        later_of_others(log, held, rule),
        across_the_cut(log, held, rule),
        shared_sessions(log, held),
        constant_times(log, held),
        single_events(log),
    ]


def table(findings: Iterable[Finding]) -> pl.DataFrame:
    """Return findings as a table, the gravest first.

    Returns:
        The columns check, severity, count, message, remedy.
    """
    rows = sorted(findings, key=lambda finding: -finding.gravity)
    columns = {
        name: pl.Int64 if name == "count" else pl.String
        for name in ("check", "severity", "count", "message", "remedy")
    }
    return pl.DataFrame(
        [{name: getattr(row, name) for name in columns} for row in rows], schema=columns
    )


def worst(findings: Iterable[Finding]) -> str:
    """Return the gravest severity among findings, "ok" without findings."""
    severities = sorted(findings, key=lambda finding: finding.gravity)
    return severities[-1].severity if severities else "ok"


def _empty_parts(train: Interactions) -> Finding:
    message = "nothing is held out: valid and test are empty"
    if not len(train):
        message = "train is empty"
    return Finding(
        "empty parts", "error", 1, message, "loosen the filters, or the ratios of the split"
    )
