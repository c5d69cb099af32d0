"""`recsys check`, `run`, `evaluate`, `verify`: from a configuration to a verified result."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.show import (
    Follow,
    print_findings,
    print_json,
    refuse_override,
    report_table,
    split_line,
    stamped,
    table,
)
from recsys.cli.starting import Data, K, MetricName, Model, started
from recsys.errors import InputError

if TYPE_CHECKING:
    from recsys.cli.starting import Started
    from recsys.experiment.execution import Run
    from recsys.experiment.experiment import Experiment
    from recsys.experiment.progress import Event

__all__ = ["check", "evaluate", "run", "verify"]

_CONFIG = "TOML file of an experiment, name of a shipped one, or data such as ratings.csv"
Config = Annotated[Path, typer.Argument(help=f"{_CONFIG}.", show_default=False)]
OptionalConfig = Annotated[
    Path | None,
    typer.Argument(help=f"{_CONFIG}; not needed with --resume or --data.", show_default=False),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Dotted settings such as model.dim=128 train.lr=1e-3.", show_default=False),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the run; must be new. Default: runs/NAME-TIME.", show_default=False
    ),
]
Resume = Annotated[
    Path | None, typer.Option(help="Resume this run where it stopped.", show_default=False)
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        help="Report to a tracker: tensorboard:DIR, mlflow:URI or wandb:PROJECT; may be repeated.",
        show_default=False,
    ),
]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 lets torch choose.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")]
Folder = Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def check(
    config: Config,
    overrides: Overrides = None,
    data: Annotated[bool, typer.Option(help="Load and split the data too.")] = False,
    json: Json = False,
) -> None:
    """Read an experiment strictly and print all its settings, without running it."""
    from recsys.data.load import catalogued
    from recsys.quickstart import Wish

    start = started(config, overrides or [], Wish(), None, "check")
    experiment = start.experiment
    _note_idle(experiment)
    resolved = replace(experiment, data=catalogued(experiment.data))
    if data:
        from recsys.experiment.execution import data_of

        split = start.split or data_of(experiment)
        typer.echo(split_line(split), err=json)
        print_findings(split.train.findings)
    if json:
        print_json(resolved.to_tree())
    else:
        typer.echo(resolved.to_toml())


def _note_idle(experiment: Experiment) -> None:
    """Print settings of a file that have no effect; they may be left from another choice."""
    for note in experiment.idle:
        typer.echo(f"note: {note}", err=True)


def run(
    config: OptionalConfig = None,
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = None,
    model: Model = None,
    data: Data = None,
    metric: MetricName = None,
    k: K = None,
    track: Track = None,
    threads: Threads = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train, evaluate, and write everything into the folder of a run.

    For data alone the method is itemknn with its default settings, unless --model names another.
    """
    from recsys.quickstart import Wish

    if resume is not None and out is not None:
        raise InputError(
            "--resume and --out do not go together", remedy="a resumed run stays in its folder"
        )
    if resume is None:
        start = started(config, overrides or [], Wish(model, metric, k), data, "run")
        _note_idle(start.experiment)
        _note_start(start, quiet or json)
    elif any(value is not None for value in (model, data, metric, k)):
        raise InputError(
            "--resume goes with none of --model, --data, --metric and --k",
            remedy="a resumed run keeps its settings",
        )
    else:
        start = _resumed(config, overrides or [], resume)
    _carry_out(start, out, resume, track, threads, quiet, json)


def _carry_out(
    start: Started,
    out: Path | None,
    resume: Path | None,
    track: list[str] | None,
    threads: int,
    quiet: bool,
    json: bool,
) -> None:
    """Execute an experiment with its progress on the screen, and print its results."""
    import torch

    from recsys.experiment.execution import execute
    from recsys.experiment.trackers import tracked
    from recsys.files import new_folder, refuse_held

    experiment = start.experiment
    if threads:
        torch.set_num_threads(threads)
    folder = resume or out
    follow = Follow(quiet or json, experiment.evaluate.monitor)
    with ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(new_folder(Path("runs"), stamped(experiment.name)))
        if track:  # before a tracker begins
            refuse_held(folder, "run", "wait for it")
        tell = stack.enter_context(
            tracked(track or [], experiment, folder.resolve().name, _print_note)
        )

        def watch(event: Event) -> None:
            follow(event)
            tell(event)

        try:
            done = execute(
                experiment, folder, resume=resume is not None, split=start.split, watch=watch
            )
        except KeyboardInterrupt:
            _print_state(folder)
            raise
    _print_result(done, folder, json)
    if not (quiet or json):
        typer.echo(f"next: {_next_step(start, folder)}")


def _next_step(start: Started, folder: Path) -> str:
    """Return the command that most users need after a run."""
    step = f"recsys recommend {folder} --out lists.parquet"
    if start.data is None:
        return step
    word = start.data.table.get("path") or start.data.table.get("source")
    return f"{step}, or recsys compare {word} {start.experiment.method} ease lightgcn"


def _note_start(start: Started, quiet: bool) -> None:
    """Print what an experiment without a TOML file does, and what was guessed."""
    if start.data is None or quiet:
        return
    for note in start.data.notes:
        typer.echo(f"note: {note}", err=True)
    experiment = start.experiment
    word = start.data.table.get("path") or start.data.table.get("source")
    refit = ", then a last fit on train + valid" if experiment.refit else ""
    typer.echo(
        f"{experiment.method} with its default settings, not tuned{refit}; "
        f"`recsys init {word} --model {experiment.method}` writes the TOML of this",
        err=True,
    )


def _resumed(config: Path | None, overrides: list[str], folder: Path) -> Started:
    """Return the experiment of a run to resume, from its folder or from a file."""
    from recsys.cli.starting import Started
    from recsys.experiment.execution import open_run
    from recsys.experiment.experiment import read

    if config is not None:
        refuse_override(config)
    begun = open_run(folder, finished=False)
    return Started(begun.experiment if config is None else read(config, overrides))


def _print_note(text: str) -> None:
    typer.echo(f"recsys: {text}", err=True)


def _print_result(done: Run, folder: Path, json: bool) -> None:
    """Print the reports of a run and where it is."""
    if json:
        numbers = {part: _numbers(done, part) for part in ("valid", "test")}
        print_json({"run": str(folder), **done.meta.to_json(), **numbers})
        return
    for part in ("valid", "test"):
        if (done.folder / part / "report.json").exists():
            report_table(done.report(part), f"{part}: {done.name} ({done.meta.method})")
    typer.echo(f"stopped: {done.stopping}")
    typer.echo(f"run: {folder}")


def _print_state(folder: Path) -> None:
    """Print how far an interrupted run has come, if it has begun."""
    from recsys.experiment.execution import open_run

    if (folder / "run.json").exists():
        typer.echo(f"stopped: {open_run(folder, finished=False).stopping}", err=True)
        typer.echo(f"run: {folder}", err=True)


def evaluate(
    folder: Folder,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Settings of [evaluate], such as metrics='[\"recall@50\"]'.", show_default=False
        ),
    ] = None,
    part: Annotated[str, typer.Option(help="test or valid.")] = "test",
    groups: Annotated[
        bool, typer.Option("--groups", help="Also report by user activity and item popularity.")
    ] = False,
    json: Json = False,
) -> None:
    """Evaluate a finished run again, with other metrics or another protocol.

    Each opening of the test set is recorded.
    """
    from recsys.experiment.reevaluation import reevaluate

    report, tables = reevaluate(folder, overrides or [], part=part, groups=groups)
    if json:
        print_json(
            {
                "metrics": report.table().to_dicts(),
                "notes": list(report.notes),
                "groups": {name: frame.to_dicts() for name, frame in tables.items()},
            }
        )
        return
    report_table(report, f"{part}: {folder}")
    from recsys.cli.show import frame_table

    for name, frame in tables.items():
        frame_table(frame.rename({"users": f"{report.unit_name}s"}), title=name)


def verify(folder: Folder, json: Json = False) -> None:
    """Recompute the results of a run and compare them; the exit code is 1 if any differs."""
    from recsys.experiment.verification import verify as recompute

    checks = recompute(folder)
    if json:
        print_json(
            [
                {"check": check.claim, "holds": check.holds, "found": check.result}
                for check in checks
            ]
        )
    else:
        table(
            ["check", "holds", "found"],
            [[check.claim, "yes" if check.holds else "NO", check.result] for check in checks],
            title=f"verify {folder}",
        )
    if not all(check.holds for check in checks):
        raise typer.Exit(1)


def _numbers(done: Run, part: str) -> list[dict[str, object]]:
    return (
        done.report(part).table().to_dicts()
        if (done.folder / part / "report.json").exists()
        else []
    )
