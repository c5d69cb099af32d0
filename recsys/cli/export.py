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
    manifest, several = done.description, done.description.vectors_per_user.most > 1
    if json:
        print_json({"folder": done.folder, "files": done.files, **done.manifest})
        return
    users = f"{manifest.users:,} users"
    if several:
        users = f"{manifest.vectors_per_user.all:,} vectors of {users}"
    holds = {
        "items.parquet": f"{manifest.items:,} items x {manifest.dim}",
        "users.parquet": f"{users} x {manifest.dim}",
        "items.faiss": f"{index.value if index else ''} index of the items",
        "manifest.json": "how to search",
    }
    table(["file", "holds"], [[str(path), holds[path.name]] for path in done.files])
    best = ", the best of a user's vectors" if several else ""
    offset = f" (offset {manifest.offset:.6g})" if manifest.score.startswith("offset") else ""
    typer.echo(f"score = {manifest.score}{offset}{best}")
    left_out = manifest.without_training_pair_left_out
    counts = (("users", left_out.users), ("items", left_out.items))
    gone = [f"{count:,} {what}" for what, count in counts if count]
    if gone:
        typer.echo(
            f"left out, without a training pair: {' and '.join(gone)}; --unmet writes them too"
        )
