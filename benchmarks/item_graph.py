"""Speed of the methods with graphs between items: processor seconds an epoch, beside the same methods as one writes them first.

    python benchmarks/item_graph.py                        # mgcn, siger, lattice and freedom on the built-in data
    python benchmarks/item_graph.py --data tiktok --path data/tiktok
    python benchmarks/item_graph.py --methods mgcn --epochs 1 --steps 2     # to see that it runs

Settings and sizes of batches are those of benchmarks/multimodal.py, features are frozen as there. "Plain" has the readable forms in their places:
InfoNCE over every node of a batch as often as it occurs, by one matrix and autograd; torch's own sparse product; sums over neighbours with the
gradient that autograd has for them. Both compute the same. One thread; the median over epochs, plain and ours in turn.
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
from multimodal import experiment
from threadpoolctl import threadpool_limits
from torch import Tensor

from recsys.data.types import Dataset
from recsys.experiment.execution import data_of
from recsys.experiment.experiment import Experiment
from recsys.models import Network
from recsys.nn.infonce import info_nce
from recsys.nn.sparse_product import SparseProduct
from recsys.sampling import stream
from recsys.training.malloc import keep_freed_memory
from recsys.training.optimizers import make_optimizers

METHODS = ("mgcn", "siger", "lattice", "freedom")


def written_out(
    one: Tensor, other: Tensor, temperature: float, count: Tensor | None = None
) -> Tensor:
    """`contrast` by one matrix, with each node as often as it occurs."""
    if count is None:
        return info_nce(one, other, temperature)
    again = torch.repeat_interleave(torch.arange(len(one)), count)
    return info_nce(one[again], other[again], temperature)


def by_autograd(self: SparseProduct, table: Tensor, rows: Tensor | None = None) -> Tensor:
    """`SparseProduct.forward` without its transpose."""
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
    """The readable forms in the place of the fast ones."""
    with contextlib.ExitStack() as stack:
        for method in ("mgcn", "siger"):
            stack.enter_context(mock.patch(f"recsys.models.{method}.contrast", written_out))
        stack.enter_context(
            mock.patch("recsys.nn.graph.product", lambda graph, table: graph @ table)
        )
        stack.enter_context(mock.patch.object(SparseProduct, "forward", by_autograd))
        yield


def epoch(
    network: Network, made: Experiment, train: Dataset, number: int, steps: int | None
) -> float:
    """Processor seconds of an epoch, from its first steps."""
    config = made.train
    batches = stream(
        train.pairs,
        network.sampler,
        batch_size=config.batch_size,
        seed=config.seed,
        device=torch.device("cpu"),
    )
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


def main() -> None:
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
        help="of an epoch, in place of all; the first, which learns LATTICE's graph, is then counted too often",
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    with threadpool_limits(1):
        for method in given.methods:
            made = experiment(given.data, method, given.path, {})
            train = data_of(made).train
            torch.manual_seed(0)
            began = time.process_time()
            network = made.model.build(train)
            built = time.process_time() - began
            found: dict[str, list[float]] = {"plain": [], "ours": []}
            for number in range(given.epochs + 1):
                with plainly():
                    found["plain"].append(epoch(network, made, train, number, given.steps))
                found["ours"].append(epoch(network, made, train, number, given.steps))
            plain, ours = (statistics.median(seconds[1:]) for seconds in found.values())
            shape = f"{len(train.pairs):,} pairs, {train.n_users:,} users, {train.n_items:,} items, batch {made.train.batch_size}"
            print(
                f"{method:<8}{ours:>8.2f} cpu-seconds an epoch, plain {plain:.2f}: {plain / ours:.1f} times; built in {built:.2f} ({shape})",
                flush=True,
            )


if __name__ == "__main__":
    main()
