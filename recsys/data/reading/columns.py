"""Roles of columns: which column of a table holds users, items, times, weights, labels."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import polars as pl

from recsys.data.reading.source import NONE, ROLES, Column
from recsys.data.reading.usual_names import KNOWN
from recsys.errors import InputError, suggest

__all__ = ["choose", "empty_roles", "folded"]

# Usual names of sessions. They are only looked for in a log without users.
_SESSIONS = ("sessionid", "session", "visitid")
_OPTIONAL = ROLES[2:]
# A third column of numbers above this holds times, not weights.
_SMALLEST_TIME = 1e8


def choose(
    names: Sequence[str],
    given: Mapping[str, Column],
    *,
    place: str,
    header: bool = True,
    sample: pl.DataFrame | None = None,
) -> dict[str, str]:
    """Return the column of each role.

    In a table without users, whose other columns all have a role, the column of sessions is that of
    users too.

    Args:
        names: the columns of the table.
        given: role to name or position (from 0); None to guess; "none" for a role that the table
            lacks (not for user and item). Only roles that are keys are looked for.
        place: the file, for errors.
        header: False if the file has no header. Roles then follow the order user, item, weight,
            time.
        sample: the first rows; they tell a third column of times from one of weights.

    Returns:
        Role to name of the column, in the order of `ROLES`.

    Raises:
        InputError: a given column does not exist, no column looks like users or items, or one
            column has two roles.
    """
    left_out = {
        role
        for role, column in given.items()
        if column == NONE and role in _OPTIONAL and not (header and NONE in names)
    }
    chosen = {
        role: _given_column(role, column, names, place, header=header)
        for role, column in given.items()
        if column is not None and role not in left_out
    }
    free = [name for name in names if name not in chosen.values()]
    if header:
        looked_for = [r for r in KNOWN if r in given and r not in chosen and r not in left_out]
        chosen |= _by_usual_name(free, looked_for)
        chosen |= _sessions_as_users(names, chosen, given)
    else:
        chosen |= _by_position(names, free, chosen, sample, place)
        # Only now: a weight that is not read still has its position.
        chosen = {role: name for role, name in chosen.items() if role not in left_out}
    _check_roles(chosen, names, place)
    return {role: chosen[role] for role in ROLES if role in chosen}


def _given_column(
    role: str, column: str | int, names: Sequence[str], place: str, *, header: bool
) -> str:
    """Return the name of a column that the settings name.

    Raises:
        InputError: the column does not exist.
    """
    if isinstance(column, int):
        if 0 <= column < len(names):
            return names[column]
        raise InputError(
            f"{role} = {column}: there are {len(names)} columns",
            place=place,
            remedy=f"give a position from 0 to {len(names) - 1}",
        )
    if column in names:
        return column
    if not header:
        raise InputError(
            f"{role} = '{column}', but the file has no header",
            place=place,
            remedy=f"give a position, as in {role} = 0, or set header = true",
        )
    raise InputError(f"no column '{column}' for {role}", place=place, remedy=suggest(column, names))


def _by_usual_name(free: Sequence[str], roles: Sequence[str]) -> dict[str, str]:
    """Return the columns whose names are usual for a role."""
    chosen = {role: _first_usual(KNOWN[role], free) for role in roles}
    return {role: name for role, name in chosen.items() if name is not None}


def _first_usual(words: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the first usual name, in order of preference; None without one."""
    by_folded_name = {folded(name): name for name in reversed(names)}
    return next((by_folded_name[word] for word in words if word in by_folded_name), None)


def _sessions_as_users(
    names: Sequence[str], chosen: Mapping[str, str], given: Mapping[str, Column]
) -> dict[str, str]:
    """Return the column of sessions as that of users too, if the table cannot have another."""
    if "user" in chosen or "item" not in chosen:
        return {}
    session = chosen.get("session")
    usual = {word for role, words in KNOWN.items() if role != "user" for word in words}
    unknown = [n for n in names if n not in chosen.values() and folded(n) not in usual]
    if session is None and given.get("session", NONE) is None:
        session = _first_usual(_SESSIONS, unknown)
    if session is None or set(unknown) - {session}:
        return {}
    return {"user": session, "session": session}


def _by_position(
    names: Sequence[str],
    free: Sequence[str],
    chosen: Mapping[str, str],
    sample: pl.DataFrame | None,
    place: str,
) -> dict[str, str]:
    """Return the columns of the roles that are not chosen yet, for a file without header.

    Raises:
        InputError: the file has more than four columns and no role is given.
    """
    if len(names) > 4 and not chosen:
        raise InputError(
            f"{len(names)} columns and no header to tell them apart",
            place=place,
            remedy="give positions, as in user = 0, item = 1",
        )
    roles = ["user", "item"]
    if len(free) == len(names):
        roles += _further_roles(sample, free)
    return dict(zip([role for role in roles if role not in chosen], free, strict=False))


def _further_roles(sample: pl.DataFrame | None, names: Sequence[str]) -> list[str]:
    """Return the roles after user and item in a file without header: weight, then time.

    A single further column is a time if its values are large numbers or not numbers at all.
    """
    if len(names) == 4:
        return ["weight", "time"]
    if len(names) != 3:
        return []
    if sample is not None:
        values = sample[names[2]].cast(pl.Float64, strict=False)
        smallest = float(values.abs().min() or 0)  # type: ignore[arg-type]
        if values.null_count() == len(values) or smallest > _SMALLEST_TIME:
            return ["time"]
    return ["weight"]


def _check_roles(chosen: Mapping[str, str], names: Sequence[str], place: str) -> None:
    """Raise an error unless users and items have a column, and each column one role."""
    for role in ("user", "item"):
        if role not in chosen:
            raise InputError(
                f"no column looks like the {role}s; found: {', '.join(names)}",
                place=place,
                remedy=_name_it(role, chosen, names),
            )
    for name in set(chosen.values()):
        roles = [role for role, own in chosen.items() if own == name]
        if len(roles) > 1 and set(roles) != {"user", "session"}:
            raise InputError(
                f"column '{name}' has two roles: {' and '.join(roles)}",
                place=place,
                remedy="name a column for each",
            )


def _name_it(role: str, chosen: Mapping[str, str], names: Sequence[str]) -> str:
    """Return the remedy for a table in which no column looks like users or items."""
    missing = [each for each in ("user", "item") if each not in chosen]
    usual = {word for words in KNOWN.values() for word in words}
    free = [name for name in names if name not in chosen.values()]
    likely = [name for name in free if folded(name) not in usual and folded(name) not in _SESSIONS]
    columns = (likely or free)[: len(missing)]
    guesses = list(zip(missing, columns, strict=False)) or [(role, "...")]
    settings = " and ".join(f'{each} = "{name}"' for each, name in guesses)
    unsure = " (a guess by the order of the columns: check it)" if columns else ""
    typed = " ".join(f"data.{each}={name}" for each, name in guesses)
    remedy = f"name it{unsure}: {settings} in [data], or {typed} on the command line"
    session = chosen.get("session", _first_usual(_SESSIONS, names))
    if role == "user" and session is not None:
        remedy += f'; if each session is a user: user = "{session}" and session = "{session}"'
    return remedy


def empty_roles(
    frame: pl.DataFrame, chosen: Mapping[str, str], named: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """Leave out columns that were guessed and are empty.

    Args:
        frame: the table.
        chosen: role to column, as from `choose`.
        named: the roles whose columns the settings name; these are never left out.

    Returns:
        The roles that remain, and a note for each column left out.
    """
    kept = dict(chosen)
    notes = []
    for role, name in chosen.items():
        if role in _OPTIONAL and role not in named and _is_empty(frame[name]):
            del kept[role]
            notes.append(f"column '{name}' is empty, so there is no {role}")
    return kept, notes


def _is_empty(values: pl.Series) -> bool:
    if not len(values):
        return False
    if values.dtype.is_float():
        values = values.fill_nan(None)
    if values.dtype == pl.String:
        return bool((values.fill_null("").str.strip_chars() == "").all())
    return values.null_count() == len(values)


def folded(name: str) -> str:
    """Return the letters and digits of a column name in lower case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
