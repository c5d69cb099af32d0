"""`recsys export`: the vectors of a run, and an index of them, for vector search."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.show import print_json, table

__all__ = ["export"]


class Index(StrEnum):
    """Kind of index over the item vectors."""

    flat = "flat"
    hnsw = "hnsw"


def export(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)],
    out: Annotated[
        Path, typer.Option(help="Folder to write; must be new or empty.", show_default=False)
    ],
    index: Annotated[
        Index | None,
        typer.Option(
            help="Also write a faiss index: flat is exact, hnsw approximate and faster. "
            "Default: no index.",
            show_default=False,
        ),
    ] = None,
    unmet: Annotated[
        bool,
        typer.Option("--unmet", help="Also write users and items without a training interaction."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the vectors of users and items, for any library that searches vectors."""
    from recsys.experiment.execution import open_run
    from recsys.serving.vector_export import export as write_vectors

    done = write_vectors(open_run(folder), out, None if index is None else index.value, unmet=unmet)
    manifest = done.manifest
    if json:
        print_json({"folder": done.folder, "files": done.files, **manifest})
        return
    each = manifest["vectors_per_user"]
    several = (
        f"{each['all']:,} vectors of {manifest['users']:,} users"
        if each["most"] > 1
        else f"{manifest['users']:,} users"
    )
    holds = {
        "items.parquet": f"{manifest['items']:,} items x {manifest['dim']}",
        "users.parquet": f"{several} x {manifest['dim']}",
        "items.faiss": f"{index.value if index else ''} index of the items",
        "manifest.json": "how to search",
    }
    table(["file", "holds"], [[str(path), holds[path.name]] for path in done.files])
    best = ", the best of a user's vectors" if each["most"] > 1 else ""
    offset = f" (offset {manifest['offset']:.6g})" if manifest["score"].startswith("offset") else ""
    typer.echo(f"score = {manifest['score']}{offset}{best}")
    gone = [f"{n:,} {what}" for what, n in manifest["without_training_pair_left_out"].items() if n]
    if gone:
        typer.echo(
            f"left out, without a training pair: {' and '.join(gone)}; --unmet writes them too"
        )
