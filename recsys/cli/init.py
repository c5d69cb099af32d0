"""`recsys init`: write the TOML file of an experiment about a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.show import print_json
from recsys.cli.starting import K, MetricName, Model, own_data
from recsys.errors import InputError

__all__ = ["init"]


def init(
    data: Annotated[
        str, typer.Argument(help="File or data set, such as ratings.csv.", show_default=False)
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Dotted settings such as data.user=visitor.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; must be new. Default: NAME.toml.", show_default=False),
    ] = None,
    model: Model = None,
    metric: MetricName = None,
    k: K = None,
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Write the plan of a benchmark.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the TOML file of `recsys run DATA`, with the guessed columns by name."""
    from recsys.config import override
    from recsys.files import write_text
    from recsys.quickstart import (
        Wish,
        benchmark_tree,
        commented_toml,
        data_name,
        is_data,
        refuse_unknown,
        starting_tree,
    )

    wish = Wish(model, metric, k)
    refuse_unknown(data, "init")
    if not is_data(data):
        raise InputError(
            "is an experiment already", place=data, remedy=f"recsys run {data}, or give data"
        )
    changes = overrides or []
    of_data = [each for each in changes if each.startswith("data.")]
    own = own_data(data, of_data if benchmark else changes)
    verb = "benchmark" if benchmark else "run"
    name = data_name(own.table) + ("-benchmark" if benchmark else "")
    path = out or Path(f"{name}.toml")
    if path.exists():
        raise InputError("already exists", place=str(path), remedy="choose another --out")
    if benchmark:
        tree = benchmark_tree(own, [wish.model] if wish.model else [], wish)
        changes = [each for each in changes if each not in of_data]
    else:
        tree = starting_tree(own, wish)
    tree = override(tree, changes)
    lines = [f"recsys {verb} {path}", *own.notes]
    write_text(path, commented_toml(tree, lines))
    if json:
        print_json({"file": str(path), "guessed": list(own.guessed), "unread": list(own.unread)})
        return
    for note in own.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"written: {path}")
    typer.echo(f"next: recsys {verb} {path}")
