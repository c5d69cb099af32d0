"""Measure how fast histories are ranked, as a share of the speed of the same users by their rows.

    python benchmarks/history_speed.py                  # synthetic: 20,000 users x 10,000 items
    python benchmarks/history_speed.py --path log.csv   # users and items of a file
    python benchmarks/history_speed.py --threads 2 --queries 8000

EASE, ItemKNN and iALS are built once. Then the same users are ranked by row and by history, in
turn, in one process, and the ratio of the medians is printed: 1.00 is the speed of user queries. In
both cases the k best items that are not in the history are found. With one thread the time is
processor time, which other work on the machine changes little; with more it is wall time.

The lists of EASE and ItemKNN are equal in both cases. Those of iALS are solved again for the items
as they are after the last sweep, so they differ a little; `same` is the share of common items.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from synthetic import dataset, log
from threadpoolctl import threadpool_limits

from recsys.data.load import load
from recsys.data.query import Queries
from recsys.data.types import Dataset
from recsys.models.ease import EASE
from recsys.models.ials import IALS
from recsys.models.itemknn import ItemKNN
from recsys.ranking import TopK, top_k
from recsys.scorer import Scorer

N_USERS, N_ITEMS = 20_000, 10_000
N_PAIRS = 1_000_000


def timed(work: Callable[[], TopK], threads: int) -> tuple[float, TopK]:
    """Return the seconds that a ranking took, and its lists."""
    clock = time.process_time if threads == 1 else time.perf_counter
    start = clock()
    lists = work()
    return clock() - start, lists


def same(one: TopK, other: TopK) -> float:
    """Return the share of the items of lists that are in the other lists, too."""
    shared = [len(set(a) & set(b)) / len(a) for a, b in zip(one.item, other.item, strict=True)]
    return float(np.mean(shared))


def measure(scorer: Scorer, train: Dataset, chosen: argparse.Namespace) -> str:
    """Return a line: medians of both kinds of queries in microseconds each, ratio, same lists."""
    rows = np.flatnonzero(train.pairs.user_counts() > 0)[: chosen.queries]
    by_row = Queries.of_users(rows, train.pairs.csr[rows])
    by_history = Queries.of_histories(train.pairs.histories.take(rows))
    seconds: dict[str, list[float]] = {"row": [], "history": []}
    lists = {}
    for _ in range(chosen.rounds):
        for name, queries in (("row", by_row), ("history", by_history)):
            taken, lists[name] = timed(
                lambda queries=queries: top_k(scorer, queries, chosen.k), chosen.threads
            )
            seconds[name].append(taken)
    row, history = (statistics.median(seconds[name]) for name in ("row", "history"))
    each = 1e6 / len(rows)
    return (
        f"{row * each:9.1f} {history * each:9.1f} {row / history:7.2f} "
        f"{same(lists['row'], lists['history']):7.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", help="a log; default: synthetic")
    parser.add_argument("--queries", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dim", type=int, default=128, help="length of the vectors of iALS")
    parser.add_argument("-k", type=int, default=20)
    parser.add_argument("--methods", nargs="+", default=["ease", "itemknn", "ials"])
    chosen = parser.parse_args()
    data = load(chosen.path).dataset if chosen.path else dataset(log(N_USERS, N_ITEMS, N_PAIRS))
    recipes = {"ease": EASE(), "itemknn": ItemKNN(), "ials": IALS(dim=chosen.dim, sweeps=3)}
    torch.set_num_threads(chosen.threads)
    size = f"{data.n_users:,} users x {data.n_items:,} items, {len(data.pairs):,} pairs"
    print(f"{size}; {chosen.queries:,} queries, k = {chosen.k}, {chosen.threads} threads")
    print(f"{'method':<8} {'us/user':>9} {'us/hist':>9} {'ratio':>7} {'same':>7}")
    with threadpool_limits(chosen.threads):
        for name in chosen.methods:
            line = measure(recipes[name].build(data), data, chosen)
            print(f"{name:<8} {line}", flush=True)


if __name__ == "__main__":
    main()
