"""Find rows of the multimodal and denoising tables whose chosen trial ended its training too early.

    python benchmarks/stopping.py

Needs no data. A log keeps the best epoch of a trial, not its curve. So this finds trials that were
still rising at their last epoch, and trials whose best evaluation was the very first one when
patience ended them. It cannot find a curve that was rising again. Tables of `recsys benchmark` have
marks from the curves themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trial_logs import Budget, best_trial, budgets

from recsys.training.stopping import marks


@dataclass(frozen=True)
class Row:
    """A row of a table: its chosen trial and the marks of that trial, "" where it has none."""

    table: str
    name: str
    best_epoch: int
    epochs: int
    marks: str


def marks_of(best: int, budget: Budget) -> str:
    """Return the marks of a trial of which only the best epoch is known.

    Args:
        best: the best epoch.
        budget: of the trial.

    Returns:
        "", "still rising" or "early dip".
    """
    evaluations = len(range(budget.eval_every, budget.epochs, budget.eval_every)) + 1
    done = evaluations
    if budget.patience is not None:
        done = min(evaluations, -(-best // budget.eval_every) + budget.patience)
    epochs = [min(budget.eval_every * (number + 1), budget.epochs) for number in range(done)]
    curve = [(epoch, float(epoch == best)) for epoch in epochs]
    return ", ".join(marks(curve, "epochs" if done == evaluations else "patience"))


def rows() -> Iterator[Row]:
    """Yield a row for each log with a budget."""
    for log, budget in budgets().items():
        table, data, name = log.split("/")
        best = best_trial(log, budget.trials).epoch
        yield Row(f"{table}, {data}", name, best, budget.epochs, marks_of(best, budget))


def main() -> None:
    """Print the marked rows as a table."""
    records = list(rows())
    print("| table | row | best epoch of the chosen trial | of | mark |")
    print("|---|---|---:|---:|---|")
    for row in records:
        if row.marks:
            print(f"| {row.table} | {row.name} | {row.best_epoch} | {row.epochs} | {row.marks} |")
    print(f"\n{sum(bool(row.marks) for row in records)} of {len(records)} rows are marked.")


if __name__ == "__main__":
    main()
