"""Quality on test after given numbers of epochs: a curve to hold against published ones. It selects nothing.

One fit is lengthened where the learning rate is constant; else every number of epochs is a fit of its own.

python benchmarks/curve.py configs/lightgcn-gowalla.toml data.path=FOLDER --epochs 2 10 20
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from recsys.errors import InputError
from recsys.evaluation.evaluator import evaluate
from recsys.experiment.execution import data_of
from recsys.experiment.experiment import read
from recsys.training.loop import fit


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--epochs", type=int, nargs="+", default=[2, 10, 20])
    arguments = parser.parse_args()
    experiment = read(arguments.config, arguments.overrides)
    split = data_of(experiment)
    if split.test is None:
        raise InputError("the split has no test part", place=str(arguments.config))
    train = split.refit().train
    # A schedule that depends on the number of epochs makes another fit of each number: it cannot be lengthened.
    lengthened = experiment.train.schedule == "constant"
    with tempfile.TemporaryDirectory() as folder:
        for epochs in sorted(arguments.epochs):
            config = replace(experiment.train, epochs=epochs, patience=None)
            fitted = fit(
                experiment.model,
                train,
                None,
                config,
                experiment.evaluate,
                folder=Path(folder) / ("fit" if lengthened else f"{epochs}"),
                resume=lengthened,
            )
            report = evaluate(
                fitted.scorer,
                train.pairs,
                split.test.open(f"curve: {epochs} epochs"),
                experiment.evaluate,
            )
            seconds = sum(entry.seconds for entry in fitted.history)
            numbers = ", ".join(f"{name} {report[name]:.4f}" for name in report.names)
            print(
                f"{experiment.method} after {epochs} epochs, {seconds:.0f} s of training: {numbers}",
                flush=True,
            )


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"curve: {error}")
