"""`recsys noise`: what a denoiser held for noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.show import frame_table, print_json, table

__all__ = ["noise"]


def noise(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder of a finished run with train.denoise.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the list and the curves; default: noise/ in the run.",
            show_default=False,
        ),
    ] = None,
    k: Annotated[
        int, typer.Option("-k", min=0, help="How many of the pairs held for noise to print.")
    ] = 10,
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Which pairs the denoiser of a run dropped or relabelled, and how well that goes with the labels, where the data has them."""
    from recsys.report.denoising import detect, save

    found = detect(folder)
    paths = save(found, out or folder / "noise")
    if json:
        more = {
            "curve": found.curve.to_dicts(),
            "popularity": found.by_popularity().to_dicts(),
            "files": [str(path) for path in paths],
        }
        print_json({"kind": found.kind, **found.summary, **more})
        return
    rows = [
        [
            name.replace("_", " "),
            "-" if value is None else f"{value:.4f}" if isinstance(value, float) else f"{value:,}",
        ]
        for name, value in found.summary.items()
    ]
    table(["", found.kind], rows, title=f"noise {folder}", right=[found.kind])
    frame_table(found.by_popularity(), title="pairs of seldom met items first")
    if k:
        held = any(found.summary[name] for name in ("dropped", "relabelled"))
        frame_table(
            found.suspects(k),
            title="held for noise, largest loss first" if held else "largest loss",
        )
    if not any(path.suffix == ".svg" for path in paths):
        typer.echo("note: no picture without matplotlib; pip install 'recsys[plot]'")
    for path in paths:
        typer.echo(f"written: {path}")
