"""The same words as the command line, for Python: load, split, fit, evaluate, compare, recommend.

    import recsys

    parts = recsys.split(recsys.load("online-retail"), by="ratio", seed=0)
    fitted = recsys.fit(recsys.recipe("mf", dim=64), parts.train, parts.valid, epochs=20)
    print(recsys.evaluate(fitted.scorer, parts).table())
    print(recsys.recommend(fitted.scorer, parts.train, users=[12347], k=10))

Frames come back as polars; `recommend` answers pandas users with a pandas frame.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from recsys import models
from recsys.comparison import comparison as _comparison
from recsys.comparison.comparison import Comparison
from recsys.config import build
from recsys.data import load as _load
from recsys.data.finding import Finding
from recsys.data.load import LoadedData
from recsys.data.splitting import splits as _split
from recsys.data.splitting.splits import SplitRule
from recsys.data.types import Dataset, Interactions, Split
from recsys.errors import InputError
from recsys.evaluation.evaluator import Evaluation, Report
from recsys.evaluation.evaluator import evaluate as _evaluate
from recsys.experiment.execution import Run, open_run
from recsys.models import Recipe
from recsys.scorer import Scorer
from recsys.serving import recommendations as _recommendation
from recsys.training import loop as _train
from recsys.training.loop import Fitted, Train
from recsys.training.stopping import Stopping

__all__ = ["compare", "evaluate", "fit", "load", "recipe", "recommend", "split"]


def load(source: Any, **settings: Any) -> LoadedData:
    """Load interactions; what looks wrong in them is a warning.

    Args:
        source: the name of a catalogued data set, the path of a file or folder, a pandas or polars frame; a users x items matrix of
            scipy.sparse, whose entries are the weights, or an integer array [n, 2] of user and item.
        settings: of `[data]`, such as user="customer", item="sku", min_weight=4.
    """
    loaded = _load.load(source, **settings)
    _warn(loaded.dataset.findings)
    return loaded


def split(data: LoadedData | Dataset, **settings: Any) -> Split:
    """Split into train, valid and a sealed test; settings of `[split]`, such as by="time".

    A part that gets less than half of what it was to have is a warning.
    """
    parts = _split.split(data, build(SplitRule, settings, "split"))
    known = (data.dataset if isinstance(data, LoadedData) else data).findings
    _warn(parts.train.findings[len(known) :])
    return parts


def _warn(findings: Sequence[Finding]) -> None:
    """Warn of what looks wrong, for whoever called a function of this module."""
    for finding in findings:
        if finding.severity != "ok":
            said = f"{finding.message}; {finding.remedy}" if finding.remedy else finding.message
            warnings.warn(said, UserWarning, stacklevel=3)


def recipe(name: str, **settings: Any) -> Recipe:
    """The hyper-parameters of a method, as in `recipe("lightgcn", layers=2, sampler={"negatives": 4})`."""
    made: Recipe = build(models.recipe(name), settings, name)
    return made


def fit(
    method: Recipe,
    train: Dataset,
    valid: Interactions | None = None,
    *,
    evaluation: Evaluation | None = None,
    **settings: Any,
) -> Fitted:
    """Train a method; settings of `[train]`, such as epochs=50, lr=1e-3. `valid` stops it and chooses its best epoch."""
    return _train.fit(method, train, valid, build(Train, settings, "train"), evaluation)


def evaluate(
    scorer: Scorer,
    parts: Split,
    *,
    part: str = "test",
    reason: str = "recsys.evaluation.evaluator",
    **settings: Any,
) -> Report:
    """Evaluate on the test or the validation part of a split; settings of `[evaluate]`, such as metrics=("ndcg@10",).

    What was seen in training is masked; when testing, so are the validation pairs, unless keep_valid=True.

    Args:
        scorer: what is evaluated.
        parts: the split it was trained on.
        part: "test", which opens the seal and keeps `reason` in `parts.test.openings`, or "valid".
        reason: why the test set is opened.
        settings: of `[evaluate]`.
    """
    evaluation = build(Evaluation, settings, "evaluate")
    if part == "valid" and parts.valid is not None:
        return _evaluate(scorer, parts.train.pairs, parts.valid, evaluation)
    if part == "test" and parts.test is not None:
        return _evaluate(
            scorer, parts.train.pairs, parts.test.open(reason), evaluation, also_seen=parts.valid
        )
    raise InputError(
        f"the split has no part '{part}'",
        remedy="evaluate on test or valid, whichever the split has",
    )


def compare(
    runs: Mapping[str, Any] | Sequence[Run | str | Path],
    metric: str | Sequence[str] | None = None,
    baseline: str | None = None,
    **options: Any,
) -> Comparison:
    """Compare methods on the test users they share: means with intervals, and paired tests.

        recsys.compare([run, "runs/other"])
        recsys.compare({"ours": [run1, run2], "theirs": other})

    Args:
        runs: finished runs or their folders in a list; or by the name of their row, each a run, a folder, a report, or a list of these, one
            per training seed.
        metric: the one to test, or several; None takes all, which costs power.
        baseline: name of the row to test the others against; None tests every pair.
        options: of `recsys.comparison.comparison.compare`, such as test="wilcoxon".

    Raises:
        InputError: nothing to compare, something else than runs and reports, and all that `recsys.comparison.comparison.compare` finds.
    """
    names, given = _rows(runs)
    if any(isinstance(each, Report) for each in given):
        reports: dict[str, list[Report]] = {name: [] for name in names}
        ended: dict[str, list[Stopping]] = {}
        for name, each in zip(names, given, strict=True):
            if isinstance(each, Report):
                reports[name].append(each)
                continue
            run = _opened(each)
            reports[name].append(run.report("test"))
            ended.setdefault(name, []).append(run.stopping)
        return _comparison.compare(reports, metric, baseline, stopping=ended, **options)
    if not given:
        return _comparison.compare({}, metric, baseline)
    rows = names if isinstance(runs, Mapping) else None
    return _comparison.compare_runs(given, metric, baseline, names=rows, **options)


def _rows(runs: Any) -> tuple[list[str], list[Any]]:
    """The name of the row of everything that is compared, "" where it names itself, and what that is.

    Raises:
        InputError: what is none of a run, its folder and a report; a report without a name.
    """
    if isinstance(runs, Run | Report | str | Path):
        raise InputError(
            f"one {type(runs).__name__} is given, not a list",
            place="compare",
            remedy="give several, as in compare([run1, run2])",
        )
    names, given = [], []
    for name, value in runs.items() if isinstance(runs, Mapping) else (("", each) for each in runs):
        seeds = value if isinstance(value, list | tuple) and name else [value]
        if not len(seeds):
            raise InputError(f"'{name}' has no report", remedy="leave it out, or run it")
        for each in seeds:
            if not isinstance(each, Run | str | Path | Report):
                raise InputError(
                    f"expected a run or a report, got {type(each).__name__}",
                    place=f"compare: {name}" if name else "compare",
                    remedy="give what recsys.execute or recsys.open_run returns, its folder, or a report",
                )
            if isinstance(each, Report) and not name:
                raise InputError(
                    "a report has no name",
                    place="compare",
                    remedy='name each, as in compare({"mf": report1, "ease": report2})',
                )
            names.append(str(name))
            given.append(each)
    return names, given


def _opened(run: Run | str | Path) -> Run:
    return run if isinstance(run, Run) else open_run(run)


def recommend(
    scorer: Scorer, train: Dataset, users: Any = None, k: int = 10, **options: Any
) -> Any:
    """The k best items of each user as a frame of user, item, rank, score, source; options as `recsys.serving.recommendations.recommend`."""
    frame = _recommendation.recommend(scorer, train, users, k, **options)
    return frame.to_pandas() if isinstance(users, (pd.Series, pd.Index)) else frame
