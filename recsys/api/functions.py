"""The functions of the Python interface; see `recsys.api`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar, Unpack, cast

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse as sp

from recsys import comparison, models, serving, training
from recsys import evaluation as evaluating
from recsys.api.compared import Comparable, rows_of
from recsys.api.options import EvaluateOptions, LoadOptions, SplitOptions, TrainOptions
from recsys.comparison import Comparison
from recsys.config import build
from recsys.data import load as loading
from recsys.data import splitting
from recsys.data.finding import Finding
from recsys.data.ids import Ids
from recsys.data.load import LoadedData
from recsys.data.reading import Source
from recsys.data.splitting import SplitRule
from recsys.data.types import Dataset, HeldOut, Interactions, Split
from recsys.errors import InputError
from recsys.evaluation import Evaluation, Report
from recsys.experiment import Run
from recsys.models import Recipe
from recsys.scorer import Scorer
from recsys.serving import HistoriesLike, Request, Unknown
from recsys.training import Fitted, Train
from recsys.training.stopping import Stopping

__all__ = ["compare", "evaluate", "fit", "load", "recipe", "recommend", "split"]

Loadable: TypeAlias = (
    "str | Path | Source | pl.DataFrame | pd.DataFrame | np.ndarray | sp.csr_matrix"
)
Settings = TypeVar("Settings")


def load(source: Loadable, **options: Unpack[LoadOptions]) -> LoadedData:
    """Load interactions. Whatever looks wrong in them is a warning.

    Args:
        source: name of a data set of the catalogue; path of a file or folder; `Source` settings; a
            pandas or polars frame; a users x items matrix of scipy.sparse, whose entries are the
            weights; or an integer array [n, 2] of user and item.
        options: settings of `[data]`, such as user="customer", item="sku", min_weight=4; they win
            over those of a `Source`.

    Raises:
        InputError: an unknown name or setting, or data that cannot be read.
    """
    loaded = loading.load(source, **options)
    _warn(loaded.dataset.findings)
    return loaded


def split(
    data: LoadedData | Dataset, rule: SplitRule | None = None, **options: Unpack[SplitOptions]
) -> Split:
    """Split data into train, valid and a sealed test.

    A part that gets less than half of its intended size is a warning.

    Args:
        data: from `load`, or a data set of one log.
        rule: the settings as an object; None: the default rule.
        options: settings of `[split]`, such as by="time"; they win over those of `rule`.

    Raises:
        InputError: an invalid setting, or a rule that does not fit the data.
    """
    parts = splitting.split(data, _settings(SplitRule, rule, options, "split"))
    known = (data.dataset if isinstance(data, LoadedData) else data).findings
    _warn(parts.train.findings[len(known) :])
    return parts


def _warn(findings: Sequence[Finding]) -> None:
    """Warn of findings, at the line that called a function of this module."""
    for finding in findings:
        if finding.severity != "ok":
            text = f"{finding.message}; {finding.remedy}" if finding.remedy else finding.message
            warnings.warn(text, UserWarning, stacklevel=3)


def _settings(
    cls: type[Settings], given: Settings | None, options: Mapping[str, object], section: str
) -> Settings:
    """Return settings from an object and keyword arguments, which win.

    Args:
        cls: the settings class.
        given: an object of this class; None: the defaults.
        options: keyword arguments.
        section: name of the section, for errors.
    """
    return build(cls, options, section, given)


def recipe(name: str, **settings: object) -> Recipe:
    """Return the hyper-parameters of a method.

    Args:
        name: name of the method, such as "lightgcn"; `recsys models` lists them.
        settings: hyper-parameters of the method, tables as mappings, as in
            `recipe("lightgcn", layers=2, sampler={"negatives": 4})`.

    Raises:
        InputError: an unknown method, or an invalid hyper-parameter.
    """
    return cast("Recipe", build(models.recipe(name), settings, name))


def fit(
    method: Recipe | str,
    train: Dataset,
    valid: HeldOut | Interactions | None = None,
    *,
    settings: Train | None = None,
    evaluation: Evaluation | None = None,
    **options: Unpack[TrainOptions],
) -> Fitted:
    """Train a method.

    Args:
        method: its hyper-parameters, from `recipe`; a name takes the defaults.
        train: training data.
        valid: the validation part, which chooses the best epoch and stops training; interactions
            ask one question per user; None: train for all epochs.
        settings: the settings as an object; None: the defaults.
        evaluation: how validation is measured; None: the defaults.
        options: settings of `[train]`, such as epochs=50, lr=1e-3; they win over those of
            `settings`.

    Returns:
        The scorer, the history of training, and why training ended.

    Raises:
        InputError: an invalid setting, or data that the method cannot use.
        TrainingError: the loss is not finite, or has grown a thousandfold.
    """
    if isinstance(method, str):
        method = recipe(method)
    config = _settings(Train, settings, options, "train")
    return training.fit(method, train, valid, config, evaluation)


def evaluate(
    scorer: Scorer,
    parts: Split,
    *,
    part: Literal["test", "valid"] = "test",
    reason: str | None = None,
    settings: Evaluation | None = None,
    **options: Unpack[EvaluateOptions],
) -> Report:
    """Evaluate a scorer on the test or the validation part of a split.

    Training interactions are masked. On test, validation interactions are masked too, unless
    keep_valid=True.

    Args:
        scorer: the scorer.
        parts: the split that it was trained on.
        part: "test", which opens the sealed test set, or "valid".
        reason: why the test set is opened; kept in `parts.test.openings`. Needed for "test".
        settings: the settings as an object; None: the defaults.
        options: settings of `[evaluate]`, such as metrics=("ndcg@10",); they win over those of
            `settings`.

    Returns:
        The metrics of every user, with means and confidence intervals.

    Raises:
        InputError: a part that the split does not have, the test part without a reason, or an
            invalid setting.
    """
    chosen = _settings(Evaluation, settings, options, "evaluate")
    train = parts.train.pairs
    if part == "valid" and parts.valid is not None:
        return evaluating.evaluate(scorer, train, parts.valid, chosen)
    if part == "test" and parts.test is not None:
        if not reason:
            raise InputError(
                "evaluating on the test set needs a reason, which is recorded",
                place="evaluate",
                remedy='give one, as in reason="final table", or use part="valid"',
            )
        test = parts.test.open(reason)
        also_seen = None if parts.valid is None else parts.valid.pairs
        return evaluating.evaluate(scorer, train, test, chosen, also_seen=also_seen)
    raise InputError(
        f"the split has no part '{part}'",
        remedy="evaluate on test or valid, whichever the split has",
    )


def compare(
    runs: Mapping[str, Comparable | Sequence[Comparable]] | Sequence[Run | str | Path],
    metric: str | Sequence[str] | None = None,
    baseline: str | None = None,
    *,
    test: Literal["t", "wilcoxon"] = "t",
    fingerprints: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare methods on the test users they share: means with intervals, and paired tests.

        recsys.compare([run, "runs/other"])
        recsys.compare({"ours": [run1, run2], "theirs": other})

    Args:
        runs: finished runs or their folders in a list, or folders of saved reports; or a mapping
            from the name of a row to a run, a folder, a report, or a list of these, one per
            training seed.
        metric: one metric to test, or several; None: all, which costs power.
        baseline: name of the row to test the others against; None: every pair.
        test: the test that decides the bold type, paired t or Wilcoxon signed-rank.
        fingerprints: fingerprint of the split of each report by name. Runs have their own.

    Raises:
        InputError: nothing to compare, a value that is not a run, a folder or a report, or all that
            `recsys.comparison.compare` raises.
    """
    rows = rows_of(runs)
    if any(isinstance(row.value, Report) for row in rows):
        reports: dict[str, list[Report]] = {row.name: [] for row in rows}
        ended: dict[str, list[Stopping]] = {}
        for row in rows:
            if isinstance(row.value, Report):
                reports[row.name].append(row.value)
                continue
            entry = comparison.Entry.of(row.value)
            reports[row.name].append(entry.report())
            if entry.run is not None:
                ended.setdefault(row.name, []).append(entry.run.stopping)
        return comparison.compare(
            reports, metric, baseline, test=test, fingerprints=fingerprints, stopping=ended
        )
    if fingerprints is not None:
        raise InputError(
            "fingerprints has no effect without a report, since runs have their own",
            place="compare",
            remedy="leave it out",
        )
    if not rows:
        return comparison.compare({}, metric, baseline)
    folders = [row.value for row in rows if not isinstance(row.value, Report)]
    names = [row.name for row in rows] if isinstance(runs, Mapping) else None
    return comparison.compare_runs(folders, metric, baseline, test=test, names=names)


def recommend(
    scorer: Scorer,
    train: Dataset,
    users: Ids | None = None,
    k: int = 10,
    *,
    histories: HistoriesLike | None = None,
    items: Ids | None = None,
    filter_seen: bool = True,
    candidates: Ids | None = None,
    exclude: Ids | None = None,
    unknown: Unknown = "popular",
    unmet: bool = False,
    titles: bool = False,
) -> pl.DataFrame | pd.DataFrame:
    """Return the k best items for each user, each history, or each item.

        recsys.recommend(scorer, train, ["ann", "bob"])
        recsys.recommend(scorer, train, histories={"visitor-1": ["i07", "i03"]})
        recsys.recommend(scorer, train, items=["i07"])

    What of the histories could not be read is a warning.

    Args:
        scorer: the scorer.
        train: its training data: the ids, and the histories of the users.
        users: outside ids, in the order of the answer; None: every user. They name the histories if
            these are a list.
        k: items per list; a list with fewer candidates has fewer rows.
        histories: rank by these: a frame with a row per event (a column of users, sessions or other
            ids, a column of items, and times if there are any); a mapping from an id to its items,
            oldest first; a list of such sequences; or the path of a file. A scorer that reads
            histories needs nothing else of a user; another ranks users of training by what it
            learned.
        items: outside ids; rank what goes with each of them.
        filter_seen: whether to leave out the user's training items, or the items of the history.
        candidates: outside ids of the only items to recommend; None: all.
        exclude: outside ids of items never to recommend.
        unknown: what users get whom the scorer does not know, and histories without a known item:
            "popular", the most popular items; "skip", no rows; "error", an error.
        unmet: whether items without a training interaction are candidates even if the scorer does
            not place them.
        titles: whether to add a column with the titles of the items.

    Returns:
        user, item (outside ids), rank (1..k), score, source ("model", "popular", or "vectors" if
        the vectors of items were compared), title. With `items` the first column is query_item. A
        pandas frame if users, histories or items are of pandas, else a polars frame.

    Raises:
        InputError: an invalid k or `unknown`, an unknown item, no candidate is left, a scorer that
            answers neither histories nor such users, or an unknown user with unknown = "error".
    """
    request = Request(
        users, k, filter_seen, candidates, exclude, unknown, unmet, titles, histories, items
    )
    recommender = serving.Recommender(scorer, train, request)
    asked = serving.ask(scorer, train, request)
    for note in asked.notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    frame = recommender.frame(asked)
    given = (users, histories, items)
    of_pandas = any(isinstance(each, (pd.Series, pd.Index, pd.DataFrame)) for each in given)
    return frame.to_pandas() if of_pandas else frame
