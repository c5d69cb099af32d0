"""`recsys compare`: finished runs side by side, with intervals and paired tests."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["compare"]


class Form(StrEnum):
    """How the comparison is written."""

    table = "table"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"
    json = "json"


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders of finished runs.", show_default=False)],
    metric: Annotated[str | None, typer.Option(help="The metric that is tested; default: the one that selected.", show_default=False)] = None,
    baseline: Annotated[str | None, typer.Option(help="Test every run against this one (its name); default: all pairs.", show_default=False)] = None,
    form: Annotated[Form, typer.Option("--format", help="How to write it.")] = Form.table,
    json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.", show_default=False)] = None,
) -> None:
    """Compare runs on the same test users: means, 95 % intervals, paired tests with Holm's correction, effect sizes."""
    from recsys.run import compare_runs
    from recsys.storage import write

    comparison = compare_runs(folders, metric=metric, baseline=baseline)
    chosen = Form.json if json else form
    if chosen is Form.table and out is None:
        show(comparison)
        return
    writers = {Form.table: comparison.to_markdown, Form.markdown: comparison.to_markdown, Form.latex: comparison.to_latex, Form.csv: comparison.to_csv, Form.json: comparison.to_json}
    text = writers[chosen]()
    if out is None:
        typer.echo(text)
    else:
        write(out, lambda path: path.write_text(text, encoding="utf-8"))
        typer.echo(f"written: {out}")
