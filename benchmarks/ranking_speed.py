"""Time top-20 lists with and without leaving out items, and the bare matrix product.

    python benchmarks/ranking_speed.py GOWALLA --users 8192 --runs 3

GOWALLA is a folder with train.txt of the LightGCN split; a line is a user and the user's items.
Each method is trained briefly, so that its vectors look like those of a trained model; the time of
training is not counted. Each way of ranking runs in turn, on one thread unless `--threads` says
otherwise. The table shows medians of users per processor second, the share of the scores that the
search computed, and whether both ways gave the same bytes. implicit and FAISS are timed where they
are installed. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from ials_speed import pairs
from threadpoolctl import threadpool_limits

from recsys.data.query import Queries
from recsys.data.types import Dataset, Vocab
from recsys.models import recipe
from recsys.ranking import lists, top_k
from recsys.scorer import Dot, Factors, NearestOf, Scorer
from recsys.training.loop import Train, fit
from recsys.training.malloc import keep_freed_memory

K = 20
METHODS = {
    "ials": {"dim": 64, "unobserved": 0.0125, "l2": 0.002},
    "mf": {"dim": 64},
    "cml": {"dim": 64},
    "dpcml": {"dim": 64},
}


def data(folder: Path) -> Dataset:
    train = pairs(folder / "train.txt")
    users = Vocab.range(train.n_users, "user")
    return Dataset(train, users, Vocab.range(train.n_items, "item"))


def trained(method: str, train: Dataset) -> Scorer:
    config = Train(epochs=3, lr=0.005, batch_size=4096, patience=None)
    return fit(recipe(method)(**METHODS[method]), train, config=config).scorer


def product(scorer: Scorer, n: int) -> Callable[[], None]:
    """Return a call of the bare product of n queries with all keys, in blocks of 1000."""
    plan = scorer.plan()
    assert isinstance(plan, Dot | NearestOf)
    queries = Queries.of_users(np.arange(n))
    encoded = plan.encode(queries)
    vectors = encoded[0] if isinstance(plan, Dot) else encoded
    rows = vectors.reshape(-1, vectors.shape[-1]).numpy()
    key = plan.key.numpy().T.copy()
    out = np.empty((1000, key.shape[1]), dtype=np.float32)

    def run() -> None:
        for start in range(0, len(rows), 1000):
            some = rows[start : start + 1000]
            np.matmul(some, key, out=out[: len(some)])

    return run


def implicit_lists(scorer: Scorer, seen: sp.csr_matrix, n: int) -> Callable[[], None] | None:
    try:
        from implicit.cpu.topk import topk
    except ImportError:
        return None
    if not isinstance(scorer, Factors):
        return None
    user, item, _ = scorer.as_dot()
    return lambda: topk(
        item.numpy(), user[:n].numpy(), K, filter_query_items=seen[:n], num_threads=1
    )


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def row(method: str, train: Dataset, n: int, runs: int) -> str:
    scorer = trained(method, train)
    queries = Queries.of_users(np.arange(n), train.pairs.csr[:n])
    few = lists._MANY_SCORES
    results = {}

    def whole() -> None:
        lists._MANY_SCORES = 1 << 62
        results["all"] = top_k(scorer, queries, K)
        lists._MANY_SCORES = few

    def pruned() -> None:
        results["pruned"] = top_k(scorer, queries, K)

    ways = {"all": whole, "pruned": pruned, "product": product(scorer, n)}
    peer = implicit_lists(scorer, train.pairs.csr, n)
    if peer is not None:
        ways["implicit"] = peer
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(runs):
        for way, work in ways.items():
            times[way].append(seconds(work))
    same = (
        results["all"].item.tobytes() == results["pruned"].item.tobytes()
        and results["all"].score.tobytes() == results["pruned"].score.tobytes()
    )
    rate = {way: n / statistics.median(each) for way, each in times.items()}
    text = " ".join(f"{rate[way]:>10,.0f}" if way in rate else " " * 10 for way in COLUMNS)
    return f"{method:<8}{text}   {'yes' if same else 'NO'}"


COLUMNS = ("product", "all", "pruned", "implicit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--users", type=int, default=8192)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    train = data(args.folder)
    print(f"users per processor second, {args.threads} thread(s), median of {args.runs} runs")
    print("method  " + " ".join(f"{way:>10}" for way in COLUMNS) + "   same lists and scores")
    with threadpool_limits(args.threads):
        for method in args.methods:
            print(row(method, train, args.users, args.runs), flush=True)


if __name__ == "__main__":
    main()
