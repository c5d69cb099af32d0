"""Speed and memory against the hardware's own limit, as ratios measured in one run.

    python benchmarks/speed.py                    # synthetic data of Gowalla's shape
    python benchmarks/speed.py --gowalla FOLDER   # the LightGCN split of Gowalla
    python benchmarks/speed.py --only ranking --threads 1

Nothing else should run on the machine. Figures are medians; "cpu" counts the seconds of all
threads.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from synthetic import dataset, log

from recsys.data.load import load
from recsys.data.query import Queries
from recsys.data.types import Dataset
from recsys.evaluation.evaluator import Evaluation
from recsys.models.lightgcn import LightGCN
from recsys.models.mf import MF
from recsys.ranking import top_k
from recsys.sampling import Sampler
from recsys.scorer import Factors
from recsys.training.loop import Train, fit
from recsys.training.malloc import keep_freed_memory
from recsys.training.progress import EpochDone


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gowalla", type=Path, help="folder with train.txt of the LightGCN split")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=("ranking", "mf", "lightgcn"))
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    if arguments.gowalla:
        train = load(arguments.gowalla / "train.txt", format="adjacency").dataset
        pairs = train.pairs
    else:
        pairs = log(29_858, 40_981, 810_128)
        train = dataset(pairs)
    print(
        f"{pairs.n_users:,} users x {pairs.n_items:,} items, {len(pairs):,} pairs; "
        f"{torch.get_num_threads()} threads; load {os.getloadavg()[0]:.2f}; "
        f"torch {torch.__version__}"
    )
    for name, measure in (("ranking", ranking), ("mf", mf), ("lightgcn", lightgcn)):
        if arguments.only in (None, name):
            measure(train, arguments.repeats)


def ranking(train: Dataset, repeats: int) -> None:
    """Measure top-20 of every user with seen items masked, against the matrix product alone."""
    n_users, n_items = train.n_users, train.n_items
    generator = torch.Generator().manual_seed(0)
    scorer = Factors(
        torch.randn(n_users, 64, generator=generator), torch.randn(n_items, 64, generator=generator)
    )
    users = np.arange(n_users)
    seen = train.pairs.csr
    query, key = scorer.user.numpy(), np.ascontiguousarray(scorer.item.numpy().T)
    block = np.empty((200, n_items), dtype=np.float32)

    def gemm() -> None:
        for start in range(0, n_users, len(block)):
            part = query[start : start + len(block)]
            np.matmul(part, key, out=block[: len(part)])

    def rank() -> None:
        top_k(scorer, Queries.of_users(users, seen[users]), 20)

    ratios: list[float] = []
    gemms, ranks = [], []
    for _ in range(repeats):
        gemms.append(timed(gemm))
        ranks.append(timed(rank))
        ratios.append(ranks[-1][0] / gemms[-1][0])
    wall, cpu = median(ranks)
    print(
        f"ranking: {wall:.2f} s wall, {n_users / cpu:,.0f} users per cpu-second, "
        f"{statistics.median(ratios):.2f} x the GEMM alone ({median(gemms)[0]:.2f} s), "
        f"peak memory {peak():.0f} MB"
    )


def mf(train: Dataset, repeats: int) -> None:
    """Measure epochs of BPR-MF, d 64."""
    for rows, optimizer, batch in (
        ("dense", "adam", 2048),
        ("touched", "adam", 2048),
        ("touched", "adagrad", 2048),
        ("touched", "adam", 8192),
        ("touched", "sgd", 8192),
    ):
        cpu = epoch_seconds(
            MF(dim=64, l2=1e-4),
            train,
            Train(
                epochs=repeats + 1, batch_size=batch, rows=rows, optimizer=optimizer, device="cpu"
            ),
        )
        print(
            f"BPR-MF, batch {batch}, {optimizer} on {rows} rows: "
            f"{len(train.pairs) / cpu:,.0f} pairs per cpu-second ({cpu:.2f} cpu-s an epoch)"
        )
    cpu = epoch_seconds(
        MF(dim=64, sampler=Sampler(negatives=256, pool="shared"), l2=1e-4),
        train,
        Train(epochs=3, batch_size=2048, rows="touched", device="cpu"),
    )
    print(
        f"BPR-MF, batch 2048, 256 shared negatives, adam on touched rows: "
        f"{len(train.pairs) / cpu:,.0f} pairs, "
        f"{256 * len(train.pairs) / cpu / 1e6:,.0f} M comparisons per cpu-second"
    )


def lightgcn(train: Dataset, repeats: int) -> None:
    """Measure steps of LightGCN, 3 layers, d 64, against its own six sparse products."""
    from recsys.nn.graph import normalised_adjacency

    adjacency = normalised_adjacency(train.pairs)
    vectors = torch.randn(train.n_users + train.n_items, 64)

    def products() -> None:
        for _ in range(6):
            adjacency @ vectors

    steps = -(-len(train.pairs) // 2048)
    ratios, epochs = [], []
    walls: list[float] = []
    fit(
        LightGCN(dim=64, layers=3),
        train,
        None,
        Train(epochs=max(2, repeats // 2), batch_size=2048, device="cpu"),
        Evaluation(),
        watch=lambda event: (
            walls.append(event.entry.seconds) if isinstance(event, EpochDone) else None
        ),
    )
    products()
    for wall in walls:
        alone = statistics.median(timed(products)[0] for _ in range(10)) * steps
        ratios.append(wall / alone)
        epochs.append(wall)
    print(
        f"LightGCN, 3 layers, d 64, batch 2048: {statistics.median(epochs):.1f} s an epoch, "
        f"{statistics.median(ratios):.2f} x its {6 * steps} sparse products; "
        f"peak memory {peak():.0f} MB"
    )


def epoch_seconds(recipe: MF, train: Dataset, config: Train) -> float:
    """Return the median cpu-seconds of an epoch after the first."""
    marks = [time.process_time()]
    fit(
        recipe,
        train,
        None,
        config,
        watch=lambda event: (
            marks.append(time.process_time()) if isinstance(event, EpochDone) else None
        ),
    )
    return statistics.median(np.diff(marks[1:]))


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return wall and cpu seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def median(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(wall for wall, _ in pairs), statistics.median(cpu for _, cpu in pairs)


def peak() -> float:
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
