"""Measure what re-ranking costs in ndcg and gains in coverage, novelty and diversity.

    python benchmarks/rerank_cost.py --method ease

The built-in data have no categories, so the last word of a title is one where at least ten
items share it ("HOLDER", "BOX", "MUG"); other items have none. Differences are paired by test user
against the lists of the scorer, with 95 % bootstrap intervals. The method has its shipped settings.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import polars as pl

from recsys.data.types import Dataset, Split
from recsys.evaluation.evaluator import Evaluation, evaluate
from recsys.evaluation.report import Report
from recsys.experiment.execution import data_of
from recsys.experiment.experiment import Experiment, read
from recsys.ranking.rerank import Rerank, resolve
from recsys.statistics import paired
from recsys.training.loop import fit

METRICS = ("ndcg@20", "recall@20", "coverage@20", "novelty@20", "diversity@20")
FEWEST = 10  # items of a category
WEIGHTS = (0.1, 0.3, 0.5)


def categories(train: Dataset, path: Path) -> str:
    """Write the last words of titles as categories."""
    assert train.titles is not None
    word = train.titles.str.strip_chars().str.split(" ").list.last()
    frame = pl.DataFrame({"item": train.items.ids, "category": word})
    often = frame["category"].value_counts().filter(pl.col("count") >= FEWEST)["category"]
    known = pl.col("category").is_in(often.implode())
    frame = frame.with_columns(pl.when(known).then("category").otherwise(None).alias("category"))
    frame.write_csv(path)
    print(
        f"{frame['category'].count()} of {frame.height} items in {len(often)} categories",
        flush=True,
    )
    return str(path)


def rules(table: str) -> dict[str, Rerank]:
    """Return the measured settings by name."""
    result = {
        f"at most {n} per category": Rerank(at_most={"category": n}, categories=table)
        for n in (1, 2, 3)
    }
    for weight in WEIGHTS:
        result[f"mmr {weight}"] = Rerank(by="mmr", weight=weight)
        result[f"dpp {weight}"] = Rerank(by="dpp", weight=weight)
        result[f"popularity {weight}"] = Rerank(by="popularity", weight=weight)
        result[f"calibration {weight}"] = Rerank(by="calibration", weight=weight, categories=table)
    return dict(sorted(result.items()))


def measure(experiment: Experiment, parts: Split, folder: Path) -> None:
    """Train, and print a row of the table per rule."""
    fitted = fit(
        experiment.model, parts.train, parts.valid, experiment.train, experiment.evaluate,
        folder=folder,
    )  # fmt: skip
    table = categories(parts.train, folder / "items.csv")
    assert parts.test is not None
    test = parts.test.open("cost of re-ranking")
    settings = Evaluation(metrics=METRICS, monitor="ndcg@20")

    def report(rerank: Rerank) -> tuple[Report, float]:
        started = time.process_time()
        result = evaluate(
            fitted.scorer,
            parts.train.pairs,
            test,
            settings,
            also_seen=parts.valid.pairs if parts.valid is not None else None,
            rerank=resolve(rerank, fitted.scorer, parts.train),
        )
        return result, time.process_time() - started

    plain, seconds = report(Rerank())
    print("| rule | ndcg@20 | difference, 95 % interval | recall@20 | coverage | novelty "
          "| diversity | cpu-s |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    print(row("none", plain, "", seconds), flush=True)
    for name, rerank in rules(table).items():
        ruled, seconds = report(rerank)
        gap = paired(ruled.values("ndcg@20"), plain.values("ndcg@20"))
        difference = f"{gap.difference:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"
        print(row(name, ruled, difference, seconds), flush=True)


def row(name: str, report: Report, difference: str, seconds: float) -> str:
    """Return a row of the table."""
    values = [f"{report[metric]:.4f}" for metric in METRICS]
    cells = [name, values[0], difference, *values[1:], f"{seconds:.1f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure one method on the built-in data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="ease", help="method with a shipped experiment")
    experiment = read(f"{parser.parse_args().method}-online-retail")
    with tempfile.TemporaryDirectory() as folder:
        measure(experiment, data_of(experiment), Path(folder))


if __name__ == "__main__":
    main()
