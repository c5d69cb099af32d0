"""`recsys recommend`: the top k items of all or some users, on the screen or in a file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.recommend_notes import Answered, note_near_misses, note_users_and_items
from recsys.cli.show import frame_table, print_json
from recsys.errors import InputError

if TYPE_CHECKING:
    import polars as pl

    from recsys.data.types import Dataset
    from recsys.experiment.execution import Run
    from recsys.scorer import Scorer
    from recsys.serving.recommendations import Job

__all__ = ["recommend"]

_SHOWN = 10  # users on the screen if none are named


class Unknown(StrEnum):
    """What to do with users that the model does not know."""

    popular = "popular"
    skip = "skip"
    error = "error"


class Format(StrEnum):
    """Format of the parts of a folder."""

    parquet = "parquet"
    csv = "csv"
    jsonl = "jsonl"


def _option(help: str) -> Any:
    return typer.Option(help=help, show_default=False)


Folder = Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)]
Out = Annotated[
    Path | None,
    _option(
        "File (.parquet, .csv, .jsonl) or folder of parts. Default: print a table, of 10 users "
        "if none are named."
    ),
]
User = Annotated[list[str] | None, _option("A user; may be repeated.")]
Users = Annotated[
    Path | None,
    _option("File of users: one id a line, or a table with a column of ids. Default: all users."),
]
K = Annotated[int, typer.Option("-k", "--k", min=1, help="Items per user.")]
KeepSeen = Annotated[
    bool, typer.Option("--keep-seen", help="Recommend items of the user's history, too.")
]
Candidates = Annotated[
    Path | None, _option("File of the only items to recommend, a list or a table.")
]
Exclude = Annotated[Path | None, _option("File of items never to recommend, a list or a table.")]
NewItems = Annotated[
    Path | None,
    _option("Features of items that were not in training: a Parquet file, or a folder of them."),
]
OnlyNew = Annotated[bool, typer.Option("--only-new", help="Recommend only items of --new-items.")]
NewUsers = Annotated[
    Path | None,
    _option("Histories of users to serve, known or not: a log with the columns user and item."),
]
UnknownUsers = Annotated[
    Unknown,
    typer.Option(
        help="Users that the model cannot serve (not in the run, without a training interaction, "
        "or with equal scores for all items): recommend popular items, skip them, or stop."
    ),
]
Unmet = Annotated[
    bool,
    typer.Option(
        "--unmet",
        help="Rank items without a training interaction, even if the method cannot place them.",
    ),
]
Titles = Annotated[bool, typer.Option("--titles", help="Add the titles of the items.")]
Batch = Annotated[
    int,
    typer.Option(
        min=1, help="Users per part of a folder; an interrupted job resumes with the next part."
    ),
]
PartFormat = Annotated[Format, typer.Option(help="Format of the parts of a folder.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 lets torch choose.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class _Extensions:
    """Users and items that the run does not know.

    Args:
        new_users: log of users to serve by their histories.
        new_items: features of new items.
        only_new: recommend only new items.
    """

    new_users: Path | None
    new_items: Path | None
    only_new: bool


@dataclass(frozen=True)
class _Model:
    """A scorer with its training data, extended by new users and items.

    Args:
        scorer: the scorer.
        train: the training data.
        identity: fingerprint of the run and of its extensions.
        new_items: ids of the new items, if there are any.
    """

    scorer: Scorer
    train: Dataset
    identity: str
    new_items: pl.Series | None = None


def recommend(
    folder: Folder,
    out: Out = None,
    user: User = None,
    users: Users = None,
    k: K = 10,
    keep_seen: KeepSeen = False,
    candidates: Candidates = None,
    exclude: Exclude = None,
    new_items: NewItems = None,
    only_new: OnlyNew = False,
    new_users: NewUsers = None,
    unknown: UnknownUsers = Unknown.popular,
    unmet: Unmet = False,
    titles: Titles = False,
    batch: Batch = 50_000,
    format: PartFormat = Format.parquet,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Write the k best items of every user, in your own ids, with rank and score."""
    import torch

    from recsys.data.ids import requested_ids
    from recsys.experiment.execution import open_run
    from recsys.scorer import unplaced
    from recsys.serving import recommendations as serving
    from recsys.serving.request import Request

    _check_users(user, users, new_users)
    _check_new_items(candidates, new_items, only_new)
    if threads:
        torch.set_num_threads(threads)
    run = open_run(folder)
    named = _read_ids(run, users, "user") if users is not None else user or None
    allowed = _read_ids(run, candidates, "item")
    excluded = _read_ids(run, exclude, "item")
    model = _extended(run, _Extensions(new_users, new_items, only_new))
    scorer, train = model.scorer, model.train
    requested = requested_ids(train.users.ids, named)
    if users is not None and (train.users.rows(requested) < 0).all():
        train.users.require(requested, str(users))
    options: dict[str, Any] = {
        "filter_seen": not keep_seen,
        "unknown": unknown.value,
        "unmet": unmet,
        "titles": titles,
        "candidates": model.new_items if only_new else allowed,
        "exclude": _known_items(excluded, train),
    }
    unknown_users, unplaced_items = unplaced(scorer, train)
    answered = Answered(
        unknown_users=unknown_users,
        unplaced_items=unplaced_items & (not unmet),
        skips=unknown is Unknown.skip,
    )
    if out is None:
        shown = requested if json or named is not None else requested.head(_SHOWN)
        frame = serving.recommend(scorer, train, Request(shown, k, **options))
        _print_lists(frame, shown, len(requested), json)
        popular = frame.filter(frame["source"] == "popular")["user"].n_unique()
        note_users_and_items(shown, train, answered, frame["user"].n_unique(), popular)
        return
    job = serving.write_recommendations(
        out,
        scorer,
        train,
        Request(requested, k, **options),
        batch=batch,
        format=format.value,
        model=model.identity,
        training=_training(run),
    )
    _print_job(job, out, json)
    note_users_and_items(requested, train, answered, job.users + job.fallback, job.fallback)


def _check_users(user: list[str] | None, users: Path | None, new_users: Path | None) -> None:
    """Refuse options that name users in two ways."""
    if user and users is not None:
        raise InputError(
            "--user and --users do not go together", remedy="put all of them into the file"
        )
    if (user or users is not None) and new_users is not None:
        raise InputError(
            "--user and --users do not go with --new-users",
            remedy="all users of the log are served",
        )


def _check_new_items(candidates: Path | None, new_items: Path | None, only_new: bool) -> None:
    """Refuse --only-new without new items, or with another list of candidates."""
    if not only_new:
        return
    if new_items is None:
        raise InputError(
            "--only-new without --new-items",
            remedy="say which items are new: --new-items FEATURES",
        )
    if candidates is not None:
        raise InputError(
            "--only-new does not go with --candidates", remedy="use --candidates alone"
        )


def _read_ids(run: Run, path: Path | None, role: str) -> pl.Series | None:
    """Read a file of users or items; None without a file."""
    from recsys.data.id_files import read_ids

    if path is None:
        return None
    vocabulary = run.train.users if role == "user" else run.train.items
    return read_ids(path, vocabulary, _column(run, role))


def _column(run: Run, role: str) -> str | int | None:
    """Return the column of users or items in the data of the run, if it is known."""
    try:
        name = getattr(run.experiment.data, role)
    except InputError:  # a run can recommend even if its settings are lost
        return None
    return name if isinstance(name, str | int) else None


def _extended(run: Run, extensions: _Extensions) -> _Model:
    """Return the model of a run, extended by new users and new items."""
    from recsys.serving import cold_start

    model = _Model(run.scorer, run.train, run.fingerprint)
    try:
        if extensions.new_users is not None:
            served = cold_start.serve_users(model.scorer, model.train, extensions.new_users)
            identity = f"{model.identity} {served.identity}"
            model = _Model(served.scorer, served.train, identity)
            for note in served.notes:
                typer.echo(f"recsys: {note}", err=True)
        if extensions.new_items is not None:
            items = cold_start.read_items(extensions.new_items, model.scorer, run.encoders)
            extended = cold_start.add_items(model.scorer, model.train, *items)
            note_near_misses(extended.new, model.train)
            identity = f"{model.identity} {extended.identity}"
            model = _Model(extended.scorer, extended.train, identity, extended.new)
    except InputError as error:
        if error.place:
            raise
        raise error.at(f"{run.folder} ({run.meta.method})") from None
    return model


def _known_items(items: pl.Series | None, train: Dataset) -> pl.Series | None:
    """Return the items to exclude that the run knows, and print how many it does not know."""
    from recsys.data.ids import match_id_type

    if items is None:
        return None
    ids = match_id_type(items, train.items.ids.dtype, "exclude")
    known = train.items.rows(ids) >= 0
    if known.all():
        return ids
    unknown = ids.filter(~known)
    typer.echo(
        f"recsys: {len(unknown):,} of {len(ids):,} items of --exclude unknown to the run, "
        f"such as {unknown[0]!r}: not recommended anyway",
        err=True,
    )
    return ids.filter(known) if known.any() else None


def _training(run: Run) -> dict[str, Any] | None:
    """Return how the training of the run ended, for the manifest, if it is known."""
    try:
        return run.stopping.plain()
    except InputError:  # a run that has lost its settings
        return None


def _print_lists(frame: pl.DataFrame, shown: pl.Series, requested: int, json: bool) -> None:
    if json:
        print_json(frame.to_dicts())
    else:
        frame_table(frame)
    if len(shown) < requested:
        typer.echo(f"the first {len(shown)} of {requested:,} users; --out writes all")


def _print_job(job: Job, out: Path, json: bool) -> None:
    if json:
        print_json(
            {
                "files": job.files,
                "users": job.users,
                "fallback": job.fallback,
                "rows": job.rows,
                "reused": job.reused,
            }
        )
        return
    users = f"{job.users + job.fallback:,} users ({job.fallback:,} by popularity)"
    typer.echo(f"{job.rows:,} recommendations for {users}: {out}")
    if job.reused:
        typer.echo(f"reused {job.reused} parts that were already written")
