"""The accuracy tables: every configs/*-<data>.toml, run and compared.

    python benchmarks/table.py online-retail                 # needs nothing
    python benchmarks/table.py gowalla --path FOLDER         # the LightGCN split: train.txt, test.txt (train_inner.txt, valid_inner.txt)
    python benchmarks/table.py gowalla mf ials --path FOLDER # some methods

Finished runs are kept in runs/table-<data>/ and not done again; an interrupted table goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recsys.comparison.comparison import compare_runs
from recsys.errors import InputError
from recsys.experiment.execution import execute
from recsys.experiment.experiment import read

CONFIGS = Path(__file__).parents[1] / "configs"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", default="online-retail")
    parser.add_argument("methods", nargs="*")
    parser.add_argument(
        "--path", type=Path, help="folder of the data, where it is not in the catalogue's cache"
    )
    arguments = parser.parse_args()
    found = {
        path.stem.removesuffix(f"-{arguments.data}"): path
        for path in sorted(CONFIGS.glob(f"*-{arguments.data}.toml"))
    }
    folders = []
    for method in arguments.methods or found:
        overrides = [f"data.path={arguments.path}"] if arguments.path else []
        experiment = read(found[method], overrides)
        folder = Path("runs") / f"table-{arguments.data}" / method
        run = execute(experiment, folder, resume=(folder / "run.json").exists())
        report = run.report("test")
        print(
            f"{method}: "
            + ", ".join(f"{name} {report[name]:.4f}" for name in report.names)
            + f" in {run.meta.seconds:.0f} s",
            flush=True,
        )
        folders.append(folder)
    print(compare_runs(folders).markdown())


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"table: {error}")
