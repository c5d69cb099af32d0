"""`recsys benchmark`: methods x data sets x seeds with one budget, and the resulting tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.compare_methods import MethodsOnData, methods_on_data
from recsys.cli.show import print_findings, print_json, split_line, table
from recsys.cli.starting import Data, K, MetricName, own_data
from recsys.errors import InputError

if TYPE_CHECKING:
    from recsys.benchmark.plan import Plan
    from recsys.benchmark.progress import Event, Task, TaskDone, TaskFailed
    from recsys.quickstart import Wish

__all__ = ["benchmark"]


def benchmark(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="TOML file of the plan, name of a shipped one, or data such as ratings.csv.",
            show_default=False,
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[METHOD...] [KEY=VALUE...]",
            help="Methods, if data are given; changes, such as data.retail.data.path=FOLDER.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the benchmark; an existing one is resumed. Default: runs/NAME.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Cells at the same time, one process each.")
    ] = 1,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each process.")] = 1,
    data: Data = None,
    metric: MetricName = None,
    k: K = None,
    status: Annotated[
        bool, typer.Option("--status", help="Print the state of each cell, and do nothing.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Load the data and try every method for one step; write nothing."
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare methods on data sets over seeds, all tuned alike, with strong simple baselines.

    For data alone: the methods and the baselines, three trials each, two seeds.

    The same command resumes a benchmark that was stopped.
    """
    if status and dry_run:
        raise InputError("--status and --dry-run do not go together", remedy="give one of them")
    plan = _plan(config, overrides or [], data, metric, k)

    from recsys.benchmark.running import benchmark as carry_out
    from recsys.benchmark.running import check

    folder = out or Path("runs") / plan.settings.name
    if status:
        _print_status(plan, folder, json)
        return
    progress = _Progress(plan, quiet or json)
    if dry_run:
        check(plan, progress)
        _print_size(plan, json)
        return
    try:
        result = carry_out(plan, folder, workers=workers, threads=threads, watch=progress)
    except KeyboardInterrupt:
        typer.echo("recsys: interrupted; the same command resumes it", err=True)
        raise SystemExit(130) from None
    if json:
        typer.echo(result.json(), nl=False)
    else:
        typer.echo(result.markdown() if result.tables else "nothing was finished")
        typer.echo(f"tables: {folder}")
    for (where, method), reason in result.failed.items():
        typer.echo(f"recsys: {method} on {where} failed: {reason}", err=True)
    if result.failed:
        raise typer.Exit(1)


def _plan(
    config: Path | None, words: list[str], data: str | None, metric: str | None, k: int | None
) -> Plan:
    """Return the plan of a TOML file, or the usual one for data."""
    from recsys.config import read_toml
    from recsys.quickstart import Wish, is_data, refuse_unknown

    if config is not None and data is None and not is_data(config):
        refuse_unknown(config, "benchmark")
        if metric is not None or k is not None:
            raise InputError(
                "--metric and --k go with data, not with a plan",
                place=str(config),
                remedy='set them in the plan: [evaluate] monitor = "ndcg@10"',
            )
        tree = read_toml(config)
        if "model" in tree and "methods" not in tree:
            name = tree["model"].get("name", "ease") if isinstance(tree["model"], dict) else "ease"
            raise InputError(
                "is an experiment, not the plan of a benchmark",
                place=str(config),
                remedy=f"recsys run {config}, or recsys benchmark DATA {name}",
            )

        from recsys.benchmark.plan import read_plan

        return read_plan(config, words)
    given = [*([] if config is None else [str(config)]), *words]
    asked = methods_on_data(given, data) if given or data else None
    if asked is None:
        raise InputError(
            "no plan was given",
            remedy="give a TOML file or data, as in recsys benchmark ratings.csv ease lightgcn",
        )
    return plan_about(asked, Wish(None, metric, k))


def plan_about(asked: MethodsOnData, wish: Wish) -> Plan:
    """Return the usual plan about data: methods and baselines, three trials each, two seeds."""
    from recsys.config import override
    from recsys.quickstart import benchmark_tree

    of_data = [each for each in asked.overrides if each.startswith("data.")]
    others = [each for each in asked.overrides if not each.startswith("data.")]
    own = own_data(asked.data, of_data)
    for note in own.notes:
        typer.echo(f"note: {note}", err=True)
    tree = override(benchmark_tree(own, asked.methods, wish), others)

    from recsys.benchmark.plan import plan_of

    return plan_of(tree, Path("command line"))


def _print_status(plan: Plan, folder: Path, json: bool) -> None:
    """Print the state of each cell."""
    from recsys.benchmark.status import board

    rows = board(plan, folder)
    if json:
        print_json(
            [
                {"method": method, **dict(zip(plan.data, texts, strict=True))}
                for method, *texts in rows
            ]
        )
        return
    settings = plan.settings
    table(
        ["method", *plan.data],
        rows,
        title=f"{settings.name}: {settings.trials} trials, {settings.seeds} seeds; * running",
    )


def _print_size(plan: Plan, json: bool) -> None:
    """Print how much work a plan is, after a dry run without a mistake."""
    searches = [
        key
        for key, experiment in plan.cells.items()
        if experiment.tune is not None and plan.tuned_on(*key) == key[0]
    ]
    trials = len(searches) * plan.settings.trials
    runs = len(plan.cells) * plan.settings.seeds
    if json:
        size = {"methods": plan.methods, "data": plan.data, "trials": trials, "runs": runs}
        print_json(size)
        return
    typer.echo(
        f"{plan.settings.name}: no mistake in {len(plan.methods)} methods on {len(plan.data)} "
        f"data sets; {trials} trials and at most {runs} runs"
    )


class _Progress:
    """Print a line on standard error for each finished thing."""

    def __init__(self, plan: Plan, quiet: bool) -> None:
        self.plan, self.quiet = plan, quiet

    def __call__(self, event: Event) -> None:
        from recsys.benchmark.progress import (
            DataLoaded,
            TablesWritten,
            TaskDone,
            TaskFailed,
            TrialDone,
        )

        if self.quiet:
            return
        match event:
            case DataLoaded(name=name, split=split):
                typer.echo(f"{name}: {split_line(split)}", err=True)
                print_findings(split.train.findings)
            case TablesWritten(folder=folder):
                typer.echo(f"tables so far: {folder}", err=True)
            case TrialDone(task=task, number=number, state=state, values=values):
                text = " ".join(f"{value:.4f}" for value in values.values()) or state
                trials = self.plan.settings.trials
                typer.echo(f"  {_name(task)}: trial {number + 1}/{trials}  {text}", err=True)
            case TaskDone(task=task):
                typer.echo(f"{_name(task)}: done  {_times(event)}", err=True)
            case TaskFailed(task=task, reason=reason):
                typer.echo(f"{_name(task)}: failed: {reason}  {_times(event)}", err=True)


def _times(event: TaskDone | TaskFailed) -> str:
    """Return how long a task took, and the estimate for the rest."""
    left = "" if event.left is None else f"  about {event.left / 60:.0f} min left"
    return f"{event.seconds:.1f} s{left}"


def _name(task: Task) -> str:
    """Return a task in words."""
    return f"{task.method} on {task.data}, {f'seed {task.seed}' if task.seed else 'tuning'}"
