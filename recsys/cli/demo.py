"""`make demo`: eight methods on the built-in data, compared in one table.

It also writes recommendations for every customer, and ranks products without any purchase.

python -m recsys.cli.demo [FOLDER]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import typer

from recsys.cli import show
from recsys.cli.compare import show_comparison
from recsys.errors import InputError

__all__ = ["demo", "main"]

METHODS = ("popular", "itemknn", "ease", "mf", "lightgcn", "cml", "freedom", "sasrec")


def demo(folder: Path) -> None:
    """Run every method, compare, recommend, and print where everything is."""
    from recsys.comparison.comparison import compare_runs
    from recsys.experiment.execution import data_of, execute, open_run
    from recsys.experiment.experiment import read
    from recsys.serving import Request, write_recommendations

    started = time.perf_counter()
    experiments = {
        method: read(_configs() / "online-retail" / f"{method}.toml") for method in METHODS
    }
    split = data_of(experiments["popular"])
    typer.echo(
        "Online Retail: what 4,335 customers of a British gift shop bought in a year. "
        "The last tenth of each customer's products is the test."
    )
    typer.echo(show.split_line(split) + "\n")
    runs = []
    for method, experiment in experiments.items():
        out = folder / method
        began = time.perf_counter()
        execute(experiment, out, resume=(out / "run.json").exists(), split=split)
        run = open_run(out)
        runs.append(run)
        monitor, seconds = experiment.evaluate.monitor, time.perf_counter() - began
        value = run.report("test")[monitor]
        typer.echo(f"  {method:<10} {value:.4f} {monitor} on test, {seconds:6.1f} s")
    comparison = compare_runs([run.folder for run in runs])
    typer.echo("")
    show_comparison(comparison)
    (folder / "comparison.md").write_text(comparison.markdown(), encoding="utf-8")

    best = max(runs, key=lambda run: run.report("valid")[run.experiment.evaluate.monitor])
    out = folder / "recommendations.parquet"
    request = Request(k=10, titles=True)
    job = write_recommendations(out, best.scorer, best.train, request, model=best.fingerprint)
    typer.echo(
        f"Chosen on validation: {best.name}. {job.rows:,} recommendations for all "
        f"{job.users:,} customers. Ten of them:\n"
    )
    _show_ten(out)
    _new_products(folder / "contentknn-new-items")
    typer.echo(
        f"Everything is in {folder}: a folder per run (config.toml, scorer.safetensors, reports), "
        f"comparison.md, {out.name}."
    )
    typer.echo(
        f"Done in {time.perf_counter() - started:.0f} s. "
        "Next: recsys run configs/online-retail/lightgcn.toml model.layers=2"
    )


def _new_products(out: Path) -> None:
    """Rank new products by their texts and prices: their purchases were taken out of training."""
    from recsys.experiment.execution import execute, open_run
    from recsys.experiment.experiment import read

    execute(
        read(_configs() / "online-retail" / "contentknn-new-items.toml"),
        out,
        resume=(out / "run.json").exists(),
    )
    report = open_run(out).report("test")
    among, everywhere = report["recall@20[new]"], report["recall@20[new in all]"]
    typer.echo(
        "New products, a fifth of all, taken out of train and ranked by text and price "
        f"(contentknn): recall@20 {among:.4f} among new products, {everywhere:.4f} in the whole "
        "catalogue.\n"
    )


def _configs() -> Path:
    """Return the folder of configurations: in the installed package, or in the checkout."""
    package = Path(__file__).parents[1]
    return package / "configs" if (package / "configs").is_dir() else package.parent / "configs"


def _show_ten(path: Path) -> None:
    import polars as pl

    lists = pl.read_parquet(path)
    some = (
        lists["user"].unique().sort().gather_every(max(1, lists["user"].n_unique() // 10)).head(10)
    )
    for user in some:
        titles = lists.filter(pl.col("user") == user).sort("rank")["title"].head(4).to_list()
        typer.echo(f"  customer {user}: " + " | ".join(str(title) for title in titles))
    typer.echo("")


def main() -> None:
    """Run the demo in the folder that the first argument names."""
    try:
        demo(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs") / "demo")
    except InputError as error:
        sys.stderr.write(f"recsys: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
