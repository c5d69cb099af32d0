"""Results and progress in a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from recsys.errors import InputError

if TYPE_CHECKING:
    import polars as pl

    from recsys.data.finding import Finding
    from recsys.data.types import Split
    from recsys.evaluation.evaluator import Report
    from recsys.experiment.progress import Event, StepDone
    from recsys.training.progress import EpochEntry

__all__ = [
    "Follow",
    "frame_table",
    "print_findings",
    "print_json",
    "refuse_override",
    "report_table",
    "split_line",
    "stamped",
    "table",
]


def print_json(value: Any) -> None:
    """Print a value as indented JSON; other types than those of JSON become text."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    right: Sequence[str] = (),
) -> None:
    """Print a table; columns named in `right` are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        drawn.add_column(
            Text(column), justify="right" if column in right else "left", overflow="fold"
        )
    for row in rows:
        drawn.add_row(*(Text(str(cell)) for cell in row))
    console = Console()
    # Piped output has no width, so the table may be as wide as it needs.
    (console if console.is_terminal else Console(width=220)).print(drawn)


def frame_table(frame: pl.DataFrame, *, title: str = "") -> None:
    """Print a polars frame; floats with four decimals."""
    right = [name for name, dtype in frame.schema.items() if dtype.is_numeric()]
    rows = [[_cell(cell) for cell in row] for row in frame.iter_rows()]
    table(frame.columns, rows, title=title, right=right)


def _cell(cell: object) -> str:
    if cell is None:
        return ""
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell)


def report_table(report: Report, title: str) -> None:
    """Print each metric of a report: its mean with the 95 % interval."""
    heads, rows = report.texts()
    right = [head for head in heads if head not in ("metric", "95 % interval")]
    table(heads, rows, title=title, right=right)
    for note in report.notes:
        typer.echo(f"note: {note}")


def split_line(split: Split) -> str:
    """Return the sizes of a split, its density and its rule in one line."""
    train = split.train
    valid, test = split.valid, split.test
    density = len(train.pairs) / max(1, train.n_users * train.n_items)
    sizes = " / ".join(
        [
            f"{len(train.pairs):,} train",
            f"{0 if valid is None else len(valid):,} valid",
            f"{0 if test is None else len(test):,} test",
        ]
    )
    asked = [
        f"{n:,} {name}"
        for name, n in (
            ("valid", 0 if valid is None or valid.by_user else len(valid.queries)),
            ("test", 0 if test is None or test.by_user else test.n_queries),
        )
        if n
    ]
    if asked:
        sizes += f", {' / '.join(asked)} queries"
    return (
        f"{train.n_users:,} users x {train.n_items:,} items, {sizes}, "
        f"density {density:.3%} ({split.rule})"
    )


def print_findings(findings: Sequence[Finding], *, quiet: bool = False) -> None:
    """Print findings about the data on standard error; `quiet` omits those without a problem."""
    for finding in findings:
        if finding.severity != "ok" or not quiet:
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            typer.echo(f"note: {finding.message}{remedy}", err=True)


def stamped(name: str) -> str:
    """Return a name with the current time, for a folder without a given name."""
    return f"{name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


def refuse_override(config: Path) -> None:
    """Refuse an override in place of the TOML file, which is optional with --resume.

    Raises:
        InputError: the argument is an override.
    """
    if "=" in str(config) and not config.exists():
        raise InputError(
            f"expected a TOML file, got the override '{config}'",
            remedy="give the TOML file too: its settings are what an override changes",
        )


class Follow:
    """Prints the progress of a run: a bar while an epoch runs, a line when it ends.

    Args:
        quiet: print nothing but problems of the data.
        monitor: the metric to print after an epoch.
        brief: print the bar alone.
    """

    def __init__(self, quiet: bool = False, monitor: str = "", *, brief: bool = False) -> None:
        from rich.console import Console

        self.quiet, self.monitor = quiet, monitor
        self.brief = brief
        # Without markup: [new] in ndcg@20[new] is not a style.
        self.console = Console(stderr=True, soft_wrap=True, markup=False)
        self.bar: Any = None
        self.task: Any = None

    def __call__(self, event: Event) -> None:
        from recsys.experiment.progress import (
            DataLoaded,
            EpochDone,
            Note,
            RefitStarted,
            Resumed,
            StepDone,
        )

        if self.brief:
            if isinstance(event, StepDone):
                self._step(event)
            elif isinstance(event, EpochDone):
                self._end_bar()
            return
        if self.quiet:
            if isinstance(event, DataLoaded):
                print_findings(event.split.train.findings, quiet=True)
            return
        match event:
            case DataLoaded():
                self._data(event.split)
            case StepDone():
                self._step(event)
            case EpochDone():
                self._epoch(event.entry)
            case Note():
                self._print(f"note: {event.text}")
            case Resumed():
                self._print(f"resumed at epoch {event.epoch + 1}, step {event.step}")
            case RefitStarted():
                self._end_bar()
                length = f" for {event.epochs} epochs" if event.epochs else ""
                self._print(f"refit on train + valid{length}")

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False)

    def _data(self, split: Split) -> None:
        for line in split.train.history:
            self._print(f"  {line}")
        self._print(split_line(split))
        print_findings(split.train.findings)

    def _step(self, event: StepDone) -> None:
        if not self.console.is_terminal:
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        if self.bar is None:
            columns = (
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(),
            )
            self.bar = Progress(
                *columns, console=self.console, transient=True, refresh_per_second=4
            )
            self.bar.start()
            self.task = self.bar.add_task("", total=event.steps, epoch=event.epoch + 1, speed="")
        speed = self.bar.tasks[0].speed
        text = self.bar.tasks[0].fields["speed"]
        if speed and event.step % 20 == 0:
            text = f"{speed * event.pairs:,.0f} pairs/s"
        self.bar.update(self.task, completed=event.step, epoch=event.epoch + 1, speed=text)

    def _epoch(self, entry: EpochEntry) -> None:
        self._end_bar()
        if entry.loss is None:
            self._print(f"built in {entry.seconds:.2f} s")
            return
        line = (
            f"epoch {entry.epoch:>4}  loss {entry.loss:.5f}  {entry.seconds:.2f} s  "
            f"{entry.pairs_per_second:,} pairs/s"
        )
        if entry.valid is not None:
            value = entry.valid.get(self.monitor, float("nan"))
            line += (
                f"  valid {self.monitor} {value:.4f}{' *' if entry.best else ''}"
                f"  ({entry.valid_seconds:.2f} s)"
            )
        self._print(line)

    def _end_bar(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
