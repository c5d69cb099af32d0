"""Speed of BM3 at the shape of Amazon Baby, in processor seconds an epoch, beside a plain implementation in the same run.

    python benchmarks/bm3.py                    # 19,445 users, 7,050 items, 118,551 pairs, features of 4,096 and 384 numbers
    python benchmarks/bm3.py --shrink 20        # a twentieth of everything but the widths: to see that it runs

Pairs and features are made up: sizes decide the time, not values. One thread; the median of several epochs, taken in turn. The plain
implementation does what the formulas say as one writes it first: all rows are propagated, projected and predicted at every step, and autograd
keeps what it needs; Adam moves every row of every table. Both train the feature tables with dense Adam unless --frozen is given.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from synthetic import dataset, log
from threadpoolctl import threadpool_limits

from recsys.data.types import Dataset, FeatureTable
from recsys.models.bm3 import BM3
from recsys.nn.graph import normalised_adjacency
from recsys.sampling import PairStream, Sampler
from recsys.training.loop import Train, fit
from recsys.training.progress import EpochDone, Event

BATCH, DIM, USERS, ITEMS, PAIRS, WIDTHS = (
    2048,
    64,
    19_445,
    7_050,
    118_551,
    {"image": 4_096, "text": 384},
)


def data(shrink: int) -> Dataset:
    """Pairs with the popularity of a real log, and features of which one half is zero, as after a ReLU."""
    made = dataset(log(USERS // shrink, ITEMS // shrink, PAIRS // shrink))
    rng = np.random.default_rng(0)
    present = np.ones(made.n_items, dtype=bool)
    tables = {
        name: FeatureTable(
            np.maximum(rng.standard_normal((made.n_items, width), dtype=np.float32), 0), present
        )
        for name, width in WIDTHS.items()
    }
    return replace(made, features=tables)


def ours(train: Dataset, recipe: BM3, epochs: int) -> list[float]:
    """Processor seconds of each epoch after the first."""
    times, last = [], [time.process_time()]

    def watch(event: Event) -> None:
        if isinstance(event, EpochDone):
            now = time.process_time()
            times.append(now - last[0])
            last[0] = now

    fit(recipe, train, None, Train(epochs=epochs + 1, batch_size=BATCH, device="cpu"), watch=watch)
    return times[1:]


def plain(train: Dataset, recipe: BM3, steps: int) -> float:
    """Processor seconds of an epoch, from some steps of it after the first."""
    torch.manual_seed(0)
    n_users, n_items = train.n_users, train.n_items
    users, items = (
        torch.nn.Parameter(torch.nn.init.xavier_uniform_(torch.empty(n, DIM)))
        for n in (n_users, n_items)
    )
    tables = [
        torch.nn.Parameter(torch.from_numpy(table.values.copy()), recipe.train_features)
        for table in train.features.values()
    ]
    maps = torch.nn.ModuleList(torch.nn.Linear(table.shape[1], DIM) for table in tables)
    said = torch.nn.Linear(DIM, DIM)
    adjacency = normalised_adjacency(train.pairs)
    learned = [
        users,
        items,
        *(table for table in tables if table.requires_grad),
        *maps.parameters(),
        *said.parameters(),
    ]
    optimizer = torch.optim.Adam(learned, lr=1e-3)

    def apart(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return 1 - F.cosine_similarity(one, other, dim=-1).mean()

    def loss(user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        layers = [torch.cat([users, items])]
        for _ in range(recipe.layers):
            layers.append(adjacency @ layers[-1])
        hu, hi = torch.stack(layers).mean(0).split([n_users, n_items])
        hi = hi + items
        told = [linear(table) for linear, table in zip(maps, tables, strict=True)]
        with torch.no_grad():
            tu, ti, *tm = (F.dropout(h, recipe.dropout) for h in (hu, hi, *told))
        pu, pi, *pm = (said(h) for h in (hu, hi, *told))
        total = (
            apart(pu[user], ti[item])
            + apart(pi[item], tu[user])
            + recipe.l2 * (hu.norm() + hi.norm()) / n_items
        )
        for p, t in zip(pm, tm, strict=True):
            total = total + recipe.content * (apart(p[item], ti[item]) + apart(p[item], t[item]))
        return total

    stream = PairStream(train.pairs, Sampler(negatives=0), batch_size=BATCH, seed=0)
    batches = stream.epoch(0)
    began = 0.0
    for step, batch in zip(range(steps + 1), batches, strict=False):
        if step == 1:
            began = time.process_time()
        optimizer.zero_grad()
        loss(batch.user, batch.pos).backward()
        optimizer.step()
    return (time.process_time() - began) / min(steps, len(stream) - 1) * len(stream)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shrink", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="of the plain implementation")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--frozen", action="store_true", help="features that do not move")
    arguments = parser.parse_args()
    train = data(arguments.shrink)
    recipe = BM3(layers=arguments.layers, train_features=not arguments.frozen)
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {"BM3": [], "plain": []}
    with threadpool_limits(1):
        for _ in range(arguments.rounds):
            found["BM3"] += ours(train, recipe, 1)
            found["plain"].append(plain(train, recipe, arguments.steps))
    took = {name: statistics.median(seconds) for name, seconds in found.items()}
    n = len(train.pairs)
    print(
        f"{n:,} pairs, {train.n_users:,} users, {train.n_items:,} items, features {list(WIDTHS.values())}, batch {BATCH}, {arguments.layers} layers, 1 thread"
    )
    for name, seconds in took.items():
        spread = f"{min(found[name]):.2f} to {max(found[name]):.2f}"
        print(
            f"{name:<8}{seconds:>8.2f} cpu-seconds an epoch ({spread}){n / seconds:>12,.0f} pairs a cpu-second"
        )
    print(f"plain / BM3: {took['plain'] / took['BM3']:.2f}")


if __name__ == "__main__":
    main()
