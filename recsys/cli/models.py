"""`recsys models`: the methods and their settings."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys.cli.show import print_json, table
from recsys.errors import InputError

__all__ = ["models"]


def models(
    name: Annotated[str | None, typer.Argument(help="Show the settings of this method.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON; with a NAME, its JSON Schema.")
    ] = False,
) -> None:
    """List the methods, or the settings of one."""
    from recsys import models as methods
    from recsys.config import describe, schema
    from recsys.nn.denoise import Denoise

    if name is None:
        rows = [(method, _summary(method)) for method in methods.names()]
        if json:
            print_json(dict(rows))
            return
        table(["method", "what it is"], rows)
        typer.echo(
            f"\n[train] denoise can be combined with them; reconstructed: {Denoise.reconstructed}"
        )
        return
    recipe = methods.recipe(name)
    if json:
        print_json(schema(recipe))
        return
    typer.echo(f"{name}: {methods.summary(name)}\n")
    table(["setting", "type", "default", "meaning"], describe(recipe))


def _summary(name: str) -> str:
    """Return the summary of a method, or the error if the package that provides it is broken."""
    from recsys import models as methods

    try:
        return methods.summary(name)
    except InputError as error:
        return str(error)
