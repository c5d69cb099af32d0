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
from recsys.errors import InputError

if TYPE_CHECKING:
    from recsys.experiment.execution import Run
    from recsys.experiment.experiment import Experiment
    from recsys.experiment.progress import Event

__all__ = ["check", "evaluate", "run", "verify"]

Config = Annotated[Path, typer.Argument(help="TOML file of the experiment.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Dotted settings such as model.dim=128 train.lr=1e-3.", show_default=False),
]
Folder = Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]


def check(
    config: Config,
    overrides: Overrides = None,
    data: Annotated[bool, typer.Option(help="Load and split the data too.")] = False,
    json: Json = False,
) -> None:
    """Read an experiment strictly and print it resolved, without doing it."""
    from recsys.data.load import catalogued
    from recsys.experiment.experiment import read

    experiment = read(config, overrides or [])
    _note_idle(experiment)
    resolved = replace(experiment, data=catalogued(experiment.data))
    if data:
        from recsys.experiment.execution import data_of

        found = data_of(experiment)
        typer.echo(split_line(found), err=json)
        print_findings(found.train.findings)
    print_json(resolved.to_tree()) if json else typer.echo(resolved.to_toml())


def _note_idle(experiment: Experiment) -> None:
    """Say which settings of a file have no effect; they may be left over from another choice."""
    for said in experiment.idle:
        typer.echo(f"note: {said}", err=True)


def run(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="TOML file of the experiment; not needed with --resume.", show_default=False
        ),
    ] = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run; must be new. Default: runs/NAME-TIME.", show_default=False
        ),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this run where it stopped.", show_default=False)
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            help="Also tell a tracker: tensorboard:DIR, mlflow:URI or wandb:PROJECT; may be repeated.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 lets torch choose.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")] = False,
    json: Json = False,
) -> None:
    """Train, evaluate, and write everything into the folder of a run."""
    import torch

    from recsys.experiment.execution import execute, open_run
    from recsys.experiment.experiment import read
    from recsys.experiment.trackers import tracked
    from recsys.files import new_folder, refuse_held

    if threads:
        torch.set_num_threads(threads)
    if resume is not None:
        if out is not None:
            raise InputError(
                "--resume and --out do not go together", remedy="a resumed run stays in its folder"
            )
        if config is not None:
            refuse_override(config)
        begun = open_run(resume, finished=False)
        experiment = begun.experiment if config is None else read(config, overrides or [])
        folder = resume
    else:
        if config is None:
            raise InputError(
                "there is no experiment to run", remedy="give a TOML file, or --resume RUN"
            )
        experiment = read(config, overrides or [])
        folder = out or Path()
        _note_idle(experiment)
    follow = Follow(quiet or json, experiment.evaluate.monitor)
    with ExitStack() as stack:
        if resume is None and out is None:
            folder = stack.enter_context(new_folder(Path("runs"), stamped(experiment.name)))
        if track:  # before one begins
            refuse_held(folder, "run", "wait for it")
        tell = stack.enter_context(
            tracked(
                track or [],
                experiment,
                folder.resolve().name,
                lambda said: typer.echo(f"recsys: {said}", err=True),
            )
        )

        def watch(event: Event) -> None:
            follow(event)
            tell(event)

        try:
            done = execute(experiment, folder, resume=resume is not None, watch=watch)
        except KeyboardInterrupt:
            _say_how_far(folder)
            raise
    if json:
        print_json(
            {
                "run": str(folder),
                **done.meta.to_json(),
                **{part: _numbers(done, part) for part in ("valid", "test")},
            }
        )
        return
    for part in ("valid", "test"):
        if (done.folder / part / "report.json").exists():
            report_table(done.report(part), f"{part}: {done.name} ({done.meta.method})")
    typer.echo(f"stopped: {done.stopping}")
    typer.echo(f"run: {folder}")


def _say_how_far(folder: Path) -> None:
    """Say where a run that was interrupted stands, if it has begun."""
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
        bool, typer.Option("--groups", help="Also by user activity and item popularity.")
    ] = False,
    json: Json = False,
) -> None:
    """Evaluate a finished run again, with other metrics or another protocol; opening the test set is put on record."""
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
        frame_table(frame, title=name)


def verify(folder: Folder, json: Json = False) -> None:
    """Recompute what a run claims and compare; exit code 1 where something does not hold."""
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
