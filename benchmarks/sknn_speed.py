"""Measure the lists of session neighbours against a plain numpy loop, one list at a time.

    python benchmarks/sknn_speed.py --path yoochoose-100k
    python benchmarks/sknn_speed.py --threads 2

Both make the 20 best items of every query with the same settings, in turn, three times, in one run.
Printed are medians of processor seconds (user and system, of all threads) per 100,000 lists, their
ratio, and the share of lists whose scores agree. The plain loop makes fewer lists, and its time is
scaled. Queries are the positions of the test sessions, repeated until there are enough; nothing is
remembered between lists. Without --path, synthetic sessions of about the same shape are used.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sessions
import torch
from threadpoolctl import threadpool_limits

from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.models.sknn import SKNN
from recsys.ranking import top_k
from recsys.scorer import SessionNeighbours, SessionSimilarity

K = 20
KINDS = ("cosine", "position", "stan")
DAY = 86_400.0


def synthetic(n: int = 18_000, n_items: int = 3_000, seed: int = 0) -> tuple[Dataset, Queries]:
    """Return sessions of a power law of items and of lengths, near items together, and queries."""
    rng = np.random.default_rng(seed)
    length = 2 + np.minimum(rng.geometric(0.4, n), 50)
    begin = np.cumsum(length) - length
    item = np.empty(int(length.sum()), dtype=np.int64)
    fresh = (n_items * rng.random(len(item)) ** 2.5).astype(np.int64)
    step = rng.integers(-3, 4, len(item))
    stays = rng.random(len(item)) < 0.7
    stays[begin] = False
    for cell in range(len(item)):
        item[cell] = (item[cell - 1] + step[cell]) % n_items if stays[cell] else fresh[cell]
    ends = np.sort(rng.integers(0, 7 * 86_400, n))
    within = np.arange(len(item)) - np.repeat(begin, length)
    time_of = np.repeat(ends, length) + 30 * within
    owner = np.repeat(np.arange(n), length)
    early = owner < n * 5 // 6
    pairs = Interactions(owner, item, n, n_items, time=time_of, session=owner).take(early)
    data = Dataset(pairs, Vocab.range(n, "user"), Vocab.range(n_items, "item"))
    cells = np.flatnonzero(~early & (within > 0))
    asked = Histories(item, begin[owner[cells]], cells, time_of)
    return data, Queries.of_histories(asked, repeats=True)


class Plain:
    """Session neighbours by numpy calls for a single query.

    Args:
        data: the training sessions.
        recipe: the settings.
    """

    def __init__(self, data: Dataset, recipe: SKNN) -> None:
        self.rule, self.n_items = recipe.similarity, data.n_items
        default = (500, 5_000) if self.rule.kind == "stan" else (100, 1_000)
        self.k, self.m = recipe.k or default[0], recipe.m or default[1]
        visits = data.log.visits
        self.items: list[np.ndarray] = []
        self.places: list[np.ndarray] = []
        ends: list[float] = []
        for row in np.flatnonzero(visits.length)[::-1]:
            span = visits.item[visits.begin[row] : visits.end[row]]
            item, back = np.unique(span[::-1], return_index=True)
            self.items.append(item)
            self.places.append(len(span) - back)
            ends.append(visits.time[visits.end[row] - 1] * _seconds(visits))
        newest = np.argsort(-np.array(ends), kind="stable")
        self.items = [self.items[row] for row in newest]
        self.places = [self.places[row] for row in newest]
        self.ends = np.array(ends)[newest]
        self.size = np.array([len(each) for each in self.items])
        holders: list[list[int]] = [[] for _ in range(self.n_items)]
        for row, each in enumerate(self.items):
            for item in each.tolist():
                holders[item].append(row)
        self.holders = [np.array(rows, dtype=np.int64) for rows in holders]

    def best(self, query: np.ndarray, now: float) -> np.ndarray:
        """Return the K largest scores of a query, ascending."""
        last = {int(item): place for place, item in enumerate(query, start=1)}
        items = list(last)
        places = np.array(list(last.values()))
        weights = self._weights(places, len(query))
        rows = np.concatenate([self.holders[item] for item in items])
        count = [len(self.holders[item]) for item in items]
        session, group = np.unique(rows, return_inverse=True)
        value = np.bincount(group, weights=np.repeat(weights, count))
        latest = np.zeros(len(session), dtype=np.int64)
        np.maximum.at(latest, group, np.repeat(places, count))
        session, value, latest = (each[: self.m] for each in (session, value, latest))
        norm = np.sqrt((weights**2).sum() * self.size[session])
        value = value / (len(items) if self.rule.kind == "position" else norm)
        if self.rule.kind == "stan":
            age = np.maximum(now - self.ends[session], 0) / DAY
            value = value * np.exp(-age / float(self.rule.l2 or math.inf))
        # Rounded, as sums that are equal on paper may differ in their last bits.
        near = np.argsort(-value.astype(np.float32), kind="stable")[: self.k]
        scores = np.zeros(self.n_items)
        for index in near:
            self._vote(scores, session[index], value[index], len(query) - latest[index] + 1, last)
        return np.sort(np.partition(scores, -K)[-K:])

    def _weights(self, places: np.ndarray, length: int) -> np.ndarray:
        if self.rule.kind == "position":
            return places / length
        if self.rule.kind == "stan":
            return np.exp((places - length) / float(self.rule.l1 or math.inf))
        return np.ones(len(places))

    def _vote(
        self, scores: np.ndarray, row: int, value: float, steps: int, last: dict[int, int]
    ) -> None:
        """Add the votes of one neighbour."""
        items, places = self.items[row], self.places[row]
        if self.rule.kind == "stan":
            shared = np.array([item in last for item in items.tolist()])
            distance = np.abs(places - places[shared].max())
            scores[items] += value * np.exp(-distance / float(self.rule.l3 or math.inf))
        else:
            scores[items] += value / steps if self.rule.kind == "position" else value


def _seconds(histories: Histories) -> float:
    return {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[histories.time_unit]


def plain_lists(plain: Plain, queries: Queries) -> np.ndarray:
    """Return the K largest scores of each query, ascending, float64 [n, K]."""
    history = queries.history
    assert history is not None
    assert history.time is not None
    now = history.time[history.end - 1] * _seconds(history)
    return np.stack([plain.best(query, at) for query, at in zip(history, now, strict=True)])


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def compare(kind: str, data: Dataset, queries: Queries, few: int) -> None:
    """Print one row of the table."""
    recipe = SKNN(similarity=SessionSimilarity(kind=kind))
    scorer: SessionNeighbours = recipe.build(data)
    plain = Plain(data, recipe)
    some = queries.take(np.linspace(0, len(queries) - 1, few).astype(np.int64))
    want = plain_lists(plain, some)
    got = top_k(scorer, some, K).score[:, ::-1]
    agree = np.isclose(got, want, rtol=1e-5, atol=1e-9).all(axis=1).mean()
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(3):
        times["plain"].append(seconds(lambda: plain_lists(plain, some)) * 1e5 / few)
        times["ours"].append(seconds(lambda: top_k(scorer, queries, K)) * 1e5 / len(queries))
    slow, fast = (statistics.median(times[name]) for name in ("plain", "ours"))
    name = f"{kind}, k {scorer.k}, m {scorer.m}"
    print(f"{name:<28}{slow:>10.1f}{fast:>10.2f}{slow / fast:>8.1f}{agree:>10.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--path", type=Path, help="folder of the sessions")
    parser.add_argument("--threads", type=int, default=1, help="threads of our lists")
    parser.add_argument("--lists", type=int, default=100_000, help="number of our lists")
    parser.add_argument("--plain", type=int, default=1_000, help="number of lists of the loop")
    arguments = parser.parse_args()
    if arguments.path:
        data, queries, *_ = sessions.read(arguments.path)
    else:
        data, queries = synthetic()
    queries = queries.take(np.arange(arguments.lists) % len(queries))
    torch.set_num_threads(arguments.threads)
    print(
        f"{len(data.log):,} clicks, {len(data.log.visits):,} sessions, {data.n_items:,} items; "
        f"{len(queries):,} lists of {K} with {arguments.threads} threads, "
        f"{arguments.plain:,} by the loop with 1"
    )
    print(f"{'cpu-s per 100,000 lists':<28}{'plain':>10}{'ours':>10}{'ratio':>8}{'agree':>10}")
    with threadpool_limits(1):
        for kind in KINDS:
            compare(kind, data, queries, arguments.plain)


if __name__ == "__main__":
    main()
