"""Measure next-click quality of session methods: every position of the held-out sessions.

    python benchmarks/sessions.py --path yoochoose-100k

The folder has train_full.txt and test.txt, tab-separated, with the columns SessionId, ItemId and
Time in seconds; sessions are contiguous, clicks in order. Each click of a test session but the
first is a target, asked for with the clicks of the session before it. Repeats are allowed. recall
and mrr at 20 are means over targets and, in addition, over sessions; equal scores share their mean
rank. Settings are defaults unless named; none was chosen on these data. One thread; processor
seconds of the fit and of the ranking.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp
import torch
from threadpoolctl import threadpool_limits

from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.models.markov import Markov
from recsys.models.popular import Popular
from recsys.models.sknn import SKNN
from recsys.ranking import ranks
from recsys.scorer import SessionSimilarity

CUT = 20


def methods() -> dict[str, Any]:
    """Return the recipes to measure, by name."""

    def sknn(kind: str, **more: Any) -> SKNN:
        return SKNN(similarity=SessionSimilarity(kind=kind), **more)

    return {
        "popular": Popular(),
        "markov": Markov(),
        "markov, gap 10": Markov(gap=10),
        "markov, gap 10, last 3, decay 0.5": Markov(gap=10, last=3, decay=0.5),
        "sknn, cosine": sknn("cosine"),
        "sknn, position (VSKNN)": sknn("position"),
        "sknn, position, k 500, m 2500": sknn("position", k=500, m=2500),
        "sknn, stan": sknn("stan"),
    }


def read(folder: Path) -> tuple[Dataset, Queries, np.ndarray, np.ndarray]:
    """Return the training log, and queries with their targets and sessions."""
    frames = [pl.read_csv(folder / name, separator="\t") for name in ("train_full.txt", "test.txt")]
    items = Vocab(frames[0]["ItemId"].unique().sort())
    train, test = (histories(frame, items) for frame in frames)
    owner = train.owner().astype(np.int32)
    pairs = Interactions(
        owner,
        train.item,
        len(train),
        len(items),
        time=train.time,
        order=np.arange(len(owner)),
        session=owner,
        time_unit=train.time_unit,
    )
    data = Dataset(pairs, Vocab.range(len(train), "user"), items)
    session = np.repeat(np.arange(len(test)), test.length - 1)
    first = np.concatenate([[0], np.cumsum(test.length - 1)])[session]
    end = test.begin[session] + 1 + np.arange(len(session)) - first
    asked = Histories(test.item, test.begin[session], end, test.time, test.time_unit)
    return data, Queries.of_histories(asked, repeats=True), test.item[end], session


def histories(frame: pl.DataFrame, items: Vocab) -> Histories:
    """Return the sessions of a file, times in microseconds."""
    session = frame["SessionId"].to_numpy()
    begin = np.flatnonzero(np.append(True, session[1:] != session[:-1]))
    item = frame["ItemId"].replace_strict(items.ids, np.arange(len(items))).to_numpy()
    ticks = (frame["Time"] * 1e6).round().cast(pl.Int64).to_numpy()
    return Histories(item, begin, np.append(begin[1:], len(session)), ticks, "us")


def measure(
    recipe: Any, data: Dataset, queries: Queries, target: np.ndarray, session: np.ndarray
) -> Iterator[float]:
    """Yield recall, mrr, both as means over sessions, and the seconds of fit and ranking."""
    cells = (np.arange(len(target)), target)
    targets = sp.csr_matrix((np.ones(len(target)), cells), shape=(len(target), data.n_items))
    began = time.process_time()
    scorer = recipe.build(data)
    fitted = time.process_time()
    rank = ranks(scorer, queries, targets).rank
    ranked = time.process_time()
    hit = (rank <= CUT).astype(np.float64)
    size = np.bincount(session)
    for value in (hit, hit / rank):
        yield float(value.mean())
    for value in (hit, hit / rank):
        per_session = np.bincount(session, weights=value)[size > 0] / size[size > 0]
        yield float(per_session.mean())
    yield fitted - began
    yield ranked - fitted


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--path", type=Path, required=True, help="folder of the sessions")
    data, queries, target, session = read(parser.parse_args().path)
    print(
        f"{len(data.pairs):,} clicks, {data.n_users:,} sessions, {data.n_items:,} items; "
        f"{len(target):,} targets of {len(np.unique(session)):,} sessions"
    )
    head = ("recall@20", "mrr@20", "by session", "", "fit s", "rank s")
    print(f"{'':<36}" + "".join(f"{word:>11}" for word in head))
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for name, recipe in methods().items():
            *quality, fit, rank = measure(recipe, data, queries, target, session)
            cells = [f"{value:.4f}" for value in quality] + [f"{fit:.1f}", f"{rank:.1f}"]
            print(f"{name:<36}" + "".join(f"{cell:>11}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
