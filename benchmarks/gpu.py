"""Methods on an accelerator, each as a fraction of what the card can do, measured in the same run.

    python benchmarks/gpu.py                        # the first CUDA device, under eight minutes
    python benchmarks/gpu.py --only lightgcn
    python benchmarks/gpu.py --device cpu --small   # the same code on the CPU, in a minute

The card's bandwidth is that of a copy, its rate that of a product of square matrices. A method must
move some bytes and do some operations in any case; the larger of bytes / bandwidth and operations /
rate is the least time of a step. `fraction` is the least time divided by the measured one, a median
over epochs after the first. The bytes of a step are counted as if nothing stayed in a cache:

    optimiser     parameter and two moments read and written, gradient written and read: 8 tables
    look-ups      rows read, rows of their gradient read and added: 3 times
    propagation   a row and an index per edge, and a row per node, each layer, there and back
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from synthetic import dataset, log

from recsys.data.query import Queries
from recsys.data.types import Dataset, FeatureTable
from recsys.models import Recipe
from recsys.models.bm3 import BM3
from recsys.models.dpcml import DPCML
from recsys.models.lightgcn import LightGCN
from recsys.models.mf import MF
from recsys.models.sfcml import SFCML
from recsys.ranking import top_k
from recsys.scorer import Factors
from recsys.study import tune
from recsys.training.loop import Train, fit
from recsys.training.progress import EpochDone, Event

FLOAT = 4  # bytes
INDEX = 8
DIM = 64
STUDY = """
[data]
source = "online-retail"
[split]
by = "ratio"
ratios = [0.8, 0.1, 0.1]
[model]
name = "mf"
[train]
epochs = 3
device = "{device}"
[tune]
trials = {trials}
[tune.space]
"train.lr" = {{ low = 1e-4, high = 1e-2, log = true }}
"""


@dataclass(frozen=True)
class Card:
    """The limits of a device: bytes and floating-point operations per second."""

    device: torch.device
    bandwidth: float
    rate: float

    def least(self, size: float, operations: float = 0.0) -> float:
        """Return the seconds that so many bytes and operations take at least."""
        return max(size / self.bandwidth, operations / self.rate)


@dataclass(frozen=True)
class Size:
    """How large the synthetic data and the batches are."""

    users: int
    items: int
    pairs: int
    batch: int
    features: int
    epochs: int
    square: int
    copied: int
    trials: int


LARGE = Size(300_000, 400_000, 12_000_000, 65_536, 768, 3, 8192, 1 << 30, 10)
SMALL = Size(600, 800, 12_000, 2_048, 16, 2, 256, 1 << 22, 2)


def clock(device: torch.device) -> float:
    """Return the time after the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def timed(work: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Return the median seconds of some work, after a first run."""
    work()
    seconds = []
    for _ in range(repeats):
        began = clock(device)
        work()
        seconds.append(clock(device) - began)
    return statistics.median(seconds)


def measured(device: torch.device, size: Size) -> Card:
    """Measure the limits of the device."""
    source = torch.zeros(size.copied // FLOAT, device=device)
    target = torch.empty_like(source)
    copy = timed(lambda: target.copy_(source), device)
    left, right = (torch.randn(size.square, size.square, device=device) for _ in range(2))
    product = timed(lambda: left @ right, device)
    return Card(device, 2 * size.copied / copy, 2 * size.square**3 / product)


def epoch_seconds(recipe: Recipe, train: Dataset, config: Train, device: torch.device) -> float:
    """Return the median seconds of an epoch after the first."""
    moments: list[float] = []

    def watch(event: Event) -> None:
        if isinstance(event, EpochDone):
            moments.append(clock(device))

    fit(recipe, train, None, replace(config, epochs=config.epochs + 1), watch=watch)
    return statistics.median(np.diff(moments).tolist())


def look_ups(pairs: int, rows: float, dim: int = DIM) -> float:
    return 3.0 * pairs * rows * dim * FLOAT


def optimiser(rows: float, dim: int = DIM) -> float:
    return 8.0 * rows * dim * FLOAT


def propagation(train: Dataset, layers: int, dim: int = DIM) -> float:
    edges, nodes = 2 * len(train.pairs), train.n_users + train.n_items
    return 2.0 * layers * (edges * (dim * FLOAT + INDEX) + nodes * dim * FLOAT)


class Benchmarks:
    """One method each; the results are seconds, least seconds, and the number of interactions."""

    def __init__(self, card: Card, size: Size) -> None:
        self.card = card
        self.size = size
        self.train = dataset(log(size.users, size.items, size.pairs))
        self.config = Train(
            epochs=size.epochs, batch_size=size.batch, device=str(card.device), patience=None
        )
        self.steps = -(-len(self.train.pairs) // size.batch)
        self.nodes = self.train.n_users + self.train.n_items

    def epoch(self, recipe: Recipe, size: float, operations: float = 0.0) -> tuple[float, float]:
        """Return the seconds of an epoch, and the least seconds given those of a step."""
        seconds = epoch_seconds(recipe, self.train, self.config, self.card.device)
        return seconds, self.steps * self.card.least(size, operations)

    def mf(self) -> tuple[float, float]:
        return self.epoch(MF(dim=DIM), look_ups(self.size.batch, 3) + optimiser(self.nodes))

    def lightgcn(self) -> tuple[float, float]:
        size = look_ups(self.size.batch, 3) + optimiser(self.nodes)
        return self.epoch(LightGCN(dim=DIM, layers=3), size + propagation(self.train, 3))

    def dpcml(self) -> tuple[float, float]:
        recipe = DPCML(dim=DIM)
        rows = recipe.vectors + 1 + recipe.sampler.negatives
        tables = recipe.vectors * self.train.n_users + self.train.n_items
        return self.epoch(recipe, look_ups(self.size.batch, rows) + optimiser(tables))

    def bm3(self) -> tuple[float, float]:
        """Features of all items are trained, so their table is updated at every step."""
        width = self.size.features
        draw = np.random.default_rng(0).standard_normal((self.train.n_items, width))
        table = FeatureTable(draw.astype(np.float32), np.ones(self.train.n_items, dtype=bool))
        plain = self.train
        self.train = replace(plain, features={"text": table})
        size = look_ups(self.size.batch, 2) + propagation(plain, 1)
        size += optimiser(self.nodes) + optimiser(self.train.n_items, width)
        size += 3.0 * self.size.batch * width * FLOAT
        try:
            return self.epoch(BM3(dim=DIM), size, 6.0 * self.size.batch * width * DIM)
        finally:
            self.train = plain

    def sfcml(self) -> tuple[float, float]:
        """Measure SFCML, whose batches hold users; a step reads all items twice."""
        plain, steps = self.config, self.steps
        batch = max(1, self.size.batch // 16)
        users = int((self.train.pairs.csr.getnnz(1) > 0).sum())
        self.config, self.steps = replace(plain, batch_size=batch), -(-users // batch)
        per_step = len(self.train.pairs) / self.steps
        size = look_ups(int(per_step), 1) + look_ups(batch, 1) + optimiser(self.nodes)
        size += 3.0 * self.train.n_items * DIM * FLOAT
        try:
            return self.epoch(SFCML(dim=DIM), size, 4.0 * self.train.n_items * DIM**2)
        finally:
            self.config, self.steps = plain, steps

    def ranking(self) -> tuple[float, float]:
        """Top-20 lists of some users without their history; the scores are written and read."""
        device, items = self.card.device, self.train.n_items
        users = np.arange(min(self.train.n_users, 20_000))
        queries = Queries.of_users(users, self.train.pairs.csr[users])
        user = torch.randn(self.train.n_users, DIM, device=device)
        scorer = Factors(user, torch.randn(items, DIM, device=device))
        seconds = timed(lambda: top_k(scorer, queries, 20), device, repeats=3)
        cells = float(len(users)) * items
        return seconds, self.card.least(2 * cells * FLOAT, 2 * cells * DIM)

    def study(self) -> tuple[float, float]:
        """Run a study on the built-in data; its least time is that of its training epochs alone."""
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "study.toml"
            text = STUDY.format(device=self.card.device, trials=self.size.trials)
            config.write_text(text)
            began = time.perf_counter()
            training = []

            def watch(event: object) -> None:
                if isinstance(event, EpochDone):
                    training.append(event.entry.seconds)

            tune(config, Path(folder) / "study", watch=watch)
            return time.perf_counter() - began, sum(training)


NAMES = ("lightgcn", "mf", "dpcml", "bm3", "sfcml", "ranking", "study")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="data for a test of the code")
    parser.add_argument("--only", choices=NAMES)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.exit(2, "gpu.py: there is no CUDA device; try --device cpu --small\n")
    size = SMALL if arguments.small else LARGE
    card = measured(device, size)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(
        f"{where}, torch {torch.__version__}: {card.bandwidth / 1e9:.1f} GB/s of a copy, "
        f"{card.rate / 1e9:.1f} GFLOP/s of a float32 product"
    )
    benchmarks = Benchmarks(card, size)
    print(
        f"{benchmarks.train.n_users:,} users x {benchmarks.train.n_items:,} items, "
        f"{len(benchmarks.train.pairs):,} pairs; batch {size.batch:,}"
    )
    print("method     seconds  least seconds  fraction", flush=True)
    for name in NAMES:
        if arguments.only in (None, name):
            seconds, least = getattr(benchmarks, name)()
            print(f"{name:9s} {seconds:8.3f}  {least:13.4f}  {least / seconds:8.3f}", flush=True)


if __name__ == "__main__":
    main()
