"""Evaluate a finished run with other settings of `[evaluate]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from recsys.config import build, override, to_dict
from recsys.errors import InputError
from recsys.evaluation.breakdown import by_activity, by_popularity
from recsys.evaluation.evaluator import Evaluation, Report, evaluate
from recsys.experiment.execution import data_of, open_test
from recsys.experiment.experiment import Experiment
from recsys.experiment.run import open_run
from recsys.ranking.rerank import resolve

__all__ = ["reevaluate"]


def reevaluate(
    folder: str | Path, overrides: Sequence[str] = (), *, part: str = "test", groups: bool = False
) -> tuple[Report, dict[str, pl.DataFrame]]:
    """Evaluate a finished run with other settings; its own report is kept.

    Args:
        folder: the folder of the run.
        overrides: settings of `[evaluate]`, such as `metrics=["recall@50"]`, and of `[rerank]`,
            such as `rerank.by=mmr`.
        part: "test" (the opening is recorded) or "valid".
        groups: also return tables by user activity and by item popularity.

    Returns:
        The report, and the tables by name.

    Raises:
        InputError: a wrong setting, data that differ from those of the run, or a part that the
            run does not have.
    """
    run = open_run(folder)
    experiment, split = run.experiment, data_of(run.experiment)
    of_lists = [text for text in overrides if text.startswith("rerank.")]
    others = [text for text in overrides if text not in of_lists]
    evaluation = _overridden(experiment, others, groups)
    rules = experiment.rerank.overridden(of_lists)
    if not split.matches(run.split.fingerprint):
        raise InputError(
            "the data have changed since this run",
            place=str(run.folder),
            remedy="restore the data, or run again",
        )
    if part == "valid" and split.valid is not None and not experiment.refit:
        train = split.train
        rerank = resolve(rules, run.scorer, train)
        report = evaluate(run.scorer, train.pairs, split.valid, evaluation, rerank=rerank)
    elif part == "test" and split.test is not None:
        train = split.refit().train if experiment.refit else split.train
        valid = None if experiment.refit else split.valid
        also_seen = None if valid is None else valid.pairs
        test = open_test(split, run.folder, "evaluate: other metrics")
        rerank = resolve(rules, run.scorer, train)
        report = evaluate(
            run.scorer, train.pairs, test, evaluation, also_seen=also_seen, rerank=rerank
        )
    else:
        cause = f"its split has no {part} part"
        if part == "valid" and experiment.refit:
            cause = "its scorer was trained on the validation set too (refit)"
        raise InputError(
            f"cannot evaluate on '{part}': {cause}",
            place=str(run.folder),
            remedy="evaluate on the other of test and valid",
        )
    if not groups:
        return report, {}
    return report, {
        f"by {report.unit_name} activity": by_activity(report, train.pairs),
        "by item popularity": by_popularity(report),
    }


def _overridden(experiment: Experiment, overrides: Sequence[str], groups: bool) -> Evaluation:
    """Return the evaluation of an experiment with other settings."""
    assignments = [f"evaluate.{text.removeprefix('evaluate.')}" for text in overrides]
    tree = override({"evaluate": to_dict(experiment.evaluate)}, assignments)
    if groups:
        tree["evaluate"]["groups"] = True
    return build(Evaluation, tree["evaluate"], "[evaluate]")
