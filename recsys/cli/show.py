"""Results and progress in a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
    rows = []
    for row in report.table().iter_rows(named=True):
        interval = "" if row["low"] is None else f"[{row['low']:.4f}, {row['high']:.4f}]"
        rows.append(
            [
                row["metric"],
                "" if row["mean"] is None else f"{row['mean']:.4f}",
                interval,
                f"{row['users']:,}",
            ]
        )
    table(["metric", "mean", "95 % interval", "users"], rows, title=title, right=["mean", "users"])
    for note in report.notes:
        typer.echo(f"note: {note}")


def split_line(split: Split) -> str:
    """Return the sizes of a split, its density and its rule in one line."""
    train, valid = split.train, split.valid
    density = len(train.pairs) / max(1, train.n_users * train.n_items)
    sizes = " / ".join(
        [
            f"{len(train.pairs):,} train",
            f"{0 if valid is None else len(valid):,} valid",
            f"{0 if split.test is None else len(split.test):,} test",
        ]
    )
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
    """Prints the progress of a run: a bar while an epoch runs, a line when it ends."""

    def __init__(self, quiet: bool = False, monitor: str = "") -> None:
        from rich.console import Console

        self.quiet, self.monitor = quiet, monitor
        self.console = Console(
            stderr=True, soft_wrap=True, markup=False
        )  # ndcg@20[new] is no style
        self.bar: Any = None
        self.task: Any = None

    def __call__(self, event: Mapping[str, Any]) -> None:
        if self.quiet:
            if event["event"] == "data":
                print_findings(event["split"].train.findings, quiet=True)
            return
        getattr(self, f"_{event['event']}", lambda _: None)(event)

    def _data(self, event: Mapping[str, Any]) -> None:
        for line in event["split"].train.history:
            self.console.print(f"  {line}", highlight=False)
        self.console.print(split_line(event["split"]), highlight=False)
        print_findings(event["split"].train.findings)

    def _step(self, event: Mapping[str, Any]) -> None:
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
            self.task = self.bar.add_task(
                "", total=event["steps"], epoch=event["epoch"] + 1, speed=""
            )
        speed = self.bar.tasks[0].speed
        said = (
            f"{speed * event['pairs']:,.0f} pairs/s"
            if speed and event["step"] % 20 == 0
            else self.bar.tasks[0].fields["speed"]
        )
        self.bar.update(self.task, completed=event["step"], epoch=event["epoch"] + 1, speed=said)

    def _epoch(self, event: Mapping[str, Any]) -> None:
        self._end_bar()
        if "loss" not in event:
            self.console.print(f"built in {event['seconds']:.2f} s", highlight=False)
            return
        line = f"epoch {event['epoch']:>4}  loss {event['loss']:.5f}  {event['seconds']:.2f} s  {event['pairs_per_second']:,} pairs/s"
        if "valid" in event:
            value = event["valid"].get(self.monitor, float("nan"))
            line += f"  valid {self.monitor} {value:.4f}{' *' if event.get('best') else ''}  ({event['valid_seconds']:.2f} s)"
        self.console.print(line, highlight=False)

    def _resumed(self, event: Mapping[str, Any]) -> None:
        self.console.print(
            f"resumed at epoch {event['epoch'] + 1}, step {event['step']}", highlight=False
        )

    def _refit(self, event: Mapping[str, Any]) -> None:
        self._end_bar()
        self.console.print(f"refit on train + valid for {event['epochs']} epochs", highlight=False)

    def _end_bar(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
