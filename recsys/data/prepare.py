"""What is kept of a log: functions from a frame to a frame, each with a line for the history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from recsys.data.reading.reader import Parts, Source
from recsys.data.times import count_ticks, moment, ticks_at
from recsys.data.types import Vocab
from recsys.errors import InputError, suggest

__all__ = [
    "behaviours",
    "duplicates",
    "k_core",
    "labels",
    "min_user",
    "positives",
    "prepare",
    "window",
]

Step = tuple[pl.DataFrame, str | None]


def prepare(parts: Parts, source: Source) -> Parts:
    """All the preparation a source asks for: behaviours, positives, window, duplicates, labels, min_user, core.

    The threshold looks at what stands for a pair. A sum, or the last of several rows, is known once
    duplicates are merged, so that a purchase that was returned is none; else it looks at every row,
    before the first of those that pass it is taken. Rows that stay keep their order.

    Raises:
        InputError: a setting that needs a column which is not there, that leaves no row, or a core of presplit files
            (a core of train alone would be another data set).
    """
    if source.behaviours is not None:
        wanted = source.behaviours
        parts = parts.each(lambda frame: behaviours(frame, wanted))
    merged_first = source.duplicates in ("sum", "last")
    if not merged_first:
        parts = _only_positives(parts, source)
    if source.since is not None or source.until is not None:
        parts = parts.each(lambda frame: window(frame, source.since, source.until))
    parts = parts.each(lambda frame: duplicates(frame, source.duplicates))
    if merged_first:
        parts = _only_positives(parts, source)
    if source.clean_weight is not None:
        clean = source.clean_weight
        parts = parts.each(lambda frame: labels(frame, clean))
    cores = {
        name: value
        for name in ("min_user", "user_core", "item_core")
        if (value := getattr(source, name))
    }
    if cores and parts.all is None:
        raise InputError(
            f"{', '.join(cores)} cannot be taken of presplit files",
            place="[data]",
            remedy="leave it out, or give the whole log as path",
        )
    if source.min_user:
        parts = parts.each(lambda frame: min_user(frame, source.min_user))
        parts = replace(parts, users=None)
    if source.user_core or source.item_core:
        parts = parts.each(lambda frame: k_core(frame, source.user_core, source.item_core))
        # Ids that were removed are no dead ids: they leave the ranges, and with them the candidates.
        parts = replace(parts, users=None, items=None if source.item_core else parts.items)
    for name, frame in parts.frames.items():
        if not frame.height and name in ("all", "train"):
            raise InputError(
                "no interaction is left",
                place="[data]",
                remedy=f"loosen the settings; {'; '.join(parts.history[-3:])}",
            )
    return parts


def _only_positives(parts: Parts, source: Source) -> Parts:
    """The rows that are positives; `clean_weight` asks for all of them, those below it as noise."""
    if source.min_weight is None and source.clean_weight is not None:
        return parts
    return parts.each(lambda frame: positives(frame, source.min_weight))


def positives(frame: pl.DataFrame, min_weight: float | None = None) -> Step:
    """Rows whose weight is at least `min_weight`; above 0 where that is not given, and all where there are no weights.

    Raises:
        InputError: `min_weight` without weights.
    """
    if min_weight is None:
        if "weight" not in frame.columns:
            return frame, None
        kept = frame.filter(pl.col("weight") > 0)
        if kept.height == frame.height:
            return frame, None
        return _told(frame, kept, "weight above 0 (no min_weight is set)")
    _need(frame, "weight", "min_weight")
    # In float64: a float32 column would round the limit, and 16777217 would pass for 16777216.
    kept = frame.filter(pl.col("weight").cast(pl.Float64) >= min_weight)
    return _told(frame, kept, f"min_weight {_exact(min_weight)}")


def labels(frame: pl.DataFrame, clean_weight: float) -> Step:
    """Every row labelled by its weight: 1 where that is at least `clean_weight`, else 0.

    Raises:
        InputError: there is no weight, or a label already.
    """
    _need(frame, "weight", "clean_weight")
    if "label" in frame.columns:
        raise InputError(
            "the data has labels already",
            place="[data] clean_weight",
            remedy="leave out clean_weight, or the column of labels",
        )
    clean = (frame["weight"].cast(pl.Float64) >= clean_weight).cast(pl.Int8)
    return (
        frame.with_columns(label=clean),
        f"clean_weight {_exact(clean_weight)}: {frame.height - clean.sum()} of {frame.height} rows labelled as noise",
    )


def behaviours(frame: pl.DataFrame, wanted: Sequence[str]) -> Step:
    """Rows with one of the behaviours.

    Raises:
        InputError: there is no such column, or a behaviour never occurs.
    """
    _need(frame, "behaviour", "behaviours")
    known = [str(name) for name in frame["behaviour"].unique().sort()]
    for name in wanted:
        if name not in known:
            raise InputError(
                f"no row has the behaviour '{name}'",
                place="[data] behaviours",
                remedy=suggest(name, known),
            )
    return _told(
        frame,
        frame.filter(pl.col("behaviour").is_in(list(wanted))),
        f"behaviours {', '.join(wanted)}",
    )


def window(
    frame: pl.DataFrame, since: str | int | None = None, until: str | int | None = None
) -> Step:
    """Rows with since <= time < until."""
    _need(frame, "time", "since and until")
    (time,), unit = count_ticks([frame["time"]])
    kept = np.ones(frame.height, dtype=bool)
    if since is not None:
        kept &= time >= ticks_at(moment(since, "since"), unit)
    if until is not None:
        kept &= time < ticks_at(moment(until, "until"), unit)
    return _told(
        frame,
        frame.filter(pl.Series(kept)),
        " ".join(
            f"{word} {value}"
            for word, value in (("since", since), ("until", until))
            if value is not None
        ),
    )


def duplicates(frame: pl.DataFrame, how: str = "first") -> Step:
    """One row per user and item, each where it stood.

    Args:
        frame: user, item and more.
        how: "first" or "last" in time (rows of the same time, or without one, in the order of the frame), "sum" the first with
            the sum of the weights (the number of rows where there are none), "error".

    Raises:
        InputError: how is "error" and a pair occurs twice.
    """
    if how == "sum":
        weight = pl.col("weight").cast(pl.Float64) if "weight" in frame.columns else pl.lit(1.0)
        frame = frame.with_columns(weight.alias("weight"))
    repeated = _repeated(frame)
    if not repeated.any():
        return frame, None
    rows = repeated.arg_true()
    several = frame.filter(repeated)
    if how == "error":
        user, item = several.row(0)[:2]
        raise InputError(
            f"user {user!r} met item {item!r} more than once",
            place="[data]",
            remedy='set duplicates to "first", "last" or "sum"',
        )
    several = several.with_columns(rows.alias("row"))
    if "time" in frame.columns:
        several = several.sort("time", maintain_order=True)
    if how == "sum":
        several = several.with_columns(_sum().over("user", "item").alias("weight"))
    one = several.unique(
        ["user", "item"], keep="last" if how == "last" else "first", maintain_order=True
    )
    kept = (~repeated).to_numpy().copy()
    kept[one["row"].to_numpy()] = True
    if how == "sum":
        weights = frame["weight"].to_numpy().copy()
        weights[one["row"].to_numpy()] = one["weight"].to_numpy()
        frame = frame.with_columns(pl.Series("weight", weights))
    return _told(frame, frame.filter(pl.Series(kept)), f"duplicates {how}")


def _sum() -> pl.Expr:
    """The sum of the weights; 0 where what is left is no more than the rounding of the additions.

    0.1 + 0.2 - 0.3 is 5.6e-17, which is nothing that was bought.
    """
    weight = pl.col("weight")
    rounding = weight.abs().sum() * (weight.len() * float(np.finfo(np.float64).eps))
    return pl.when(weight.sum().abs() > rounding).then(weight.sum()).otherwise(0.0)


def min_user(frame: pl.DataFrame, least: int) -> Step:
    """Users with at least `least` rows; items are not filtered."""
    return _told(frame, frame.filter(pl.len().over("user") >= least), f"min_user {least}")


def k_core(frame: pl.DataFrame, user_core: int = 0, item_core: int = 0) -> Step:
    """The largest part in which every user has `user_core` rows and every item `item_core`.

    Rows are counted, so repeated pairs count as often as they occur: merge them first.
    """
    users, items = (Vocab.of(frame[role]).rows(frame[role]) for role in ("user", "item"))
    rows = np.arange(frame.height)
    sizes = [int(each.max(initial=-1)) + 1 for each in (users, items)]
    while len(rows):
        enough = np.bincount(users, minlength=sizes[0])[users] >= user_core
        enough &= np.bincount(items, minlength=sizes[1])[items] >= item_core
        if enough.all():
            break
        rows, users, items = rows[enough], users[enough], items[enough]
    words = (
        f"k_core {user_core}"
        if user_core == item_core
        else f"user_core {user_core} item_core {item_core}"
    )
    return _told(frame, frame[rows], words)


def _repeated(frame: pl.DataFrame) -> pl.Series:
    """Whether the pair of a row occurs more than once, bool [n]; sorting one number per pair is several times faster than hashing two columns."""
    users, items = (Vocab.of(frame[role]) for role in ("user", "item"))
    key = users.rows(frame["user"]).astype(np.int64) * max(len(items), 1) + items.rows(
        frame["item"]
    )
    repeated = np.zeros(len(key), dtype=bool)
    ordered = np.sort(key)
    if (ordered[1:] == ordered[:-1]).any():
        order = np.argsort(key)
        same = key[order[1:]] == key[order[:-1]]
        repeated[order[1:][same]] = repeated[order[:-1][same]] = True
    return pl.Series(repeated)


def _need(frame: pl.DataFrame, column: str, setting: str) -> None:
    if column not in frame.columns:
        raise InputError(
            f"{setting} needs a {column} column, which the data lacks",
            place="[data]",
            remedy=f'name it: {column} = "..."; found: {", ".join(frame.columns)}',
        )


def _exact(number: float) -> str:
    """A limit as it was written: 4, 0.5, 16777217."""
    return repr(int(number)) if float(number).is_integer() else repr(float(number))


def _told(before: pl.DataFrame, after: pl.DataFrame, words: str) -> Step:
    return after, f"{words}: {before.height} -> {after.height} rows"
