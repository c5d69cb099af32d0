"""An epoch of SFCML beside the two matrix products that it cannot do without, measured in turn in one run.

    python benchmarks/sfcml.py                     # synthetic data of Gowalla's shape, one thread
    python benchmarks/sfcml.py --gowalla FOLDER    # the LightGCN split of Gowalla

Nothing else should run on the machine. Figures are medians of epochs after the first; "cpu" counts the seconds of all threads.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from synthetic import dataset, log

from recsys.data.load import load
from recsys.data.types import Dataset
from recsys.models.sfcml import SFCML
from recsys.training.loop import Train, fit
from recsys.training.malloc import keep_freed_memory
from recsys.training.progress import EpochDone, Event


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gowalla", type=Path, help="folder with train.txt of the LightGCN split")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--batch", type=int, default=256, help="users per step")
    parser.add_argument("--epochs", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    train = (
        load(arguments.gowalla / "train.txt", format="adjacency").dataset
        if arguments.gowalla
        else dataset(log(29_858, 40_981, 810_128))
    )
    users = int((train.pairs.csr.getnnz(1) > 0).sum())
    steps = -(-users // arguments.batch)
    print(
        f"{users:,} users x {train.n_items:,} items, {len(train.pairs):,} pairs; d {arguments.dim}, {steps} steps of {arguments.batch} users; "
        f"{torch.get_num_threads()} threads; load {os.getloadavg()[0]:.2f}; torch {torch.__version__}"
    )
    item, square = (
        torch.randn(train.n_items, arguments.dim),
        torch.randn(arguments.dim, arguments.dim),
    )

    def products() -> float:
        """Cpu-seconds of V' V and of V A, once each a step."""
        began = time.process_time()
        for _ in range(steps):
            item.T @ item
            item @ square
        return time.process_time() - began

    products()
    for rows in ("dense", "touched"):
        config = Train(
            epochs=arguments.epochs,
            batch_size=arguments.batch,
            optimizer="adagrad",
            lr=0.05,
            rows=rows,
            device="cpu",
        )
        epochs, alone = measure(SFCML(dim=arguments.dim, l2=1e-5), train, config, products)
        ratio = statistics.median(
            epoch / product for epoch, product in zip(epochs, alone, strict=True)
        )
        print(
            f"adagrad, {rows} rows of users: {statistics.median(epochs):.2f} cpu-s an epoch, {ratio:.2f} x the products alone "
            f"({statistics.median(alone):.2f} cpu-s)"
        )


def measure(
    recipe: SFCML, train: Dataset, config: Train, products: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Cpu-seconds of each epoch but the first, and of the products right after it."""
    epochs: list[float] = []
    alone: list[float] = []
    mark = time.process_time()

    def watch(event: Event) -> None:
        nonlocal mark
        if isinstance(event, EpochDone):
            epochs.append(time.process_time() - mark)
            alone.append(products())
            mark = time.process_time()

    fit(recipe, train, None, config, watch=watch)
    return epochs[1:], alone[1:]


if __name__ == "__main__":
    main()
