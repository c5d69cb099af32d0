"""`recsys benchmark`: methods x data sets x seeds with one budget, and the tables that follow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.show import print_findings, print_json, split_line, table

if TYPE_CHECKING:
    from recsys.benchmark.running import Plan

__all__ = ["benchmark"]


def benchmark(
    config: Annotated[Path, typer.Argument(help="TOML file of the matrix.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the matrix; what is there goes on. Default: runs/NAME.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Cells at once, a process each.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each process.")] = 1,
    status: Annotated[
        bool, typer.Option("--status", help="Print the matrix as it stands, and do nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Compare methods on data sets over seeds, tuned alike; strong simple ones among them. Stopped at any time, the same command goes on."""
    from recsys.benchmark.running import benchmark as carry_out
    from recsys.benchmark.running import read_plan

    plan = read_plan(config)
    folder = out or Path("runs") / plan.matrix.name
    if status:
        _board(plan, folder, json)
        return
    follow = _Follow(plan, quiet or json)
    try:
        result = carry_out(plan, folder, workers=workers, threads=threads, watch=follow)
    except KeyboardInterrupt:
        typer.echo("recsys: interrupted; the same command goes on", err=True)
        raise SystemExit(130) from None
    if json:
        typer.echo(result.json(), nl=False)
    else:
        typer.echo(result.markdown() if result.tables else "nothing was finished")
        typer.echo(f"tables: {folder}")
    for (data, method), reason in result.failed.items():
        typer.echo(f"recsys: {method} on {data} failed: {reason}", err=True)
    if result.failed:
        raise typer.Exit(1)


def _board(plan: Plan, folder: Path, json: bool) -> None:
    from recsys.benchmark.running import board

    rows = board(plan, folder)
    if json:
        print_json(
            [
                {"method": method, **dict(zip(plan.data, words, strict=True))}
                for method, *words in rows
            ]
        )
        return
    table(
        ["method", *plan.data],
        rows,
        title=f"{plan.matrix.name}: {plan.matrix.trials} trials, {plan.matrix.seeds} seeds; * now",
    )


class _Follow:
    """A line on standard error for each thing that is finished."""

    def __init__(self, plan: Plan, quiet: bool) -> None:
        self.plan, self.quiet = plan, quiet

    def __call__(self, event: Mapping[str, Any]) -> None:
        if self.quiet:
            return
        kind = event["event"]
        if kind == "data":
            typer.echo(f"{event['name']}: {split_line(event['split'])}", err=True)
            print_findings(event["split"].train.findings)
        elif kind == "written":
            typer.echo(f"tables so far: {event['folder']}", err=True)
        elif kind == "trial":
            values = (
                " ".join(f"{value:.4f}" for value in event["values"].values()) or event["state"]
            )
            typer.echo(
                f"  {self._name(event)}: trial {event['number'] + 1}/{self.plan.matrix.trials}  {values}",
                err=True,
            )
        elif kind in ("done", "failed"):
            left = "" if event["left"] is None else f"  about {event['left'] / 60:.0f} min left"
            said = f"failed: {event['reason']}" if kind == "failed" else "done"
            typer.echo(f"{self._name(event)}: {said}  {event['seconds']:.1f} s{left}", err=True)

    def _name(self, event: Mapping[str, Any]) -> str:
        task = event["task"]
        return f"{task.method} on {task.data}, {f'seed {task.seed}' if task.seed else 'tuning'}"
