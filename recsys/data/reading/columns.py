"""From the columns of any table to the house's own: user, item, time, weight, label, behaviour."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

import polars as pl

from recsys.data.times import parse_times
from recsys.errors import InputError, suggest

__all__ = [
    "KNOWN",
    "NONE",
    "ROLES",
    "Where",
    "choose",
    "doubles",
    "empty_roles",
    "folded",
    "normalise",
    "whole_numbers",
]

Where = Callable[
    [int], str
]  # number of a row of the table -> how to say where it stands, as in "ratings.csv, line 7"

ROLES = ("user", "item", "time", "weight", "label", "behaviour")
# What to give in the place of a column, where the usual names are not to be tried for a role.
NONE = "none"

# Names that are taken without being told, letters and digits only, in order of preference. A `label` is never taken
# untold: in click logs it says whether a row is a positive, here whether a positive is known to be noise.
KNOWN: Mapping[str, tuple[str, ...]] = {
    "user": (
        "userid",
        "user",
        "uid",
        "customerid",
        "customer",
        "visitorid",
        "reviewerid",
        "memberid",
        "clientid",
        "userindex",
    ),
    "item": (
        "itemid",
        "item",
        "iid",
        "movieid",
        "productid",
        "stockcode",
        "parentasin",
        "asin",
        "bookid",
        "isbn",
        "artistid",
        "trackid",
        "businessid",
        "itemindex",
    ),
    "time": ("timestamp", "time", "datetime", "unixreviewtime", "invoicedate", "date", "ts"),
    "weight": ("rating", "weight", "count", "overall", "score", "stars", "plays"),
    "behaviour": (
        "behaviour",
        "behavior",
        "behaviourtype",
        "behaviortype",
        "event",
        "eventtype",
        "action",
    ),
}


def choose(
    names: Sequence[str],
    wanted: Mapping[str, str | int | None],
    *,
    place: str,
    header: bool = True,
    sample: pl.DataFrame | None = None,
) -> dict[str, str]:
    """Which column plays which role.

    Args:
        names: the columns of the table.
        wanted: role -> name or position (from 0), None for a guess, "none" for no column (of the roles besides user and item).
        place: the file, for the message.
        header: False where `names` were made up because the file has none; roles then go by position: user, item, weight, time.
        sample: the first rows; tells a third column of times from one of weights.

    Raises:
        InputError: a wanted column is not there, no column looks like users or items, or one column has two roles.
    """
    chosen: dict[str, str] = {}
    left_out = {
        role
        for role, want in wanted.items()
        if want == NONE and role in ROLES[2:] and not (header and NONE in names)
    }
    for role, want in wanted.items():
        if role in left_out:
            continue
        if isinstance(want, int):
            if not 0 <= want < len(names):
                raise InputError(
                    f"{role} = {want}: there are {len(names)} columns",
                    place=place,
                    remedy=f"give a position from 0 to {len(names) - 1}",
                )
            chosen[role] = names[want]
        elif want is not None:
            if not header and want not in names:
                raise InputError(
                    f"{role} = '{want}', but the file has no header",
                    place=place,
                    remedy=f"give a position, as in {role} = 0, or set header = true",
                )
            if want not in names:
                raise InputError(
                    f"no column '{want}' for {role}", place=place, remedy=suggest(want, names)
                )
            chosen[role] = want
    free = [name for name in names if name not in chosen.values()]
    if header:
        plain = {folded(name): name for name in reversed(free)}
        for role, known in KNOWN.items():
            if role in wanted and role not in chosen and role not in left_out:
                found = next((plain[word] for word in known if word in plain), None)
                if found is not None:
                    chosen[role] = found
    else:
        if len(names) > 4 and not chosen:
            raise InputError(
                f"{len(names)} columns and no header to tell them apart",
                place=place,
                remedy="give positions, as in user = 0, item = 1",
            )
        guessed = ["user", "item"] + (_third(sample, free) if len(free) == len(names) else [])
        chosen |= dict(zip([role for role in guessed if role not in chosen], free, strict=False))
        # After the positions are given out: a weight that is not wanted still has its column.
        chosen = {role: name for role, name in chosen.items() if role not in left_out}
    for role in ("user", "item"):
        if role not in chosen:
            raise InputError(
                f"no column looks like the {role}s; found: {', '.join(names)}",
                place=place,
                remedy=f'name it: {role} = "{names[0] if names else "..."}"',
            )
    for name in set(chosen.values()):
        roles = [role for role, own in chosen.items() if own == name]
        if len(roles) > 1:
            raise InputError(
                f"column '{name}' is taken for {' and '.join(roles)}",
                place=place,
                remedy="name a column for each",
            )
    return {role: chosen[role] for role in ROLES if role in chosen}


def empty_roles(
    frame: pl.DataFrame, chosen: Mapping[str, str], asked: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """Leave out columns without any value that nobody asked for.

    Args:
        frame: the table.
        chosen: role -> column, as from `choose`.
        asked: the roles whose columns were named.

    Returns:
        the roles that are left, and a note for each column left out.
    """
    kept, notes = dict(chosen), []
    for role, name in chosen.items():
        if role in ROLES[2:] and role not in asked and _is_empty(frame[name]):
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


def normalise(
    frame: pl.DataFrame,
    chosen: Mapping[str, str],
    where: Where,
    *,
    nulls: str = "error",
    typed: bool = False,
) -> tuple[pl.DataFrame, list[str]]:
    """The house's columns out of a table.

    Args:
        frame: the table, of any types; text from a file without types.
        chosen: role -> column, as from `choose`.
        where: says where a row stands.
        nulls: "error", or "drop" for rows without a user or an item.
        typed: the source has types, so that ids that are text stay text; else text that is whole numbers throughout becomes Int64.

    Returns:
        the frame with user and item (Int64 or String), time (Datetime), weight (Float64), label (Int8), behaviour (String),
        as far as `chosen` names them, and notes on what was done.

    Raises:
        InputError: an empty id or one that has lost digits, a weight or time that is no finite number, a label other than 0 and 1,
            a column of lists or of Python objects.
    """
    notes: list[str] = []
    for name in chosen.values():
        if frame[name].dtype.is_nested():
            raise InputError(
                f"column '{name}' holds {frame[name].dtype}, not one value a row",
                place=where(0),
                remedy="give one row per interaction",
            )
        if frame[name].dtype in (pl.Object, pl.Duration, pl.Time):
            kind = next(
                (type(value).__name__ for value in frame[name].to_list() if value is not None),
                "object",
            )
            cause = f"column '{name}' holds values of the type {kind}"
            raise InputError(
                cause,
                place=where(0),
                remedy="make it text, numbers or date-times, as with .astype(str)",
            )
    frame = frame.select(pl.col(name).alias(role) for role, name in chosen.items())
    try:
        frame = frame.with_columns(pl.col(pl.Binary).cast(pl.String))
    except pl.exceptions.ComputeError:
        raise InputError(
            "a column holds bytes that are not UTF-8", place=where(0), remedy="make it text"
        ) from None
    frame = frame.with_columns(_text(frame[role], where, chosen[role]) for role in ("user", "item"))
    if frame["user"].null_count() or frame["item"].null_count():
        missing = frame["user"].is_null() | frame["item"].is_null()
        if nulls == "error":
            row = _first(missing)
            role = "user" if frame["user"][row] is None else "item"
            cause = f"no {role} (column '{chosen[role]}'; {missing.sum()} such rows)"
            raise InputError(cause, place=where(row), remedy='fill it in, or set nulls = "drop"')
        kept = (~missing).arg_true()
        outer = where
        where = lambda row: outer(int(kept[row]))  # noqa: E731  the rows have moved up
        notes.append(f"rows without user or item dropped: {frame.height} -> {len(kept)} rows")
        frame = frame.filter(~missing)
    columns = [frame[role] if typed else _ids(frame[role]) for role in ("user", "item")]
    if "time" in chosen:
        time, unit = parse_times(frame["time"], where, chosen["time"])
        columns.append(time)
        if unit not in ("seconds", "dates"):
            notes.append(f"times in '{chosen['time']}' read as {unit}")
    if "weight" in chosen:
        columns.append(_numbers(frame["weight"], where, chosen["weight"], "weight"))
    if "label" in chosen:
        columns.append(_labels(frame["label"], where, chosen["label"]))
    if "behaviour" in chosen:
        behaviour = frame["behaviour"].cast(pl.String)
        _refuse(
            behaviour.is_null(),
            frame["behaviour"],
            where,
            chosen["behaviour"],
            "behaviour",
            'fill it in, or set behaviour = "none"',
        )
        columns.append(behaviour)
    return pl.DataFrame(columns), notes


def _third(sample: pl.DataFrame | None, names: Sequence[str]) -> list[str]:
    """The roles after user and item in a file without header: weight, then time; a lone column of large numbers is a time."""
    if len(names) == 3 and sample is not None:
        values = sample[names[2]].cast(pl.Float64, strict=False)
        if values.null_count() == len(values) or float(values.abs().min() or 0) > 1e8:  # type: ignore[arg-type]
            return ["time"]
    return ["weight"] if len(names) == 3 else ["weight", "time"] if len(names) == 4 else []


def _text(values: pl.Series, where: Where, column: str) -> pl.Series:
    """Ids as Int64 or String; null where there is none.

    Raises:
        InputError: a float or its text that is too large to tell whole numbers apart.
    """
    if values.dtype.is_decimal() and (values == values.floor()).all():
        values = values.cast(pl.Int128)  # as databases give their whole numbers
    if values.dtype.is_integer():
        whole = values.cast(pl.Int64, strict=False)
        # Beyond 64 bits they are texts, all of them, as in a file.
        return whole if whole.null_count() == values.null_count() else values.cast(pl.String)
    if values.dtype.is_float():
        whole = values.fill_nan(None)
        exact = 2 ** {"Float16": 11, "Float32": 24}.get(str(values.dtype), 53)
        _lost(
            whole.abs() >= exact,
            values,
            where,
            column,
            "read the column as whole numbers or text, as with dtype='Int64' or dtype=str",
        )
        if (whole == whole.floor()).all():
            return whole.cast(pl.Int64)  # what pandas makes of integers in a column with gaps
        return whole.cast(pl.String)
    text = values.cast(pl.String)
    if text.str.contains(
        "+", literal=True
    ).any():  # 7.656e+16, as spreadsheets and pandas write large floats
        _lost(
            text.str.contains(r"^-?\d(\.\d+)?[eE]\+\d\d$"),
            values,
            where,
            column,
            "write the ids in full, as text",
        )
    return text.set(text == "", None) if text.dtype == pl.String and (text == "").any() else text


def _lost(bad: pl.Series, values: pl.Series, where: Where, column: str, remedy: str) -> None:
    if bad.any():
        row = _first(bad)
        raise InputError(
            f"id '{values[row]}' is a float that has lost digits",
            place=f"{where(row)}, column '{column}'",
            remedy=remedy,
        )


def _ids(values: pl.Series) -> pl.Series:
    """Text that is integers throughout becomes Int64; '007' and '7' stay apart, so a column holding '007' stays text."""
    if values.dtype != pl.String:
        return values
    whole, unique = values, values.unique()
    if unique.str.ends_with(".0").all() and len(unique):
        whole, unique = values.str.strip_suffix(".0"), unique.str.strip_suffix(".0")
    numbers = unique.cast(pl.Int64, strict=False)
    return (
        whole.cast(pl.Int64)
        if not numbers.null_count() and (numbers.cast(pl.String) == unique).all()
        else values
    )


def whole_numbers(text: pl.Series) -> pl.Series:
    """Return text as Int64 where every value is a whole number as one writes it; `007` is none."""
    numbers = text.cast(pl.Int64, strict=False)
    same = numbers.null_count() == text.null_count() and numbers.cast(pl.String).equals(text)
    return numbers if same and text.null_count() < len(text) else text


def doubles(values: pl.Series) -> pl.Series:
    """Numbers as Float64, null where there is none.

    A float32 becomes the number that it is written as, so that a Parquet file of 0.7 holds what a text
    file of 0.7 does, and both reach a limit of 0.7.
    """
    numbers = values.cast(pl.Float64, strict=False)
    if str(values.dtype) in ("Float32", "Float16") and (numbers != numbers.floor()).any():
        return values.cast(pl.String).cast(pl.Float64, strict=False)
    return numbers


def _numbers(values: pl.Series, where: Where, column: str, role: str) -> pl.Series:
    numbers = doubles(values)
    bad = ~numbers.is_finite().fill_null(value=False)
    _refuse(bad, values, where, column, role, f'write a finite number, or set {role} = "none"')
    return numbers.alias(role)


def _labels(values: pl.Series, where: Where, column: str) -> pl.Series:
    numbers = values.cast(pl.Float64, strict=False)
    _refuse(
        ~numbers.is_in([0.0, 1.0]).fill_null(value=False),
        values,
        where,
        column,
        "label",
        "a label is 1 (clean) or 0 (noise)",
    )
    return numbers.cast(pl.Int8).alias("label")


def _refuse(
    bad: pl.Series, values: pl.Series, where: Where, column: str, role: str, remedy: str
) -> None:
    if not bad.any():
        return
    row = _first(bad)
    value = values[row]
    cause = (
        f"the {role} is empty"
        if value is None
        else f"'{value}' is not a {role}"
        if role != "weight"
        else f"'{value}' is not a finite number"
    )
    raise InputError(cause, place=f"{where(row)}, column '{column}'", remedy=remedy)


def _first(mask: pl.Series) -> int:
    return int(mask.arg_true()[0])


def folded(name: str) -> str:
    """Letters and digits of a column name, in lower case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
