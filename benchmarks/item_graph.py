"""Measure the speed of the methods with graphs between items: processor seconds per epoch.

    python benchmarks/item_graph.py                        # four methods on the built-in data
    python benchmarks/item_graph.py --data tiktok --path data/tiktok
    python benchmarks/item_graph.py --methods mgcn --epochs 1 --steps 2     # to see that it runs

Settings and batch sizes are those of benchmarks/plans/multimodal-*.toml, with frozen features. Each
method is also measured as one would write it first ("plain"): InfoNCE over every node of a batch as
often as it occurs, by one matrix and autograd; torch's own sparse product; and sums over neighbours
with the gradient that autograd has for them. Both forms compute the same. One thread; the median
over epochs, plain and ours in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits
from torch import Tensor
from trial_logs import ROOT

from recsys.benchmark import read_plan
from recsys.data.types import Dataset
from recsys.experiment.execution import data_of
from recsys.experiment.experiment import Experiment
from recsys.models import Network
from recsys.nn.infonce import info_nce
from recsys.nn.sparse_product import SparseProduct
from recsys.training.malloc import keep_freed_memory
from recsys.training.optimizers import make_optimizers

METHODS = ("mgcn", "siger", "lattice", "freedom")


def written_out(
    one: Tensor, other: Tensor, temperature: float, count: Tensor | None = None
) -> Tensor:
    """Compute `contrast` by one matrix, with each node as often as it occurs."""
    if count is None:
        return info_nce(one, other, temperature)
    rows = torch.repeat_interleave(torch.arange(len(one)), count)
    return info_nce(one[rows], other[rows], temperature)


def by_autograd(self: SparseProduct, table: Tensor, rows: Tensor | None = None) -> Tensor:
    """Compute `SparseProduct.forward` without its transpose."""
    flat = table.flatten(1)
    out = F.embedding_bag(
        self.column.long(),
        flat,
        self.start.long(),
        per_sample_weights=self.weight,
        mode="sum",
        include_last_offset=True,
    )
    return (out if rows is None else out[rows]).view(-1, *table.shape[1:])


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Use the readable forms in place of the fast ones."""
    with contextlib.ExitStack() as stack:
        for method in ("mgcn", "siger"):
            stack.enter_context(mock.patch(f"recsys.models.{method}.contrast", written_out))
        stack.enter_context(
            mock.patch("recsys.nn.graph.product", lambda graph, table: graph @ table)
        )
        stack.enter_context(mock.patch.object(SparseProduct, "forward", by_autograd))
        yield


def epoch(
    network: Network, experiment: Experiment, train: Dataset, number: int, steps: int | None
) -> float:
    """Return the processor seconds of an epoch, estimated from its first steps."""
    config = experiment.train
    batches = network.stream.open(train, batch_size=config.batch_size, seed=config.seed)
    optimizers = make_optimizers(network, config.optimizer, config.lr, touched=False)
    done, began = 0, time.process_time()
    for batch in batches.epoch(number, 0):
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss: Any = network.loss(batch).total()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        done += 1
        if done == steps:
            break
    return (time.process_time() - began) / done * len(batches)


def measure(experiment: Experiment, epochs: int, steps: int | None) -> None:
    """Print the speed of a method, plain and ours."""
    train = data_of(experiment).train
    torch.manual_seed(0)
    started = time.process_time()
    network = experiment.model.build(train)
    built = time.process_time() - started
    plain: list[float] = []
    ours: list[float] = []
    for number in range(epochs + 1):
        with plainly():
            plain.append(epoch(network, experiment, train, number, steps))
        ours.append(epoch(network, experiment, train, number, steps))
    slow, fast = statistics.median(plain[1:]), statistics.median(ours[1:])
    print(
        f"{experiment.method:<8}{fast:>8.2f} cpu-seconds an epoch, plain {slow:.2f}: "
        f"{slow / fast:.1f} times; built in {built:.2f} ({len(train.pairs):,} pairs, "
        f"{train.n_users:,} users, {train.n_items:,} items, batch {experiment.train.batch_size})",
        flush=True,
    )


def main() -> None:
    """Measure each method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="online-retail", choices=["online-retail", "tiktok"])
    parser.add_argument("--path", default="", help="the folder of the data")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--epochs", type=int, default=3, help="after the first")
    parser.add_argument(
        "--steps",
        type=int,
        help="measure so many steps of an epoch; the first one, which learns LATTICE's graph, "
        "then counts too much",
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    changes = [f"data.{given.data}.data.path={given.path}"] if given.path else []
    plan = read_plan(ROOT / "benchmarks" / "plans" / f"multimodal-{given.data}.toml", changes)
    with threadpool_limits(1):
        for method in given.methods:
            measure(plan.cells[given.data, method], given.epochs, given.steps)


if __name__ == "__main__":
    main()
