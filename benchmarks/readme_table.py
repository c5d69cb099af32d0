"""Compute the accuracy tables of the README: every configuration of a data set, run and compared.

    python benchmarks/readme_table.py online-retail                 # needs nothing
    python benchmarks/readme_table.py gowalla --path FOLDER         # the LightGCN split
    python benchmarks/readme_table.py gowalla mf ials --path FOLDER # some methods

The folder of Gowalla holds train.txt and test.txt (and train_inner.txt, valid_inner.txt). Finished
runs are kept in runs/table-DATA/ and not done again; an interrupted table is resumed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recsys.comparison.comparison import compare_runs
from recsys.errors import InputError, suggest
from recsys.experiment.execution import execute
from recsys.experiment.experiment import read

CONFIGS = Path(__file__).parents[1] / "configs"


def main() -> None:
    """Run the methods that are missing and print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", default="online-retail")
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--path", type=Path, help="folder of the data, if it is not in the cache")
    arguments = parser.parse_args()
    configs = {path.stem: path for path in sorted((CONFIGS / arguments.data).glob("*.toml"))}
    if not configs:
        names = [path.name for path in CONFIGS.iterdir() if path.is_dir()]
        raise InputError(
            f"has no folder '{arguments.data}'",
            place=str(CONFIGS),
            remedy=suggest(arguments.data, names),
        )
    overrides = [f"data.path={arguments.path}"] if arguments.path else []
    experiments = {name: read(path, overrides) for name, path in configs.items()}
    # Runs on another split, on new items for example, do not belong in the table.
    rule = experiments["popular"].split.by
    usual = [name for name, experiment in experiments.items() if experiment.split.by == rule]
    folders = []
    for method in arguments.methods or usual:
        if method not in configs:
            raise InputError(f"unknown method '{method}'", remedy=suggest(method, configs))
        folder = Path("runs") / f"table-{arguments.data}" / method
        run = execute(experiments[method], folder, resume=(folder / "run.json").exists())
        report = run.report("test")
        values = ", ".join(f"{name} {report[name]:.4f}" for name in report.names)
        print(f"{method}: {values} in {run.meta['seconds']:.0f} s", flush=True)
        folders.append(folder)
    print(compare_runs(folders).markdown())


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"readme_table: {error}")
