"""`recsys tune`: a search over an experiment's own fields; `recsys tune show`: what it found."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from recsys.cli.show import frame_table, print_json, refuse_override, stamped, table
from recsys.errors import InputError

if TYPE_CHECKING:
    from recsys.study.tuning import Study

__all__ = ["app", "show", "start"]


class _Start(TyperGroup):
    """Whatever is not the name of another command is the beginning of a study."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["start", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Start,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Search the fields of an experiment that its [tune.space] names.",
)

Json = Annotated[bool, typer.Option("--json", help="For machines.")]
Storage = Annotated[
    str | None,
    typer.Option(
        help="URL of a database that several machines work on; default: a journal in the folder.",
        show_default=False,
    ),
]


@app.command("start")
def start(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="TOML file of the experiment; not needed with --resume.", show_default=False
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Dotted settings such as tune.sampler=gp train.epochs=20.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the study; must be new. Default: runs/NAME-tune-TIME.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with this study; a larger budget gives it more trials.", show_default=False
        ),
    ] = None,
    space: Annotated[
        Path | None, typer.Option(help="TOML file with another [tune.space].", show_default=False)
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Budget of trials; default: [tune] trials.", show_default=False),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Budget of wall time.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes at once.")] = 1,
    storage: Storage = None,
    known: Annotated[
        Path | None,
        typer.Option(
            "--import",
            help="trials.parquet of an earlier study of the same experiment.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=0, help="CPU threads of each process; 0: the cores, shared out.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")] = False,
    json: Json = False,
) -> None:
    """Search on validation, the experiment's own settings first. `start` need not be written: recsys tune CONFIG."""
    import torch

    from recsys.files import new_folder
    from recsys.study.tuning import is_study, read_with_space, tune

    if threads:
        torch.set_num_threads(threads)
    if config is None and resume is None:
        raise InputError(
            "there is no experiment to tune", remedy="give a TOML file, or --resume STUDY"
        )
    if resume is not None and out is not None:
        raise InputError(
            "--resume and --out do not go together", remedy="a resumed study stays in its folder"
        )
    if resume is not None and config is not None:
        refuse_override(config)
    experiment = None if config is None else read_with_space(config, overrides or [], space)
    with ExitStack() as stack:
        folder = resume or out
        if folder is None:
            name = "" if experiment is None else experiment.name
            folder = stack.enter_context(new_folder(Path("runs"), stamped(f"{name}-tune")))
        try:
            study = tune(
                experiment,
                folder,
                resume=resume is not None,
                budget={"trials": trials, "seconds": seconds},
                workers=workers,
                threads=threads,
                storage=storage,
                known=known,
                watch=_Follow(quiet or json),
            )
        except KeyboardInterrupt:
            if not is_study(folder):
                raise
            said = f"the study goes on with `recsys tune --resume {folder}`"
            typer.echo(f"recsys: interrupted; {said}", err=True)
            raise SystemExit(130) from None
    print_json(_plain(study)) if json else _conclude(study)
    if reason := _all_failed(study):
        typer.echo(f"recsys: every trial failed: {reason}", err=True)
        raise typer.Exit(1)


@app.command("show")
def show(
    folder: Annotated[Path, typer.Argument(help="Folder of a study.", show_default=False)],
    top: Annotated[int, typer.Option(min=1, help="Trials to show, best first.")] = 20,
    plots: Annotated[
        Path | None,
        typer.Option(help="Also draw it into this folder; needs matplotlib.", show_default=False),
    ] = None,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Show a study, finished or not: its best trial, its trials, and how much each field matters."""
    from recsys.study.tuning import open_study

    study = open_study(folder, storage=storage)
    drawn: list[Path] = []
    if plots is not None:
        from recsys.study.plots import plot

        drawn = plot(study, plots)
    if json:
        print_json(_plain(study))
        return
    best = study.best
    ranked = sorted(
        study.trials,
        key=lambda trial: (
            trial is not best,
            trial.state != "complete",
            *_order(study, trial),
            trial.number,
        ),
    )
    frame = study.table()
    import polars as pl

    order = pl.DataFrame({"number": [trial.number for trial in ranked[:top]]})
    frame = order.join(frame, on="number", how="left", maintain_order="left")
    empty = [
        name
        for name in ("marks", "reason", "within")
        if frame[name].is_null().all() or (frame[name].dtype == pl.Boolean and frame[name].all())
    ]
    frame_table(
        frame.drop(empty),
        title=f"{study.meta['name']}: {len(study.trials)} trials, {study.meta['status']}",
    )
    weights = study.importance()
    if weights:
        table(
            ["field", "share of the differences"],
            [[path, f"{share:.3f}"] for path, share in weights.items()],
            right=["share of the differences"],
        )
    _conclude(study)
    if drawn:
        typer.echo(f"pictures: {' '.join(map(str, drawn))}")


def _order(study: Study, trial: Any) -> tuple[float, ...]:
    from recsys.study.trial import directions

    return tuple(
        -value if up else value
        for up, value in zip(directions(study.experiment), trial.values, strict=False)
    )


def _all_failed(study: Study) -> str:
    """Return why the first trial failed where every trial of the study did, else nothing."""
    own = [
        trial
        for trial in study.trials
        if trial.origin != "imported" and trial.state in ("complete", "pruned", "failed")
    ]
    failed = [trial for trial in own if trial.state == "failed"]
    return (failed[0].reason or "no reason is known") if failed and len(failed) == len(own) else ""


def _plain(study: Study) -> dict[str, Any]:
    best = study.best
    return {
        "study": str(study.folder),
        "status": study.meta["status"],
        "objectives": list(study.objectives),
        "budget": study.used(),
        "best": None
        if best is None
        else {"number": best.number, "values": list(best.values), "settings": dict(best.settings)},
        "front": [trial.number for trial in study.front] if len(study.objectives) > 1 else None,
        "importance": study.importance(),
        "trials": study.table().to_dicts(),
    }


def _conclude(study: Study) -> None:
    used, best, first = study.used(), study.best, next(iter(study.trials), None)
    spent = f"{used['trials']:g} trials, {used['seconds']:.0f} s, {used['device_seconds']:.0f} s of training"
    typer.echo(f"budget used: {spent}")
    if best is None:
        typer.echo("no trial was completed within the limits")
    else:
        typer.echo(
            f"best: trial {best.number}, {_values(study.objectives, best.values)} on validation: {_settings(best.settings)}"
        )
        if best.facts.get("stopping", {}).get("marks"):
            typer.echo(f"its training: {best.facts['stopping']['line']}")
        if (
            first is not None
            and first.origin == "own"
            and first.values
            and first.number != best.number
        ):
            typer.echo(f"the experiment's own settings: {_values(study.objectives, first.values)}")
        typer.echo(f"next: recsys run {study.folder / 'best.toml'}")
    if len(study.objectives) > 1:
        typer.echo(
            f"not beaten in everything: trials {', '.join(str(trial.number) for trial in study.front)}"
        )
    typer.echo(f"study: {study.folder}")


def _values(names: tuple[str, ...], values: tuple[float, ...]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in zip(names, values, strict=True))


def _settings(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{path}={_short(value)}" for path, value in settings.items())


def _short(value: Any) -> str:
    return (
        f"{value:.4g}"
        if isinstance(value, float)
        else value
        if isinstance(value, str)
        else jsonlib.dumps(value)
    )


class _Follow:
    """One line on standard error for each finished trial."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def __call__(self, event: Mapping[str, Any]) -> None:
        if self.quiet:
            return
        if event["event"] == "data":
            typer.echo(
                f"{event['users']:,} users x {event['items']:,} items, {event['train']:,} train / {event['valid']:,} valid ({event['rule']})",
                err=True,
            )
        elif event["event"] == "trial":
            typer.echo(self._line(event), err=True)
        elif event["event"] in ("worker", "note"):
            typer.echo(f"{'note: ' if event['event'] == 'note' else ''}{event['said']}", err=True)

    def _line(self, event: Mapping[str, Any]) -> str:
        values = " ".join(f"{value:.4f}" for value in event["values"].values()) or event["state"]
        best = event["best"]
        beside = (
            ""
            if best is None
            else f"  best {next(iter(best['values'].values())):.4f} ({best['number']})"
        )
        said = (
            f"  {event['reason']}"
            if event["reason"]
            else ""
            if event["within"]
            else "  beyond the limits"
        )
        own = f" [{event['origin']}]" if event["origin"].startswith(("own", "warm")) else ""
        return f"{event['number']:>4}  {values}{beside}  {event['seconds']:.1f} s  {_settings(event['settings'])}{own}{said}"
