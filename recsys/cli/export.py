"""`recsys export`: the vectors of a run, or its weights, for other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.show import print_json, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recsys.serving.export_files import LeftOut
    from recsys.serving.history_export import WeightManifest
    from recsys.serving.vector_export import Manifest

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
    """Write the vectors of users and items, for any library that searches vectors.

    A method like ease or itemknn has no such vectors. Its weights of items are written instead, by
    which another program can score a history. The manifest of ials says how to solve the vector of
    a history.
    """
    from recsys.experiment.execution import open_run
    from recsys.serving.history_export import WeightManifest
    from recsys.serving.vector_export import export as write_export

    done = write_export(open_run(folder), out, None if index is None else index.value, unmet=unmet)
    if json:
        print_json({"folder": done.folder, "files": done.files, **done.manifest})
    elif isinstance(done.description, WeightManifest):
        _print_weights(done.files, done.description)
    else:
        _print_vectors(done.files, done.description)


def _print_vectors(files: Sequence[Path], manifest: Manifest) -> None:
    several = manifest.vectors_per_user.most > 1
    users = f"{manifest.users:,} users"
    if several:
        users = f"{manifest.vectors_per_user.all:,} vectors of {users}"
    holds = {
        "items.parquet": f"{manifest.items:,} items x {manifest.dim}",
        "users.parquet": f"{users} x {manifest.dim}",
        "items.faiss": f"{manifest.index.kind if manifest.index else ''} index of the items",
        "manifest.json": "how to search",
    }
    table(["file", "holds"], [[str(path), holds[path.name]] for path in files])
    best = ", the best of a user's vectors" if several else ""
    offset = f" (offset {manifest.offset:.6g})" if manifest.score.startswith("offset") else ""
    typer.echo(f"score = {manifest.score}{offset}{best}")
    if manifest.history is not None:
        typer.echo("manifest.json says how to solve the vector of a history")
    _print_left_out(manifest.without_training_pair_left_out)


def _print_weights(files: Sequence[Path], manifest: WeightManifest) -> None:
    holds = {
        "items.parquet": f"{manifest.items:,} items",
        manifest.weights: f"{manifest.entries:,} weights of items for items",
        "manifest.json": "how to score a history",
    }
    table(["file", "holds"], [[str(path), holds[path.name]] for path in files])
    typer.echo("score = sum of the weights of the history's items")
    _print_left_out(manifest.without_training_pair_left_out)


def _print_left_out(left_out: LeftOut) -> None:
    counts = (("users", left_out.users), ("items", left_out.items))
    gone = [f"{count:,} {what}" for what, count in counts if count]
    if gone:
        typer.echo(
            f"left out, without a training pair: {' and '.join(gone)}; --unmet writes them too"
        )
