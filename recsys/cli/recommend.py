"""`recsys recommend`: the top k items of users, histories or items, on the screen or in a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from recsys.cli import recommend_options as opt
from recsys.cli.interruption import ended_by_sigterm
from recsys.cli.recommend_notes import note, note_lists
from recsys.cli.recommend_progress import JobProgress
from recsys.cli.show import frame_table, print_json, table
from recsys.errors import InputError

if TYPE_CHECKING:
    import polars as pl

    from recsys.experiment.execution import Run
    from recsys.serving.asked import Asked
    from recsys.serving.job import Job
    from recsys.serving.order import Order, Prepared

__all__ = ["recommend"]

_SHOWN = 10  # lists on the screen if no user is named


def recommend(
    folder: opt.Folder = None,
    out: opt.Out = None,
    user: opt.User = None,
    users: opt.Users = None,
    histories: opt.Histories = None,
    items: opt.Items = None,
    k: opt.K = 10,
    keep_seen: opt.KeepSeen = False,
    candidates: opt.Candidates = None,
    exclude: opt.Exclude = None,
    new_items: opt.NewItems = None,
    only_new: opt.OnlyNew = False,
    new_users: opt.NewUsers = None,
    unknown: opt.UnknownUsers = opt.Unknown.popular,
    unmet: opt.Unmet = False,
    titles: opt.Titles = False,
    rerank: opt.Rerank = None,
    batch: opt.Batch = 50_000,
    format: opt.PartFormat = opt.Format.parquet,
    verify: opt.Verify = None,
    threads: opt.Threads = 0,
    json: opt.Json = False,
) -> None:
    """Write the k best items for every user, history or item, in your own ids, with rank and score.

    Lists are for every user of the run, or for --user, --users, --histories or --items.
    """
    import torch

    from recsys.serving.order import Order, prepare

    if verify is not None:
        _verify(verify, folder, json)
        return
    if folder is None:
        raise InputError("missing argument RUN", remedy="see recsys recommend --help")
    if new_users is not None:
        raise InputError(
            "--new-users has another name now",
            remedy=f"recsys recommend {folder} --histories {new_users}",
        )
    order = Order(
        run=str(folder),
        user=tuple(user or ()),
        users=_text(users),
        histories=_text(histories),
        items=_text(items),
        k=k,
        keep_seen=keep_seen,
        candidates=_text(candidates),
        exclude=_text(exclude),
        new_items=_text(new_items),
        only_new=only_new,
        unknown=unknown.value,
        unmet=unmet,
        titles=titles,
        rerank=tuple(rerank or ()),
    )
    if threads:
        torch.set_num_threads(threads)
    if out is None:
        _on_screen(prepare(order, note), order, json)
        return
    with ended_by_sigterm():
        _into_files(order, out, batch, format, json)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _on_screen(prepared: Prepared, order: Order, json: bool) -> None:
    """Print lists: all if users are named or as JSON, else the first ones."""
    asked, recommender = prepared.asked, prepared.recommender
    all_lists = json or order.user or order.users is not None
    shown = asked if all_lists else asked.take(slice(0, _SHOWN))
    frame = recommender.frame(shown)
    _print_lists(frame, shown, asked, json)
    lists = frame[frame.columns[0]].n_unique()
    popular = frame.filter(frame["source"] == "popular")[frame.columns[0]].n_unique()
    note_lists(shown, recommender, lists, popular)


def _into_files(order: Order, out: Path, batch: int, format: opt.Format, json: bool) -> None:
    """Write lists to a file or into a folder, and print progress, notes and totals."""
    from recsys.serving.job import Writing, write_lists
    from recsys.serving.order import prepare

    noted: Callable[[str], None] = note
    if json:

        def noted(text: str) -> None:
            progress.event("note", text=text)

    progress = JobProgress("lists", json)
    prepared = prepare(order, noted)
    asked, recommender = prepared.asked, prepared.recommender
    progress.what = asked.plural
    with progress:
        writing = Writing(
            out,
            batch,
            format.value,
            prepared.identity,
            _training(prepared.run),
            progress,
            _lasting(order).to_json(),
        )
        job = write_lists(writing, recommender, asked)
    _print_job(job, asked, out, json)
    note_lists(asked, recommender, job.users + job.fallback, job.fallback, noted)


def _lasting(order: Order) -> Order:
    """Return an order with absolute paths, which another working folder can read."""
    from recsys.config import to_dict
    from recsys.ranking.rerank.settings import absolute_paths
    from recsys.serving.order import STDIN, Order

    values = {**to_dict(order)}
    for name in ("run", "users", "histories", "items", "candidates", "exclude", "new_items"):
        path = getattr(order, name)
        if path is not None and path != STDIN:
            values[name] = os.path.abspath(path)
    values["user"] = order.user
    values["rerank"] = absolute_paths(order.rerank)
    return Order(**values)


def _training(run: Run) -> dict[str, Any] | None:
    """Return how the training of the run ended, for the manifest, if it is known."""
    try:
        return run.stopping.plain()
    except InputError:  # a run that has lost its settings
        return None


def _print_lists(frame: pl.DataFrame, shown: Asked, asked: Asked, json: bool) -> None:
    if json:
        print_json(frame.to_dicts())
    else:
        frame_table(frame)
    if len(shown) < len(asked):
        typer.echo(f"the first {len(shown)} of {len(asked):,} {asked.plural}; --out writes all")


def _print_job(job: Job, asked: Asked, out: Path, json: bool) -> None:
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
    lists = f"{job.users + job.fallback:,} {asked.plural} ({job.fallback:,} by popularity)"
    typer.echo(f"{job.rows:,} recommendations for {lists}: {out}")
    if job.reused:
        typer.echo(f"reused {job.reused} parts that were already written")


def _verify(out: Path, run: Path | None, json: bool) -> None:
    """Check a finished job and print each check; the exit code is 2 if one fails."""
    from recsys.serving.job_check import check_job

    checks = check_job(out, _text(run), note=lambda _: None)
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
            title=f"verify {out}",
        )
    if not all(check.holds for check in checks):
        raise typer.Exit(2)
