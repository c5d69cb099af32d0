"""`recsys report`: finished runs as one HTML page that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.show import print_json

__all__ = ["report"]


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of finished runs of one split, or the folder of one benchmark.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    metric: Annotated[
        str | None,
        typer.Option(
            help="Metric of curves, costs and groups; default: the monitor of the first run.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Test every run against this one (its name); default: all pairs.",
            show_default=False,
        ),
    ] = None,
    users: Annotated[
        int,
        typer.Option(
            min=0, help="Number of users to show with their lists; 0 shows no user's data."
        ),
    ] = 20,
    k: Annotated[int, typer.Option(min=1, help="Length of the lists.")] = 10,
    hits: Annotated[
        bool,
        typer.Option(
            help="Mark hits in the lists. This loads the data and opens the test set, which is "
            "recorded in every run."
        ),
    ] = True,
    title: Annotated[
        str, typer.Option(help="Heading; default: the name of the data.", show_default=False)
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write runs as one HTML page: table, curves, costs, groups, lists, and the provenance.

    The lists of some users are shown side by side. The page needs no other file.
    """
    from recsys.report.document import sections, write_page

    parts = sections(folders, metric=metric, baseline=baseline, users=users, k=k, hits=hits)
    ranks = folders[0] / "cd.svg"
    picture = ranks.read_text(encoding="utf-8") if len(parts) > 1 and ranks.exists() else ""
    path = write_page(out, parts, title, picture=picture)
    notes = [note for section in parts for note in section.notes]
    if json:
        print_json({"out": str(path), "bytes": path.stat().st_size, "notes": notes})
        return
    for note in notes:
        typer.echo(f"recsys: {note}", err=True)
    typer.echo(f"written: {path} ({path.stat().st_size / 1024:.0f} KiB)")
