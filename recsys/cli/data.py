"""`recsys data`: data sets by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.show import print_json, table
from recsys.errors import InputError

if TYPE_CHECKING:
    from recsys.data.catalog.catalog import Entry

__all__ = ["app"]

app = typer.Typer(
    help="Data sets by name: list, show, fetch, stats, add; and features of items.",
    no_args_is_help=True,
)

Name = Annotated[
    str, typer.Argument(help="A name that `recsys data list` shows.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# Fields of an entry that `show` prints as they are.
_DETAILS = ("title", "licence", "home", "note", "users", "items", "interactions", "folder")
_COUNTS = ("users", "items", "interactions")

# States of an entry as the tables show them.
_STATES = {"yours": "user-defined", "by hand": "manual download"}


@dataclass(frozen=True)
class _ListRow:
    """One data set in the list; of a broken entry, only name, title and state are known.

    Args:
        name: of the data set.
        title: in words; of a broken entry, what is wrong.
        users, items, interactions: as published, None if not known.
        licence: in words.
        redistribution: whether the terms clearly allow passing the data on.
        state: of `recsys.data.catalog.state`, or "broken".
        size: bytes to download, None if not known.
    """

    name: str
    title: str
    users: int | None = None
    items: int | None = None
    interactions: int | None = None
    licence: str = ""
    redistribution: bool = False
    state: str = "broken"
    size: int | None = None

    @classmethod
    def of(cls, entry: Entry) -> _ListRow:
        from recsys.data import catalog

        return cls(
            name=entry.name,
            title=entry.title,
            users=entry.users,
            items=entry.items,
            interactions=entry.interactions,
            licence=entry.licence,
            redistribution=entry.redistribution,
            state=catalog.state(entry),
            size=entry.size,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain values."""
        if self.state == "broken":
            return {"name": self.name, "title": self.title, "state": self.state}
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class _FileRow:
    """One file of an entry.

    Args:
        name: on disk.
        url: where it is downloaded from.
        size: in bytes, None if not known.
        sha256: published checksum, None if not published.
        recorded: checksum of the first download, None before it.
    """

    name: str
    url: str
    size: int | None
    sha256: str | None
    recorded: str | None


@app.command("list")
def list_(json: Json = False) -> None:
    """List all data sets that are known by name."""
    from recsys.data import catalog

    rows: list[_ListRow] = []
    for name in catalog.names():
        try:
            entry = catalog.entry(name)
        except InputError as error:  # one broken user-defined entry must not hide the others
            rows.append(_ListRow(name, str(error)))
            continue
        rows.append(_ListRow.of(entry))
    if json:
        print_json([row.to_json() for row in rows])
        return
    cells = [
        [
            row.name,
            row.title,
            _count(row.users),
            _count(row.items),
            _count(row.interactions),
            row.licence,
            _where(row.state, row.size),
        ]
        for row in rows
    ]
    table(["name", "title", *_COUNTS, "licence", "where"], cells, right=_COUNTS)


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show a data set: its terms, its origin, and how it is read."""
    from recsys.data import catalog

    entry = catalog.entry(name)
    files, read = _file_rows(entry), _read_settings(entry)
    if json:
        print_json(_entry_json(entry, files, read))
        return
    rows = [
        [key, value if isinstance(value, str) else _count(value)]
        for key in _DETAILS
        if (value := getattr(entry, key)) not in (None, "")
    ]
    rows.insert(2, ["may be passed on", "yes" if entry.redistribution else "no, or not clearly"])
    rows.append(["where", _where(catalog.state(entry), entry.size)])
    rows += [["file", f"{file.url}{_bytes(file.size)}; {_checksum(file)}"] for file in files]
    rows += [
        ["manual download" if number == 1 else "", f"({number}) {step}"]
        for number, step in enumerate(entry.manual, 1)
    ]
    rows.append(["read", ", ".join(f"{key} = {value!r}" for key, value in read.items())])
    if entry.features:
        rows.append(["features", ", ".join(entry.features)])
    table(["", name], rows)


@app.command()
def fetch(name: Name, json: Json = False) -> None:
    """Download a data set, check it, unpack it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from recsys.data import catalog

    entry = catalog.entry(name)
    before = catalog.state(entry)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=json or not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=None, visible=False)
        folder = catalog.ensure_local(
            entry, lambda done, total: bar.update(task, completed=done, total=total, visible=True)
        )
    files = _file_rows(entry)
    if json:
        shown = [dataclasses.asdict(file) for file in files]
        print_json({"name": name, "folder": str(folder), "before": before, "files": shown})
        return
    remark = "" if before == "to fetch" else f" ({before}, nothing to do)"
    typer.echo(f"{name} is in {folder}{remark}")
    typer.echo(f"licence: {entry.licence}")
    for file in files:
        typer.echo(f"{file.name}: {_checksum(file)}")


@app.command()
def stats(
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH", help="A name, or a file or folder.", show_default=False
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(help="How to read it, as in min_weight=4.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Count users, items, interactions, events, sessions, clicks; show times, labels, features."""
    from recsys.cli.data_stats import stats_rows
    from recsys.config import override
    from recsys.data.load import load
    from recsys.data.summary import summary

    options = override({}, settings or [])
    if "source" in options:
        raise InputError(
            "source goes first, without its name",
            place="command line",
            remedy=f"recsys data stats {options['source']}",
        )
    statistics = summary(load(what, **options))
    if json:
        print_json(statistics.to_json())
        return
    table(["", what], stats_rows(statistics))


def _file_rows(entry: Entry) -> list[_FileRow]:
    """Return the files of an entry, with their checksums."""
    from recsys.data import catalog

    trusted = catalog.checksums(entry.name) if entry.files else {}
    return [
        _FileRow(file.name, file.url, file.size, file.sha256, trusted.get(file.name))
        for file in entry.files
    ]


def _read_settings(entry: Entry) -> dict[str, Any]:
    """Return the settings of the reader that are not at their defaults."""
    from recsys.config import to_dict

    defaults = to_dict(type(entry.read)())
    return {key: value for key, value in to_dict(entry.read).items() if defaults.get(key) != value}


def _entry_json(entry: Entry, files: Sequence[_FileRow], read: dict[str, Any]) -> dict[str, Any]:
    """Return an entry as plain values, with its state and the checksums of its files."""
    from recsys.config import to_dict
    from recsys.data import catalog

    plain = {**to_dict(entry), "state": catalog.state(entry), "size": entry.size}
    return {**plain, "files": [dataclasses.asdict(file) for file in files], "read": read}


def _checksum(file: _FileRow) -> str:
    """Return what is known of the checksum of a file."""
    if file.sha256:
        return f"SHA-256 {file.sha256}, published, checked at download"
    if file.recorded:
        return (
            f"SHA-256 {file.recorded}, not published: recorded at the first download here, "
            "compared at every later one"
        )
    return (
        "no published checksum: the first download is trusted, its SHA-256 is recorded and "
        "compared from then on"
    )


def _where(state: str, size: int | None) -> str:
    """Return where the files of an entry are, in words."""
    if state == "to fetch":
        return state + _bytes(size)
    return _STATES.get(state, state)


def _bytes(size: int | None) -> str:
    return "" if size is None else f", {size / 1e6:,.1f} MB"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
