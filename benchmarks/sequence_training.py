"""Measure the training of sequence methods: positions per processor second, and one result each.

    python benchmarks/sequence_training.py --path beauty/Beauty.txt
    python benchmarks/sequence_training.py --path beauty/Beauty.txt --fit gru4rec --epochs 20

The file has a line for each user: the user, then the items in time order. The last item of a user
is the test answer, the one before the validation answer; all items are candidates but those of the
history. Without --fit, the script times steps of 128 histories (forward, backward, dense Adam) on
one thread, and prints each speed and its ratio to the first. With --fit, it trains one method,
takes the epoch with the best ndcg@10 on validation, and prints both parts. Nothing is fitted again
on the validation part; at test its answer is in the history.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import torch
from threadpoolctl import threadpool_limits

from recsys.data.load import load
from recsys.data.splitting import SplitRule, split
from recsys.data.types import Dataset, Split
from recsys.evaluation import Evaluation, evaluate
from recsys.models.fpmc import FPMC
from recsys.models.gru4rec import GRU4Rec
from recsys.models.sasrec import SASRec
from recsys.nn.losses import Loss
from recsys.sampling import Sampler
from recsys.training.loop import Train, fit

METRICS = ("recall@10", "ndcg@10")
WARM, TIMED = 5, 50  # steps


def methods() -> dict[str, Any]:
    """Return the recipes to measure, by name."""
    few = Sampler(pool="shared", negatives=256)
    return {
        "sasrec": SASRec(),
        "sasrec, 256 shared": SASRec(sampler=few),
        "sasrec, ligr": SASRec(variant="ligr", width=4),
        "sasrec, ligr, 256 shared": SASRec(variant="ligr", width=4, sampler=few),
        "sasrec, relative positions": SASRec(positions="relative"),
        "gru4rec": GRU4Rec(),
        "gru4rec, 256 shared": GRU4Rec(sampler=few),
        "gru4rec, bpr-max, 256 shared": GRU4Rec(loss="bpr-max", sampler=few),
        "fpmc": FPMC(),
        "fpmc, softmax, 256 shared": FPMC(loss=Loss(kind="softmax"), sampler=few),
    }


def read(path: Path) -> Split:
    """Return the parts of a file of lists."""
    rows = [
        (user, item, place)
        for user, *items in map(str.split, path.read_text().splitlines())
        for place, item in enumerate(items)
    ]
    frame = pl.DataFrame(rows, ["user", "item", "time"], orient="row")
    return split(load(frame, keep_log=True), SplitRule(by="next-item"))


def speed(recipe: Any, train: Dataset) -> float:
    """Return the positions that training takes per processor second."""
    torch.manual_seed(0)
    net = replace(recipe, batch_of="histories").build(train).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    stream = net.stream.open(train, batch_size=128, seed=0)
    positions, start = 0, 0.0
    for step, batch in enumerate(itertools.islice(stream.epoch(0), WARM + TIMED)):
        if step == WARM:
            start = time.process_time()
        optimizer.zero_grad()
        net.loss(batch).total().backward()
        optimizer.step()
        positions += len(batch) if step >= WARM else 0
    return positions / (time.process_time() - start)


def result(name: str, parts: Split, epochs: int) -> None:
    """Train a method and print its figures on both parts."""
    train = Train(epochs=epochs, batch_size=1024, eval_every=2, device="cpu", patience=3)
    evaluation = Evaluation(metrics=METRICS, monitor="ndcg@10")
    start = time.process_time()
    fitted = fit(methods()[name], parts.train, parts.valid, train, evaluation)
    seconds = time.process_time() - start
    held = {"valid": parts.valid, "test": parts.test.open("a benchmark")}
    print(f"{name}: best epoch {fitted.best_epoch} of {epochs}, {seconds:.0f} s with evaluation")
    for part, questions in held.items():
        report = evaluate(fitted.scorer, parts.train.pairs, questions, evaluation)
        print(f"  {part:<6}", "  ".join(f"{key} {report[key]:.4f}" for key in METRICS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--fit", choices=list(methods()))
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        parts = read(arguments.path)
        if arguments.fit:
            result(arguments.fit, parts, arguments.epochs)
            return
        first = None
        for name, recipe in methods().items():
            measured = speed(recipe, parts.train)
            first = first or measured
            print(f"{name:<32} {measured:>9,.0f} positions/s {measured / first:6.2f}", flush=True)


if __name__ == "__main__":
    main()
