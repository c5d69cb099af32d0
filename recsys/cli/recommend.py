"""`recsys recommend`: top-k for all or listed users, into a file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.show import frame_table, print_json

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from recsys.data.types import Dataset
    from recsys.experiment.execution import Run

__all__ = ["recommend"]

_SHOWN = 10  # users on the screen where none are named


class Unknown(StrEnum):
    """What to do with users the model does not know."""

    popular = "popular"
    skip = "skip"
    error = "error"


class Format(StrEnum):
    """Of the parts of a folder."""

    parquet = "parquet"
    csv = "csv"
    jsonl = "jsonl"


def recommend(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File (.parquet, .csv, .jsonl) or folder for parts; none prints, a table of 10 users unless named.",
            show_default=False,
        ),
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option(help="A user; may be given several times.", show_default=False),
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(
            help="File of users: one id a line, or a table with a column of them; default: all users.",
            show_default=False,
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Items per user.")] = 10,
    keep_seen: Annotated[
        bool, typer.Option("--keep-seen", help="Recommend what the user already has, too.")
    ] = False,
    candidates: Annotated[
        Path | None,
        typer.Option(
            help="File of the only items to recommend, a list or a table.", show_default=False
        ),
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(
            help="File of items never to recommend, a list or a table.", show_default=False
        ),
    ] = None,
    new_items: Annotated[
        Path | None,
        typer.Option(
            help="Features of items that were not in training: Parquet, or a folder of it.",
            show_default=False,
        ),
    ] = None,
    only_new: Annotated[
        bool, typer.Option("--only-new", help="Recommend nothing but the items of --new-items.")
    ] = False,
    new_users: Annotated[
        Path | None,
        typer.Option(
            help="Log of users to serve by what it says of them, known or not: columns user, item.",
            show_default=False,
        ),
    ] = None,
    unknown: Annotated[
        Unknown,
        typer.Option(
            help="Users the model knows nothing of (not in the run, no training pair, or all scores equal): most popular items, leave out, or stop."
        ),
    ] = Unknown.popular,
    unmet: Annotated[
        bool,
        typer.Option(
            "--unmet",
            help="Rank items without a training pair too, where the method cannot place them.",
        ),
    ] = False,
    titles: Annotated[bool, typer.Option("--titles", help="Add the items' titles.")] = False,
    batch: Annotated[
        int,
        typer.Option(
            min=1, help="Users per part of a folder; an interrupted job goes on with the next part."
        ),
    ] = 50_000,
    format: Annotated[Format, typer.Option(help="Of the parts of a folder.")] = Format.parquet,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 lets torch choose.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Write the k best items of every user, in your own ids, with rank and score."""
    import polars as pl
    import torch

    from recsys.errors import InputError
    from recsys.experiment.execution import open_run
    from recsys.scorer import unplaced
    from recsys.serving import cold_start as newcomers
    from recsys.serving import recommendations as batchwise

    if user and users is not None:
        raise InputError(
            "--user and --users do not go together", remedy="put all of them into the file"
        )
    if (user or users is not None) and new_users is not None:
        raise InputError(
            "--user and --users do not go with --new-users",
            remedy="all users of the log are served",
        )
    if only_new and (new_items is None or candidates is not None):
        cause = (
            "--only-new does not go with --candidates"
            if new_items is not None
            else "--only-new without --new-items"
        )
        raise InputError(
            cause,
            remedy="use --candidates alone"
            if new_items is not None
            else "say which items are new: --new-items FEATURES",
        )
    if threads:
        torch.set_num_threads(threads)
    run = open_run(folder)
    scorer, train, model = run.scorer, run.train, run.fingerprint
    given = (
        batchwise.read_ids(users, train.users, _column(run, "user"))
        if users is not None
        else user or None
    )
    limits: dict[str, Any] = {
        name: batchwise.read_ids(path, train.items, _column(run, "item"))
        if path is not None
        else None
        for name, path in (("candidates", candidates), ("exclude", exclude))
    }
    try:
        if new_users is not None:
            grown = newcomers.serve_users(scorer, train, new_users)
            scorer, train, model = grown.scorer, grown.train, f"{model} {grown.identity}"
            for note in grown.notes:
                typer.echo(f"recsys: {note}", err=True)
        if new_items is not None:
            grown = newcomers.add_items(
                scorer, train, *newcomers.read_items(new_items, scorer, run.encoders)
            )
            _note_near(grown.new, train)
            scorer, train, model = grown.scorer, grown.train, f"{model} {grown.identity}"
            limits |= {"candidates": grown.new} if only_new else {}
    except InputError as error:
        raise (error if error.place else error.at(f"{folder} ({run.meta.get('method')})")) from None
    asked = batchwise.requested_ids(train.users.ids, given)
    if users is not None and (train.users.rows(asked) < 0).all():
        train.users.require(asked, str(users))
    limits["exclude"] = _excluded(limits["exclude"], train)
    options: dict[str, Any] = {
        "filter_seen": not keep_seen,
        "unknown": unknown.value,
        "unmet": unmet,
        "titles": titles,
        **limits,
    }
    strange, barred = unplaced(scorer, train)
    barred &= not unmet
    if out is None:
        shown = asked if json or given is not None else asked.head(_SHOWN)
        frame = batchwise.recommend(scorer, train, shown, k, **options)
        print_json(frame.to_dicts()) if json else frame_table(frame)
        if len(shown) < len(asked):
            typer.echo(f"the first {len(shown)} of {len(asked):,} users; --out writes all")
        by_popularity = frame.filter(pl.col("source") == "popular")["user"].n_unique()
        _notes(shown, train, (strange, barred), unknown, frame["user"].n_unique(), by_popularity)
        return
    job = batchwise.write_recommendations(
        out,
        scorer,
        train,
        asked,
        k,
        batch=batch,
        format=format.value,
        model=model,
        training=_training(run),
        **options,
    )
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
    else:
        typer.echo(
            f"{job.rows:,} recommendations for {job.users + job.fallback:,} users ({job.fallback:,} by popularity): {out}"
        )
        if job.reused:
            typer.echo(f"{job.reused} parts were there already")
    _notes(asked, train, (strange, barred), unknown, job.users + job.fallback, job.fallback)


def _excluded(items: pl.Series | None, train: Dataset) -> pl.Series | None:
    """Return the items to leave out that the run knows, and say how many it does not."""
    from recsys.data.ids import match_id_type

    if items is None:
        return None
    ids = match_id_type(items, train.items.ids.dtype, "exclude")
    known = train.items.rows(ids) >= 0
    if known.all():
        return ids
    strange = ids.filter(~known)
    typer.echo(
        f"recsys: {len(strange):,} of {len(ids):,} items of --exclude unknown to the run, such as {strange[0]!r}: not recommended anyway",
        err=True,
    )
    return ids.filter(known) if known.any() else None


def _training(run: Run) -> dict[str, Any] | None:
    """How the run's training ended, for the manifest, where that is known."""
    from recsys.errors import InputError

    try:
        return run.stopping.plain()
    except InputError:  # an earlier run without its settings
        return None


def _column(run: Run, role: str) -> str | int | None:
    """Return what the data of a run call users or items, or where they stand, as far as that is known."""
    from recsys.errors import InputError

    try:
        name = getattr(run.experiment.data, role)
    except InputError:  # a run recommends without its settings
        return None
    return name if isinstance(name, str | int) else None


def _note_near(new: pl.Series, train: Dataset) -> None:
    """Say that a new item is written nearly as one that is known already."""
    from recsys.data.unmatched import near_miss

    if (near := near_miss(new, train.items.ids)) is not None:
        typer.echo(f"recsys: item {near[0]!r} counts as new, while {near[1]!r} is known", err=True)


def _notes(
    asked: pl.Series,
    train: Dataset,
    unplaced: tuple[np.ndarray, np.ndarray],
    unknown: Unknown,
    answered: int,
    by_popularity: int,
) -> None:
    """Say what was no candidate, which users got no list by the model, and why.

    Args:
        asked: outside ids.
        train: the ids of the run.
        unplaced: which users and which items of the run the model knows nothing of, bool [n_users] and [n_items].
        unknown: what was done with them.
        answered: users who got a list.
        by_popularity: those of them who got the most popular items.
    """
    from recsys.data.unmatched import such_as

    strange, barred = unplaced
    if barred.any():
        typer.echo(
            f"recsys: {barred.sum():,} of {train.n_items:,} items have no training pair, and this method cannot place them:"
            " no candidates; --unmet ranks them all the same",
            err=True,
        )
    users = asked.unique(maintain_order=True)
    rows = train.users.rows(users)
    known = rows >= 0
    known[known] = ~strange[rows[known]]
    treated = "left out" if unknown is Unknown.skip else "ranked by popularity"
    for which, why in (
        (rows < 0, "unknown to the run"),
        ((rows >= 0) & ~known, "without a training pair"),
    ):
        if which.any():
            some = users.filter(which)
            example = (
                such_as(some, train.users) if (rows[which] < 0).all() else f"such as {some[0]!r}"
            )
            typer.echo(
                f"recsys: {which.sum():,} of {len(users):,} users {why}, {example}: {treated}",
                err=True,
            )
    strangers = int((~known).sum())
    skipped = unknown is Unknown.skip
    flat = 0 if skipped else max(0, by_popularity - strangers)
    if flat:
        typer.echo(
            f"recsys: {flat:,} of {len(users):,} users get the same score for every candidate: {treated}",
            err=True,
        )
    without = len(users) - answered - (strangers if skipped else 0)
    if without:
        why = "no item is left for them" + (", or all have the same score" if skipped else "")
        typer.echo(
            f"recsys: {without:,} of {len(users):,} users get nothing: {why}",
            err=True,
        )
