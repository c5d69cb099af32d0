"""Measure the cost of a denoiser per epoch, and the speed of a denoised LightGCN.

    python benchmarks/denoise_speed.py --path ml-100k-noisy      # one thread

Figures are pairs per processor second and ratios within one run. The released code of DCF trains
its LightGCN on these data with 12.3 thousand positives and evaluates 11 users per cpu-second: 32
dimensions, three layers, batches of 1024 pairs and negatives; its evaluation propagates again for
every user.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace

import torch

from recsys.data.types import Split
from recsys.errors import InputError
from recsys.evaluation.evaluator import Evaluation, evaluate
from recsys.experiment.execution import data_of
from recsys.experiment.experiment import from_tree
from recsys.training.loop import fit
from recsys.training.progress import EpochDone, Event

KINDS = {
    "none": {"kind": "none"},
    "watch": {"kind": "watch"},
    "tce": {"kind": "tce", "ramp": 50},
    "rce": {"kind": "rce"},
    "dcf": {"kind": "dcf", "ramp": 50},
    "dcf as released": {"kind": "dcf", "ramp": 50, "mode": "released"},
}
BACKBONES = {
    "gmf": {"name": "gmf"},
    "neumf": {"name": "neumf"},
    "lightgcn": {
        "name": "lightgcn",
        "dim": 32,
        "loss": {"kind": "bce"},
        "sampler": {"negatives": 1},
    },
}
FILES = {
    "train": "ml100k.train.rating",
    "valid": "ml100k.valid.rating",
    "test": "ml100k.test.negative",
}
RELEASED = {"train": 12_300.0, "evaluate": 11.0}  # positives and users per cpu-second


def epochs(tree: dict[str, object], split: Split, count: int) -> float:
    """Cpu-seconds of an epoch, without start and end."""
    experiment = from_tree(tree)
    marks: list[float] = []

    def watch(event: Event) -> None:
        if isinstance(event, EpochDone):
            marks.append(time.process_time())

    fit(
        experiment.model,
        split.train,
        None,
        replace(experiment.train, epochs=count + 1, patience=None),
        experiment.evaluate,
        watch=watch,
    )
    return (marks[-1] - marks[0]) / count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--path", required=True, help="the folder of ml-100k-noisy")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument(
        "--batch", type=int, default=512, help="pairs of a batch, each with a negative"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    base = {
        "data": {"path": arguments.path} | FILES,
        "split": {"by": "label", "drop_cold": False},
        "train": {"batch_size": arguments.batch},
    }
    split: Split | None = None
    for backbone, model in BACKBONES.items():
        trees = {
            name: base | {"model": model, "train": base["train"] | {"denoise": kind}}
            for name, kind in KINDS.items()
        }
        split = split or data_of(from_tree(trees["none"]))
        pairs = len(split.train.pairs)
        seconds: dict[str, list[float]] = {name: [] for name in trees}
        for _ in range(arguments.rounds):  # in turn, so that a drift of the machine meets all
            for name, tree in trees.items():
                seconds[name].append(epochs(tree, split, arguments.epochs))
        for name, several in seconds.items():
            ratios = [own / plain for own, plain in zip(several, seconds["none"], strict=True)]
            middle = statistics.median(several)
            text = (
                f"{backbone:9} {name:16} {middle:7.3f} cpu-s an epoch, "
                f"{pairs / middle / 1e3:7.1f}k pairs per cpu-s, "
                f"{statistics.median(ratios):.3f} x none"
            )
            if backbone == "lightgcn" and name.startswith("dcf"):
                text += f", {pairs / middle / RELEASED['train']:.0f} x the released code"
            print(text, flush=True)
    experiment = from_tree(
        base
        | {
            "model": BACKBONES["lightgcn"],
            "train": base["train"] | {"epochs": 1, "denoise": KINDS["dcf"]},
        }
    )
    assert split is not None
    assert split.test is not None
    assert split.valid is not None
    fitted = fit(experiment.model, split.train, None, experiment.train, experiment.evaluate)
    test, rates = split.test.open("speed of evaluation"), []
    for _ in range(arguments.rounds):
        began = time.process_time()
        report = evaluate(
            fitted.scorer,
            split.train.pairs,
            test,
            Evaluation(metrics=("recall@20", "ndcg@20")),
            also_seen=split.valid.pairs,
        )
        rates.append(report.n_users / (time.process_time() - began))
    rate = statistics.median(rates)
    print(
        f"evaluation of {report.n_users} users, recall and ndcg at 20: {rate:.0f} users per "
        f"cpu-s, {rate / RELEASED['evaluate']:.0f} x the released code"
    )


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"denoise_speed: {error}")
