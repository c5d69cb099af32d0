"""`recsys audit`: leakage and health of a split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.show import frame_table, print_json, split_line
from recsys.cli.starting import Started, started

__all__ = ["audit"]


def audit(
    config: Annotated[
        Path,
        typer.Argument(
            help="TOML file of an experiment, data, or the folder of a run.", show_default=False
        ),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Dotted settings.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look for leaks: duplicates across parts, test before train, unknown ids, shifts, features.

    The exit code is 1 if an error was detected, else 0.
    """
    from recsys.data.audit.checks import audit as look
    from recsys.data.audit.checks import table
    from recsys.quickstart import Wish

    if (config / "run.json").exists():
        from recsys.experiment.execution import open_run

        start = Started(open_run(config, finished=False).experiment)
    else:
        start = started(config, overrides or [], Wish(), None, "audit")

    from recsys.experiment.execution import data_of

    split = start.split or data_of(start.experiment)
    findings = look(split, features=split.train.features)
    if json:
        print_json(table(findings).to_dicts())
    else:
        typer.echo(split_line(split))
        frame_table(table(findings), title=f"audit {config}")
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(1)
