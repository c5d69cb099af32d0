"""Recompute what a finished run claims, and compare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from recsys.data.types import Dataset, Split
from recsys.evaluation.evaluator import Report, evaluate
from recsys.experiment.execution import data_of, open_test
from recsys.experiment.run import Run, open_run
from recsys.ranking.rerank import resolve

__all__ = ["Check", "verify"]

_TOLERANCE = 1e-9  # between a stored metric of a user and the recomputed one


@dataclass(frozen=True)
class Check:
    """One claim of a run.

    Args:
        claim: what was checked.
        holds: whether the recomputed value equals the stored one.
        result: both values, or what they have in common.
    """

    claim: str
    holds: bool
    result: str


def verify(folder: str | Path) -> list[Check]:
    """Recompute what a run claims, and compare.

    Returns:
        One check each for the settings, the data with their split, the training interactions of
        the scorer, and each metric of each part. A metric is compared user by user.

    Raises:
        InputError: the run or its data cannot be read.
    """
    run = open_run(folder)
    experiment, split = run.experiment, data_of(run.experiment)
    joined = split.refit() if experiment.refit else split
    stored = run.split.fingerprint
    checks = [
        _equal("settings", run.meta.experiment, experiment.fingerprint),
        _equal("data and split", stored, stored if split.matches(stored) else split.fingerprint),
        _training_data(run, joined.train),
    ]
    if split.test is not None and len(split.test):
        checks += _part(run, "test", split, joined.train)
    if split.valid is not None and len(split.valid) and not experiment.refit:
        checks += _part(run, "valid", split, split.train)
    return checks


def _equal(claim: str, stored: str, now: str) -> Check:
    """Return the check that a hash is still the same."""
    if stored == now:
        return Check(claim, True, now[:12])
    return Check(claim, False, f"{stored[:12]} when it ran, {now[:12]} now")


def _training_data(run: Run, train: Dataset) -> Check:
    """Return the check that the run stored the training interactions of the split."""
    if np.array_equal(run.train.pairs.key, train.pairs.key):
        return Check("learning data", True, f"{len(run.train.pairs)} interactions")
    return Check("learning data", False, "differ from those of the split")


def _part(run: Run, part: Literal["valid", "test"], split: Split, train: Dataset) -> list[Check]:
    """Return the checks of one stored report.

    Args:
        run: the run.
        part: which report.
        split: the data of the run; its test part is opened only if there is a report to check.
        train: training interactions of the scorer.
    """
    if not run.has_report(part):
        return [Check(f"{part} report", False, "is missing")]
    stored, also_seen = run.report(part), None
    if part == "test":
        held_out = open_test(split, run.folder, "verify: recomputation of the metrics")
        valid = None if run.experiment.refit else split.valid
        also_seen = None if valid is None else valid.pairs
    else:
        assert split.valid is not None
        held_out = split.valid
    recomputed = evaluate(
        run.scorer,
        train.pairs,
        held_out,
        run.experiment.evaluate,
        also_seen=also_seen,
        rerank=resolve(run.experiment.rerank, run.scorer, train),
    )
    return [_metric(part, name, stored, recomputed) for name in stored.names]


def _metric(part: str, name: str, stored: Report, recomputed: Report) -> Check:
    """Return the check of one metric."""
    claim = f"{part} {name}"
    if name not in recomputed.names:
        return Check(claim, False, "is not among the metrics of config.toml")
    gap = _gap(name, stored, recomputed)
    result = (
        f"{stored[name]:.6f} stored, {recomputed[name]:.6f} recomputed, "
        f"largest gap of a user {gap:.2g}"
    )
    return Check(claim, gap <= _TOLERANCE, result)


def _gap(name: str, stored: Report, recomputed: Report) -> float:
    """Return the largest difference of a user, or that of the values for all users together."""
    if name in stored.whole:
        before, now = stored.whole[name], recomputed.whole[name]
        # A slice without users has no value.
        return 0.0 if np.isnan(before) and np.isnan(now) else abs(before - now)
    old, new = stored.values(name), recomputed.values(name)
    if old.shape != new.shape or not np.array_equal(np.isnan(old), np.isnan(new)):
        return float("inf")
    return float(np.nanmax(np.abs(old - new), initial=0.0))
