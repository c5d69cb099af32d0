"""A finished run looked at again: the same numbers recomputed, or other numbers of the same scorer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from recsys.config import build, override, to_dict
from recsys.errors import InputError
from recsys.evaluation.breakdown import by_activity, by_popularity
from recsys.evaluation.evaluator import Evaluation, Report, evaluate
from recsys.experiment.execution import Run, data_of, open_run, open_test

__all__ = ["evaluate_again", "verify"]


def verify(folder: str | Path) -> list[tuple[str, bool, str]]:
    """Recompute what a run claims and compare.

    Returns:
        (what was checked, whether it holds, what was found) for: the settings, the data, the split, the scorer's learning data, and each
        metric of each part, user by user.

    Raises:
        InputError: the run or its data cannot be read.
    """
    run = open_run(folder)
    experiment = run.experiment
    checks = [_check("settings", run.meta["experiment"], experiment.fingerprint)]
    split = data_of(experiment)
    kept = run.meta["split"]["fingerprint"]
    checks.append(
        _check("data and split", kept, kept if split.matches(kept) else split.fingerprint)
    )
    joined = split.refit() if experiment.refit else split
    same = np.array_equal(run.train.pairs.key, joined.train.pairs.key)
    checks.append(
        (
            "learning data",
            same,
            f"{len(run.train.pairs)} interactions" if same else "differ from those of the split",
        )
    )
    also = split.valid if joined is split else None
    if (
        split.test is not None
        and len(split.test)
        and (stored := _stored(run, "test", checks)) is not None
    ):
        test = open_test(split, run.folder, "verify: recomputation of the metrics")
        again = evaluate(run.scorer, joined.train.pairs, test, experiment.evaluate, also_seen=also)
        checks += _compare_reports("test", stored, again)
    if (
        split.valid is not None
        and len(split.valid)
        and not experiment.refit
        and (stored := _stored(run, "valid", checks)) is not None
    ):
        again = evaluate(run.scorer, split.train.pairs, split.valid, experiment.evaluate)
        checks += _compare_reports("valid", stored, again)
    return checks


def evaluate_again(
    folder: str | Path, overrides: Sequence[str] = (), *, part: str = "test", groups: bool = False
) -> tuple[Report, dict[str, pl.DataFrame]]:
    """Evaluate a finished run with other settings of `[evaluate]`; its own report stays as it is.

    Args:
        folder: of the run.
        overrides: settings of `[evaluate]`, such as `metrics=["recall@50"]`.
        part: "test" (the opening is put on record) or "valid".
        groups: also make tables by user activity and by item popularity.

    Returns:
        The report, and tables by name.

    Raises:
        InputError: a wrong setting, data that are not those of the run, or a part that it does not have.
    """
    run = open_run(folder)
    experiment, split = run.experiment, data_of(run.experiment)
    tree = override(
        {"evaluate": to_dict(experiment.evaluate)},
        [f"evaluate.{text.removeprefix('evaluate.')}" for text in overrides],
    )
    if groups:
        tree["evaluate"]["groups"] = True
    evaluation = build(Evaluation, tree["evaluate"], "[evaluate]")
    if not split.matches(run.meta["split"]["fingerprint"]):
        raise InputError(
            "the data have changed since this run",
            place=str(run.folder),
            remedy="restore the data, or run again",
        )
    if part == "valid" and split.valid is not None and not experiment.refit:
        report = evaluate(run.scorer, split.train.pairs, split.valid, evaluation)
        learned = split.train
    elif part == "test" and split.test is not None:
        learned = split.refit().train if experiment.refit else split.train
        also = None if experiment.refit else split.valid
        report = evaluate(
            run.scorer,
            learned.pairs,
            open_test(split, run.folder, "evaluate: other metrics"),
            evaluation,
            also_seen=also,
        )
    else:
        why = (
            "its scorer has learned from the validation pairs (refit)"
            if part == "valid" and experiment.refit
            else f"its split has no {part} part"
        )
        raise InputError(
            f"cannot evaluate on '{part}': {why}",
            place=str(run.folder),
            remedy="evaluate on the other of test and valid",
        )
    tables = (
        {
            "by user activity": by_activity(report, learned.pairs),
            "by item popularity": by_popularity(report),
        }
        if groups
        else {}
    )
    return report, tables


def _check(what: str, stored: str, now: str) -> tuple[str, bool, str]:
    return (
        what,
        stored == now,
        f"{now[:12]}" if stored == now else f"{stored[:12]} when it ran, {now[:12]} now",
    )


def _stored(run: Run, part: str, checks: list[tuple[str, bool, str]]) -> Report | None:
    """The stored report of a part; one that is gone is a check that does not hold."""
    if (run.folder / part / "report.json").exists():
        return run.report(part)
    checks.append((f"{part} report", False, "is missing"))
    return None


def _compare_reports(part: str, stored: Report, again: Report) -> list[tuple[str, bool, str]]:
    checks = []
    for name in stored.names:
        if name not in again.names:
            checks.append((f"{part} {name}", False, "is not among the metrics of config.toml"))
            continue
        if name in stored.whole:
            before, now = stored.whole[name], again.whole[name]
            gap = (
                0.0 if np.isnan(before) and np.isnan(now) else abs(before - now)
            )  # a view that nobody is in has none
        else:
            a, b = stored.values(name), again.values(name)
            gap = (
                float(np.nanmax(np.abs(a - b), initial=0.0))
                if a.shape == b.shape and np.array_equal(np.isnan(a), np.isnan(b))
                else float("inf")
            )
        checks.append(
            (
                f"{part} {name}",
                gap <= 1e-9,
                f"{stored[name]:.6f} stored, {again[name]:.6f} recomputed, largest gap of a user {gap:.2g}",
            )
        )
    return checks
