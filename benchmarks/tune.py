"""Choose the settings of configs/DATA/METHOD.toml by studies with the same number of trials.

    python benchmarks/tune.py online-retail --trials 8                # every method with a space
    python benchmarks/tune.py online-retail mf lightgcn --trials 8    # some
    python benchmarks/tune.py gowalla mf --trials 8 --base path/to/base.toml

Each study sees train and valid alone. The same as `recsys tune BASE model.name=METHOD --trials N`
for one method after the other, with the data loaded once. The studies are in runs/tune-DATA/METHOD;
an existing one is resumed. Prints the best settings as TOML, and the budget that was used.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recsys.config import to_toml
from recsys.errors import InputError
from recsys.experiment.execution import data_of
from recsys.study.progress import TrialDone
from recsys.study.tuning import is_study, read_with_space, spaces, tune

# A step of LightGCN costs a pass over the graph for any batch size; every row has a gradient.
CHANGES = {"lightgcn": ["train.rows=dense", "train.batch_size=8192"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument(
        "--base",
        type=Path,
        help="TOML with [data], [split], [train], [evaluate]; default benchmarks/base-<data>.toml",
    )
    arguments = parser.parse_args()
    base = arguments.base or Path(__file__).parent / f"base-{arguments.data}.toml"
    split = None
    for method in arguments.methods or sorted(path.stem for path in spaces().glob("*.toml")):
        experiment = read_with_space(
            base, [f"model.name={method}", f"name={method}", *CHANGES.get(method, [])]
        )
        split = split or data_of(experiment)
        folder = Path("runs") / f"tune-{arguments.data}" / method
        study = tune(
            experiment,
            folder,
            resume=is_study(folder),
            budget={"trials": arguments.trials},
            split=split,
            watch=follow,
        )
        used, best = study.used(), study.best_experiment()
        print(
            f"# {method}: best of {used.trials:g} trials, {used.device_seconds:.0f} s of training",
            flush=True,
        )
        if best is not None:
            print(
                to_toml({"model": best.to_tree()["model"], "train": best.to_tree()["train"]}),
                flush=True,
            )


def follow(event: object) -> None:
    if isinstance(event, TrialDone):
        value = next(iter(event.values.values()), float("nan"))
        print(
            f"{event.number:>3} {value:.4f} {event.seconds:6.1f} s {event.settings}",
            file=sys.stderr,
            flush=True,
        )


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"tune: {error}")
