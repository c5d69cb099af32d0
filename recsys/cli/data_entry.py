"""`recsys data add`: an entry of the user's own in the catalog of data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recsys.cli.show import print_json

__all__ = ["add"]


def _text_option(help: str) -> Any:
    return typer.Option(help=help, show_default=False)


Name = Annotated[
    str,
    typer.Argument(
        help="Lower-case letters, digits, - and _; the name of a shipped entry says where "
        "its data are.",
        show_default=False,
    ),
]
Location = Annotated[
    Path | None, typer.Option(help="File or folder on this machine.", show_default=False)
]
Urls = Annotated[list[str] | None, _text_option("File to download; repeat it for several.")]
Checksums = Annotated[list[str] | None, _text_option("Checksum of each url.")]
Format = Annotated[
    str | None,
    _text_option("csv, parquet, inter, adjacency, ...; default: detected from the file."),
]
User = Annotated[str | None, _text_option("Column of users, a name or a position from 0.")]
Item = Annotated[str | None, _text_option("Column of items.")]
Time = Annotated[str | None, _text_option("Column of times.")]
Weight = Annotated[str | None, _text_option("Column of ratings or counts.")]
Clean = Annotated[
    str | None,
    typer.Option(
        "--clean",
        "--label",
        help="Column of noise flags, 1 clean, 0 noise. Its earlier name is --label.",
        show_default=False,
    ),
]
Behaviour = Annotated[str | None, _text_option("Column of behaviours.")]
Session = Annotated[str | None, _text_option("Column of sessions, such as invoices or visits.")]
Separator = Annotated[str | None, _text_option("Character between two fields.")]
Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether the first line names the columns.",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any other key of [data], as in min_weight=4.", show_default=False),
]
Title = Annotated[str | None, _text_option("Title of the data set.")]
Licence = Annotated[str | None, _text_option("Terms of use.")]
Home = Annotated[str | None, _text_option("Web page of the data set.")]
Note = Annotated[str | None, _text_option("Remark for users of the data set.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Overwrite an existing user-defined entry.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add(
    name: Name,
    path: Location = None,
    url: Urls = None,
    sha256: Checksums = None,
    format: Format = None,
    user: User = None,
    item: Item = None,
    time: Time = None,
    weight: Weight = None,
    clean: Clean = None,
    behaviour: Behaviour = None,
    session: Session = None,
    separator: Separator = None,
    header: Header = None,
    setting: Settings = None,
    title: Title = None,
    licence: Licence = None,
    home: Home = None,
    note: Note = None,
    replace: Replace = False,
    json: Json = False,
) -> None:
    """Name a user-defined data set, or give the location of a manual download."""
    from recsys.config import override
    from recsys.data import catalog

    columns = {
        "user": user,
        "item": item,
        "time": time,
        "weight": weight,
        "clean": clean,
        "behaviour": behaviour,
        "session": session,
    }
    read: dict[str, Any] = {
        role: int(column) if column.isdigit() else column
        for role, column in columns.items()
        if column is not None
    }
    options = {"format": format, "separator": separator, "header": header}
    read |= {key: value for key, value in options.items() if value is not None}
    read |= override({}, setting or [])
    written = catalog.add(
        name,
        path=path,
        urls=url or [],
        sha256=sha256 or [],
        read=read,
        about={"title": title, "licence": licence, "home": home, "note": note},
        replace=replace,
    )
    if json:
        print_json({"name": name, "entry": str(written)})
    else:
        typer.echo(f"added {name} ({written}); next: recsys data stats {name}")
