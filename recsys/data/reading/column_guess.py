"""Which columns of a table were recognised, as settings that name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recsys.data.reading.columns import choose, empty_roles
from recsys.data.reading.formats import file_format
from recsys.data.reading.reader import files_of, format_of
from recsys.data.reading.source import Column, Source
from recsys.data.reading.table import Table

__all__ = ["ColumnGuess", "guess_columns"]


@dataclass(frozen=True)
class ColumnGuess:
    """The columns of a table by their role.

    Args:
        settings: settings of `[data]` that name what was recognised: roles with the name or the
            position of a column, and `header` for a file without one.
        roles: all roles with the name of the column, those that the settings gave too.
        unread: columns without a role.
    """

    settings: Mapping[str, Column | bool]
    roles: Mapping[str, str]
    unread: tuple[str, ...]


def guess_columns(source: Source) -> ColumnGuess | None:
    """Return the columns that `recsys.data.reading.read` takes from one file with columns.

    Args:
        source: where the data are; columns that it names are not guessed.

    Returns:
        The columns; None for several files, and for formats without columns.

    Raises:
        InputError: as `read`, for what the first lines of a file show.
    """
    if source.source is not None:
        return None
    files = files_of(source)
    if len(files) != 1:
        return None
    open_table = file_format(format_of(source, files)).open_table
    if open_table is None:
        return None
    path = files[0].path
    table = open_table(path, source)
    given = source.columns()
    chosen = choose(table.names, given, place=str(path), header=table.header, sample=table.sample)
    named = [role for role, column in given.items() if column is not None]
    chosen = _filled(table, chosen, named)
    own = {role: name for role, name in chosen.items() if role not in named}
    settings: dict[str, Column | bool] = {}
    for role, name in own.items():
        settings[role] = name if table.header else table.names.index(name)
    if not table.header and source.header is None and not table.typed:
        settings["header"] = False
    unread = tuple(name for name in table.names if name not in chosen.values())
    return ColumnGuess(settings, chosen, unread)


def _filled(table: Table, chosen: dict[str, str], named: list[str]) -> dict[str, str]:
    """Return the roles without guessed columns that hold no value.

    Only a column whose first rows are all empty is read to its end.
    """
    kept, _ = empty_roles(table.sample, chosen, named)
    doubtful = {role: name for role, name in chosen.items() if role not in kept}
    if not doubtful:
        return chosen
    rows, _ = table.collect(list(doubtful.values()))
    filled, _ = empty_roles(rows, doubtful, named)
    return {role: name for role, name in chosen.items() if role in kept or role in filled}
