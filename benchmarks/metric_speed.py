"""Measure the speed of the metric-learning family, in ratios within one run.

    python benchmarks/metric_speed.py train --path ml-100k-likes/users.dat
    python benchmarks/metric_speed.py rank
    python benchmarks/metric_speed.py all --path ...          # both

`train` measures DPCML and its variants against a plain implementation, `rank` five vectors per user
at the size of Gowalla. Without --path, synthetic pairs of the same shape are used. One thread;
processor time, the median of several epochs taken in turn. SFCML has its own benchmark:
benchmarks/sfcml.py.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from synthetic import dataset, log
from threadpoolctl import threadpool_limits

from recsys.data.load import load
from recsys.data.query import Queries
from recsys.data.splitting.splits import SplitRule, split
from recsys.data.types import Dataset
from recsys.models.cml import CML
from recsys.models.dpcml import DPCML
from recsys.nn.diversity import Diversity
from recsys.nn.losses import Loss
from recsys.ranking import top_k
from recsys.sampling import Sampler
from recsys.scorer import Factors, MultiFactors
from recsys.training.loop import Train, fit
from recsys.training.progress import EpochDone, Event

BATCH, DIM = 256, 64
VECTORS, NEGATIVES = 5, 10


def hinge(reduce: str, **more: Any) -> Loss:
    return Loss(kind="hinge", reduce=reduce, **more)


def variants() -> dict[str, tuple[Any, str]]:
    def dpcml(loss: Loss, **more: Any) -> DPCML:
        return DPCML(dim=DIM, loss=loss, sampler=Sampler(negatives=NEGATIVES), **more)

    none, everywhere = Diversity(weight=0.0), Diversity(over="all")
    return {
        "HarS: one vector": (dpcml(hinge("hardest"), vectors=1), "dense"),
        "five vectors, no DCRS": (dpcml(hinge("hardest"), diversity=none), "dense"),
        "DPCML2: with DCRS": (dpcml(hinge("hardest")), "dense"),
        "DPCML2, only rows of the batch": (dpcml(hinge("hardest")), "touched"),
        "DPCML2, DCRS over all users": (dpcml(hinge("hardest"), diversity=everywhere), "dense"),
        "DPCML2 + APA": (dpcml(hinge("hardest"), assign="adaptive"), "dense"),
        "DPCML2 + DiHarS (2 of 10)": (dpcml(hinge("top", share=0.2)), "dense"),
        "DPCML2 + DiHarS, learned gamma": (
            dpcml(hinge("top", share=0.2), gamma="learned"),
            "dense",
        ),
        "DPCML1: all ten negatives": (dpcml(hinge("each")), "dense"),
        "DPCML1, DCRS over all users": (dpcml(hinge("each"), diversity=everywhere), "dense"),
        "CML with WARP weights": (CML(dim=DIM, sampler=Sampler(negatives=NEGATIVES)), "dense"),
    }


def train(path: str | None) -> None:
    data = (
        split(load(path, min_user=5), SplitRule(by="libcml")).train
        if path
        else dataset(log(938, 1675, 32_844))
    )
    n = len(data.pairs)
    print(
        f"{n:,} pairs, {data.n_users:,} users, {data.n_items:,} items; batch {BATCH}, d {DIM}, "
        f"{NEGATIVES} negatives, 1 thread, positives per cpu-second"
    )
    seconds_of: dict[str, list[float]] = {}
    for _ in range(3):
        for name, (recipe, rows) in variants().items():
            seconds_of.setdefault(name, []).extend(ours(recipe, rows, data))
    plain = [plain_epoch(data, steps=30) for _ in range(3)]
    rate = {name: n / statistics.median(seconds) for name, seconds in seconds_of.items()}
    slow = statistics.median(plain)
    base = rate["HarS: one vector"]
    print(f"{'plain DPCML1, loops and broadcasting':<40}{slow:>10,.0f}")
    for name, value in rate.items():
        print(
            f"{name:<40}{value:>10,.0f}   {value / slow:5.1f} x plain   "
            f"{base / value:5.2f} x the time of HarS"
        )


def ours(recipe: Any, rows: str, data: Dataset) -> list[float]:
    """Return the processor seconds of epochs after the first."""
    times, last = [], [time.process_time()]

    def watch(event: Event) -> None:
        if isinstance(event, EpochDone):
            now = time.process_time()
            times.append(now - last[0])
            last[0] = now

    fit(recipe, data, None, Train(epochs=4, batch_size=BATCH, rows=rows, device="cpu"), watch=watch)
    return times[1:]


def plain_epoch(data: Dataset, steps: int) -> float:
    """Return positives per processor second of DPCML1 in a direct implementation.

    Python loops draw, tensors of [B, C, K, d] compare, diversity is computed over the whole table,
    and Adam moves every row. Each of the ten negatives is a separate triplet, 256 triplets a step.
    """
    torch.manual_seed(0)
    random.seed(0)
    seen: dict[int, set[int]] = {}
    for user, item in zip(data.pairs.user.tolist(), data.pairs.item.tolist(), strict=True):
        seen.setdefault(user, set()).add(item)
    users = torch.nn.Parameter(torch.randn(data.n_users, VECTORS, DIM) * 0.01)
    items = torch.nn.Parameter(torch.randn(data.n_items, DIM) * DIM**-0.5)
    optimizer = torch.optim.Adam([users, items], lr=1e-3)
    began, triplets = time.process_time(), []
    order = random.sample(range(len(data.pairs)), k=-(-steps * BATCH // NEGATIVES))
    for row in order:
        user, item = int(data.pairs.user[row]), int(data.pairs.item[row])
        for _ in range(NEGATIVES):
            other = random.randrange(data.n_items)
            while other in seen[user]:
                other = random.randrange(data.n_items)
            triplets.append((user, item, other))
    for start in range(0, len(triplets), BATCH):
        user, pos, neg = torch.tensor(triplets[start : start + BATCH]).T
        near = (
            (users[user][:, :, None] - items[torch.stack([pos, neg], 1)][:, None])
            .square()
            .sum(-1)
            .amin(1)
        )
        loss = torch.relu(1.0 + near[:, 0] - near[:, 1]).sum()
        apart = (users[:, :, None] - users[:, None]).square().sum(-1)
        loss = (
            loss
            + 10
            * (torch.relu(0.1 - apart) + torch.relu(apart - 0.35))
            .mul(1 - torch.eye(VECTORS))
            .mean()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            users.div_(users.norm(dim=2, keepdim=True))
            items.div_(items.norm(dim=1, keepdim=True).clamp_min(1))
    return len(order) / (time.process_time() - began)


def rank() -> None:
    n_users, n_items = 29_858, 40_981
    k, size = 20, 3000
    generator = torch.Generator().manual_seed(0)
    user = torch.nn.functional.normalize(
        torch.randn(n_users, VECTORS, DIM, generator=generator), dim=2
    )
    item = torch.randn(n_items, DIM, generator=generator) / DIM**0.5
    several, one = (
        MultiFactors(user, item, "euclidean"),
        Factors(user[:, 0].contiguous(), item, "euclidean"),
    )
    counts = torch.randint(1, VECTORS + 1, (n_users,), generator=generator)
    users = Queries.of_users(np.arange(size))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    query, key = (tensor.numpy() for tensor in several.as_dot())
    tile = np.ascontiguousarray(key.T[:, :512])

    def gemm() -> None:
        block = query[:200].reshape(-1, query.shape[2])
        for _ in range(size // 200 * (n_items // 512)):
            block @ tile

    def broadcast() -> None:
        for start in range(0, 20, 10):
            apart = (
                (user[start : start + 10, :, None, :] - item[None, None]).square().sum(-1).amin(1)
            )
            apart.topk(k, largest=False)

    jobs: dict[str, tuple[Callable[[], Any], int]] = {
        "GEMM alone, five vectors": (gemm, size // 200 * 200),
        "top 20, five vectors": (lambda: top_k(several, users, k), size),
        "top 20, one to five vectors": (
            lambda: top_k(MultiFactors(user, item, "euclidean", counts), users, k),
            size,
        ),
        "top 20, one vector": (lambda: top_k(one, users, k), size),
        "top 20, by broadcasting [B, C, N, d]": (broadcast, 20),
    }
    rates: dict[str, list[float]] = {name: [] for name in jobs}
    peak = before
    for _ in range(3):
        for name, (work, count) in jobs.items():
            began = time.process_time()
            work()
            rates[name].append(count / (time.process_time() - began))
            if name == "top 20, five vectors":
                peak = (
                    max(peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
                    if not rates["top 20, by broadcasting [B, C, N, d]"]
                    else peak
                )
            gc.collect()
    print(
        f"{n_items:,} items, d {DIM}, {VECTORS} vectors per user, {size:,} users, 1 thread, "
        f"users per cpu-second; peak {peak / 1024:,.0f} MB in all"
    )
    for name, values in rates.items():
        print(f"{name:<40}{statistics.median(values):>10,.0f}")
    gemm = statistics.median(rates["GEMM alone, five vectors"])
    print(f"ranking / GEMM alone: {gemm / statistics.median(rates['top 20, five vectors']):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["train", "rank", "all"])
    parser.add_argument("--path", help="users.dat")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        if arguments.what in ("rank", "all"):
            rank()
        if arguments.what in ("train", "all"):
            train(arguments.path)


if __name__ == "__main__":
    main()
