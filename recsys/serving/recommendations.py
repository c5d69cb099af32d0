"""Recommendations as a frame, or as a resumable job that writes files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from recsys.data.types import Dataset
from recsys.scorer import Scorer
from recsys.serving.asked import ask
from recsys.serving.job import Job, Writing, write_lists
from recsys.serving.list_files import Format
from recsys.serving.recommender import Recommender
from recsys.serving.request import Request

__all__ = ["recommend", "write_recommendations"]


def recommend(scorer: Scorer, train: Dataset, request: Request | None = None) -> pl.DataFrame:
    """Return the k best items for each user, history or item.

    Args:
        scorer: the scorer.
        train: its training data: the ids, and the histories of the users.
        request: who asks, how many items, which candidates; None: 10 items for every user.

    Returns:
        user or, for items, query_item; item (outside ids), rank (1..k), score, source ("model";
        "vectors" for the similarity of item vectors; "popular" for whom the model cannot answer,
        whose score is the training count of the item), and title if it was asked for. A history is
        called by its id in the column user. Users have the type of the run's ids; all are strings
        if one of them cannot have that type, as 'guest' in a run with integer ids.

    Raises:
        InputError: an unknown item in `candidates` or `exclude`, no candidate is left, a scorer
            that does not answer histories or items, or an unknown user with unknown = "error".
    """
    request = request or Request()
    recommender = Recommender(scorer, train, request)
    return recommender.frame(ask(scorer, train, request))


def write_recommendations(
    out: Path,
    scorer: Scorer,
    train: Dataset,
    request: Request | None = None,
    *,
    batch: int = 50_000,
    format: Format = "parquet",
    model: str = "",
    training: Mapping[str, Any] | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> Job:
    """Write `recommend` to a file, or to a folder in parts of `batch` lists.

    A path that ends in .parquet, .csv or .jsonl is a file, which appears when it is complete; any
    other path is the folder of a job (`recsys.serving.job_folder`): lists/part-00000.<format> and
    manifest.json. An interrupted job continues if it is started again with the same arguments:
    finished parts are not written again. The manifest is marked as finished last, so a reader that
    waits for this never sees half a job. One batch is in memory at a time.

    Args:
        out: file or folder.
        scorer, train, request: as in `recommend`.
        batch: lists per part, or per step of a file, at least 1.
        format: format of the parts of a folder; the ending of a file names its own.
        model: identity of the model, for the manifest; parts of another model are not reused.
        training: how the training of the model ended, for the manifest (`Stopping.plain`).
        tell: called with the number of lists done and the number of all.

    Raises:
        InputError: as `recommend`; an invalid format or `batch`; the folder holds the parts of
            another job.
        RetryError: another process works on the job; the disk is full or gone.
    """
    request = request or Request()
    job = Writing(Path(out), batch, format, model, training, tell)
    recommender = Recommender(scorer, train, request)
    return write_lists(job, recommender, ask(scorer, train, request))
