"""`recsys noise`: the interactions that a denoiser took for noise."""

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
        int, typer.Option("-k", min=0, help="Number of supposed noise interactions to print.")
    ] = 10,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the interactions that the denoiser of a run dropped or relabelled.

    If the data have labels, the list is compared with them.
    """
    from recsys.report.denoising import detect, save

    detected = detect(folder)
    paths = save(detected, out or folder / "noise")
    if json:
        more = {
            "curve": detected.curve.to_dicts(),
            "popularity": detected.by_popularity().to_dicts(),
            "files": [str(path) for path in paths],
        }
        print_json({"kind": detected.kind, **detected.summary, **more})
        return
    rows = [[name.replace("_", " "), _number(value)] for name, value in detected.summary.items()]
    table(["", detected.kind], rows, title=f"noise {folder}", right=[detected.kind])
    frame_table(
        detected.by_popularity(),
        title="interactions by popularity of their items, rare items first",
    )
    if k:
        has_noise = any(detected.summary[name] for name in ("dropped", "relabelled"))
        frame_table(
            detected.suspects(k),
            title="supposed noise, largest loss first" if has_noise else "largest loss",
        )
    if not any(path.suffix == ".svg" for path in paths):
        typer.echo("note: no picture without matplotlib; pip install 'recsys[plot]'")
    for path in paths:
        typer.echo(f"written: {path}")


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
