"""`recsys data`: data sets by name."""

from __future__ import annotations

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

# Keys of an entry in the list, and lines of `show`.
_BRIEF = (
    "name",
    "title",
    "users",
    "items",
    "interactions",
    "licence",
    "redistribution",
    "state",
    "size",
)
_DETAILS = ("title", "licence", "home", "note", "users", "items", "interactions", "folder")
_COUNTS = ("users", "items", "interactions")

# States of an entry as the tables show them.
_STATES = {"yours": "user-defined", "by hand": "manual download"}


@app.command("list")
def list_(json: Json = False) -> None:
    """List all data sets that are known by name."""
    from recsys.data import catalog

    rows: list[dict[str, Any]] = []
    for name in catalog.names():
        try:
            entry = catalog.entry(name)
        except InputError as error:  # one broken user-defined entry must not hide the others
            rows.append({"name": name, "title": str(error), "state": "broken"})
            continue
        rows.append(_plain(entry, brief=True))
    if json:
        print_json(rows)
        return
    cells = [
        [
            row["name"],
            row["title"],
            *(_count(row.get(key)) for key in _COUNTS),
            row.get("licence", ""),
            _where(row),
        ]
        for row in rows
    ]
    table(["name", "title", *_COUNTS, "licence", "where"], cells, right=_COUNTS)


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show a data set: its terms, its origin, and how it is read."""
    from recsys.data import catalog

    entry = catalog.entry(name)
    plain = _plain(entry)
    if json:
        print_json(plain)
        return
    rows = [
        [key, value if isinstance(value, str) else _count(value)]
        for key in _DETAILS
        if (value := plain.get(key)) not in (None, "")
    ]
    rows.insert(2, ["may be passed on", "yes" if entry.redistribution else "no, or not clearly"])
    rows.append(["where", _where(plain)])
    rows += [
        ["file", f"{file['url']}{_bytes(file['size'])}; {_checksum(file)}"]
        for file in plain["files"]
    ]
    rows += [
        ["manual download" if number == 1 else "", f"({number}) {step}"]
        for number, step in enumerate(entry.manual, 1)
    ]
    rows.append(["read", ", ".join(f"{key} = {value!r}" for key, value in plain["read"].items())])
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
    plain = _plain(entry)
    if json:
        print_json({"name": name, "folder": str(folder), "before": before, "files": plain["files"]})
        return
    remark = "" if before == "to fetch" else f" ({before}, nothing to do)"
    typer.echo(f"{name} is in {folder}{remark}")
    typer.echo(f"licence: {entry.licence}")
    for file in plain["files"]:
        typer.echo(f"{file['name']}: {_checksum(file)}")


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
    """Count users, items and interactions; show times, labels and features."""
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
        print_json(statistics)
        return
    rows = [*_size_rows(statistics), *_content_rows(statistics)]
    for number, line in enumerate(statistics["history"]):
        rows.append(["" if number else "read", line])
    rows += [[f"note: {note['check']}", note["message"]] for note in statistics["findings"]]
    rows.append(["fingerprint", statistics["fingerprint"]])
    table(["", what], rows)


def _size_rows(statistics: dict[str, Any]) -> list[list[str]]:
    """Return the lines about the numbers of users, items and interactions."""
    interactions = f"{statistics['interactions']:,}"
    for part in ("valid", "test"):
        if statistics[part] is not None:
            interactions += f" + {statistics[part]:,} {part}"
    rows = [
        ["users", f"{statistics['users']:,}" + _unused(statistics, "users")],
        ["items", f"{statistics['items']:,}" + _unused(statistics, "items")],
        ["interactions", interactions],
        ["density", f"{statistics['density']:.4%}"],
    ]
    for key in ("per_user", "per_item"):
        values = "  ".join(f"{share} {value:,.0f}" for share, value in statistics[key].items())
        rows.append([key.replace("_", " "), values])
    return rows


def _content_rows(statistics: dict[str, Any]) -> list[list[str]]:
    """Return the lines about times, weights, labels, behaviours, features and titles."""
    time, weight = statistics["time"], statistics["weight"]
    rows = [["time", " to ".join(time) if time else "none"]]
    if weight:
        low, mean, high = weight
        rows.append(["weight", f"{low:g} to {high:g}, mean {mean:.3g}"])
    clean = statistics["labels"]
    if clean is not None:
        rows.append(["labels", f"{clean:.2%} clean, {1 - clean:.2%} noise"])
    if statistics["behaviours"]:
        counts = (f"{name} {count:,}" for name, count in statistics["behaviours"].items())
        rows.append(["behaviours", ", ".join(counts)])
    for name, modality in statistics["features"].items():
        size = f"{modality['dim']} numbers, {modality['present']:.1%} of the items"
        rows.append([f"feature {name}", size])
    if statistics["titles"] is not None:
        rows.append(["titles", f"{statistics['titles']:.1%} of the items"])
    return rows


def _plain(entry: Entry, *, brief: bool = False) -> dict[str, Any]:
    """Return an entry as plain values, with its state and the checksums of its files."""
    from recsys.config import to_dict
    from recsys.data import catalog

    plain = {**to_dict(entry), "state": catalog.state(entry), "size": entry.size}
    if brief:
        return {key: plain.get(key) for key in _BRIEF}
    trusted = catalog.checksums(entry.name) if entry.files else {}
    plain["files"] = [
        {
            "name": file.name,
            "url": file.url,
            "size": file.size,
            "sha256": file.sha256,
            "recorded": trusted.get(file.name),
        }
        for file in entry.files
    ]
    defaults = to_dict(type(entry.read)())
    plain["read"] = {
        key: value for key, value in plain["read"].items() if defaults.get(key) != value
    }
    return plain


def _checksum(file: dict[str, Any]) -> str:
    """Return what is known of the checksum of a file."""
    if file["sha256"]:
        return f"SHA-256 {file['sha256']}, published, checked at download"
    if file["recorded"]:
        return (
            f"SHA-256 {file['recorded']}, not published: recorded at the first download here, "
            "compared at every later one"
        )
    return (
        "no published checksum: the first download is trusted, its SHA-256 is recorded and "
        "compared from then on"
    )


def _where(row: dict[str, Any]) -> str:
    """Return where the files of an entry are, in words."""
    state = row["state"]
    if state == "to fetch":
        return state + _bytes(row.get("size"))
    return _STATES.get(state, state)


def _bytes(size: int | None) -> str:
    return "" if size is None else f", {size / 1e6:,.1f} MB"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _unused(statistics: dict[str, Any], which: str) -> str:
    """Return how many users or items have no interaction."""
    unused = statistics[which] - statistics[f"{which}_that_occur"]
    return f" ({unused:,} of them never occur)" if unused else ""
