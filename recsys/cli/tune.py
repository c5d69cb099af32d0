"""`recsys tune`: search the fields of an experiment; `recsys tune show`: the result."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from recsys.cli.exit_codes import INTERRUPTED
from recsys.cli.show import frame_table, print_json, refuse_override, stamped, table
from recsys.errors import InputError
from recsys.files import new_folder

if TYPE_CHECKING:
    import polars as pl

    from recsys.study.artifact import Study, Trial
    from recsys.study.progress import TrialDone

__all__ = ["app", "show", "start"]


class _Start(TyperGroup):
    """A group in which any word that is not a command begins the arguments of `start`."""

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

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Storage = Annotated[
    str | None,
    typer.Option(
        help="URL of a database that several machines share; default: a journal in the folder.",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Argument(
        help="TOML file of the experiment; not needed with --resume.", show_default=False
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="Dotted settings such as tune.sampler=gp train.epochs=20.", show_default=False
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the study; must be new. Default: runs/NAME-tune-TIME.", show_default=False
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        help="Resume this study; a larger budget gives it more trials.", show_default=False
    ),
]
Space = Annotated[
    Path | None, typer.Option(help="TOML file with another [tune.space].", show_default=False)
]
Trials = Annotated[
    int | None,
    typer.Option(min=1, help="Budget of trials; default: [tune] trials.", show_default=False),
]
Seconds = Annotated[
    float | None, typer.Option(help="Budget of wall time, in seconds.", show_default=False)
]
Workers = Annotated[int, typer.Option(min=1, help="Number of processes.")]
Import = Annotated[
    Path | None,
    typer.Option(
        "--import",
        help="trials.parquet of an earlier study of the same experiment.",
        show_default=False,
    ),
]
Threads = Annotated[
    int, typer.Option(min=0, help="CPU threads of each process; 0 divides the cores evenly.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")]


@app.command("start")
def start(
    config: Config = None,
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = None,
    space: Space = None,
    trials: Trials = None,
    seconds: Seconds = None,
    workers: Workers = 1,
    storage: Storage = None,
    known: Import = None,
    threads: Threads = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Search settings on the validation part, the experiment's own settings first.

    The word `start` may be left out: recsys tune CONFIG.
    """
    _check_resume(config, resume, out)
    if config is not None:
        _refuse_data(config)

    import torch

    from recsys.study.space_file import read_with_space
    from recsys.study.tuning import tune

    if threads:
        torch.set_num_threads(threads)
    experiment = None if config is None else read_with_space(config, overrides or [], space)
    with ExitStack() as stack:
        folder = resume or out
        if folder is None:
            name = "" if experiment is None else experiment.name
            folder = stack.enter_context(new_folder(Path("runs"), stamped(f"{name}-tune")))
        with _resumable(folder):
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
    if json:
        print_json(_plain(study))
    else:
        _conclude(study)
    if reason := _failure(study):
        typer.echo(f"recsys: every trial failed: {reason}", err=True)
        raise typer.Exit(1)


def _check_resume(config: Path | None, resume: Path | None, out: Path | None) -> None:
    if config is None and resume is None:
        raise InputError(
            "no experiment to tune was given",
            remedy="give a TOML file, or --resume STUDY",
        )
    if resume is not None and out is not None:
        raise InputError(
            "--resume and --out do not go together", remedy="a resumed study stays in its folder"
        )
    if resume is not None and config is not None:
        refuse_override(config)


def _refuse_data(config: Path) -> None:
    """Refuse data and names in the place of an experiment, with the commands that work."""
    from recsys.quickstart import is_data, refuse_unknown

    refuse_unknown(config, "tune")
    if is_data(config):
        raise InputError(
            "is data, not an experiment",
            place=str(config),
            remedy=f"recsys init {config} --model mf, and tune the TOML file that this writes with "
            "--space spaces/mf",
        )


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """Name the command that resumes the study if the user interrupts it."""
    from recsys.study.meta import is_study

    try:
        yield
    except KeyboardInterrupt:
        if not is_study(folder):
            raise
        command = f"recsys tune --resume {folder}"
        typer.echo(f"recsys: interrupted; the study goes on with `{command}`", err=True)
        raise SystemExit(INTERRUPTED) from None


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
    """Show a study, finished or not: its best trial, its trials, and the importance of fields."""
    from recsys.study.artifact import open_study

    study = open_study(folder, storage=storage)
    pictures: list[Path] = []
    if plots is not None:
        from recsys.study.plots import plot

        pictures = plot(study, plots)
    if json:
        print_json(_plain(study))
        return
    frame_table(
        _ranked(study, top),
        title=f"{study.meta.name}: {len(study.trials)} trials, {study.meta.status}",
    )
    weights = study.importance()
    if weights:
        share = "share of the differences"
        rows = [[path, f"{weight:.3f}"] for path, weight in weights.items()]
        table(["field", share], rows, right=[share])
    _conclude(study)
    if pictures:
        typer.echo(f"pictures: {' '.join(map(str, pictures))}")


def _ranked(study: Study, top: int) -> pl.DataFrame:
    """Return the table of the first trials, best first, without columns that hold nothing."""
    import polars as pl

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
    order = pl.DataFrame({"number": [trial.number for trial in ranked[:top]]})
    frame = order.join(study.table(), on="number", how="left", maintain_order="left")
    empty = [
        name
        for name in ("marks", "reason", "within")
        if frame[name].is_null().all() or (frame[name].dtype == pl.Boolean and frame[name].all())
    ]
    return frame.drop(empty)


def _order(study: Study, trial: Trial) -> tuple[float, ...]:
    """Return the values of a trial with their signs such that lower is better."""
    from recsys.study.trial import directions

    return tuple(
        -value if up else value
        for up, value in zip(directions(study.experiment), trial.values, strict=False)
    )


def _failure(study: Study) -> str:
    """Return the reason of the first trial if every trial failed, else an empty string."""
    own = [trial for trial in study.trials if trial.is_own]
    if not own or any(trial.state != "failed" for trial in own):
        return ""
    return own[0].reason or "the reason is not known"


def _plain(study: Study) -> dict[str, Any]:
    """Return a study as plain values for JSON."""
    from recsys.config import to_dict

    best = study.best
    plain_best = None
    if best is not None:
        plain_best = {
            "number": best.number,
            "values": list(best.values),
            "settings": dict(best.settings),
        }
    several = len(study.objectives) > 1
    return {
        "study": str(study.folder),
        "status": study.meta.status,
        "objectives": list(study.objectives),
        "budget": to_dict(study.used()),
        "best": plain_best,
        "front": [trial.number for trial in study.front] if several else None,
        "importance": study.importance(),
        "trials": study.table().to_dicts(),
    }


def _conclude(study: Study) -> None:
    """Print the budget used, the best trial, and how to run it."""
    used = study.used()
    typer.echo(
        f"budget used: {used.trials:g} trials, {used.seconds:.0f} s, "
        f"{used.device_seconds:.0f} s of training"
    )
    if study.best is None:
        typer.echo("no trial was completed within the limits")
    else:
        _print_best(study, study.best)
    if len(study.objectives) > 1:
        numbers = ", ".join(str(trial.number) for trial in study.front)
        typer.echo(f"Pareto front: trials {numbers}")
    typer.echo(f"study: {study.folder}")


def _print_best(study: Study, best: Trial) -> None:
    """Print the best trial, next to the experiment's own settings."""
    values = _values(study.objectives, best.values)
    typer.echo(f"best: trial {best.number}, {values} on validation: {_settings(best.settings)}")
    stopping = best.facts.stopping
    if stopping is not None and stopping.marks:
        typer.echo(f"its training: {stopping}")
    first = next(iter(study.trials))
    if first.origin == "own" and first.values and first.number != best.number:
        typer.echo(f"the experiment's own settings: {_values(study.objectives, first.values)}")
    typer.echo(f"next: recsys run {study.folder / 'best.toml'}")


def _values(names: tuple[str, ...], values: tuple[float, ...]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in zip(names, values, strict=True))


def _settings(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{path}={_short(value)}" for path, value in settings.items())


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else jsonlib.dumps(value)


class _Follow:
    """Print one line on standard error for each finished trial.

    Args:
        quiet: print nothing.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def __call__(self, event: object) -> None:
        from recsys.study.progress import DataLoaded, Note, TrialDone, WorkerLost

        if self.quiet:
            return
        match event:
            case DataLoaded():
                typer.echo(
                    f"{event.users:,} users x {event.items:,} items, "
                    f"{event.train:,} train / {event.valid:,} valid ({event.rule})",
                    err=True,
                )
            case TrialDone():
                typer.echo(_trial_line(event), err=True)
            case Note():
                typer.echo(f"note: {event.text}", err=True)
            case WorkerLost():
                typer.echo(event.text, err=True)


def _trial_line(trial: TrialDone) -> str:
    """Return the line of a finished trial."""
    values = " ".join(f"{value:.4f}" for value in trial.values.values()) or trial.state
    line = f"{trial.number:>4}  {values}"
    if trial.best is not None:
        line += f"  best {trial.best.values[0]:.4f} ({trial.best.number})"
    line += f"  {trial.seconds:.1f} s  {_settings(trial.settings)}"
    if trial.origin.startswith(("own", "warm")):
        line += f" [{trial.origin}]"
    if trial.reason:
        line += f"  {trial.reason}"
    elif not trial.within:
        line += "  beyond the limits"
    return line
