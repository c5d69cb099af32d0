"""The options of `recsys recommend`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "Batch",
    "Candidates",
    "Exclude",
    "Folder",
    "Format",
    "Histories",
    "Items",
    "Json",
    "K",
    "KeepSeen",
    "NewItems",
    "NewUsers",
    "OnlyNew",
    "Out",
    "PartFormat",
    "Rerank",
    "Threads",
    "Titles",
    "Unknown",
    "UnknownUsers",
    "Unmet",
    "User",
    "Users",
    "Verify",
]


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


Folder = Annotated[
    Path | None, typer.Argument(help="Folder of a finished run.", show_default=False)
]
Out = Annotated[
    Path | None,
    _option(
        "File (.parquet, .csv, .jsonl) or folder of parts. Default: print a table, of the first 10 "
        "lists if no user is named."
    ),
]
User = Annotated[list[str] | None, _option("A user; may be repeated.")]
Users = Annotated[
    Path | None,
    _option("File of users: one id a line, or a table with a column of ids. Default: all users."),
]
Histories = Annotated[
    Path | None,
    _option(
        "File of histories to recommend by: a log with columns of users or sessions, items and "
        'times, or JSON lines {"id": ..., "items": [...]}; - reads JSON lines from standard input.'
    ),
]
Items = Annotated[
    Path | None,
    _option("File of items to recommend what goes with them: one id a line, or a table."),
]
K = Annotated[int, typer.Option("-k", "--k", min=1, help="Items per list.")]
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
NewUsers = Annotated[Path | None, typer.Option("--new-users", hidden=True)]
UnknownUsers = Annotated[
    Unknown,
    typer.Option(
        help="Whom the model cannot serve (users not in the run or without a training "
        "interaction, histories without a known item, equal scores for all items): recommend "
        "popular items, skip them, or stop."
    ),
]
Unmet = Annotated[
    bool,
    typer.Option(
        "--unmet",
        help="Rank items without a training interaction, even if the method cannot place them.",
    ),
]
Rerank = Annotated[
    list[str] | None,
    _option(
        "A setting of [rerank], such as by=mmr, weight=0.3, at_most.brand=2 or "
        "exclusions=blocked.csv; wins over that of the run. May be repeated."
    ),
]
Titles = Annotated[bool, typer.Option("--titles", help="Add the titles of the items.")]
Batch = Annotated[
    int,
    typer.Option(
        min=1,
        help="Lists per part of a folder, and in memory at a time; an interrupted job resumes with "
        "the next part.",
    ),
]
PartFormat = Annotated[Format, typer.Option(help="Format of the parts of a folder.")]
Verify = Annotated[
    Path | None,
    _option(
        "Folder of a finished job to check: sizes and hashes of its parts, and a sample of its "
        "lists computed again. The exit code is 2 if a check fails."
    ),
]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 lets torch choose.")]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print JSON; with --out, progress and notes are JSON lines on standard error.",
    ),
]
